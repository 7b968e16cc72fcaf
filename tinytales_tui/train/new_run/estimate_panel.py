"""What the run would take, beside the form: nothing yet, a measurement that goes on, its figures, or why there are none."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from tinytales_tui.text import one_line
from tinytales_tui.train.new_run.estimating import Line

NAME_WIDTH = 6
TWO_COLUMNS_FROM = 70
"""Columns from which two figures stand side by side, where the panel is below the form."""


def figures_text(lines: Sequence[Line], width: int, stale: bool, mark: Style, warn: Style) -> Text:
    """The figures in `width` columns, two in a row where both fit; greyed where they are of other settings."""
    text = Text()
    half = (width - 2) // 2
    fits = width >= TWO_COLUMNS_FROM
    column = 0
    for at, line in enumerate(lines):
        words = f"! {line.words}" if line.warning else line.words
        alone = not fits or NAME_WIDTH + 1 + cell_len(words) > half
        if column and alone:
            text.append("\n")
            column = 0
        piece = Text(f"{line.name:<{NAME_WIDTH}} ", style=mark)
        piece.append(words, style=warn if line.warning else Style())
        if fits and not alone and not column and at + 1 < len(lines):
            piece.pad_right(half + 2 - piece.cell_len)
            text.append_text(piece)
            column = 1
            continue
        text.append_text(piece)
        column = 0
        if at + 1 < len(lines):
            text.append("\n")
    if stale:
        text.stylize(mark)
    return text


class EstimatePanel(VerticalScroll, can_focus=False):
    """Says one of: how to measure, what the measurement is doing, its figures, why it failed."""

    COMPONENT_CLASSES = {"estimate--title", "estimate--muted", "estimate--warning", "estimate--problem"}
    DEFAULT_CSS = """
    EstimatePanel {
        height: auto;
        scrollbar-size-vertical: 1;
        & .estimate--title { color: $primary; text-style: bold; }
        & .estimate--muted { color: $text-muted; }
        & .estimate--warning { color: $text-warning; text-style: bold; }
        & .estimate--problem { color: $text-error; }
        & > Static { height: auto; }
        &:focus { background: $primary 18%; }
        &:focus > Static { text-style: bold; }
    }
    """

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._lines: Sequence[Line] = ()
        self._stale = False
        self._words = ""
        self._trouble = ""
        self._measuring = False
        self.body = Static("", markup=False)

    def compose(self) -> ComposeResult:
        yield self.body

    def on_mount(self) -> None:
        self.draw()

    def on_resize(self) -> None:
        self.draw()

    def progress(self, words: str) -> None:
        """A measurement goes on; figures of before stay, greyed."""
        self._measuring, self._words, self._trouble, self._stale = True, words, "", True
        self.draw()

    def result(self, lines: Sequence[Line]) -> None:
        self._measuring, self._trouble, self._lines, self._stale = False, "", lines, False
        self.draw()

    def failed(self, sentence: str) -> None:
        self._measuring, self._trouble, self._lines = False, sentence, ()
        self.draw()

    def ended(self) -> None:
        """The measurement was ended without figures."""
        self._measuring = False
        self.draw()

    def settings_changed(self, same: bool) -> None:
        """Whether the figures are still those of the settings in the form."""
        if self._trouble or (self._lines and self._stale == same):
            self._trouble, self._stale = "", not same
            self.draw()

    def draw(self) -> None:
        """Put together what stands here now."""
        style = self.get_component_rich_style
        muted, title = style("estimate--muted", partial=True), style("estimate--title", partial=True)
        width = self.size.width
        text = Text("Estimate", style=title, overflow="fold")
        if self._measuring:
            text.append(f"  {one_line(self._words, max(width * 2 - 40, 20))}  (esc ends it)", style=muted)
        elif self._trouble:
            text.append(f"  {one_line(self._trouble, 500)}", style=style("estimate--problem", partial=True))
        elif self._lines and self._stale:
            text.append("  of other settings; ctrl+t measures anew", style=muted)
        elif self._lines:
            text.append("  measured with this machine as busy as it is", style=muted)
        else:
            text.append("  ctrl+t measures time, memory, disk", style=muted)
        if self._lines:
            text.append("\n")
            warn = style("estimate--warning", partial=True)
            text.append_text(figures_text(self._lines, width, self._stale, muted, warn))
        self.body.update(text)
        self.call_after_refresh(self._settle)

    def _settle(self) -> None:
        """Only a panel that has more than it shows needs keys to scroll it."""
        self.can_focus = self.max_scroll_y > 0
