"""Safetensors files: a header in JSON, then the bytes of the tensors. Knows no model.

The header is checked here, to the last byte, before the library is asked for a tensor: it is the only part of the file that says
anything, and it may lie.
"""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from engine.checkpoints.foreign import Weights
from engine.checkpoints.readers.common import (
    LONGEST_NAME,
    MOST_DIMENSIONS,
    MOST_TENSORS,
    MOST_VALUES,
    damaged,
    reason,
    shown,
    unreadable,
)
from engine.errors import CheckpointError

LARGEST_HEADER = 32_000_000
"""Bytes; a hundred thousand tensors need some ten million."""
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


def read_safetensors(path: Path) -> Weights:
    """The tensors of a safetensors file, mapped into memory, in the types they have; `__metadata__` goes to `about`.

    Raises `CheckpointError` with one sentence for whatever is wrong.
    """
    try:
        metadata = check_header(path)
        with safe_open(path, framework="pt", device="cpu") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise unreadable(path, error) from error
    except (SafetensorError, ValueError, RuntimeError, MemoryError) as error:
        raise damaged(path, reason(error)) from error
    return Weights(tensors, {}, "safetensors", path, about=metadata)


def check_header(path: Path) -> dict[str, str]:
    """The `__metadata__` of a safetensors file whose header agrees with the file; `CheckpointError` where it does not, OSError."""
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
    return metadata


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
    if not isinstance(dtype, str) or dtype not in _BYTES:
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
    if offsets[1] - offsets[0] != count * _BYTES[dtype]:
        raise damaged(path, f"the shape of {what} does not agree with its bytes")
    return offsets[0], offsets[1], count


def _whole_numbers(found: Any) -> bool:
    return isinstance(found, list) and all(type(part) is int and part >= 0 for part in found)


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found
