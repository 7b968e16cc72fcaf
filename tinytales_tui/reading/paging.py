"""A story as pages of whole lines, and where a place of one text is in the same text tidied. Knows no Textual.

Every letter of the text stands on exactly one page; only blanks at the ends of lines and empty lines are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tinytales_tui.text import safe_text
from tinytales_tui.widgets.wrap import WrappedText, plain_cells

MEASURE = 66
"""Widest line in columns: what is read for long is read best in short lines."""
WORDS_A_MINUTE = 150
"""How fast a story is read aloud to a child, with time for the pictures in the head; silent reading is faster."""


@dataclass(frozen=True)
class Page:
    """One page; an empty line stands between two paragraphs."""

    start: int
    """Where in the text its first letter stands."""
    lines: tuple[str, ...]


def readable(text: str) -> str:
    """A text as it is put on pages: without control codes, and without empty lines and blanks around it."""
    return plain_cells(safe_text(text)).strip()


def count_words(text: str) -> int:
    """Words of a text; a comma that stands alone is none."""
    return sum(any(map(str.isalnum, word)) for word in text.split())


def pages(text: str, width: int, height: int, first_height: int | None = None) -> list[Page]:
    """The pages of a text that is `readable`, of `height` lines, the first of `first_height`; one page at least.

    A paragraph's first line is not left alone at the foot of a page where there is room to avoid it.
    """
    rooms = [max(1, height if first_height is None else first_height)]
    found: list[Page] = []
    lines: list[str] = []
    start = 0

    def turn() -> None:
        nonlocal lines
        if lines and not lines[-1]:
            lines.pop()
        found.append(Page(start, tuple(lines)))
        rooms.append(max(1, height))
        lines = []

    for paragraph in _paragraphs(text, max(1, width)):
        if lines:
            # With an empty line before it, a paragraph of several lines needs room for two of its own.
            if len(lines) + 1 + min(2, len(paragraph)) > rooms[-1]:
                turn()
            else:
                lines.append("")
        for at, line in paragraph:
            if len(lines) >= rooms[-1]:
                turn()
            if not lines:
                start = at
            lines.append(line)
    if lines or not found:
        turn()
    return found


def page_of(found: Sequence[Page], place: int) -> int:
    """Which page shows the letter at a place of the text."""
    return max((number for number, page in enumerate(found) if page.start <= place), default=0)


def same_place(text: str, place: int, other: str) -> int:
    """Where the letter at `place` stands in `other`, the same text with other blanks and capitals, or with its end cut off."""
    letters = sum(not letter.isspace() for letter in text[:place])
    for at, letter in enumerate(other):
        if not letter.isspace():
            if not letters:
                return at
            letters -= 1
    return len(other)


def wrapped(text: str, width: int) -> list[str]:
    """The lines of a heading."""
    found = WrappedText(max(1, width))
    found.set_text(plain_cells(" ".join(safe_text(text).split())))
    return [found.text[line.start : line.end] for line in found.lines]


def foot(number: int, count: int, words: int, marks: Sequence[str], width: int) -> str:
    """The quiet line at the very bottom, as much of it as there is room for; `marks`: what is special about the page."""
    exactly = words / WORDS_A_MINUTE
    minutes = "under a minute" if words and exactly < 0.75 else f"{max(1, round(exactly)):,} min"
    time = f"{minutes} read aloud" if words else ""
    page, told = f"page {number} of {count}", f"{words:,} word{'' if words == 1 else 's'}"
    mark = " · ".join(marks)
    keys = "space next, b back, esc leave, F1 keys"
    for parts in (
        (page, told, f"{time} at {WORDS_A_MINUTE} words a minute" if time else "", mark, keys),
        (page, told, f"{time} ({WORDS_A_MINUTE} words a minute)" if time else "", mark, "F1 keys"),
        (page, told, time, mark, "F1 keys"),
        (f"{number}/{count}", told, minutes if words else "", mark, "F1 keys"),
        (f"{number}/{count}", told, mark),
        (f"{number}/{count}", mark),
    ):
        line = " · ".join(filter(None, parts))
        if len(line) <= width:
            return line
    return f"{number}/{count}"


def _paragraphs(text: str, width: int) -> list[list[tuple[int, str]]]:
    """Each paragraph's lines with where they begin."""
    wrapped_text = WrappedText(width)
    wrapped_text.set_text(text)
    found: list[list[tuple[int, str]]] = [[]]
    end = 0
    for line in wrapped_text.lines:
        if "\n" in text[end : line.start] and found[-1]:
            found.append([])
        start = line.start
        while not found[-1] and start < line.end and text[start] == " ":  # models begin a paragraph with a blank
            start += 1
        if words := text[start : line.end].rstrip():
            found[-1].append((start, words))
        end = line.end
    return [paragraph for paragraph in found if paragraph]
