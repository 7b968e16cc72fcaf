"""How many tokens a vocabulary has, and what it is called, without loading it. Knows no torch.

The words are those of the tokenizers (`engine.tokenizer`, `engine.llama_tokenizer`), and so is the choice among several files.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.checkpoints.readers.common import shown
from engine.errors import CheckpointError
from engine.growing_files import open_plain

MISSING = "missing"
LARGEST = 1 << 26
_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer.bin", "tok[0-9]*.model", "tok[0-9]*.bin")


@dataclass(frozen=True)
class Vocabulary:
    """What can be said of a vocabulary."""

    words: str
    """As `Tokenizer.name` says it."""
    size: int


def beside(folder: Path, rows: int) -> Vocabulary | None:
    """The one in a folder that a model with that many rows would take; None where there is none. `CheckpointError` where none fits."""
    smaller: Vocabulary | None = None
    found = [path for pattern in _FILES for path in sorted(folder.glob(pattern)) if path.is_file()]
    for path in found:
        vocabulary = {".model": of_model, ".bin": _of_bin}.get(path.suffix, of_json)(path)
        if vocabulary.size == rows:
            return vocabulary
        if vocabulary.size < rows:
            smaller = smaller or vocabulary
    if found and smaller is None:
        raise CheckpointError(f"{shown(found[0].name)} has more tokens than the model's {rows:,} rows; it belongs to another.")
    return smaller


def of_json(path: Path) -> Vocabulary:
    """Of a `tokenizer.json`: byte-level BPE, or BPE with byte fallback. Raises `CheckpointError`."""
    try:
        data: Any = json.loads(_contents(path))
        model, added = data["model"], data.get("added_tokens") or []
        ids = {**model["vocab"], **{token["content"]: token["id"] for token in added}}
        if model.get("type", "BPE") != "BPE":
            raise CheckpointError(
                f"The tokenizer file {shown(path.name)} holds no byte-level BPE, the only kind that can be read."
            )
        if model.get("byte_fallback"):
            return _llama(max(ids.values()) + 1)
        return Vocabulary(f"byte-level BPE, {len(ids):,} tokens", len(ids))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(path) from error


def _of_bin(path: Path) -> Vocabulary:
    """Of llama2.c's own file: the longest token's length, then score, length and bytes of each."""
    data, at, count = _contents(path), 4, 0
    try:
        while at < len(data):
            at += 8 + struct.unpack_from("<I", data, at + 4)[0]
            count += 1
    except struct.error as error:
        raise _damaged(path) from error
    if at != len(data) or not count:
        raise _damaged(path)
    return _llama(count)


def of_model(path: Path) -> Vocabulary:
    """Of a SentencePiece model: a protocol buffer whose fields with number 1 are the tokens."""
    data, at, count = _contents(path), 0, 0
    try:
        while at < len(data):
            tag, at = _varint(data, at)
            match tag & 7:
                case 0:
                    _, at = _varint(data, at)
                case 1:
                    at += 8
                case 2:
                    size, at = _varint(data, at)
                    at += size
                case 5:
                    at += 4
                case _:
                    raise _damaged(path)
            count += tag == (1 << 3 | 2)
    except IndexError as error:
        raise _damaged(path) from error
    if at != len(data) or not count:
        raise _damaged(path)
    return _llama(count)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise IndexError


def _llama(size: int) -> Vocabulary:
    return Vocabulary(f"Llama, {size:,} tokens", size)


def _contents(path: Path) -> bytes:
    try:
        with open_plain(path) as file:  # a pipe could be read for ever
            contents: bytes = file.read(LARGEST + 1)
    except OSError as error:
        raise _damaged(path) from error
    if len(contents) > LARGEST:
        raise CheckpointError(f"The vocabulary {shown(path.name)} is far too large for what it should be.")
    return contents


def _damaged(path: Path) -> CheckpointError:
    return CheckpointError(f"The vocabulary {shown(path.name)} is missing or damaged.")
