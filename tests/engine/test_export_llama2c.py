"""Exports for llama2.c: read by run.c's own code in Python with the same logits and the same stories, and read back here."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from made_words import llama2c_bin, model
from run_c import Tokenizer as TheirTokenizer
from run_c import Transformer, generate
from small import tiny_config, tiny_loaded, tiny_model, tiny_tokenizer

import engine
from engine.checkpoints.exporting import export
from engine.checkpoints.native import Checkpoint
from engine.errors import CheckpointError
from engine.llama_tokenizer import read_model
from engine.prompts import PromptStyle, prompt_ids
from engine.settings import ModelConfig
from engine.tokenizer import Tokenizer

PROMPT = "Mia found a shiny key"


def checkpoint(config: ModelConfig, words: Tokenizer, seed: int = 0, **about: object) -> Checkpoint:
    style = PromptStyle("plain", bool(about.pop("start_with_end", False)))
    return Checkpoint(tiny_model(config, seed, spread=6.0), words, style, "tiny", "tiny", "test", **about)  # type: ignore[arg-type]


@pytest.fixture
def llama(tmp_path: Path) -> Checkpoint:
    """A llama2.c model with a SentencePiece vocabulary, its own head and shared keys."""
    (tmp_path / "words.model").write_bytes(model())
    words = read_model(tmp_path / "words.model")
    config = dataclasses.replace(tiny_config("rope, grouped", words.vocab_size, 48), rope_style="interleaved")
    return checkpoint(config, words, begin_id=1, end_ids=(1, 2))


def our_logits(made: Checkpoint, ids: list[int]) -> np.ndarray:
    return made.network(torch.tensor([ids]))[0, -1, : made.tokenizer.vocab_size].numpy()


@pytest.mark.parametrize("shape", ["rope", "rope, grouped", "rope, interleaved"])
def test_run_c_computes_the_same(tmp_path: Path, llama: Checkpoint, shape: str) -> None:
    made = checkpoint(tiny_config(shape, llama.tokenizer.vocab_size, 48), llama.tokenizer, begin_id=1, end_ids=(1, 2))
    done = export(made, "llama2c", tmp_path / "out")
    assert done.files == ("export.json", "model.bin", "tokenizer.bin") and done.size > 0
    theirs = Transformer(tmp_path / "out" / "model.bin")
    assert theirs.left == 0 and theirs.seq_len == 48
    ids = [1, *made.tokenizer.encode(PROMPT)]
    for place, token in enumerate(ids):
        logits = theirs.forward(token, place)
        np.testing.assert_allclose(logits, our_logits(made, ids[: place + 1]), atol=2e-4)
    assert logits.std() > 0.5


def test_run_c_writes_the_same_story_with_a_sentencepiece_vocabulary(tmp_path: Path, llama: Checkpoint) -> None:
    done = export(llama, "llama2c", tmp_path / "out")
    assert (tmp_path / "out" / "tokenizer.bin").read_bytes() == llama2c_bin(model())  # what llama2.c's own export makes
    assert len(done.notes) == 1 and "stops only at" in done.notes[0]
    theirs = Transformer(tmp_path / "out" / "model.bin")
    words = TheirTokenizer(tmp_path / "out" / "tokenizer.bin", theirs.vocab)
    assert words.left == 0 and words.encode(PROMPT) == [1, *llama.tokenizer.encode(PROMPT)]
    tokens, printed = generate(theirs, words, PROMPT, 40)
    ids = [1, *llama.tokenizer.encode(PROMPT)]
    while len(ids) <= 40 and (token := int(our_logits(llama, ids).argmax())) != 1:
        ids.append(token)
    assert tokens == ids[1:] and printed == b"".join(map(llama.tokenizer.token_bytes, ids[1:])).removeprefix(b" ")


def test_the_way_back(tmp_path: Path, llama: Checkpoint) -> None:
    export(llama, "llama2c", tmp_path / "out")
    loaded = engine.load_checkpoint(tmp_path / "out" / "model.bin", device="cpu")
    ids = torch.tensor([[1, *llama.tokenizer.encode(PROMPT)]])
    torch.testing.assert_close(loaded.network(ids), llama.network(ids), atol=1e-5, rtol=0)
    assert (loaded.family, loaded.begin_id, loaded.end_ids) == ("llama2.c", 1, (1, 2))
    assert loaded.tokenizer.encode(PROMPT) == llama.tokenizer.encode(PROMPT)


def test_a_byte_level_vocabulary_is_put_in_run_c_s_order(tmp_path: Path) -> None:
    words = tiny_tokenizer()
    made = checkpoint(tiny_config("rope", 330, 48), words, seed=3, start_with_end=True)  # ten rows more than tokens
    done = export(made, "llama2c", tmp_path / "out")
    assert len(done.notes) == 1 and "divides it by scores" in done.notes[0]
    theirs = Transformer(tmp_path / "out" / "model.bin")
    assert theirs.vocab == words.vocab_size == 320
    their_words = TheirTokenizer(tmp_path / "out" / "tokenizer.bin", theirs.vocab)
    number = {data: token for token, data in enumerate(their_words.vocab)}
    new = [1 if token == words.end_id else number[words.token_bytes(token)] for token in range(320)]
    assert sorted(new) == list(range(320)) and their_words.vocab[1] == b"\n<|endoftext|>\n"
    for byte in range(0xFE):
        assert their_words.vocab[3 + byte] == bytes([byte])
    for text in (PROMPT, "café 日本\n"):  # whatever it is divided into, it is the text
        parts = their_words.encode(text)
        assert b"".join(their_words.vocab[token] for token in parts[1:]) == b" " + text.encode()
        assert len(parts) < len(text.encode())  # and longer tokens are found
    tokens, printed = generate(theirs, their_words, "", 30)
    ids = prompt_ids("", made.prompt_style, words)
    while len(ids) <= 30 and (token := int(our_logits(made, ids).argmax())) != words.end_id:
        ids.append(token)
    assert tokens == [new[token] for token in ids[1:]] and len(tokens) > 3
    assert printed == b"".join(map(words.token_bytes, ids[1:])).removeprefix(b" ")
    loaded = engine.load_checkpoint(tmp_path / "out" / "model.bin", device="cpu")
    old = words.encode(PROMPT)
    assert loaded.tokenizer.encode(PROMPT) == [new[token] for token in old] and loaded.tokenizer.end_id == 1
    ours, its = made.network(torch.tensor([old]))[..., :320], loaded.network(torch.tensor([[new[token] for token in old]]))
    torch.testing.assert_close(its[..., new], ours, atol=1e-5, rtol=0)


def test_a_model_tuned_without_a_token_of_its_own_begins_and_ends_with_its_end(tmp_path: Path, llama: Checkpoint) -> None:
    made = dataclasses.replace(llama, begin_id=None, end_ids=(2,), prompt_style=PromptStyle("plain", True))
    done = export(made, "llama2c", tmp_path / "out")
    assert done.notes == ()
    theirs = Transformer(tmp_path / "out" / "model.bin")
    np.testing.assert_allclose(theirs.forward(1, 0)[[0, 2, 1, 5]], our_logits(made, [2])[[0, 1, 2, 5]], atol=2e-4)
    made = dataclasses.replace(made, prompt_style=PromptStyle())
    assert "not trained to find there" in export(made, "llama2c", tmp_path / "other").notes[0]


def test_eight_bits(tmp_path: Path, llama: Checkpoint) -> None:
    config = dataclasses.replace(llama.config, width=64, mlp_width=96)
    made = checkpoint(config, llama.tokenizer, begin_id=1, end_ids=(1, 2))
    export(made, "llama2c", tmp_path / "out", stored_as="q8_0")
    export(made, "llama2c", tmp_path / "plain")
    assert (tmp_path / "out" / "model.bin").stat().st_size < 0.35 * (tmp_path / "plain" / "model.bin").stat().st_size
    loaded = engine.load_checkpoint(tmp_path / "out" / "model.bin", device="cpu")
    for ours, its in zip(made.network.parameters(), loaded.network.parameters(), strict=True):
        if ours.dim() == 1:
            assert torch.equal(ours, its)
    embedding, its = made.network.embedding.weight, loaded.network.embedding.weight
    step = embedding.reshape(-1, 32).abs().amax(1, keepdim=True) / 127  # 96 divides into 32, not into 64
    assert bool(((embedding - its).reshape(-1, 32).abs() <= step * 0.501).all())
    odd = checkpoint(dataclasses.replace(config, mlp_width=80), llama.tokenizer)
    with pytest.raises(CheckpointError, match="do not divide into blocks"):
        export(odd, "llama2c", tmp_path / "odd", stored_as="q8_0")
    assert not (tmp_path / "odd").exists()


@pytest.mark.parametrize(
    ("shape", "changes", "about"),
    [
        ("learned", {}, "only Llama models"),
        ("learned, windows", {}, "only Llama models"),
        ("rope, partial", {}, "a share of them"),
        ("rope", {"norm_eps": 1e-6}, "epsilon of 1e-05"),
        ("rope", {"rope_theta": 500_000.0}, "base of 10000"),
        ("rope", {"head_dim": 16}, "wide together"),
        ("rope", {"mlp_bias": True}, "no biases"),
    ],
)
def test_what_run_c_cannot_compute_is_refused(tmp_path: Path, shape: str, changes: dict[str, object], about: str) -> None:
    made = checkpoint(dataclasses.replace(tiny_config(shape), **changes), tiny_tokenizer())  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match=about) as refusal:
        export(made, "llama2c", tmp_path / "out")
    assert "\n" not in str(refusal.value) and not (tmp_path / "out").exists()


def test_a_vocabulary_without_all_bytes_is_refused(tmp_path: Path) -> None:
    made = tiny_loaded("rope")
    data = json.loads(made.tokenizer.to_json())
    assert len(data["model"]["vocab"]) == 320
    small = tiny_tokenizer(257)
    made = checkpoint(tiny_config("rope", small.vocab_size), small)
    with pytest.raises(CheckpointError, match="each of the 256 bytes"):
        export(made, "llama2c", tmp_path / "out")
