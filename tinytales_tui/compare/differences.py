"""Where stories differ from the first of them: while they grow, the place where they part; at the end, word by word.

Functions on texts that hand out offsets; knows no screen.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*|[^\w\s]")
_LETTER = re.compile(r"[^\W_]")
MOST_WORDS = 4_000
"""Longer stories are compared as far as this, since the effort grows with the square of it."""


class Mark(NamedTuple):
    """`text[start:end]` stands in the first story too (`same`), or in no other one (`alone`); what has no mark only differs."""

    start: int
    end: int
    kind: Literal["same", "alone"]


def parting(first: str, other: str, known: int = 0) -> int:
    """How many characters of `other` begin `first` too, up to a whole word once they part; the first `known` are known to be equal."""
    place, end = known, min(len(first), len(other))
    while place < end:
        step = min(64, end - place)
        if first[place : place + step] == other[place : place + step]:
            place += step
            continue
        while first[place] == other[place]:
            place += 1
        while place and other[place - 1].isalnum():
            place -= 1
        return place
    return place


def live_marks(first: str, other: str, known: int = 0) -> tuple[Mark, ...]:
    """Marks of `other` while both grow: its beginning is that of `first`."""
    end = parting(first, other, known)
    return (Mark(0, end, "same"),) if end else ()


def word_marks(texts: Sequence[str]) -> list[tuple[Mark, ...]]:
    """Marks of each text once all are whole: words that stand in no other one, and, after the first, what the first says as well."""
    found = [_words(text) for text in texts]
    spoken = [{word for word, _, _ in words} for words in found]
    marks: list[tuple[Mark, ...]] = []
    for at, words in enumerate(found):
        others: set[str] = set().union(*(spoken[:at] + spoken[at + 1 :]))
        alone = [Mark(start, end, "alone") for word, start, end in words if word not in others and _LETTER.match(word)]
        same = _matching(found[0], words) if at else []
        marks.append(tuple(sorted([*same, *alone])))
    return marks


def _words(text: str) -> list[tuple[str, int, int]]:
    """Words and signs with their places; capitals do not count."""
    found = []
    for match in _WORD.finditer(text):
        found.append((match.group().lower(), match.start(), match.end()))
        if len(found) == MOST_WORDS:
            break
    return found


def _matching(first: list[tuple[str, int, int]], words: list[tuple[str, int, int]]) -> list[Mark]:
    blocks = difflib.SequenceMatcher(None, [word for word, _, _ in first], [word for word, _, _ in words]).get_matching_blocks()
    return [Mark(words[block.b][1], words[block.b + block.size - 1][2], "same") for block in blocks if block.size]
