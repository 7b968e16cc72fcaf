"""The page itself: a column in the middle of an empty screen. It is given lines and draws them."""

from __future__ import annotations

from collections.abc import Sequence

from rich.segment import Segment
from textual.strip import Strip
from textual.widget import Widget

from tinytales_tui.reading.paging import MEASURE


class PageView(Widget):
    """`show(lines)`: each with its tone, `title`, `facts` or `text`."""

    COMPONENT_CLASSES = {"page-view--title", "page-view--facts", "page-view--text"}

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._lines: list[tuple[str, str]] = []

    @property
    def column(self) -> int:
        """Columns of text."""
        return max(1, min(MEASURE, self.size.width - (4 if self.size.width >= 30 else 0)))

    @property
    def top(self) -> int:
        """Empty rows above the text."""
        return 2 if self.size.height >= 20 else 1 if self.size.height >= 8 else 0

    @property
    def rows(self) -> int:
        """Rows of text."""
        return max(1, self.size.height - self.top - (1 if self.size.height >= 8 else 0))

    def show(self, lines: Sequence[tuple[str, str]]) -> None:
        """Show these lines in place of the others."""
        self._lines = list(lines)
        self.refresh()

    def render_line(self, y: int) -> Strip:
        base, row = self.rich_style, y - self.top
        if not 0 <= row < len(self._lines):
            return Strip.blank(self.size.width, base)
        tone, words = self._lines[row]
        margin = Segment(" " * max(0, (self.size.width - self.column) // 2), base)
        return Strip([margin, Segment(words, self.get_component_rich_style(f"page-view--{tone}"))]).adjust_cell_length(
            self.size.width, base
        )
