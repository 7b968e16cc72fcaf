"""A few lines of text in tones of their own, each cut at the right; only drawn again when they change."""

from __future__ import annotations

from collections.abc import Sequence

from rich.style import Style
from rich.text import Text
from textual.widget import Widget


class Lines(Widget):
    """`show(lines)`; the tones are set by the pane that it stands in."""

    DEFAULT_CSS = """
    Lines { height: auto; padding: 0 1; }
    """
    COMPONENT_CLASSES = {"lines--muted", "lines--strong", "lines--good", "lines--note", "lines--warning", "lines--bad"}

    def __init__(self, count: int, id: str | None = None) -> None:
        super().__init__(id=id)
        self.styles.height = count
        self._lines: list[Text] = []

    def show(self, lines: Sequence[Text]) -> None:
        """Show these lines in place of the others."""
        lines = list(lines)
        if lines != self._lines:
            self._lines = lines
            self.refresh()

    def tone(self, name: str) -> Style:
        """The style of a component, for parts of a line."""
        return self.get_component_rich_style(f"lines--{name}", partial=True)

    def render(self) -> Text:
        lines = []
        for line in self._lines:
            cut = line.copy()
            cut.truncate(max(1, self.size.width), overflow="ellipsis")
            lines.append(cut)
        return Text("\n").join(lines)
