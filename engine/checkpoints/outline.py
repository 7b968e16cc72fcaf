"""A tensor of which only the shape, the type and the place in a file are known: what headers tell. Knows no torch.

It can be handed to an adapter in place of a tensor (`engine.checkpoints.foreign`), as far as adapters go: none looks at numbers, apart
from asking whether two matrices are the same.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

_KINDS = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32", "I16": "int16",
    "I8": "int8", "U8": "uint8", "Double": "float64", "Float": "float32", "Half": "float16",
}  # fmt: skip
"""What safetensors and PyTorch call kinds of numbers in their files, and what they are called elsewhere."""
_PROBE = 4096
"""Bytes that are compared at the beginning, in the middle and at the end."""


@dataclass(frozen=True)
class Place:
    """Where the bytes of a tensor lie."""

    path: Path
    begin: int
    size: int
    """In bytes."""


@dataclass(frozen=True)
class Outline:
    """Stands in for a tensor."""

    shape: tuple[int, ...]
    dtype: str
    floating: bool
    place: Place | None = None
    """None where it is not known, or where the tensor is made of several."""

    def float(self) -> Outline:
        return self

    def contiguous(self) -> Outline:
        return self

    def detach(self) -> Outline:
        return self

    @property
    def T(self) -> Outline:
        return replace(self, shape=self.shape[::-1], place=None)

    def dim(self) -> int:
        return len(self.shape)

    def numel(self) -> int:
        return math.prod(self.shape)

    def is_floating_point(self) -> bool:
        return self.floating

    def split(self, sizes: Sequence[int]) -> tuple[Outline, ...]:
        """Several, so many rows of it each."""
        return tuple(replace(self, shape=(size, *self.shape[1:]), place=None) for size in sizes)

    def chunk(self, count: int) -> tuple[Outline, ...]:
        """So many of equal size, one below the other; their rows must come out even."""
        return self.split((self.shape[0] // count,) * count)

    @staticmethod
    def joined(parts: Sequence[Outline]) -> Outline:
        """Several one below the other."""
        first = parts[0]
        return Outline((sum(part.shape[0] for part in parts), *first.shape[1:]), first.dtype, first.floating)

    def seems(self, other: Outline) -> bool:
        """Whether both are one place in a file, or hold the same bytes where they are looked at.

        A few kilobytes at the beginning, in the middle and at the end are compared: two matrices that were trained apart differ in
        nearly every number. Where a place is not known, or cannot be read, they are taken for different.
        """
        if self.shape != other.shape or self.dtype != other.dtype or self.place is None or other.place is None:
            return False
        if self.place == other.place:
            return True
        if self.place.size != other.place.size:
            return False
        with contextlib.suppress(OSError):
            return _probe(self.place) == _probe(other.place)
        return False


def kind_in_words(dtype: str) -> str:
    """The usual name of a kind of number (`float16`), from what a file calls it (`F16`, `Half`)."""
    return _KINDS.get(dtype, dtype.lower())


def usual_kind(counts: Iterable[tuple[str, int]]) -> str:
    """The usual name of the kind that most numbers are of, from (what a file calls it, how many); empty where there are none."""
    total: dict[str, int] = {}
    for dtype, count in counts:
        total[dtype] = total.get(dtype, 0) + count
    return kind_in_words(max(total, key=lambda dtype: total[dtype])) if total else ""


def _probe(place: Place) -> list[bytes]:
    size = min(_PROBE, place.size)
    with place.path.open("rb") as file:
        found = []
        for at in (0, (place.size - size) // 2, place.size - size):
            file.seek(place.begin + at)
            found.append(file.read(size))
    return found
