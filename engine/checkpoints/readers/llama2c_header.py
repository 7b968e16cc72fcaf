"""The header of llama2.c's own `.bin` files, versions 0, 1 and 2, and the fixed order of the tensors behind it. Knows no torch.

Formats after llama2.c's export.py and run.c/runq.c. The header is the only thing that says what follows, so everything in it is
checked against the exact size of the file before a tensor is read. Tensors go by the names of llama2.c's own model.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.checkpoints.readers.common import MOST_VALUES, damaged, shown
from engine.errors import CheckpointError

MAGIC = struct.pack("<I", 0x616B3432)
"""The first bytes of versions 1 and 2; version 0 has none."""
_PADDED = 256
"""Bytes of the header of versions 1 and 2."""
_MOST = {"dim": 65_535, "hidden_dim": 1 << 20, "n_layers": 1024, "vocab_size": 1 << 24, "max_seq_len": 1 << 24}


@dataclass(frozen=True)
class Header:
    """What a file says of itself."""

    version: int
    start: int
    """Where the first tensor begins, in bytes."""
    tied: bool
    group_size: int
    """Values that share one scale (version 2); else 0."""
    config: dict[str, int]
    """dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, max_seq_len."""


def looks_like_llama2c(start: bytes, size: int) -> bool:
    """Whether the first 36 bytes can be such a header: the magic number, or seven plain numbers that fit the file's size."""
    if start[:4] == MAGIC:
        return True
    if len(start) < 28:
        return False
    header = _header_0(start)
    return _complaint(header) is None and _bytes_needed(header) == size


def read_header(path: Path) -> Header:
    """The header of a `.bin` file, which agrees with its size to the byte; `CheckpointError` where it does not, OSError."""
    size = path.stat().st_size
    with path.open("rb") as file:
        header = _header(path, file.read(_PADDED))
    complaint = _complaint(header)
    if complaint:
        raise damaged(path, complaint)
    needed = _bytes_needed(header)
    if needed != size:
        raise damaged(path, f"its header asks for {needed:,} bytes and it has {size:,}")
    return header


def _header_0(start: bytes) -> Header:
    numbers = struct.unpack_from("<7i", start)
    return Header(0, 28, numbers[5] > 0, 0, _config((*numbers[:5], abs(numbers[5]), numbers[6])))


def _header(path: Path, start: bytes) -> Header:
    if start[:4] != MAGIC:
        if len(start) < 28:
            raise damaged(path, "it holds no header")
        return _header_0(start)
    if len(start) < _PADDED:
        raise damaged(path, "it ends within its header")
    version, *numbers = struct.unpack_from("<8i", start, 4)
    if version not in (1, 2):
        raise CheckpointError(f"{shown(path, 300)} is a llama2.c file of version {version}; versions 0, 1 and 2 can be read.")
    shared, group = struct.unpack_from("<Bi", start, 36)
    if shared not in (0, 1):
        raise damaged(path, "its header does not say whether the output matrix is shared")
    return Header(version, _PADDED, bool(shared), group if version == 2 else 0, _config(tuple(numbers)))


def _config(numbers: tuple[int, ...]) -> dict[str, int]:
    names = ("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "max_seq_len")
    return dict(zip(names, numbers, strict=True))


def _complaint(header: Header) -> str | None:
    """What makes no sense in a header, or None. Passed, its sizes can be multiplied: none is absurd."""
    config = header.config
    for name, value in config.items():
        if not 0 < value <= _MOST.get(name, config["dim"]):
            return f"its header gives {name} as {value}"
    heads, shared = config["n_heads"], config["n_kv_heads"]
    if config["dim"] % heads or (config["dim"] // heads) % 2 or heads % shared:
        return f"{heads} heads and {shared} key/value heads do not divide a width of {config['dim']}"
    if sum(math.prod(shape) for _, shape in matrices(header)) >= MOST_VALUES:
        return "its header asks for more numbers than any story model has"
    if header.version == 2 and not 0 < header.group_size <= 1 << 16:
        return f"its header gives a group size of {header.group_size}"
    if header.version == 2 and any(math.prod(shape) % header.group_size for _, shape in matrices(header)):
        return f"groups of {header.group_size} do not divide its matrices"
    return None


def _norms(header: Header, part: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    for layer in range(header.config["n_layers"]):
        yield f"layers.{layer}.{part}.weight", (header.config["dim"],)


def _stacked(header: Header, part: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    """One kind of matrix of every layer, in the file's order; shapes are (out, in)."""
    config = header.config
    dim, hidden = config["dim"], config["hidden_dim"]
    shared = dim // config["n_heads"] * config["n_kv_heads"]
    shapes = {
        "attention.wq": (dim, dim),
        "attention.wk": (shared, dim),
        "attention.wv": (shared, dim),
        "attention.wo": (dim, dim),
        "feed_forward.w1": (hidden, dim),
        "feed_forward.w2": (dim, hidden),
        "feed_forward.w3": (hidden, dim),
    }
    for layer in range(config["n_layers"]):
        yield f"layers.{layer}.{part}.weight", shapes[part]


_ATTENTION = ("attention.wq", "attention.wk", "attention.wv", "attention.wo")
_FEED_FORWARD = ("feed_forward.w1", "feed_forward.w2", "feed_forward.w3")


def matrices(header: Header) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The matrices in the order of versions 1 and 2: embedding, then each kind for all layers, then the output where it is its own."""
    table = (header.config["vocab_size"], header.config["dim"])
    yield "tok_embeddings.weight", table
    for part in (*_ATTENTION, *_FEED_FORWARD):
        yield from _stacked(header, part)
    if not header.tied:
        yield "output.weight", table


def plain_order(header: Header) -> Iterator[tuple[str | None, tuple[int, ...]]]:
    """Every float32 tensor of versions 0 and 1, or those of version 2 that are not quantised; None names what nobody needs."""
    dim = header.config["dim"]
    if header.version:
        yield from _norms(header, "attention_norm")
        yield from _norms(header, "ffn_norm")
        yield "norm.weight", (dim,)
        if header.version == 1:
            yield from matrices(header)
        return
    table = (header.config["vocab_size"], dim)
    yield "tok_embeddings.weight", table
    yield from _norms(header, "attention_norm")
    for part in _ATTENTION:
        yield from _stacked(header, part)
    yield from _norms(header, "ffn_norm")
    for part in _FEED_FORWARD:
        yield from _stacked(header, part)
    yield "norm.weight", (dim,)
    angles = (header.config["max_seq_len"], dim // header.config["n_heads"] // 2)
    yield None, angles  # cosines of the rotary positions, which are computed anew
    yield None, angles  # and their sines
    if not header.tied:
        yield "output.weight", table


def _bytes_needed(header: Header) -> int:
    needed = header.start + 4 * sum(math.prod(shape) for _, shape in plain_order(header))
    if header.version == 2:
        needed += sum(math.prod(shape) + 4 * (math.prod(shape) // header.group_size) for _, shape in matrices(header))
    return needed


def outlined(header: Header) -> Iterator[tuple[str, tuple[int, ...], int, int]]:
    """Name, shape, first byte and number of bytes of every tensor; of quantised ones, the int8 values and the scales behind them."""
    at = header.start
    for name, shape in plain_order(header):
        size = 4 * math.prod(shape)
        if name is not None:
            yield name, shape, at, size
        at += size
    for name, shape in matrices(header) if header.version == 2 else ():
        count = math.prod(shape)
        size = count + 4 * (count // header.group_size)
        yield name, shape, at, size
        at += size
