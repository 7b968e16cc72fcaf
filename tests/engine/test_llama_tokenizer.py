"""Llama's vocabularies: the ids of SentencePiece itself from all three kinds of files, round trips, and files that are refused."""

from __future__ import annotations

import functools
import json
import random
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_words import llama2c_bin, model
from sentencepiece import SentencePieceProcessor
from small import SENTENCES, tiny_tokenizer
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend

from engine.errors import CheckpointError
from engine.llama_tokenizer import LlamaTokenizer, load_beside, read, read_bin, read_json, read_model
from engine.text_stream import CharacterStream
from engine.tokenizer import BytePairTokenizer, encode_stories, tokenizer_sha256

TEXTS = [
    *SENTENCES[:20],
    "",
    " ",
    "  Two spaces,\n\nand a line.\t",
    "Entirely new: 日本 🙂 naïve",
    "<s>a</s><unk><0x41>",
    "aaaaaaaaaaaaaa   aaaaaaa",
    "123 4567",
    "a\0b",
]


@pytest.fixture
def three(tmp_path: Path) -> dict[str, LlamaTokenizer]:
    """The same vocabulary from each kind of file."""
    (tmp_path / "tokenizer.model").write_bytes(model())
    (tmp_path / "tokenizer.bin").write_bytes(llama2c_bin(model()))
    first = read_model(tmp_path / "tokenizer.model")
    (tmp_path / "tokenizer.json").write_text(first.to_json(), encoding="utf-8")
    found: dict[str, Any] = {
        "model": first,
        "bin": read_bin(tmp_path / "tokenizer.bin"),
        "json": read(tmp_path / "tokenizer.json"),
    }
    assert {type(tokenizer) for tokenizer in found.values()} == {LlamaTokenizer}
    return found


def test_all_three_files_give_the_ids_of_the_library(three: dict[str, LlamaTokenizer]) -> None:
    library = SentencePieceProcessor(model_proto=model())
    chance = random.Random(2)
    mixed = ["".join(chance.choice(chance.choice(TEXTS) or "x") for _ in range(chance.randrange(30))) for _ in range(300)]
    for text in [*TEXTS, *mixed]:
        expected = library.encode(text)
        for kind, tokenizer in three.items():
            assert tokenizer.encode(text) == expected, (kind, text)
            assert tokenizer.decode(expected) == text, (kind, text)
    for tokenizer in three.values():
        assert (tokenizer.vocab_size, tokenizer.end_id, tokenizer.name) == (400, 2, "Llama, 400 tokens")
        assert encode_stories(tokenizer, TEXTS) == [library.encode(text) for text in TEXTS]
    assert len({tokenizer_sha256(tokenizer) for tokenizer in three.values()}) == 1


def test_bytes_of_tokens(three: dict[str, LlamaTokenizer]) -> None:
    library = SentencePieceProcessor(model_proto=model())
    for tokenizer in three.values():
        assert [tokenizer.token_bytes(token) for token in (0, 1, 2, 400, 10_000)] == [b""] * 5
        assert [tokenizer.token_bytes(3 + byte) for byte in range(256)] == [bytes([byte]) for byte in range(256)]
        pieces = [library.id_to_piece(token).replace("▁", " ").encode() for token in range(259, 400)]
        assert [tokenizer.token_bytes(token) for token in range(259, 400)] == pieces


def test_a_stream_goes_on_with_its_space_and_a_text_begins_without(three: dict[str, LlamaTokenizer]) -> None:
    for tokenizer in three.values():
        ids = tokenizer.encode("Mia found a kite 🙂")
        stream = CharacterStream()
        text = "".join(stream.feed(tokenizer.token_bytes(token)) for token in ids) + stream.flush()
        assert text == " Mia found a kite 🙂" and tokenizer.puts_space_first
        assert tokenizer.decode([1, *ids, 2]) == "Mia found a kite 🙂"  # the beginning and the end are no text


@functools.cache
def merging() -> LlamaTokenizer:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tokenizer.bin")
        path.write_bytes(llama2c_bin(model()))
        return read_bin(path)


@given(st.text())
def test_round_trip_of_any_text(text: str) -> None:
    clean = text.encode("utf-8", "replace").decode().replace("▁", " ")
    assert merging().decode(merging().encode(text)) == clean
    assert merging().encode(text) == SentencePieceProcessor(model_proto=model()).encode(text.encode("utf-8", "replace").decode())


def test_a_model_that_squeezes_spaces_keeps_doing_so(tmp_path: Path) -> None:
    (tmp_path / "tok400.model").write_bytes(model(squeeze=True))
    tokenizer = read_model(tmp_path / "tok400.model")
    assert tokenizer.encode("  Mia   found ") == SentencePieceProcessor(model_proto=model(squeeze=True)).encode("Mia found")


def test_a_hub_file_with_a_metaspace(tmp_path: Path) -> None:
    backend = Backend(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = [AddedToken(name, special=True, normalized=False) for name in ("<unk>", "<s>", "</s>")]
    plain = [AddedToken(f"<0x{byte:02X}>", special=False) for byte in range(256)]
    backend.train_from_iterator(
        SENTENCES, trainers.BpeTrainer(vocab_size=340, special_tokens=[*special, *plain], show_progress=False)
    )
    data = json.loads(backend.to_str())
    data["added_tokens"] = data["added_tokens"][:3]  # the trainer registers the bytes too, which a converted file does not
    for token, added in enumerate(data["added_tokens"]):
        added |= {"id": token, "special": True}
    data["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    (tmp_path / "tokenizer.json").write_text(json.dumps(data), encoding="utf-8")
    tokenizer = read_json(tmp_path / "tokenizer.json")
    assert isinstance(tokenizer, LlamaTokenizer) and tokenizer.end_id == 2
    for text in ("Mia found a shiny key in the garden.", "日本 </s>"):
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text and not {0, 1, 2} & set(ids)
    assert tokenizer.encode(" Mia") == tokenizer.encode("Mia")  # a Metaspace puts no second space before a first
    assert {3 + byte for byte in "日".encode()} <= set(tokenizer.encode("日"))


def test_a_file_without_a_space_first(tmp_path: Path, three: dict[str, LlamaTokenizer]) -> None:
    backend = Backend.from_str(three["json"].to_json())
    backend.normalizer = normalizers.Replace(" ", "▁")
    (tmp_path / "plain.json").write_text(backend.to_str(), encoding="utf-8")
    tokenizer = read(tmp_path / "plain.json")
    assert isinstance(tokenizer, LlamaTokenizer) and not tokenizer.puts_space_first
    assert [tokenizer.decode(tokenizer.encode(text)) for text in ("a", " a")] == ["a", " a"]


def test_the_vocabulary_that_fits_is_taken(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"mine needs its vocabulary: put its tokenizer\.json"):
        load_beside(tmp_path, 400, "mine")
    (tmp_path / "tokenizer.model").write_bytes(model(400))
    (tmp_path / "tok380.bin").write_bytes(llama2c_bin(model(380)))
    assert load_beside(tmp_path, 400, "mine").vocab_size == 400
    assert load_beside(tmp_path, 380, "mine").vocab_size == 380
    assert load_beside(tmp_path, 512, "mine").vocab_size == 400
    with pytest.raises(CheckpointError, match=r"tokenizer\.model beside mine has more tokens than the model's 300 rows"):
        load_beside(tmp_path, 300, "mine")
    (tmp_path / "tokenizer.json").write_text(tiny_tokenizer().to_json(), encoding="utf-8")
    assert isinstance(load_beside(tmp_path, 320, "mine"), BytePairTokenizer)


def no_bytes(data: bytes) -> bytes:
    return data.replace(b"<0x00>", b"<0xG0>")


def twice(data: bytes) -> bytes:
    return data + struct.pack("<fI", -1.0, 6) + b"<0x41>"


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda data: data[:-1], "does not fit into the file"),
        (lambda data: data[: len(data) // 2], "damaged"),
        (lambda data: data + b"\0", "damaged"),
        (lambda data: struct.pack("<I", 2) + data[4:], "token 0 does not fit"),
        (lambda data: data[:8] + struct.pack("<I", 2**32 - 1) + data[12:], "does not fit"),
        (lambda data: data[:4] + struct.pack("<f", float("nan")) + data[8:], "does not fit"),
        (no_bytes, "not the 256 bytes"),
        (twice, "a token twice"),
        (lambda data: data[:4], "not the 256 bytes"),
        (lambda data: b"\1", "damaged"),
        (lambda data: b"", "empty"),
    ],
)
def test_a_damaged_bin_is_refused(tmp_path: Path, spoil: Callable[[bytes], bytes], sentence: str) -> None:
    (tmp_path / "tokenizer.bin").write_bytes(spoil(llama2c_bin(model())))
    with pytest.raises(CheckpointError, match=sentence):
        read_bin(tmp_path / "tokenizer.bin")


@pytest.mark.parametrize("data", [b"", b"\0\1\2", b"{}", model()[:300], model()[:-10]])
def test_a_damaged_model_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "tokenizer.model").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"The vocabulary tokenizer\.model is (empty|missing or damaged)"):
        read_model(tmp_path / "tokenizer.model")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"model": 3}', '{"model": {"type": "BPE", "byte_fallback": true}}', "\x80"])
def test_a_damaged_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "tokenizer.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(CheckpointError, match=r"The vocabulary tokenizer\.json is"):
        read_json(tmp_path / "tokenizer.json")


def test_a_json_without_an_end_or_with_absurd_ids_is_refused(tmp_path: Path, three: dict[str, LlamaTokenizer]) -> None:
    data = json.loads(three["json"].to_json())
    path = tmp_path / "odd.json"
    path.write_text(json.dumps(data).replace("</s>", "</t>"), encoding="utf-8")
    with pytest.raises(CheckpointError, match="no story could ever end"):
        read_json(path)
    data["model"]["vocab"]["far away"] = 2**31
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(CheckpointError, match="claims 2,147,483,649 tokens"):
        read_json(path)
    with pytest.raises(CheckpointError, match=r"nowhere\.bin is missing"):
        read(tmp_path / "nowhere.bin")


def test_the_byte_level_vocabulary_without_all_bytes(tmp_path: Path) -> None:
    """That of the 24.5M model: trained without the alphabet of all bytes, saved with truncation and padding on."""
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|padding|>", "<unk>"]
    backend.train_from_iterator(
        SENTENCES, trainers.BpeTrainer(vocab_size=200, min_frequency=2, special_tokens=special, show_progress=False)
    )
    backend.enable_padding(pad_id=1, pad_token="<|padding|>", length=30)
    backend.enable_truncation(max_length=6)
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = BytePairTokenizer.load(tmp_path / "tokenizer.json")
    text = SENTENCES[8]
    assert tokenizer.end_id == 0 and len(tokenizer.encode(text)) > 6 and 1 not in tokenizer.encode("Mia")
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.decode(tokenizer.encode("Mia 日🙂 found")) == "Mia  found"  # bytes that were never seen vanish
    assert [tokenizer.token_bytes(token) for token in (0, 1, 2)] == [b""] * 3
