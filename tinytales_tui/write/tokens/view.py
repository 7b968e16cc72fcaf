"""The page under the token cursor: every token in the colour of its surprise, one of them marked, and a passage selected."""

from __future__ import annotations

from collections.abc import Sequence

from rich.style import Style
from textual import events
from textual.message import Message
from textual.strip import Strip

from tinytales_tui.write.page import moves
from tinytales_tui.write.page.marked import MarkedView
from tinytales_tui.write.page.marks import Spans, kind_of
from tinytales_tui.write.tokens.steps import Step


class TokenView(MarkedView):
    """Has no keys of its own but scrolling; the screen says which token is marked."""

    class Pointed(Message):
        """A place of the story was clicked."""

        def __init__(self, place: int) -> None:
            self.place = place
            super().__init__()

    def __init__(self, *, half_pages: bool = False, id: str | None = None) -> None:
        super().__init__(half_pages=half_pages, id=id)
        self.can_focus = False
        self._marked: tuple[int, int] | None = None
        self._passage: tuple[int, int] | None = None

    def show_steps(self, heading: str, steps: Sequence[Step], colours: bool) -> None:
        """The story; with `colours`, how surprising each token was."""
        self.show_marked(heading, "".join(step.text for step in steps), _spans(steps, colours))

    def colour(self, steps: Sequence[Step], colours: bool) -> None:
        self._spans = _spans(steps, colours)
        self.refresh()

    def point(self, marked: tuple[int, int], passage: tuple[int, int] | None) -> None:
        """Mark the token that stands there, and keep it in sight."""
        self._marked, self._passage = marked, passage
        self._set_follow(False)
        row = self._top + moves.row_of(self._page, max(marked[0] - self._lead, 0))
        top, height = round(self.scroll_y), max(self.scrollable_content_region.height, 1)
        if not top + 1 <= row < top + height - 1:
            self.scroll_to(y=max(row - height // 2, 0), animate=False, force=True)
        self.refresh()

    def near(self, place: int, rows: int) -> int:
        """The place so many rows further down, in the same column."""
        at = max(place - self._lead, 0)
        row, column = moves.row_of(self._page, at), moves.column_of(self._page, at)
        return self._lead + moves.at_place(self._page, max(row + rows, 0), column)

    def on_click(self, event: events.Click) -> None:
        row = event.y + self.scroll_offset.y - self._top
        self.post_message(self.Pointed(self._lead + moves.at_place(self._page, row, event.x - self.margin)))

    def render_line(self, y: int) -> Strip:
        strip = super().render_line(y)
        line = self.scroll_offset.y + y - self._top
        if self._passage is not None:
            low, high = (place - self._lead for place in self._passage)
            strip = self._painted_range(strip, line, low, high, self._selection_style())
        if self._marked is not None:
            low, high = (place - self._lead for place in self._marked)
            low = max(low, 0)
            if low >= len(self._page.text):  # the end of the story, which has no letters
                if line == moves.row_of(self._page, low):
                    column = self.margin + moves.column_of(self._page, low)
                    return self._painted(strip, column, column + 1, Style(reverse=True))
                return strip
            if self._page.text[low:high].strip():  # the blank before a word stays as it is
                low += len(self._page.text[low:high]) - len(self._page.text[low:high].lstrip())
            strip = self._painted_range(strip, line, low, high, Style(reverse=True))
        return strip


def _spans(steps: Sequence[Step], colours: bool) -> Spans:
    spans = Spans()
    for step in steps if colours else ():
        if step.text:
            spans.add(step.end, kind_of(step.author, step.logprob, "surprise"))
    return spans
