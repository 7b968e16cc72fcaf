"""Tokenizers: text ↔ token ids. GPT-2's, from a table in the package, and byte-level BPE of any size in a `tokenizer.json`.

Both are byte-level: every text can be encoded and every token is a run of bytes, so a stream of tokens is decoded by joining
bytes (`token_bytes`), never by decoding tokens one at a time. `<|endoftext|>` typed by a person is ordinary text; only `end_id`
is the real end. Knows no torch.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import itertools
import json
import lzma
import os
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Protocol

from engine.errors import CheckpointError

END_OF_TEXT = "<|endoftext|>"
"""The special token that divides stories in every TinyStories vocabulary."""

GPT2_SHA256 = "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"
"""Of the unpacked rank table; see engine/vocabularies/README.md for where it comes from."""

GPT2_TOKENIZER_SHA256 = "b69346a9c127954c96dd56e498df49968d0bd2fbc60e70c998a9ebbd2596249a"
"""What `tokenizer_sha256` gives for GPT-2's vocabulary, kept here because working it out takes a second."""

_GPT2_SPLIT = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


class Tokenizer(Protocol):
    """What every tokenizer here can do."""

    def to_json(self) -> str:
        """The contents of a `tokenizer.json` with this vocabulary."""

    name: str
    """A few words for a person, such as `GPT-2, 50,257 tokens`."""
    vocab_size: int
    end_id: int
    """Id of the end-of-text token."""

    def encode(self, text: str) -> list[int]:
        """Token ids of a text; special tokens written out in it are ordinary text."""

    def decode(self, ids: Iterable[int]) -> str:
        """The text of token ids, without special tokens; bytes that are no UTF-8 become U+FFFD."""

    def token_bytes(self, token: int) -> bytes:
        """The bytes that one token stands for; none for a special token."""


class GPT2Tokenizer:
    """GPT-2's 50,257 tokens through tiktoken, without any network."""

    name = "GPT-2, 50,257 tokens"
    vocab_size = 50_257
    end_id = 50_256

    def __init__(self) -> None:
        self._encoding = _gpt2_encoding()

    def encode(self, text: str) -> list[int]:
        return self._encoding.encode_ordinary(_well_formed(text))

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of each text, in parallel."""
        return self._encoding.encode_ordinary_batch([_well_formed(text) for text in texts], num_threads=os.cpu_count() or 1)

    def decode(self, ids: Iterable[int]) -> str:
        return _join(self, ids)

    def to_json(self) -> str:
        """The same vocabulary as a `tokenizer.json`, for other programs that open a checkpoint."""
        return _gpt2_json()

    def token_bytes(self, token: int) -> bytes:
        # Rows that pad the embedding past the vocabulary (50304) stand for nothing.
        return b"" if token >= self.end_id else self._encoding.decode_single_token_bytes(token)


class BytePairTokenizer:
    """Byte-level BPE of our own, kept in the `tokenizer.json` of Hugging Face's `tokenizers`."""

    def __init__(self, backend: object) -> None:
        self._backend = backend
        backend.encode_special_tokens = True  # type: ignore[attr-defined]  # what a person types is never special
        backend.no_truncation()  # type: ignore[attr-defined]
        backend.no_padding()  # type: ignore[attr-defined]
        self.vocab_size: int = backend.get_vocab_size(with_added_tokens=True)  # type: ignore[attr-defined]
        end = backend.token_to_id(END_OF_TEXT)  # type: ignore[attr-defined]
        if end is None:
            raise CheckpointError(f"The tokenizer has no {END_OF_TEXT} token, so no story could ever end.")
        self.end_id: int = end
        self.name = f"byte-level BPE, {self.vocab_size:,} tokens"
        special = {added for added, token in backend.get_added_tokens_decoder().items() if token.special}  # type: ignore[attr-defined]
        self._bytes = [
            b"" if token in special else _bytes_of_piece(backend.id_to_token(token) or "")  # type: ignore[attr-defined]
            for token in range(self.vocab_size)
        ]

    @classmethod
    def load(cls, path: Path) -> BytePairTokenizer:
        """From a `tokenizer.json`; raises `CheckpointError` where the file is missing, damaged or not byte-level."""
        from tokenizers import Tokenizer as Backend

        try:
            text = path.read_text(encoding="utf-8")
            kind = json.loads(text).get("model", {}).get("type")
            backend = Backend.from_str(text)
        except Exception as error:  # the library raises bare Exception for everything
            raise CheckpointError(f"The tokenizer file {path} is missing or damaged ({error}).") from error
        if kind != "BPE" or "ByteLevel" not in repr(backend.decoder):
            raise CheckpointError(f"The tokenizer file {path} holds no byte-level BPE, the only kind that can be read.")
        return cls(backend)

    @classmethod
    def train(cls, stories: Iterable[str], vocab_size: int) -> BytePairTokenizer:
        """Learn `vocab_size` tokens (at least 257: all bytes and the end token) from texts."""
        from tokenizers import Tokenizer as Backend
        from tokenizers import decoders, models, pre_tokenizers, trainers

        backend = Backend(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=max(vocab_size, 257),
            special_tokens=[END_OF_TEXT],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        backend.train_from_iterator(stories, trainer)
        return cls(backend)

    def to_json(self) -> str:
        """The contents of `tokenizer.json`."""
        return self._backend.to_str()  # type: ignore[attr-defined]

    def encode(self, text: str) -> list[int]:
        return self._backend.encode(_well_formed(text), add_special_tokens=False).ids  # type: ignore[attr-defined]

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of each text, in parallel."""
        clean = [_well_formed(text) for text in texts]
        return [e.ids for e in self._backend.encode_batch_fast(clean, add_special_tokens=False)]  # type: ignore[attr-defined]

    def decode(self, ids: Iterable[int]) -> str:
        return _join(self, ids)

    def token_bytes(self, token: int) -> bytes:
        return self._bytes[token] if token < self.vocab_size else b""


def encode_stories(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of many texts, in parallel where the tokenizer can."""
    many = getattr(tokenizer, "encode_many", None)
    return many(texts) if many else [tokenizer.encode(text) for text in texts]


_PROBE = "It's 12 o'clock, isn't it?\n\n  A naïve café — £3.50;\tLILY'S 2nd <|endoftext|> day… 🎈 don't\r\n"
"""Text on which tokenizers that share their tokens but not their way of dividing text come to differ."""


def tokenizer_sha256(tokenizer: Tokenizer) -> str:
    """A hash of what a tokenizer does, whatever its file looks like: each id's bytes, the end id, the merges in order, and the
    ids of a text that tells ways of dividing text apart."""
    if isinstance(tokenizer, GPT2Tokenizer):
        return GPT2_TOKENIZER_SHA256
    digest = hashlib.sha256(b"tokenizer 1\n")

    def put(*parts: bytes) -> None:
        for part in parts:
            digest.update(len(part).to_bytes(8, "little") + part)

    for token in range(tokenizer.vocab_size):
        put(tokenizer.token_bytes(token))
    put(b"end", str(tokenizer.end_id).encode())
    for merge in json.loads(tokenizer.to_json()).get("model", {}).get("merges", ()):
        put(b"merge", *(_bytes_of_piece(part) for part in (merge.split(" ") if isinstance(merge, str) else merge)))
    put(b"probe", json.dumps(tokenizer.encode(_PROBE)).encode())
    return digest.hexdigest()


def _join(tokenizer: Tokenizer, ids: Iterable[int]) -> str:
    return b"".join(tokenizer.token_bytes(token) for token in ids).decode("utf-8", "replace")


def _well_formed(text: str) -> str:
    """Text without lone surrogates, which a terminal can hand over for broken input and no tokenizer takes."""
    return text.encode("utf-8", "replace").decode("utf-8")


@functools.cache
def _gpt2_ranks() -> dict[bytes, int]:
    packed = resources.files("engine").joinpath("vocabularies", "gpt2.tiktoken.xz").read_bytes()
    table = lzma.decompress(packed)
    if hashlib.sha256(table).hexdigest() != GPT2_SHA256:
        raise CheckpointError("The GPT-2 vocabulary in the package is damaged; install tinytales-tui again.")
    ranks = {}
    for line in table.splitlines():
        piece, rank = line.split()
        ranks[base64.b64decode(piece)] = int(rank)
    return ranks


@functools.cache
def _gpt2_encoding() -> object:
    import tiktoken

    special = {END_OF_TEXT: GPT2Tokenizer.end_id}
    return tiktoken.Encoding(
        name="gpt2", pat_str=_GPT2_SPLIT, mergeable_ranks=_gpt2_ranks(), special_tokens=special, explicit_n_vocab=50_257
    )


@functools.cache
def _gpt2_json() -> str:
    """GPT-2's table as merges: each token's two parts are what the merges of lower rank make of its bytes."""
    from tokenizers import AddedToken, decoders, models, pre_tokenizers
    from tokenizers import Tokenizer as Backend

    ranks, symbol = _gpt2_ranks(), {byte: letter for letter, byte in _byte_of_symbol().items()}

    def spelled(data: bytes) -> str:
        return "".join(symbol[byte] for byte in data)

    merges = [tuple(map(spelled, _parts(token, rank, ranks))) for token, rank in ranks.items() if len(token) > 1]
    vocabulary = {spelled(token): rank for token, rank in ranks.items()} | {END_OF_TEXT: GPT2Tokenizer.end_id}
    backend = Backend(models.BPE(vocab=vocabulary, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(END_OF_TEXT, special=True, normalized=False)])
    return backend.to_str()


def _parts(token: bytes, rank: int, ranks: dict[bytes, int]) -> list[bytes]:
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 2:
        pairs = [ranks.get(a + b, rank) for a, b in itertools.pairwise(parts)]
        at = min(range(len(pairs)), key=pairs.__getitem__)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts


@functools.cache
def _byte_of_symbol() -> dict[str, int]:
    """GPT-2's reversible alphabet: printable bytes stand for themselves, the other 68 for code points from 256 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(256 + n): b for n, b in enumerate(others)}


def _bytes_of_piece(piece: str) -> bytes:
    table = _byte_of_symbol()
    if all(symbol in table for symbol in piece):
        return bytes(table[symbol] for symbol in piece)
    return piece.encode("utf-8")
