"""Where a cursor goes: from one offset of a text to another. Pure functions; knows no Textual."""

from __future__ import annotations

from rich.cells import cell_len, get_character_cell_size

from tinytales_tui.widgets.wrap import WrappedText


def word_left(text: str, at: int) -> int:
    """The beginning of the word before `at`; signs that are no letters are words of their own."""
    while at and text[at - 1].isspace():
        at -= 1
    letters = bool(at) and text[at - 1].isalnum()
    while at and not text[at - 1].isspace() and text[at - 1].isalnum() == letters:
        at -= 1
    return at


def word_right(text: str, at: int) -> int:
    """The end of the word after `at`."""
    while at < len(text) and text[at].isspace():
        at += 1
    letters = at < len(text) and text[at].isalnum()
    while at < len(text) and not text[at].isspace() and text[at].isalnum() == letters:
        at += 1
    return at


def left(text: str, at: int) -> int:
    """One sign back, with the marks that stand upon it."""
    at = max(at - 1, 0)
    while at and get_character_cell_size(text[at]) == 0 and text[at] != "\n":
        at -= 1
    return at


def right(text: str, at: int) -> int:
    """One sign on, with the marks that stand upon it."""
    at = min(at + 1, len(text))
    while at < len(text) and get_character_cell_size(text[at]) == 0 and text[at] != "\n":
        at += 1
    return at


def row_of(page: WrappedText, at: int) -> int:
    """The line that shows the place before the character at `at`."""
    return page.line_at(at) if page.lines else 0


def column_of(page: WrappedText, at: int) -> int:
    """Cells left of it on its line; blanks that hang over the end of a line count no further than the width."""
    if not page.lines:
        return 0
    line = page.lines[row_of(page, at)]
    return min(cell_len(page.text[line.start : at]), page.width)


def at_place(page: WrappedText, row: int, column: int) -> int:
    """The offset nearest to a cell; above the first line it is the beginning, below the last the end."""
    if not page.lines or row < 0:
        return 0
    if row >= len(page.lines):
        return len(page.text)
    line = page.lines[row]
    at, cells = line.start, 0
    while at < line.end:
        size = get_character_cell_size(page.text[at])
        if cells + size > column:
            break
        cells += size
        at += 1
    return at


def line_start(page: WrappedText, at: int) -> int:
    """The beginning of the line; from there, that of the text."""
    if not page.lines:
        return 0
    start = page.lines[row_of(page, at)].start
    return start if start != at else 0


def line_end(page: WrappedText, at: int) -> int:
    """The last place of the line; from there, the end of the text."""
    if not page.lines:
        return 0
    row = row_of(page, at)
    end = page.lines[row].end
    if row + 1 < len(page.lines) and page.lines[row + 1].start == end:  # a word that was cut, which has no blank to stand before
        end = max(end - 1, page.lines[row].start)
    return end if end != at else len(page.text)
