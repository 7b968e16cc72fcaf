"""Exports for the Hub, and what all exports have in common: whole or not at all, and nobody's folder replaced."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from made_words import model
from safetensors.torch import load_file
from small import save_tiny, tiny_config, tiny_loaded, tiny_model

import engine
from engine.checkpoints.exporting import FORMATS, MARK, export
from engine.checkpoints.native import Checkpoint
from engine.errors import CheckpointError, UsageError
from engine.llama_tokenizer import read_model
from engine.prompts import PromptStyle, prompt_text
from engine.settings import GenerationRequest, SamplingSettings

IDS = torch.randint(3, 320, (1, 14), generator=torch.Generator().manual_seed(4))


def llama2c(tmp_path: Path) -> Checkpoint:
    """A model of another program, as it comes out of `load_checkpoint`."""
    (tmp_path / "words.model").write_bytes(model())
    words = read_model(tmp_path / "words.model")
    config = dataclasses.replace(tiny_config("rope, grouped", words.vocab_size, 48), rope_style="interleaved")
    network = tiny_model(config, spread=4.0)
    return Checkpoint(network, words, PromptStyle(), "stories", str(tmp_path / "x.pt"), "llama2.c", begin_id=1, end_ids=(1, 2))


def test_a_foreign_model_becomes_a_folder_of_ours_and_of_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    made = llama2c(tmp_path)
    made.sampling = SamplingSettings(temperature=0.5)
    done = export(made, "hf", tmp_path / "out")
    assert done.files == (
        "README.md", "config.json", "export.json", "generation_config.json", "model.safetensors", "tinytales.json",
        "tokenizer.json", "tokenizer.model", "tokenizer_config.json",
    )  # fmt: skip
    assert done.notes == () and done.size == sum(path.stat().st_size for path in (tmp_path / "out").iterdir())
    loaded = engine.load_checkpoint(tmp_path / "out", device="cpu")
    torch.testing.assert_close(loaded.network(IDS), made.network(IDS), atol=1e-5, rtol=0)
    assert (loaded.begin_id, loaded.end_ids, loaded.prompt_style) == (1, (1, 2), made.prompt_style)
    assert loaded.sampling == made.sampling and loaded.tokenizer.encode("a key") == made.tokenizer.encode("a key")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    words = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    given = words("Mia found a key", return_tensors="pt").input_ids
    assert given[0].tolist() == [1, *made.tokenizer.encode("Mia found a key")]
    with torch.inference_mode():
        torch.testing.assert_close(theirs(given).logits, made.network(given), atol=1e-5, rtol=0)


def test_transformers_stops_where_this_program_stops(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    made = llama2c(tmp_path)
    given = torch.tensor([[1, *made.tokenizer.encode("Mia found a key")]])
    ids = given
    while ids.shape[1] < given.shape[1] + 12:
        ids = torch.cat((ids, made.network(ids)[:, -1:].argmax(-1)), dim=1)
    written = ids[0, given.shape[1] :].tolist()
    end = next(token for token in written[3:] if token not in written[:3])
    assert end != made.tokenizer.end_id
    export(dataclasses.replace(made, end_ids=(1, end)), "hf", tmp_path / "out")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    assert theirs.generation_config.eos_token_id == [2, 1, end]
    with torch.inference_mode():
        its = theirs.generate(given, max_new_tokens=12, do_sample=False)[0, given.shape[1] :].tolist()
    assert its == written[: written.index(end) + 1] and len(its) < 12


@pytest.mark.parametrize("stored_as", FORMATS["hf"])
def test_weights_are_stored_as_it_is_asked(tmp_path: Path, stored_as: str) -> None:
    made = tiny_loaded("learned, windows")
    export(made, "hf", tmp_path / "out", stored_as=stored_as)
    kinds = {tensor.dtype for tensor in load_file(tmp_path / "out" / "model.safetensors").values()}
    assert kinds == {getattr(torch, stored_as)}
    assert f"stored as {stored_as}" in (tmp_path / "out" / "README.md").read_text()
    assert engine.load_checkpoint(tmp_path / "out", device="cpu").family == "gpt_neo"


def test_the_card_says_plain_facts_and_the_exact_prompt(tmp_path: Path) -> None:
    made = tiny_loaded("rope")
    made = dataclasses.replace(made, card={"step": 1200, "license": "mit", "validation": {"bits_per_byte": 0.7312}})
    export(made, "hf", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    prompt = prompt_text(GenerationRequest(topic="a brave knight", ending="happy"), made.prompt_style)
    assert f"```\n{prompt}```" in card and f"{made.network.parameter_count():,}" in card
    for fact in ("license: mit", "| 1,200 |", "| 0.731 |", "16 tokens", "<\\|endoftext\\|>` (0)", "| mit |"):
        assert fact in card
    made = dataclasses.replace(made, prompt_style=PromptStyle(), card={"license": "x\n---\nevil: yes"})
    export(made, "hf", tmp_path / "plain")
    card = (tmp_path / "plain" / "README.md").read_text()
    assert "goes on from the words" in card and "evil" not in card and "not stated by" in card


def test_words_of_unknown_origin_stay_words_in_the_card(tmp_path: Path) -> None:
    made = dataclasses.replace(
        tiny_loaded("rope"), name="a\x1b[31m\n# <script>x</script> [b](http://c) | d", family="\u202efam\nily"
    )
    export(made, "hf", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "\x1b" not in card and "\u202e" not in card and "<script>" not in card.replace("\\<", "")
    assert sum(line.startswith("# ") for line in card.splitlines()) == 1 and "](" not in card.replace("\\](", "")


def test_a_card_that_was_there_is_kept(tmp_path: Path) -> None:
    export(tiny_loaded("rope"), "hf", tmp_path / "first")
    (tmp_path / "first" / "README.md").write_text("---\nlicense: cc0-1.0\n---\n# Mine\n")
    loaded = engine.load_checkpoint(tmp_path / "first", device="cpu")
    done = export(loaded, "hf", tmp_path / "second")
    assert (tmp_path / "second" / "README.md").read_text() == "---\nlicense: cc0-1.0\n---\n# Mine\n"
    assert "was kept" in done.notes[0]
    shipped = export(engine.load_checkpoint(None, device="cpu"), "hf", tmp_path / "third", stored_as="float16")
    assert "tinytales-tui train --recipe default" in (shipped.folder / "README.md").read_text()


def test_a_readme_that_lies_beside_a_lone_file_is_not_its_card(tmp_path: Path) -> None:
    export(tiny_loaded("rope"), "llama2c", tmp_path / "lone")
    (tmp_path / "lone" / "README.md").write_text("# My diary")
    loaded = engine.load_checkpoint(tmp_path / "lone" / "model.bin", device="cpu")
    done = export(loaded, "hf", tmp_path / "out")
    assert done.notes == () and "diary" not in (tmp_path / "out" / "README.md").read_text()


def test_an_export_of_an_export_is_the_same(tmp_path: Path) -> None:
    export(llama2c(tmp_path), "hf", tmp_path / "first")
    export(engine.load_checkpoint(tmp_path / "first", device="cpu"), "hf", tmp_path / "second")
    for name in (
        "config.json",
        "model.safetensors",
        "tinytales.json",
        "tokenizer.json",
        "tokenizer.model",
        "generation_config.json",
    ):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes(), name


def test_only_an_earlier_export_is_replaced_and_only_when_asked(tmp_path: Path) -> None:
    made = tiny_loaded("rope")
    out = tmp_path / "out"
    out.mkdir()
    export(made, "hf", out)  # empty: nothing is lost
    with pytest.raises(UsageError, match="not empty"):
        export(made, "hf", out)
    export(made, "llama2c", out, force=True)
    assert sorted(path.name for path in out.iterdir()) == ["export.json", "model.bin", "tokenizer.bin", "tokenizer.json"]
    (out / "diary.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"no export, such as diary\.txt"):
        export(made, "hf", out, force=True)
    assert (out / "diary.txt").read_text() == "mine" and (out / "model.bin").is_file()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="no folder"):
        export(made, "hf", tmp_path / "file", force=True)
    (tmp_path / "link").symlink_to(out)
    with pytest.raises(UsageError, match="no folder"):
        export(made, "hf", tmp_path / "link", force=True)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "tinytales-home") == ["file", "link", "out"]


def test_the_checkpoint_itself_is_never_replaced_by_its_export(tmp_path: Path) -> None:
    own = save_tiny(tmp_path / "kept" / "tiny", "rope")
    before = {path.name: path.read_bytes() for path in own.iterdir()}
    made = engine.load_checkpoint(own, device="cpu")
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    for folder, about in (
        (own, "holds the checkpoint"),
        (tmp_path / "link" / "tiny", "holds the checkpoint"),
        (tmp_path / "kept", "holds the checkpoint"),
        (own / "out", "lies in the folder"),
    ):
        with pytest.raises(UsageError, match=about):
            export(made, "gguf", folder, force=True)
    assert {path.name: path.read_bytes() for path in own.iterdir()} == before
    lone = export(made, "llama2c", tmp_path / "lone").folder / "model.bin"
    with pytest.raises(UsageError, match="holds the checkpoint"):
        export(engine.load_checkpoint(lone, device="cpu"), "gguf", lone.parent, force=True)
    assert lone.is_file()


@pytest.mark.parametrize("mark", [None, "{}", '{"exported_by": "another"}', "[", "pipe"])
def test_a_checkpoint_without_the_mark_of_an_export_is_never_replaced(tmp_path: Path, mark: str | None) -> None:
    other = save_tiny(tmp_path / "runs" / "mine" / "checkpoints" / "best", "rope")
    if mark == "pipe":
        os.mkfifo(other / MARK)
    elif mark is not None:
        (other / MARK).write_text(mark)
    before = sorted(path.name for path in other.iterdir())
    with pytest.raises(UsageError, match="no export that this program made"):
        export(tiny_loaded("rope"), "gguf", other, force=True)
    assert sorted(path.name for path in other.iterdir()) == before


def test_an_export_that_came_back_from_the_hub_is_no_export_of_here(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--mia--tales" / "snapshots" / ("a" * 40)
    export(tiny_loaded("rope"), "hf", snapshot)
    with pytest.raises(UsageError, match="left alone"):
        export(tiny_loaded("rope"), "gguf", snapshot, force=True)
    assert (snapshot / "model.safetensors").is_file()


def test_formats_and_numbers_that_do_not_exist(tmp_path: Path) -> None:
    for to, stored_as, about in (("onnx", None, "no format"), ("hf", "q8_0", "cannot hold"), ("gguf", "bfloat16", "cannot hold")):
        with pytest.raises(UsageError, match=about):
            export(tiny_loaded("rope"), to, tmp_path / "out", stored_as=stored_as)
    with pytest.raises(CheckpointError, match="output head of this model has a bias"):
        export(tiny_loaded("learned, exact gelu, own head"), "hf", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("to", FORMATS)
def test_a_full_disk_is_told_in_one_sentence_and_leaves_nothing(tmp_path: Path, to: str) -> None:
    """RLIMIT_FSIZE makes the system itself refuse to write more, as a full disk would."""
    script = f"""
import resource, signal, sys
sys.path[:0] = {[str(Path(__file__).parents[1])]!r}
from small import tiny_loaded
from engine.checkpoints.exporting import export
from engine.errors import CheckpointError
from pathlib import Path
made = tiny_loaded("rope")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    export(made, {to!r}, Path({str(tmp_path / "out")!r}))
except CheckpointError as error:
    print(error)
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    expected = (
        f"{tmp_path / 'out'} cannot be written to (file too large); choose another folder.",
        f"The disk of {tmp_path / 'out'} is full, so nothing was exported; make room or choose another.",
    )
    assert ended.returncode == 0 and ended.stderr == "" and ended.stdout.strip() in expected, ended
    assert [path.name for path in tmp_path.iterdir() if path.name != "tinytales-home"] == []


def test_the_package_of_exporters_imports_no_torch() -> None:
    script = "import sys, engine.checkpoints.exporting; print('torch' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "False"
