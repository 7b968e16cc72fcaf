"""Word wrapping of a text that grows at its end. Knows no Textual: it counts terminal cells and hands out offsets.

Greedy wrapping has the property that makes streaming cheap: what is appended can change the last line only, never one above it.
"""

from __future__ import annotations

from dataclasses import dataclass

from rich.cells import cell_len, get_character_cell_size


@dataclass(frozen=True, slots=True)
class Line:
    """One visual line: `text[start:end]` of the whole text, blanks at a break left out."""

    start: int
    end: int


class WrappedText:
    """A text and its lines at one width; `append` re-wraps no more than the last line."""

    def __init__(self, width: int = 72) -> None:
        self.text = ""
        self.lines: list[Line] = []
        self.width = width

    def set_text(self, text: str) -> None:
        self.text = text
        self.lines = []
        self._wrap_from(0)

    def set_width(self, width: int) -> None:
        """Wrap anew at another width."""
        if width != self.width:
            self.width = width
            self.set_text(self.text)

    def append(self, text: str) -> int:
        """Add text at the end; returns the index of the first line that may look different now."""
        if not text:
            return len(self.lines)
        self.text += text
        if not self.lines:
            self._wrap_from(0)
            return 0
        first = len(self.lines) - 1
        start = self.lines.pop().start
        self._wrap_from(start)
        return first

    def replace(self, start: int, end: int, text: str) -> int:
        """Put `text` in place of what stands there; returns the index of the first line that may look different now.

        Only the paragraph that is touched, and what comes after it, is wrapped anew.
        """
        before = self.text.rfind("\n", 0, start) + 1
        self.text = self.text[:start] + text + self.text[end:]
        first = next((index for index, line in enumerate(self.lines) if line.start >= before), len(self.lines))
        del self.lines[first:]
        if first and before == len(self.text):  # the paragraph before has ended, and nothing has come yet
            self.lines.append(Line(before, before))
        else:
            self._wrap_from(before)
        return first

    def line_at(self, offset: int) -> int:
        """Index of the line that shows the character at `offset`."""
        low, high = 0, len(self.lines)
        while low < high:
            middle = (low + high) // 2
            if self.lines[middle].start <= offset:
                low = middle + 1
            else:
                high = middle
        return max(low - 1, 0)

    def _wrap_from(self, start: int) -> None:
        """Wrap `text[start:]`, where `start` begins a line."""
        text, lines = self.text, self.lines
        if not text:
            return
        position = start
        while True:
            newline = text.find("\n", position)
            stop = len(text) if newline < 0 else newline
            self._wrap_paragraph(position, stop)
            if newline < 0:
                return
            position = newline + 1
            if position == len(text):
                lines.append(Line(position, position))  # where the next paragraph will begin
                return

    def _wrap_paragraph(self, start: int, stop: int) -> None:
        text, width, lines = self.text, self.width, self.lines
        plain = text[start:stop].isascii()
        while True:
            limit = min(start + width, stop) if plain else _fitting(text, start, stop, width)
            if limit >= stop:
                lines.append(Line(start, stop))
                return
            # A blank exactly at the limit is a break that costs no cell.
            cut = limit if text[limit] == " " else text.rfind(" ", start, limit)
            if cut <= start or not text[start:cut].strip():
                cut = limit  # a word wider than the line
            end = cut
            while end > start and text[end - 1] == " ":
                end -= 1
            lines.append(Line(start, end))
            start = cut
            while start < stop and text[start] == " ":
                start += 1
            if start >= stop:
                # Blanks to the end of the paragraph: the line they hang on must stay open for what comes next.
                lines[-1] = Line(lines[-1].start, stop) if stop == len(text) else lines[-1]
                return


def _fitting(text: str, start: int, stop: int, width: int) -> int:
    """The furthest offset to which `text[start:]` fits into `width` cells, at least one character on."""
    if cell_len(text[start : min(start + width, stop)]) <= width and start + width >= stop:
        return stop
    used = 0
    for offset in range(start, stop):
        used += get_character_cell_size(text[offset])
        if used > width:
            return max(offset, start + 1)
    return stop


def plain_cells(text: str) -> str:
    """`text` without the joiners that change the width of their neighbours, so that cells can be counted one by one."""
    return text.translate({0x200D: None, 0xFE0E: None, 0xFE0F: None})
