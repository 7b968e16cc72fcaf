"""Tokenizers: known ids, round trips of any text, files."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small import SENTENCES, tiny_tokenizer

from engine.errors import CheckpointError
from engine.tokenizer import BytePairTokenizer, GPT2Tokenizer, encode_stories


def test_gpt2_ids_are_those_that_everybody_knows() -> None:
    tokenizer = GPT2Tokenizer()
    assert tokenizer.encode("Once upon a time, there was a little girl") == [7454, 2402, 257, 640, 11, 612, 373, 257, 1310, 2576]
    assert tokenizer.encode("Hello world") == [15496, 995]
    assert (tokenizer.vocab_size, tokenizer.end_id, tokenizer.token_bytes(50_256)) == (50_257, 50_256, b"")


@given(st.text())
def test_gpt2_round_trip_of_any_text(text: str) -> None:
    tokenizer = GPT2Tokenizer()
    assert tokenizer.decode(tokenizer.encode(text)) == text.encode("utf-8", "replace").decode()


@given(st.text())
def test_own_vocabulary_round_trip_of_any_text(text: str) -> None:
    tokenizer = tiny_tokenizer()
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text.encode("utf-8", "replace").decode() and tokenizer.end_id not in ids


@pytest.mark.parametrize("tokenizer", [GPT2Tokenizer(), tiny_tokenizer()], ids=["gpt2", "own"])
def test_special_tokens_typed_by_a_person_are_text(tokenizer: GPT2Tokenizer) -> None:
    ids = tokenizer.encode("a<|endoftext|>b")
    assert tokenizer.end_id not in ids and tokenizer.decode(ids) == "a<|endoftext|>b"
    assert tokenizer.decode([*ids, tokenizer.end_id]) == "a<|endoftext|>b"


@pytest.mark.parametrize("size", [257, 300, 360])
def test_any_vocabulary_size(size: int) -> None:
    tokenizer = BytePairTokenizer.train(SENTENCES, size)
    assert tokenizer.vocab_size == size
    assert tokenizer.decode(tokenizer.encode("entirely new: 日本 🙂")) == "entirely new: 日本 🙂"


def test_a_larger_vocabulary_needs_fewer_tokens() -> None:
    text = SENTENCES[5]
    assert len(BytePairTokenizer.train(SENTENCES, 360).encode(text)) < len(BytePairTokenizer.train(SENTENCES, 260).encode(text))


def test_save_and_load_give_the_same_tokens(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(tiny_tokenizer().to_json(), encoding="utf-8")
    loaded = BytePairTokenizer.load(tmp_path / "tokenizer.json")
    assert [loaded.encode(text) for text in SENTENCES] == encode_stories(tiny_tokenizer(), SENTENCES)
    assert loaded.end_id == tiny_tokenizer().end_id


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"model": {"type": "WordPiece"}}', "\x00\x01"])
def test_a_damaged_file_is_refused_in_one_sentence(tmp_path: Path, content: str) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(CheckpointError, match="tokenizer"):
        BytePairTokenizer.load(path)
