"""Checkpoints of 8-bit weights: what is rounded and how, that they open like any other, and that damaged ones are refused."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from small import save_tiny, tiny_loaded, tiny_model
from torch import Tensor
from training_runs import run_here, small_settings, write_stories

import engine
from engine.catalog.facts import facts_of
from engine.checkpoints import layout
from engine.checkpoints.exporting import export
from engine.checkpoints.exporting.card import NOTICE
from engine.checkpoints.int8 import LEAST, MOST, are_sound, dequantise_rows, quantise_rows
from engine.checkpoints.native import Checkpoint, save_checkpoint
from engine.decode.packing import unpack_rows
from engine.errors import CheckpointError, TinyTalesError, UsageError
from engine.generation import generate
from engine.hub.verifying import verify
from engine.model import Decoder
from engine.protocol import Finished, Token
from engine.settings import MODEL_PRESETS, GenerationRequest, SamplingSettings

IDS = torch.randint(0, 320, (2, 14), generator=torch.Generator().manual_seed(4))
GREEDY = SamplingSettings(temperature=0.0, max_tokens=24, min_tokens=24, stop_loops=False)
KEPT = ("learned", "learned, windows", "rope", "rope, interleaved", "rope, partial", "rope, grouped")
"""Shapes of `small.SHAPES` that a layout holds."""
PRESETS = {
    name: dataclasses.replace(config, width=config.width // 4, mlp_width=None, vocab_size=320, context=32)
    for name, config in MODEL_PRESETS.items()
}
"""The presets, a quarter as wide."""


def odd_rows() -> Tensor:
    """Rows of every magnitude that float32 has, and of zeros."""
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(3000, 24, generator=generator) * torch.exp(torch.randn(3000, 1, generator=generator) * 20)
    largest = torch.finfo(torch.float32).max
    for at, value in enumerate((0.0, 1e-45, 1e-38, LEAST, 127 * LEAST, 126 * LEAST, MOST * 127, largest, -largest)):
        rows[at] = value
    rows[9], rows[9, 3] = 0.0, 5e-324
    return rows.clamp(-largest, largest)


def by_hand(weight: Tensor) -> Tensor:
    """The rule once more, a number at a time: greatest magnitude / 127, upwards to 16 significant bits, then to the nearest multiple."""
    rows = []
    for row in weight.tolist():
        exact = float(torch.tensor(max(max(map(abs, row)) / 127, LEAST)))  # a float32, as the weights are
        fraction, exponent = math.frexp(exact)
        scale = math.ldexp(math.ceil(fraction * 2**16), exponent - 16)
        rows.append([round(value / scale) * scale for value in row])
    return torch.tensor(rows)


def rounded(made: Checkpoint) -> Checkpoint:
    """The same model with its matrices rounded by hand; the table of positions, norms and biases as they are."""
    network = Decoder(made.config)
    state = dict(made.network.state_dict())
    for name, tensor in state.items():
        if tensor.dim() == 2 and name != "position_embedding.weight":
            state[name] = by_hand(tensor)
    network.load_state_dict(state)
    return dataclasses.replace(made, network=network.eval().requires_grad_(False))


def text_of(checkpoint: Checkpoint) -> str:
    events = generate(checkpoint, GenerationRequest(opening="Mia found", sampling=GREEDY))
    return "".join(event.text for event in events if isinstance(event, Token | Finished))


def in_int8(folder: Path, made: Checkpoint) -> Path:
    save_checkpoint(folder, made.network, made.tokenizer, made.prompt_style, made.card, made.sampling, torch.int8)
    return folder


def preset(name: str) -> Checkpoint:
    return dataclasses.replace(tiny_loaded("rope"), network=tiny_model(PRESETS[name], spread=4.0))


def test_rounding_twice_is_rounding_once() -> None:
    whole, scale = quantise_rows(odd_rows())
    back = dequantise_rows(whole, scale)
    again, same = quantise_rows(back)
    assert whole.dtype == torch.int8 and scale.shape == (3000,) and are_sound(whole, scale)
    assert torch.equal(again, whole) and torch.equal(same, scale) and bool(back.isfinite().all())
    exact = whole.double() * scale.double()[:, None]
    assert torch.equal(back.double(), exact)  # no product was rounded


def test_no_weight_moves_by_more_than_half_a_step_and_no_scale_is_wasted() -> None:
    weight = odd_rows()
    whole, scale = quantise_rows(weight)
    off = (dequantise_rows(whole, scale).double() - weight.double()).abs()
    assert bool((off <= scale.double()[:, None] * (0.5 + 1e-6)).all())
    needed = weight.double().abs().amax(1) / 127
    usual = (needed > LEAST) & (needed < MOST)
    assert int(usual.sum()) > 2900
    assert bool(((scale / needed)[usual] < 1 + 2**-15 + 1e-6).all()) and bool((whole.abs().amax(1)[usual] == 127).all())


def test_a_row_of_zeros_stays_zeros() -> None:
    whole, scale = quantise_rows(torch.zeros(2, 8))
    assert not whole.any() and are_sound(whole, scale) and not dequantise_rows(whole, scale).any()


@pytest.mark.parametrize("shape", [*KEPT, *PRESETS])
def test_it_writes_what_a_network_rounded_by_hand_writes(tmp_path: Path, shape: str) -> None:
    made = preset(shape) if shape in PRESETS else tiny_loaded(shape)
    loaded = engine.load_checkpoint(in_int8(tmp_path / "m", made), device="cpu")
    twin = rounded(made)
    save_checkpoint(tmp_path / "twin", twin.network, made.tokenizer, made.prompt_style, {})
    saved = engine.load_checkpoint(tmp_path / "twin", device="cpu")
    assert (loaded.stored_as, saved.stored_as, loaded.precision) == ("int8", "float32", "fp32")
    assert (loaded.config, loaded.family) == (saved.config, saved.family)
    for name, tensor in saved.network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[name], tensor), name
    assert text_of(loaded) == text_of(twin) and not torch.equal(loaded.network(IDS), made.network(IDS))


@pytest.mark.parametrize("shape", [*KEPT, *PRESETS])
def test_a_second_export_has_the_same_bytes_and_the_compiled_step_rounds_nothing_more(tmp_path: Path, shape: str) -> None:
    made = preset(shape) if shape in PRESETS else tiny_loaded(shape)
    first = engine.load_checkpoint(in_int8(tmp_path / "first", made), device="cpu")
    in_int8(tmp_path / "second", first)
    for name in ("config.json", "model.safetensors", "tinytales.json", "tokenizer.json"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes(), name
    for layer in first.network.modules():
        if isinstance(layer, torch.nn.Linear):
            assert torch.equal(unpack_rows(layer.weight, "int8"), layer.weight)


def test_the_shipped_model_takes_a_quarter_of_its_float32_size(tmp_path: Path) -> None:
    made = engine.load_checkpoint(device="cpu")
    done = export(made, "int8", tmp_path / "m")
    numbers = made.network.parameter_count()
    assert (done.folder / "model.safetensors").stat().st_size < 0.3 * 4 * numbers
    loaded = engine.load_checkpoint(done.folder, device="cpu")
    assert loaded.sampling == made.sampling and loaded.prompt_style == made.prompt_style
    state = made.network.state_dict()
    for name in ("embedding.weight", "blocks.0.mlp.down.weight", "blocks.5.attention.qkv.weight"):
        assert torch.equal(loaded.network.state_dict()[name], by_hand(state[name])), name
    assert loaded.network.head.weight is loaded.network.embedding.weight
    facts = facts_of(done.folder)
    assert (facts.parameters, facts.stored_as, facts.refused) == (numbers, "int8", "")
    assert facts_of(made.path or Path()).stored_as == made.stored_as == "float16"
    assert text_of(loaded) == text_of(rounded(made))


@pytest.mark.parametrize("shape", KEPT)
def test_the_file_holds_each_matrix_once_and_the_rest_in_float32(tmp_path: Path, shape: str) -> None:
    made = tiny_loaded(shape)
    tensors = load_file(in_int8(tmp_path / "m", made) / "model.safetensors")
    tied = made.config.tied_head
    assert ("head.weight.int8" in tensors) == (not tied) and "embedding.weight.int8" in tensors
    for name, tensor in tensors.items():
        assert tensor.dtype == (torch.int8 if name.endswith(".int8") else torch.float32)
        assert tensor.dim() == (2 if name.endswith(".int8") or name == "position_embedding.weight" else 1)
        if name.endswith(".row_scale"):
            assert tensor.shape == tensors[name.replace(".row_scale", ".int8")].shape[:1]
    assert len([name for name in tensors if name.endswith(".int8")]) == 4 * made.config.layers + 1 + (not tied)


@pytest.mark.parametrize("shape", KEPT)
def test_the_catalogue_says_what_loading_says(tmp_path: Path, shape: str) -> None:
    folder = in_int8(tmp_path / "m", tiny_loaded(shape))
    facts, loaded = facts_of(folder), engine.load_checkpoint(folder, device="cpu")
    assert (facts.refused, facts.family, facts.stored_as) == ("", loaded.family, loaded.stored_as)
    assert (facts.parameters, facts.context) == (loaded.network.parameter_count(), loaded.config.context)
    assert (facts.vocabulary, facts.layers, facts.width) == (loaded.config.vocab_size, loaded.config.layers, loaded.config.width)
    assert facts.tokenizer == loaded.tokenizer.name and facts.safe
    found = verify(folder)
    assert found.wrong == () and "model.safetensors" in found.unknown
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert verify(folder).wrong == ("model.safetensors",) and facts_of(folder).refused


@pytest.mark.parametrize("to", ["hf", "llama2c"])
def test_it_goes_out_to_other_formats_as_the_rounded_model(tmp_path: Path, to: str) -> None:
    loaded = engine.load_checkpoint(in_int8(tmp_path / "m", tiny_loaded("rope")), device="cpu")
    export(loaded, to, tmp_path / "out")
    other = engine.load_checkpoint(tmp_path / "out", device="cpu")
    for ours, its in zip(loaded.network.blocks, other.network.blocks, strict=True):
        assert torch.equal(its.mlp.down.weight, ours.mlp.down.weight) and torch.equal(its.mlp.up.weight, ours.mlp.up.weight)
    assert to != "hf" or torch.equal(other.network(IDS), loaded.network(IDS))


def test_a_run_tunes_it_and_saves_floating_point_weights(tmp_path: Path) -> None:
    folder = in_int8(tmp_path / "m", tiny_loaded("rope", context=64))
    chosen = small_settings(
        write_stories(tmp_path / "stories.jsonl", 60), start_from=str(folder), steps=2, evaluate_every=2, checkpoint_every=2,
        warmup_steps=0, learning_rate=1e-4,
    )  # fmt: skip
    run = run_here(tmp_path / "run", chosen)
    tuned, before = engine.load_checkpoint(run, device="cpu"), engine.load_checkpoint(folder, device="cpu")
    assert tuned.stored_as == "float32"
    off = (tuned.network.embedding.weight - before.network.embedding.weight).abs().max()
    assert 0 < float(off) < 0.01  # two small steps away from the rounded weights


def test_transformers_refuses_it_and_opens_what_is_exported_from_it(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    done = export(tiny_loaded("rope"), "int8", tmp_path / "m")
    assert "--to hf" in done.notes[0] and "transformers cannot open" in done.notes[0]
    with pytest.raises(ValueError, match="tinytales_int8"):
        transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "m")
    again = export(engine.load_checkpoint(tmp_path / "m", device="cpu"), "hf", tmp_path / "hf")
    assert transformers.AutoModelForCausalLM.from_pretrained(again.folder).config.model_type == "llama"


def test_the_card_says_who_can_open_it_for_as_long_as_that_is_so(tmp_path: Path) -> None:
    made = export(tiny_loaded("rope"), "hf", tmp_path / "hf").folder
    card = (made / "README.md").read_text()
    export(engine.load_checkpoint(made, device="cpu"), "int8", tmp_path / "int8")
    small = (tmp_path / "int8" / "README.md").read_text()
    assert small.count(NOTICE) == 1 and "AutoModelForCausalLM" not in small and ", stored as int8 |" in small
    assert small.index("\n---\n\n") < small.index(NOTICE) and "library_name: tinytales-tui" in small
    export(engine.load_checkpoint(tmp_path / "int8", device="cpu"), "int8", tmp_path / "twice")
    assert (tmp_path / "twice" / "README.md").read_text() == small
    export(engine.load_checkpoint(tmp_path / "twice", device="cpu"), "hf", tmp_path / "back", stored_as="float32")
    assert (tmp_path / "back" / "README.md").read_text() == card
    (made / "README.md").write_text("# Mine\n")
    done = export(engine.load_checkpoint(made, device="cpu"), "int8", tmp_path / "own")
    assert (done.folder / "README.md").read_text() == f"{NOTICE}# Mine\n" and "was kept" in done.notes[1]


def test_what_cannot_be_kept_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="output head of this model has a bias"):
        export(tiny_loaded("learned, exact gelu, own head"), "int8", tmp_path / "out")
    broken = tiny_loaded("rope", seed=3)
    broken.network.blocks[1].mlp.down.weight[2, 2] = math.nan
    with pytest.raises(CheckpointError, match=r"not finite in blocks\.1\.mlp\.down\.weight"):
        export(broken, "int8", tmp_path / "out")
    for to, stored_as, about in (("int8", "float16", "cannot hold"), ("hf", "int8", "int8 is a format of its own")):
        with pytest.raises(UsageError, match=about):
            export(tiny_loaded("rope"), to, tmp_path / "out", stored_as=stored_as)
    assert [path.name for path in tmp_path.iterdir() if path.name != "tinytales-home"] == []


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return in_int8(tmp_path_factory.mktemp("int8") / "m", tiny_loaded("rope"))


@pytest.fixture
def folder(tmp_path: Path, sound: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "copy"))


def sentence(folder: Path) -> str:
    """What loading says, in one sentence."""
    with pytest.raises(CheckpointError) as refusal:
        engine.load_checkpoint(folder, device="cpu")
    said = str(refusal.value)
    assert "\n" not in said and said.endswith(".") and "Traceback" not in said
    return said


Change = Callable[[dict[str, Tensor]], object]
_NAME = "blocks.0.mlp.up.weight"
TOLD: dict[str, tuple[Change, str]] = {
    "no scale": (lambda t: t.pop(f"{_NAME}.row_scale"), "lacks blocks.0.mlp.up.weight.row_scale"),
    "no whole numbers": (lambda t: t.pop("embedding.weight.int8"), "lacks embedding.weight.int8"),
    "a head that is tied": (lambda t: t.update({"head.weight.int8": torch.ones(2, 2, dtype=torch.int8)}), "has head.weight.int8"),
    "a scale too few": (lambda t: t.update({f"{_NAME}.row_scale": t[f"{_NAME}.row_scale"][:-1].clone()}), "not fit its config"),
    "turned": (lambda t: t.update({f"{_NAME}.int8": t[f"{_NAME}.int8"].T.contiguous()}), "does not fit its config.json"),
    "half a scale": (
        lambda t: t.update({f"{_NAME}.row_scale": t[f"{_NAME}.row_scale"].half()}),
        "as float16, where float32 belong",
    ),
    "wide": (lambda t: t.update({f"{_NAME}.int8": t[f"{_NAME}.int8"].int()}), "as int32, where 8-bit whole numbers belong"),
    "unsigned": (lambda t: t.update({f"{_NAME}.int8": t[f"{_NAME}.int8"].to(torch.uint8)}), "as uint8, where 8-bit whole"),
    "a norm of whole numbers": (lambda t: t.update({"norm.weight": t["norm.weight"].to(torch.int8)}), "must be floating-point"),
}
"""What headers tell, so that the catalogue says the same."""
READ: dict[str, tuple[Change, str]] = {
    "NaN": (lambda t: t[f"{_NAME}.row_scale"].fill_(math.nan), "not finite in blocks.0.mlp.up.weight.row_scale"),
    "infinite": (lambda t: t[f"{_NAME}.row_scale"].fill_(math.inf), "not finite"),
    "negative": (lambda t: t[f"{_NAME}.row_scale"].neg_(), "8-bit weights never have"),
    "nothing": (lambda t: t[f"{_NAME}.row_scale"].zero_(), "8-bit weights never have"),
    "too fine": (lambda t: t[f"{_NAME}.row_scale"].fill_(0.1), "8-bit weights never have"),
    "too large": (lambda t: t[f"{_NAME}.row_scale"].fill_(2.0**127), "8-bit weights never have"),
    "-128": (lambda t: t[f"{_NAME}.int8"].fill_(-128), "8-bit weights never have"),
    "a norm": (lambda t: t["norm.weight"].fill_(math.nan), "not finite in norm.weight"),
}
"""What only the numbers tell."""


@pytest.mark.parametrize("damage", [*TOLD, *READ])
def test_damaged_weights_are_refused_in_one_sentence(folder: Path, damage: str) -> None:
    change, about = (TOLD | READ)[damage]
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    said = sentence(folder)
    assert about in said
    assert facts_of(folder).refused == (said if damage in TOLD else "")


@pytest.mark.parametrize("version", [2, 0, "1", True, None, 1.0, "\x1b[31m" * 99])
def test_another_version_is_refused_in_one_sentence(folder: Path, version: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["tinytales_int8"]["version"] = version
    (folder / "config.json").write_text(json.dumps(config))
    said = sentence(folder)
    assert "this program reads version 1; update tinytales-tui" in said and "\x1b" not in said and len(said) < 400
    assert facts_of(folder).refused == said


@pytest.mark.parametrize(
    "mark", [None, [], "llama", {"version": 1}, {"version": 1, "layout": "bert"}, {"version": 1, "layout": []}]
)
def test_a_config_that_does_not_say_what_it_is_is_refused(folder: Path, mark: object) -> None:
    config = json.loads((folder / "config.json").read_text()) | {"tinytales_int8": mark}
    (folder / "config.json").write_text(json.dumps(config))
    assert facts_of(folder).refused == sentence(folder)


def test_int8_and_floating_point_files_that_were_mixed_up_are_refused(folder: Path, tmp_path: Path) -> None:
    own = save_tiny(tmp_path / "own", "rope", context=16)
    shutil.copy(own / "model.safetensors", tmp_path / "kept")
    shutil.copy(folder / "model.safetensors", own / "model.safetensors")
    shutil.copy(tmp_path / "kept", folder / "model.safetensors")
    for one in (own, folder):
        assert "does not fit its config.json" in sentence(one) and facts_of(one).refused == sentence(one)


def test_weights_without_the_files_that_belong_to_them(folder: Path, tmp_path: Path) -> None:
    (folder / "tinytales.json").unlink()
    assert "copy the whole folder again" in sentence(folder) and facts_of(folder).refused == sentence(folder)
    shutil.copy(folder / "model.safetensors", tmp_path / "lone.safetensors")
    assert "8-bit weights of tinytales-tui" in sentence(tmp_path / "lone.safetensors")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_flipped_bytes_are_refused_or_harmless(folder: Path, data: st.DataObject) -> None:
    path = folder / data.draw(st.sampled_from(["config.json", "model.safetensors"]))
    original = path.read_bytes()
    at = data.draw(st.integers(0, min(len(original) - 1, 6000)))
    try:
        path.write_bytes(original[:at] + bytes([original[at] ^ data.draw(st.integers(1, 255))]) + original[at + 1 :])
        try:
            engine.load_checkpoint(folder, device="cpu")
        except TinyTalesError as refusal:
            assert "\n" not in str(refusal)
        facts_of(folder)
    finally:
        path.write_bytes(original)


def test_names_and_shapes_need_no_torch() -> None:
    script = (
        "import sys\nfrom engine.checkpoints.layout import int8\nfrom engine.settings import llama_config\n"
        "print(len(int8.shapes(llama_config(32, 2, 4, 16, 64))), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["23", "False"]  # 2 layers × 4 matrices and the table, two each; 5 norms


def test_every_tensor_of_a_layout_has_its_counterpart() -> None:
    config = tiny_loaded("rope").config
    numbers = sum(math.prod(shape) for name, shape in layout.int8.shapes(config).items() if not name.endswith(".row_scale"))
    assert numbers == sum(math.prod(shape) for shape in layout.hub_shapes(config).values())
