"""The header of a safetensors file, checked to the last byte: it is the only part that says anything, and it may lie. Knows no torch."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.checkpoints.readers.common import (
    LONGEST_NAME,
    MOST_DIMENSIONS,
    MOST_TENSORS,
    MOST_VALUES,
    damaged,
    reason,
    shown,
)
from engine.errors import CheckpointError

LARGEST_HEADER = 32_000_000
"""Bytes; a hundred thousand tensors need some ten million."""
ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


@dataclass(frozen=True)
class Header:
    """What a safetensors file says of itself."""

    metadata: dict[str, str]
    tensors: dict[str, dict[str, Any]]
    """By name: `dtype`, `shape` and `data_offsets`, all of them checked."""
    start: int
    """Where the bytes of the tensors begin."""


def read_header(path: Path) -> Header:
    """The header of a safetensors file that agrees with it; `CheckpointError` where it does not, OSError."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8:
            raise damaged(path, "it holds no header")
        (length,) = struct.unpack("<Q", start)
        if length > size - 8:
            raise damaged(path, "its header claims more than the file holds")
        if length > LARGEST_HEADER:
            raise damaged(path, "its header is far too long")
        text = file.read(length)
    try:
        header = json.loads(text, object_pairs_hook=_no_twins)
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"its header is no JSON ({reason(error)})") from error
    if not isinstance(header, dict):
        raise damaged(path, "its header is not a JSON object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise damaged(path, "its metadata is not a table of texts")
    if len(header) > MOST_TENSORS:
        raise damaged(path, f"it claims {len(header):,} tensors")
    _check_places(path, header, size - 8 - length)
    return Header(metadata, header, 8 + length)


def _check_places(path: Path, header: dict[str, Any], room: int) -> None:
    """Every tensor begins where another ends, and together they fill the file: no overlap, no gap, nothing beyond the end."""
    places, values = [], 0
    for name, entry in header.items():
        begin, end, count = _check_entry(path, name, entry)
        places.append((begin, end))
        values += count
    if values >= MOST_VALUES:
        raise CheckpointError(f"{shown(path, 300)} claims {values:,} numbers; it is damaged or no story model.")
    at = 0
    for begin, end in sorted(places):
        if begin != at:
            raise damaged(path, "its tensors overlap, or there is a gap between them")
        at = end
    if at != room:
        raise damaged(path, f"its tensors take {at:,} bytes and the file has {room:,} for them")


def _check_entry(path: Path, name: str, entry: Any) -> tuple[int, int, int]:
    """Begin and end in bytes, and the number of values, of one entry of the header."""
    what = shown(name)
    if len(name) > LONGEST_NAME or not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise damaged(path, f"its header does not describe {what} as it should")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise CheckpointError(
            f"{shown(path, 300)} holds {what} as {shown(dtype, 20)}, which is not read here; ask for float32, float16 or bfloat16."
        )
    if not (_whole_numbers(shape) and len(shape) <= MOST_DIMENSIONS and all(part < MOST_VALUES for part in shape)):
        raise damaged(path, f"the shape of {what} makes no sense")
    if math.prod(part or 1 for part in shape) >= MOST_VALUES:
        raise damaged(path, f"{what} claims to be far too large")
    if not (_whole_numbers(offsets) and len(offsets) == 2):
        raise damaged(path, f"the place of {what} makes no sense")
    count = math.prod(shape)
    if offsets[1] - offsets[0] != count * ITEM_BYTES[dtype]:
        raise damaged(path, f"the shape of {what} does not agree with its bytes")
    return offsets[0], offsets[1], count


def _whole_numbers(found: Any) -> bool:
    return isinstance(found, list) and all(type(part) is int and part >= 0 for part in found)


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found
