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
from safetensors.torch import load_file, save_file
from small import SENTENCES, save_tiny, tiny_config, tiny_loaded, tiny_model, tiny_tokenizer

import engine
from engine.checkpoints.native import save_checkpoint
from engine.errors import CheckpointError, NetworkError, TinyTalesError, UsageError
from engine.prompts import PromptStyle
from engine.settings import MODEL_PRESETS, SAMPLING_PRESETS, SamplingSettings
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
    config = dataclasses.replace(MODEL_PRESETS[preset], vocab_size=320, layers=2)  # as wide as it is, but not as heavy
    network = tiny_model(config, spread=1.0)
    save_checkpoint(tmp_path / "m", network, tiny_tokenizer(), PromptStyle(), {})
    loaded = engine.load_checkpoint(tmp_path / "m", device="cpu")
    assert loaded.config == config and torch.equal(loaded.network(IDS), network(IDS))


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


def test_half_width_weights_load_as_float32(tmp_path: Path) -> None:
    made = tiny_loaded("rope")
    save_checkpoint(tmp_path / "m", made.network, made.tokenizer, made.prompt_style, {}, dtype=torch.float16)
    loaded = engine.load_checkpoint(tmp_path / "m", device="cpu")
    assert loaded.network(IDS).dtype == torch.float32
    torch.testing.assert_close(loaded.network(IDS), made.network(IDS), atol=0.05, rtol=0.05)


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


@pytest.mark.parametrize("shape", ["learned, windows", "rope, partial", "rope, interleaved", "learned, exact gelu, own head"])
def test_a_shape_without_a_hub_layout_is_not_written(tmp_path: Path, shape: str) -> None:
    made = tiny_loaded(shape)
    with pytest.raises(CheckpointError, match="no Hub layout"):
        save_checkpoint(tmp_path / "m", made.network, made.tokenizer, made.prompt_style, {})
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("shape", ["rope", "rope, grouped", "learned"])
def test_transformers_opens_our_folders_with_equal_logits(tmp_path: Path, shape: str) -> None:
    transformers = pytest.importorskip("transformers")
    folder = save_tiny(tmp_path / "m", shape, context=32)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    ours = engine.load_checkpoint(folder, device="cpu")
    with torch.inference_mode():
        torch.testing.assert_close(theirs(IDS).logits.float(), ours.network(IDS), atol=1e-3, rtol=1e-4)
    words = transformers.AutoTokenizer.from_pretrained(folder)
    assert words("Mia found a key", add_special_tokens=False).input_ids == ours.tokenizer.encode("Mia found a key")


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
