"""Our own checkpoints: written whole, read exactly, opened by transformers, refused with one sentence when anything is wrong."""

from __future__ import annotations

import dataclasses
import json
import shutil
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_words import model
from safetensors.torch import load_file, save_file
from small import SENTENCES, SHAPES, save_tiny, tiny_config, tiny_loaded, tiny_model, tiny_tokenizer

import engine
from engine.checkpoints.layout.shapes import decoder_shapes
from engine.checkpoints.native import save_checkpoint
from engine.errors import CheckpointError, NetworkError, TinyTalesError, UsageError
from engine.llama_tokenizer import read_model
from engine.model import Decoder
from engine.prompts import PromptStyle, prompt_ids
from engine.settings import MODEL_PRESETS, SAMPLING_PRESETS, ModelConfig, SamplingSettings
from engine.tokenizer import BytePairTokenizer, GPT2Tokenizer

IDS = torch.randint(0, 320, (2, 14), generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("shape", ["rope", "rope, grouped", "learned"])
def test_save_and_load_give_the_same_logits(tmp_path: Path, shape: str) -> None:
    made = tiny_loaded(shape)
    sampling = SamplingSettings(temperature=0.7, min_p=0.05)
    save_checkpoint(tmp_path / "model", made.network, made.tokenizer, made.prompt_style, {"step": 3}, sampling)
    loaded = engine.load_checkpoint(tmp_path / "model", device="cpu")
    assert torch.equal(loaded.network(IDS), made.network(IDS))
    assert loaded.config == made.config and loaded.prompt_style == made.prompt_style and loaded.sampling == sampling
    assert loaded.tokenizer.encode("Mia found") == made.tokenizer.encode("Mia found") and loaded.card["step"] == 3
    assert engine.load_checkpoint(tmp_path / "model" / "model.safetensors", device="cpu").config == made.config
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]  # nothing is left beside it


@pytest.mark.parametrize("preset", MODEL_PRESETS)
def test_every_preset_goes_out_and_comes_back(tmp_path: Path, preset: str) -> None:
    config = MODEL_PRESETS[preset]
    network = Decoder(config).eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.uniform_(-0.05, 0.05)
    save_checkpoint(tmp_path / "m", network, tiny_tokenizer(), PromptStyle(), {})
    loaded = engine.load_checkpoint(tmp_path / "m", device="cpu")
    assert loaded.config == config and torch.equal(loaded.network(IDS[:, :4]), network(IDS[:, :4]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_width_weights_come_back_exactly_as_they_were_rounded(tmp_path: Path, dtype: torch.dtype) -> None:
    network = tiny_model(dataclasses.replace(MODEL_PRESETS["nano"], vocab_size=320), spread=1.0)
    save_checkpoint(tmp_path / "m", network, tiny_tokenizer(), PromptStyle(), {}, dtype=dtype)
    loaded = engine.load_checkpoint(tmp_path / "m", device="cpu")
    rounded = network.to(dtype).float()
    assert loaded.network(IDS).dtype == torch.float32 and torch.equal(loaded.network(IDS), rounded(IDS))


EXPRESSIBLE = {
    "rope": "llama",
    "rope, grouped": "llama",
    "rope, interleaved": "llama",
    "rope, interleaved and grouped": "llama",
    "rope, biases": "llama",
    "rope, some biases": "llama",
    "rope, wide heads": "llama",
    "rope, partial": "phi3",
    "rope, partial and interleaved": "phi3",
    "learned": "gpt2",
    "learned, no biases": "gpt2",
    "learned, no norm biases": "gpt2",
    "learned, exact gelu": "gpt2",
    "learned, unscaled": "gpt2",
    "learned, windows": "gpt_neo",
    "learned, one window": "gpt_neo",
}
"""Shapes with the layout that holds them."""
MORE = {
    "rope, interleaved and grouped": {"rope_style": "interleaved", "kv_heads": 2},
    "rope, biases": {"qkv_bias": True, "attention_out_bias": True, "mlp_bias": True},
    "rope, some biases": {"qkv_bias": True, "rope_style": "interleaved"},
    "rope, wide heads": {"head_dim": 12, "kv_heads": 2},
    "rope, partial and interleaved": {"rope_style": "interleaved", "rope_fraction": 0.5, "tied_head": False},
    "learned, no biases": {"qkv_bias": False, "attention_out_bias": False, "mlp_bias": False},
    "learned, no norm biases": {"norm_bias": False, "mlp_bias": False},
    "learned, exact gelu": {"mlp": "gelu", "tied_head": False, "mlp_width": 48},
    "learned, unscaled": {"attention_scale": 1.0},
    "learned, one window": {"attention_scale": 1.0, "qkv_bias": False, "windows": (4, 4), "norm_bias": False, "mlp": "gelu"},
}


def shaped(shape: str, context: int = 16) -> ModelConfig:
    config = tiny_config(shape.partition(",")[0] if shape in MORE else shape, context=context)
    return dataclasses.replace(config, **MORE.get(shape, {}))


@pytest.mark.parametrize("shape", EXPRESSIBLE)
def test_every_shape_with_a_layout_goes_out_and_comes_back_and_opens_in_transformers(tmp_path: Path, shape: str) -> None:
    transformers = pytest.importorskip("transformers")
    network, folder = tiny_model(shaped(shape), spread=4.0), tmp_path / "m"
    save_checkpoint(folder, network, tiny_tokenizer(), PromptStyle("plain", True), {}, end_ids=(9,))
    assert json.loads((folder / "config.json").read_text())["model_type"] == EXPRESSIBLE[shape]
    logits = network(IDS)
    assert logits.std() > 0.3  # else the comparisons below say nothing
    loaded = engine.load_checkpoint(folder, device="cpu")
    torch.testing.assert_close(loaded.network(IDS), logits, atol=1e-5, rtol=0)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.inference_mode():
        torch.testing.assert_close(theirs(IDS).logits, logits, atol=1e-5, rtol=0)
    assert (theirs.generation_config.bos_token_id, theirs.generation_config.eos_token_id) == (0, [0, 9])
    save_checkpoint(tmp_path / "again", loaded.network, loaded.tokenizer, loaded.prompt_style, loaded.card)
    assert load_file(tmp_path / "again" / "model.safetensors").keys() == load_file(folder / "model.safetensors").keys()
    assert torch.equal(engine.load_checkpoint(tmp_path / "again", device="cpu").network(IDS), loaded.network(IDS))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_shapes_of_a_decoder_are_told_without_making_one(shape: str) -> None:
    for config in (tiny_config(shape), dataclasses.replace(tiny_config(shape), head_dim=12, mlp_width=40, mlp_bias=True)):
        made = {name: tuple(tensor.shape) for name, tensor in Decoder(config).state_dict().items()}
        assert decoder_shapes(config) == made


def test_special_tokens_come_back_and_stand_where_transformers_looks(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    made = tiny_loaded("rope")
    save_checkpoint(
        tmp_path / "m", made.network, made.tokenizer, PromptStyle("plain", True), {"end_ids": [3]}, end_ids=(7, 300), begin_id=5
    )
    loaded = engine.load_checkpoint(tmp_path / "m", device="cpu")
    assert (loaded.end_ids, loaded.begin_id) == ((7, 300), 5)
    words = transformers.AutoTokenizer.from_pretrained(tmp_path / "m")
    assert words("Mia found").input_ids == [5, *prompt_ids("Mia found", loaded.prompt_style, loaded.tokenizer)]
    for wrong in ({"end_ids": [320]}, {"end_ids": 7}, {"begin_id": -1}, {"begin_id": True}, {"end_ids": ["x"]}):
        change_json(tmp_path / "m" / "tinytales.json", **({"end_ids": [], "begin_id": None} | wrong))
        refused(tmp_path / "m", "names a token")


def test_a_llama_vocabulary_goes_with_its_sentencepiece_file(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    (tmp_path / "tok.model").write_bytes(model())
    words = read_model(tmp_path / "tok.model")
    network = tiny_model(tiny_config("rope, interleaved", words.vocab_size))
    save_checkpoint(tmp_path / "m", network, words, PromptStyle(), {}, end_ids=(1, 2), begin_id=1)
    assert (tmp_path / "m" / "tokenizer.model").read_bytes() == model()
    loaded = engine.load_checkpoint(tmp_path / "m", device="cpu")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "m")
    assert (theirs.bos_token, theirs.eos_token) == ("<s>", "</s>")
    for text in ("Mia found a shiny key.", "a café\n\nby 日本", "  two spaces"):
        assert loaded.tokenizer.encode(text) == words.encode(text)
        assert theirs(text).input_ids == [1, *words.encode(text)]
    (tmp_path / "m" / "tokenizer.model").unlink()  # tokenizer.json does as well
    assert engine.load_checkpoint(tmp_path / "m", device="cpu").tokenizer.encode("Mia found") == words.encode("Mia found")


def test_a_gpt2_vocabulary_padded_to_a_round_number(tmp_path: Path) -> None:
    network = tiny_model(tiny_config("learned", vocab_size=50_304))
    save_checkpoint(tmp_path / "m", network, GPT2Tokenizer(), PromptStyle(), {})
    loaded = engine.load_checkpoint(tmp_path / "m")
    assert isinstance(loaded.tokenizer, GPT2Tokenizer) and "47 rows" in loaded.warnings[0]
    for text in ("Once upon a time, it's Lily's 3.14 piñata 日本 🙂\n\n  x", *SENTENCES[:5]):  # the file is for others to read
        assert BytePairTokenizer.load(tmp_path / "m" / "tokenizer.json").encode(text) == loaded.tokenizer.encode(text)


def test_a_save_that_is_interrupted_between_its_renames_keeps_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tiny_loaded("rope", seed=1)
    save_checkpoint(tmp_path / "m", made.network, made.tokenizer, made.prompt_style, {"step": 1})
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        if self.suffix == ".part":
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path / "m", made.network, made.tokenizer, made.prompt_style, {"step": 2})
    monkeypatch.undo()
    assert engine.load_checkpoint(tmp_path / "m", device="cpu").card["step"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_checkpoint_is_replaced_whole(tmp_path: Path) -> None:
    first, second = tiny_loaded("rope", seed=1), tiny_loaded("rope", seed=2)
    for made in (first, second):
        save_checkpoint(tmp_path / "m", made.network, made.tokenizer, made.prompt_style, {})
    assert torch.equal(engine.load_checkpoint(tmp_path / "m", device="cpu").network(IDS), second.network(IDS))
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_failed_save_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tiny_loaded("rope", seed=1)
    save_checkpoint(tmp_path / "m", made.network, made.tokenizer, made.prompt_style, {})

    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("engine.files.write_bytes", full)
    other = tiny_loaded("rope", seed=2)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(tmp_path / "m", other.network, other.tokenizer, other.prompt_style, {})
    monkeypatch.undo()
    assert torch.equal(engine.load_checkpoint(tmp_path / "m", device="cpu").network(IDS), made.network(IDS))
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize("shape", ["rope, windows", "learned, two windows", "learned, windows and biases", "learned, grouped"])
def test_a_shape_without_a_hub_layout_is_not_written(tmp_path: Path, shape: str) -> None:
    changes: dict[str, object] = {
        "rope, windows": {"windows": (5, None)},
        "learned, two windows": {"windows": (4, 6), "attention_scale": 1.0, "qkv_bias": False},
        "learned, windows and biases": {"windows": (None, 6), "attention_scale": 1.0},
        "learned, grouped": {"kv_heads": 2},
    }[shape]
    network = tiny_model(dataclasses.replace(tiny_config(shape.partition(",")[0]), **changes))  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="no Hub layout"):
        save_checkpoint(tmp_path / "m", network, tiny_tokenizer(), PromptStyle(), {})
    assert not (tmp_path / "m").exists()


def test_a_head_with_a_bias_is_refused_with_the_reason_unless_it_is_zero(tmp_path: Path) -> None:
    made = tiny_loaded("learned, exact gelu, own head")
    with pytest.raises(CheckpointError, match="output head of this model has a bias"):
        save_checkpoint(tmp_path / "m", made.network, made.tokenizer, made.prompt_style, {})
    assert not list(tmp_path.iterdir())
    made.network.head.bias.zero_()
    save_checkpoint(tmp_path / "m", made.network, made.tokenizer, made.prompt_style, {})
    assert torch.equal(engine.load_checkpoint(tmp_path / "m", device="cpu").network(IDS), made.network(IDS))


@pytest.fixture
def folder(tmp_path: Path, tiny_checkpoint: Path) -> Path:
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "copy"))


def refused(folder: Path, about: str) -> None:
    with pytest.raises(CheckpointError, match=about) as refusal:
        engine.load_checkpoint(folder, device="cpu")
    message = str(refusal.value)
    assert "\n" not in message and message.endswith(".") and "Traceback" not in message


def change_json(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_missing_and_foreign_folders(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "no checkpoint at")
    refused(tmp_path, "holds no weights")
    with pytest.raises(CheckpointError, match="no checkpoint at nowhere"):
        engine.load_checkpoint("nowhere")
    with pytest.raises(NetworkError, match="could not be reached"):
        engine.load_checkpoint("nobody/nothing-at-all")
    with pytest.raises(UsageError, match="no device"):
        engine.load_checkpoint(save_tiny(tmp_path / "m", "rope"), device="abacus")
    with pytest.raises(UsageError, match="no precision"):
        engine.load_checkpoint(tmp_path / "m", precision="fp1")


@pytest.mark.parametrize("name", ["config.json", "tinytales.json", "tokenizer.json", "model.safetensors"])
@pytest.mark.parametrize("damage", ["empty", "half", "zeros", "gone"])
def test_damaged_files(folder: Path, name: str, damage: str) -> None:
    path = folder / name
    data = path.read_bytes()
    if (name, damage) == ("tinytales.json", "gone"):
        path.unlink()  # the rest is a plain folder of the Hub's layout, which is written with as it stands
        assert engine.load_checkpoint(folder, device="cpu").prompt_style.name == "plain"
        return
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes({"empty": b"", "half": data[: len(data) // 2], "zeros": bytes(len(data))}[damage])
    with pytest.raises(CheckpointError) as refusal:
        engine.load_checkpoint(folder, device="cpu")
    assert "\n" not in str(refusal.value)


def test_weights_that_do_not_fit_the_config(folder: Path) -> None:
    change_json(folder / "config.json", hidden_size=64)
    refused(folder, "does not fit its config.json")


def test_tensors_that_are_missing_or_too_many(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    taken = tensors.pop("model.norm.weight")
    save_file(tensors, folder / "model.safetensors")
    refused(folder, "lacks model.norm.weight")
    save_file(tensors | {"model.norm.weight": taken, "spare": taken.clone()}, folder / "model.safetensors")
    refused(folder, "has spare")


def test_weights_that_are_no_numbers(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    for wrong in (float("nan"), float("inf")):
        tensors["model.norm.weight"][3] = wrong
        save_file(tensors, folder / "model.safetensors")
        refused(folder, "not finite")
    tensors["model.norm.weight"] = tensors["model.norm.weight"].nan_to_num().to(torch.int32)
    save_file(tensors, folder / "model.safetensors")
    refused(folder, "floating-point")


@pytest.mark.parametrize(
    "values",
    [
        {"vocab_size": 10**12}, {"num_hidden_layers": -1}, {"hidden_size": "wide"}, {"num_attention_heads": 0}, {"model_type": "bert"},
        {"num_hidden_layers": 10**9}, {"rms_norm_eps": None}, {"num_key_value_heads": 3}, {"max_position_embeddings": 0},
        {"intermediate_size": 10**9}, {"intermediate_size": 672.0}, {"rope_theta": -1}, {"rms_norm_eps": float("nan")},
        {"hidden_act": "gelu"}, {"rope_scaling": {"rope_type": "linear"}}, {"rope_parameters": "x"},
        {"head_dim": 7}, {"num_key_value_heads": [4]},
    ],
)  # fmt: skip
def test_absurd_configs(folder: Path, values: dict[str, object]) -> None:
    change_json(folder / "config.json", **values)
    with pytest.raises(CheckpointError) as refusal:
        engine.load_checkpoint(folder, device="cpu")
    assert "\n" not in str(refusal.value)


def test_a_header_that_claims_more_than_the_file_holds(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 2**62) + data[8:])
    refused(folder, "cut off or damaged")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_flipped_bytes_are_refused_or_harmless(folder: Path, data: st.DataObject) -> None:
    """Whatever byte is wrong: a clear refusal, or weights that load; never another exception."""
    path = folder / data.draw(st.sampled_from(["config.json", "tinytales.json", "model.safetensors", "tokenizer.json"]))
    original = path.read_bytes()
    at = data.draw(st.integers(0, min(len(original) - 1, 3000)))
    try:
        path.write_bytes(original[:at] + bytes([original[at] ^ data.draw(st.integers(1, 255))]) + original[at + 1 :])
        try:
            engine.load_checkpoint(folder, device="cpu")
        except TinyTalesError as refusal:
            assert "\n" not in str(refusal)
    finally:
        path.write_bytes(original)


def test_recommended_sampling_that_makes_no_sense(folder: Path) -> None:
    change_json(folder / "tinytales.json", sampling={"temperature": -3})
    refused(folder, "recommends sampling")
    change_json(folder / "tinytales.json", sampling=SAMPLING_PRESETS["balanced"].to_json(), prompt_style={"name": "tarot"})
    refused(folder, "prompt style")
