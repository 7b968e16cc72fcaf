"""Runs: stretches of a story that have one author. A story is told apart into what the writer typed and what the model wrote."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from tinytales_tui.library.tokens import NONE, Token, Tokens

Author = Literal["writer", "model"]


@dataclass(frozen=True)
class Run:
    """A stretch by one author."""

    author: Author
    text: str
    tokens: Tokens = NONE
    """What the model drew for exactly this text; none of the writer's, and none where the tokens are not known."""

    def without_silent_end(self) -> Run:
        """Without tokens at its end that no letter came of."""
        kept = len(self.tokens)
        silent = itertools.takewhile(lambda token: not token.letters, reversed(list(self.tokens)))
        kept -= sum(1 for _ in silent)
        return replace(self, tokens=self.tokens[:kept])


class Piece(NamedTuple):
    """A step of a walk through a text: a generated token, or a stretch whose tokens there are none of or are not known."""

    start: int
    """Characters before it."""
    text: str
    author: Author
    token: Token | None


def pieces(runs: Iterable[Run]) -> Iterator[Piece]:
    """A walk through the text of these runs, token by token where they are known."""
    start = 0
    for run in runs:
        place = 0
        for token in run.tokens:
            yield Piece(start + place, run.text[place : place + token.letters], run.author, token)
            place += token.letters
        if not run.tokens:
            yield Piece(start, run.text, run.author, None)
        start += len(run.text)


def cut(runs: Iterable[Run], at: int) -> tuple[tuple[Run, ...], tuple[Run, ...]]:
    """What stands before and after `at` characters; a token that is cut through is let go, its letters stay the model's."""
    left: list[Run] = []
    right: list[Run] = []
    for run in runs:
        if right or (at <= 0 and run.text):
            right.append(run)
        elif len(run.text) <= at:
            left.append(run)
            at -= len(run.text)
        else:
            one, two = _halves(run, at)
            left += one
            right += two
            at = 0
    return joined(left), joined(right)


def joined(runs: Iterable[Run]) -> tuple[Run, ...]:
    """The same text and tokens in as few runs as there can be."""
    kept: list[Run] = []
    for run in runs:
        if not run.text and not run.tokens:
            continue
        last = kept[-1] if kept else None
        if last is not None and last.author == run.author and bool(last.tokens) == bool(run.tokens):
            kept[-1] = replace(last, text=last.text + run.text, tokens=last.tokens + run.tokens)
        else:
            kept.append(run)
    return tuple(kept)


def text_of(runs: Iterable[Run]) -> str:
    return "".join(run.text for run in runs)


def _halves(run: Run, at: int) -> tuple[list[Run], list[Run]]:
    """The two parts of a run that is cut within."""
    if not run.tokens:
        return [replace(run, text=run.text[:at])], [replace(run, text=run.text[at:])]
    before, letters, after, far_letters = run.tokens.around(at)
    left = [Run(run.author, run.text[:letters], run.tokens[:before]), Run(run.author, run.text[letters:at])]
    right = [Run(run.author, run.text[at:far_letters]), Run(run.author, run.text[far_letters:], run.tokens[after:])]
    return left, right
