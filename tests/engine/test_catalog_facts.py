"""What the headers of checkpoints tell: the same as loading them, and a sentence for whatever cannot be opened."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import made_checkpoints
import pytest
import torch
from made_cache import MadeCache, commit_of
from made_checkpoints import KINDS
from safetensors.torch import load_file, save_file
from small import SHAPES, save_tiny

import engine
from engine.catalog.facts import Facts, FactsCache, facts_of
from engine.checkpoints.readers import read_weights
from engine.checkpoints.readers.outlines import read_outlines
from engine.errors import CheckpointError

OPENED = [kind for kind in KINDS if kind != "inverted"]


@pytest.mark.parametrize("kind", OPENED)
def test_the_headers_say_what_loading_says(kind: str, tmp_path: Path) -> None:
    source = KINDS[kind](tmp_path / "made")
    facts, loaded = facts_of(source), engine.load_checkpoint(source, device="cpu")
    assert facts.refused == ""
    assert (facts.family, facts.parameters) == (loaded.family, loaded.network.parameter_count())
    config = loaded.config
    assert (facts.context, facts.vocabulary, facts.layers, facts.width) == (
        config.context,
        config.vocab_size,
        config.layers,
        config.width,
    )
    assert facts.tokenizer == loaded.tokenizer.name
    assert facts.prompt_style == loaded.prompt_style.name
    assert facts.safe == (facts.format != "PyTorch")
    folder = source if source.is_dir() else source.parent
    assert (folder / facts.weights).is_file()


@pytest.mark.parametrize("shape", SHAPES)
def test_own_checkpoints_of_every_shape_that_can_be_saved(shape: str, tmp_path: Path) -> None:
    try:
        save_tiny(tmp_path / "own", shape)
    except CheckpointError:
        assert shape in ("learned, exact gelu, own head", "rope, windows")
        return
    facts, loaded = facts_of(tmp_path / "own"), engine.load_checkpoint(tmp_path / "own", device="cpu")
    assert (facts.refused, facts.family) == ("", loaded.family)
    assert (facts.parameters, facts.context) == (loaded.network.parameter_count(), loaded.config.context)
    assert (facts.vocabulary, facts.layers, facts.width) == (loaded.config.vocab_size, loaded.config.layers, loaded.config.width)


@pytest.mark.parametrize("kind", ["copy of llama2.c", "half rotary", "nanoGPT", "GPT-Neo", "llama2.c", "Hub Llama", "Hub GPT-2"])
def test_a_checkpoint_of_another_program_that_was_saved_as_our_own(kind: str, tmp_path: Path) -> None:
    made = engine.load_checkpoint(KINDS[kind](tmp_path / "made"), device="cpu")
    engine.checkpoints.save_checkpoint(tmp_path / "own", made.network, made.tokenizer, made.prompt_style, {})
    facts, loaded = facts_of(tmp_path / "own"), engine.load_checkpoint(tmp_path / "own", device="cpu")
    assert (facts.refused, facts.family, facts.tokenizer) == ("", loaded.family, loaded.tokenizer.name)
    assert (facts.parameters, facts.context) == (loaded.network.parameter_count(), loaded.config.context)


def test_the_shipped_checkpoint() -> None:
    loaded = engine.load_checkpoint(device="cpu")
    facts = facts_of(Path(engine.__file__).parent / "default_checkpoint")
    assert (facts.parameters, facts.family, facts.tokenizer) == (
        loaded.network.parameter_count(),
        loaded.family,
        loaded.tokenizer.name,
    )
    assert facts.known and facts.safe


def test_a_design_that_cannot_write_is_refused_with_the_sentence_of_loading(tmp_path: Path) -> None:
    source = KINDS["inverted"](tmp_path / "made")
    with pytest.raises(CheckpointError) as refusal:
        engine.load_checkpoint(source, device="cpu")
    assert facts_of(source).refused == str(refusal.value)
    assert "only the words to come" in str(refusal.value)


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch harm",)


def test_a_pickle_that_wants_code_is_refused_and_runs_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": torch.zeros(2), "extra": Harmful()}, "harmful.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Harmful()))
    for name in ("harmful.pt", "plain.pt"):
        with pytest.raises(CheckpointError) as refusal:
            engine.load_checkpoint(tmp_path / name, device="cpu")
        facts = facts_of(tmp_path / name)
        assert facts.refused == str(refusal.value)
        assert "run code" in facts.refused and "safetensors" in facts.refused
    assert not (tmp_path / "harm").exists()


def test_odd_files_are_refused_in_a_sentence_and_never_raise(tmp_path: Path) -> None:
    whole = KINDS["own Llama"](tmp_path)
    tensors = load_file(whole / "model.safetensors")

    def spoilt(name: str, data: bytes | None, file: str = "model.safetensors") -> Facts:
        folder = tmp_path / name
        shutil.copytree(whole, folder)
        (folder / file).unlink() if data is None else (folder / file).write_bytes(data)
        return facts_of(folder)

    raw = (whole / "model.safetensors").read_bytes()
    found = {
        "cut": spoilt("cut", raw[: len(raw) // 2]),
        "empty": spoilt("empty", b""),
        "gone": spoilt("gone", None),
        "noise": spoilt("noise", os.urandom(3000)),
        "page": spoilt("page", b"<!doctype html><html></html>" * 10),
        "config": spoilt("config", b"[1, 2", "config.json"),
        "deep": spoilt("deep", b"[" * 100_000, "tinytales.json"),
        "style": spoilt("style", b'{"prompt_style": {"name": "ode"}}', "tinytales.json"),
        "vocabulary": spoilt("vocabulary", b'{"model": {"vocab": 3}}', "tokenizer.json"),
        "nothing": facts_of(tmp_path / "nowhere"),
    }
    (tmp_path / "strange").mkdir()
    save_file({"some.weight": torch.zeros(2, 2)}, tmp_path / "strange" / "model.safetensors")
    found["strange"] = facts_of(tmp_path / "strange")
    (tmp_path / "bare").mkdir()
    found["bare"] = facts_of(tmp_path / "bare")
    (tmp_path / "other").mkdir()
    save_file(tensors, tmp_path / "other" / "model.safetensors")
    (tmp_path / "other" / "config.json").write_text(
        '{"model_type": "mistral", "num_attention_heads": 4, "max_position_embeddings": 9}'
    )
    found["other"] = facts_of(tmp_path / "other")
    for name, facts in found.items():
        assert facts.refused and facts.refused.endswith((".", "…")) and "\n" not in facts.refused, (name, facts)
        assert len(facts.refused) < 900
    assert "mistral" in found["other"].refused


def test_a_missing_vocabulary_is_told_and_no_refusal(tmp_path: Path) -> None:
    source = KINDS["Hub Llama"](tmp_path / "made")
    (source / "tokenizer.json").unlink()
    facts = facts_of(source)
    assert (facts.tokenizer, facts.refused) == ("missing", "")


def test_two_matrices_that_differ_are_no_tied_pair(tmp_path: Path) -> None:
    source = KINDS["Hub Llama"](tmp_path / "made")
    one = facts_of(source).parameters
    assert one is not None
    first = next(source.glob("*.safetensors"))
    index = json.loads((source / "model.safetensors.index.json").read_text())
    tensors = load_file(first)
    parts = [load_file(path) for path in source.glob("*.safetensors")]
    embedding = next(part["model.embed_tokens.weight"] for part in parts if "model.embed_tokens.weight" in part)
    for same, extra in ((True, 0), (False, embedding.numel())):
        save_file(tensors | {"lm_head.weight": embedding + (0 if same else 1)}, first)
        index["weight_map"]["lm_head.weight"] = first.name
        (source / "model.safetensors.index.json").write_text(json.dumps(index))
        loaded = engine.load_checkpoint(source, device="cpu")
        assert facts_of(source).parameters == loaded.network.parameter_count() == one + extra


def test_facts_are_kept_between_starts_until_a_file_changes(tmp_path: Path) -> None:
    source = KINDS["own Llama"](tmp_path)
    kept = FactsCache(tmp_path / "facts.json")
    first = kept.of(source)
    kept.save()
    again = FactsCache(tmp_path / "facts.json")
    (source / "model.safetensors").chmod(0o600)  # no change of contents
    assert again.of(source) == first == facts_of(source)
    content = json.loads((tmp_path / "facts.json").read_text())
    content["facts"][str(source)]["facts"]["family"] = "as it was kept"
    (tmp_path / "facts.json").write_text(json.dumps(content))
    assert FactsCache(tmp_path / "facts.json").of(source).family == "as it was kept"
    card = source / "tinytales.json"
    card.write_text(card.read_text() + "\n")
    assert FactsCache(tmp_path / "facts.json").of(source) == first


def test_a_link_that_leads_nowhere_does_not_hide_that_a_file_has_changed(tmp_path: Path) -> None:
    source = KINDS["own Llama"](tmp_path)
    whole = (source / "model.safetensors").read_bytes()
    (source / ".#notes").symlink_to("nobody@nowhere")
    (source / "model.safetensors").write_bytes(b"cut off")
    kept = FactsCache(tmp_path / "facts.json")
    assert kept.of(source).refused
    kept.save()
    (source / "model.safetensors").write_bytes(whole)
    assert FactsCache(tmp_path / "facts.json").of(source).refused == ""


@pytest.mark.parametrize(
    ("shape", "name", "values"),
    [
        ("rope", "config.json", {"hidden_size": 48}),
        ("rope", "config.json", {"num_hidden_layers": 9}),
        ("rope", "config.json", {"num_hidden_layers": 1}),
        ("rope", "config.json", {"num_hidden_layers": 100_000}),
        ("rope", "config.json", {"model_type": "bert"}),
        ("rope", "config.json", {"model_type": ["llama"]}),
        ("rope", "config.json", {"rope_theta": None}),
        ("rope", "config.json", {"vocab_size": 999}),
        ("rope", "config.json", {"intermediate_size": 7}),
        ("rope", "config.json", {"num_key_value_heads": 2}),
        ("rope", "config.json", {"tie_word_embeddings": False}),
        ("rope, partial", "config.json", {"hidden_size": 48}),
        ("learned", "config.json", {"n_embd": 48}),
        ("learned", "config.json", {"n_positions": 9}),
        ("learned", "config.json", {"n_inner": 7}),
        ("learned, windows", "config.json", {"hidden_size": 48}),
        ("learned, windows", "config.json", {"attention_types": 3}),
        ("rope", "tinytales.json", {"sampling": {"temperature": -1}}),
        ("rope", "tinytales.json", {"end_ids": [99_999]}),
        ("rope", "tinytales.json", {"begin_id": "first"}),
    ],
)
def test_an_own_checkpoint_is_refused_where_loading_refuses_it(
    tmp_path: Path, shape: str, name: str, values: dict[str, object]
) -> None:
    folder = save_tiny(tmp_path / "own", shape)
    assert facts_of(folder).refused == ""
    (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()) | values))
    with pytest.raises(CheckpointError) as refusal:
        engine.load_checkpoint(folder, device="cpu")
    facts = facts_of(folder)
    assert facts.refused == str(refusal.value) and facts.parameters


def test_weights_that_are_whole_numbers_are_refused_as_loading_refuses_them(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "own", "rope")
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {"model.norm.weight": tensors["model.norm.weight"].to(torch.int32)}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="floating-point"):
        engine.load_checkpoint(folder, device="cpu")
    assert "model.norm.weight" in facts_of(folder).refused and "floating-point" in facts_of(folder).refused


PIPES = """
import sys
from pathlib import Path
import engine
from engine.catalog.listing import list_entries
from engine.catalog.notes import Notes
from engine.checkpoints.glance import glance
from engine.errors import TinyTalesError
from engine.hub.fetching import fetch
added, cache = Path(sys.argv[1]), Path(sys.argv[2])
notes = Notes(added.parent / "notes.json")
notes.add_folder(added)
entries = list_entries(added.parent / "runs", notes, cache=cache).entries
print(len([entry for entry in entries if entry.origin != "shipped"]))
for source in (*map(str, sorted(added.iterdir())), "mia/tales", "mia/tales@pipe"):
    for ask in (glance, engine.load_checkpoint):
        try:
            ask(source)
        except TinyTalesError as error:
            assert chr(10) not in str(error)
print("done")
"""


def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    own = save_tiny(tmp_path / "own", "rope")
    added = tmp_path / "added"
    for name in ("config.json", "tokenizer.json", "model.safetensors", "tinytales.json", "README.md", "tokenizer.model"):
        for other in (False, True):
            folder = shutil.copytree(own, added / f"{name}-{other}")
            if other:
                (folder / "tinytales.json").unlink()
            (folder / name).unlink(missing_ok=True)
            os.mkfifo(folder / name)
    cache = MadeCache(tmp_path / "hf" / "hub")
    cache.add_folder("mia/tales", commit_of(1), own)
    os.mkfifo(cache.repo("mia/tales") / "refs" / "pipe")
    (cache.repo("mia/tales") / "trees").mkdir()
    os.mkfifo(cache.repo("mia/tales") / "trees" / f"{commit_of(1)}.json")
    environment = os.environ | {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_CACHE": str(cache.folder)}
    code = [sys.executable, "-c", PIPES, str(added), str(cache.folder)]
    done = subprocess.run(code, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "done", done.stderr
    assert int(done.stdout.splitlines()[0]) >= 10


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b'{"version": 1}', b'{"version": 1, "facts": {"/x": {"mark": [], "facts": {"family": 3}}}}', b"\xff\xfe"],
)
def test_a_damaged_file_of_facts_is_taken_for_empty(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "facts.json").write_bytes(data)
    source = KINDS["own Llama"](tmp_path)
    kept = FactsCache(tmp_path / "facts.json")
    assert kept.of(source).family == "llama"
    kept.save()
    assert json.loads((tmp_path / "facts.json").read_text())["version"] == FactsCache.VERSION


def test_a_deeply_shared_pickle_takes_neither_time_nor_memory(tmp_path: Path) -> None:
    """Settings that would be thousands of millions of values, written with a few references."""
    settings: list[object] = [1, 2, 3, 4]
    for _ in range(11):
        settings = [settings] * 8
    tensors = made_checkpoints.original_gpt.nanogpt_tensors()
    torch.save({"model": tensors, "model_args": {"n_layer": settings}}, tmp_path / "ckpt.pt")
    began = time.process_time()
    assert facts_of(tmp_path / "ckpt.pt").format == "PyTorch"
    assert time.process_time() - began < 30


def test_nothing_of_the_catalogue_or_the_cache_imports_torch_or_textual() -> None:
    names = [
        f"engine.catalog.{name}"
        for name in (
            "entries",
            "facts",
            "listing",
            "newer",
            "notes",
            "fit",
            "holding",
            "vocabularies",
        )
    ]
    names += [f"engine.hub.{name}" for name in ("cache", "verifying", "deletion", "trash")]
    code = (
        f"import importlib, sys\nfor name in {names!r}: importlib.import_module(name)\n"
        "from engine.catalog.facts import facts_of\nfrom pathlib import Path\n"
        "for source in sys.argv[1:]: print(facts_of(Path(source)))\n"
        "print(sorted({'torch', 'textual', 'numpy', 'huggingface_hub'} & set(sys.modules)))"
    )
    shipped = Path(engine.__file__).parent / "default_checkpoint"
    done = subprocess.run([sys.executable, "-c", code, str(shipped)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stdout


def test_lists_in_lists_without_end_are_refused_and_bring_nothing_down(tmp_path: Path) -> None:
    depth = 300_000
    made_checkpoints.weight_files.pickle_of(tmp_path / "deep.pt", b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b".")
    code = "import sys\nfrom pathlib import Path\nfrom engine.catalog.facts import facts_of\nprint(facts_of(Path(sys.argv[1])).refused)"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "deep.pt")], capture_output=True, text=True, check=True)
    assert "table of tensors" in done.stdout


@pytest.mark.parametrize("kind", ["nanoGPT", "old state dict", "half rotary", "llama2.c", "own Llama", "Hub Llama"])
def test_headers_and_loading_agree_about_damaged_files(kind: str, tmp_path: Path) -> None:
    source = KINDS[kind](tmp_path / "made")
    weights = source if source.is_file() else max(source.iterdir(), key=lambda path: path.stat().st_size)
    whole, chance = weights.read_bytes(), random.Random(3)
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(chance.randrange(1, 4)):
            ends = (chance.randrange(min(4000, len(data))), len(data) - 1 - chance.randrange(min(4000, len(data))))
            data[chance.choice(ends)] = chance.randrange(256)
        weights.write_bytes(data[: chance.choice([len(data), len(data), chance.randrange(len(data))])])
        try:
            told = {name: outline.shape for name, outline in read_outlines(source).tensors.items()}
        except CheckpointError as error:
            assert facts_of(source).refused
            with pytest.raises(CheckpointError):
                read_weights(source)
            assert "\n" not in str(error)
            continue
        facts_of(source)
        with contextlib.suppress(CheckpointError):  # torch may find what a rehearsal does not
            assert told == {name: tuple(tensor.shape) for name, tensor in read_weights(source).tensors.items()}
