"""How the words of a page are told apart: by their author, or by how surprising they were to the model. Plain data, no Textual."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from tinytales_tui.library.runs import Run, pieces

Marking = Literal["none", "authors", "surprise"]
MARKINGS: tuple[Marking, ...] = ("none", "authors", "surprise")
LEVELS = ((0.5, ">50%"), (0.2, ">20%"), (0.05, ">5%"), (0.01, ">1%"), (0.0, "rarer"))
"""Of each level of surprise: the least probability of its tokens, and words for the legend."""


@dataclass
class Spans:
    """Stretches of a text with a kind each, without gaps between known ones being filled; in the order of the text."""

    ends: list[int] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)

    def add(self, end: int, kind: str) -> None:
        """The stretch from the last end to `end`."""
        if self.kinds and self.kinds[-1] == kind:
            self.ends[-1] = end
        else:
            self.ends.append(end)
            self.kinds.append(kind)

    def within(self, start: int, end: int) -> Iterator[tuple[int, int, str]]:
        """The stretches of `text[start:end]`; what no stretch covers has the kind ``."""
        at = start
        for index in range(bisect.bisect_right(self.ends, start), len(self.ends)):
            if at >= end:
                return
            stop = min(self.ends[index], end)
            yield at, stop, self.kinds[index]
            at = stop
        if at < end:
            yield at, end, ""


def level(logprob: float) -> int:
    """How surprising: 0 (likely) to 4 (very)."""
    probability = math.exp(min(logprob, 0.0))
    return next(index for index, (least, _) in enumerate(LEVELS) if probability >= least)


def kind_of(author: str, logprob: float | None, marking: Marking) -> str:
    """The kind of a stretch under this marking; empty for what is not marked."""
    if marking == "authors":
        return author
    if marking == "surprise":
        return "" if logprob is None or logprob != logprob else f"surprise-{level(logprob)}"
    return ""


def spans_of(runs: Iterable[Run], marking: Marking) -> Spans:
    """The stretches of a whole text."""
    spans = Spans()
    if marking != "none":
        for piece in pieces(runs):
            logprob = piece.token.logprob if piece.token is not None else None
            if piece.text:
                spans.add(piece.start + len(piece.text), kind_of(piece.author, logprob, marking))
    return spans


@dataclass(frozen=True)
class Surprise:
    """What the tokens of a passage were worth to the model."""

    tokens: int
    bits: float
    """Mean of -log2 p."""

    @property
    def perplexity(self) -> float:
        return 2.0 ** min(self.bits, 1000.0)


def surprise_of(logprobs: Iterable[float]) -> Surprise | None:
    """Of a passage; None where nothing of it is known."""
    told = [logprob for logprob in logprobs if logprob == logprob]
    return Surprise(len(told), -sum(told) / len(told) / math.log(2)) if told else None
