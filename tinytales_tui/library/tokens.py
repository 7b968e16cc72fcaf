"""Generated tokens, packed eight bytes each, so that a story can keep all of its own."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self

_ONE = struct.Struct("<IHe")
_MOST_LETTERS = 0xFFFF


class Token(NamedTuple):
    """One token as it was drawn."""

    id: int
    letters: int
    """Characters of the text that came out with it; 0 where its character was not whole yet, or where it ended the story."""
    logprob: float
    """Natural logarithm of the probability that the model itself gave it; kept in half precision, about three digits."""

    @property
    def probability(self) -> float:
        return math.exp(min(self.logprob, 0.0)) if self.logprob == self.logprob else 0.0


@dataclass(frozen=True)
class Tokens:
    """A sequence of tokens; false where there is none."""

    packed: bytes = b""

    @classmethod
    def of(cls, tokens: Iterable[tuple[int, int, float]]) -> Self:
        """From (id, letters, log probability) each; none at all if one of them is no token (a piece of more than 65,535 letters)."""
        try:
            return cls(b"".join(_ONE.pack(id, letters, max(logprob, -65_504.0)) for id, letters, logprob in tokens))
        except (struct.error, OverflowError, TypeError):
            return cls()

    def __post_init__(self) -> None:
        if len(self.packed) % _ONE.size:
            raise ValueError("A part of a token is missing.")

    def __iter__(self) -> Iterator[Token]:
        return (Token(*values) for values in _ONE.iter_unpack(self.packed))

    def __len__(self) -> int:
        return len(self.packed) // _ONE.size

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(self.packed + other.packed)

    def __getitem__(self, part: slice) -> Tokens:
        start, end, _ = part.indices(len(self))
        return Tokens(self.packed[start * _ONE.size : end * _ONE.size])

    @property
    def letters(self) -> int:
        """Characters of all of them."""
        return sum(token.letters for token in self)

    def around(self, at: int) -> tuple[int, int, int, int]:
        """Where a cut after `at` characters falls: (tokens before it, their characters, tokens up to its other side, theirs).

        Both sides are the same where it falls between two tokens. Tokens without characters belong to the next that has some.
        """
        before = before_letters = passed = 0
        for number, token in enumerate(self, 1):
            passed += token.letters
            if token.letters and passed <= at:
                before, before_letters = number, passed
            elif token.letters:
                return (before, before_letters, before, before_letters) if before_letters == at else (
                    before, before_letters, number, passed
                )  # fmt: skip
        return len(self), passed, len(self), passed


NONE = Tokens()
