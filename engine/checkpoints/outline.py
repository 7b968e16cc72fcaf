"""A tensor of which only the shape, the type and the place in a file are known: what headers tell. Knows no torch.

It can be handed to an adapter in place of a tensor (`engine.checkpoints.foreign`), as far as adapters go: none looks at numbers, apart
from asking whether two matrices are the same.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

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


def _probe(place: Place) -> list[bytes]:
    size = min(_PROBE, place.size)
    with place.path.open("rb") as file:
        found = []
        for at in (0, (place.size - size) // 2, place.size - size):
            file.seek(place.begin + at)
            found.append(file.read(size))
    return found
