"""The page of one column: a story with marks for what it has in common with the first column, and for words of its own.

What is marked is told by offsets into its `text`; the page does not know the other columns. It has no keys: the screen scrolls it.
"""

from __future__ import annotations

import bisect
import time
from collections.abc import Sequence

from rich.segment import Segment
from rich.style import Style
from textual import events, scrollbar
from textual.geometry import Size
from textual.message import Message

from tinytales_tui.compare.differences import Mark
from tinytales_tui.compare.tones import tone
from tinytales_tui.widgets.story_view import StoryView

BY_HAND_S = 0.5
"""So long after the wheel or the scrollbar was used, a page that moves is moved by a person."""


class MarkedStory(StoryView, can_focus=False, inherit_bindings=False):
    """`set_marks` may be called for every batch of tokens.

    It never has the focus: with every change of that, Textual builds the line of keys anew, which takes longer than a key may.
    """

    COMPONENT_CLASSES = {"story-view--same", "story-view--alone"}
    DEFAULT_CSS = """
    MarkedStory {
        & .story-view--same { color: $text-muted; }
        & .story-view--alone { color: $text-accent; text-style: bold; }
        &:nocolor .story-view--same { text-style: italic; }
        &:nocolor .story-view--alone { text-style: bold underline; }
    }
    """

    class Moved(Message):
        """A person has scrolled it with the mouse."""

        def __init__(self, view: MarkedStory, y: int) -> None:
            self.view = view
            self.y = y
            super().__init__()

    def __init__(self, *, id: str | None = None) -> None:
        # Four pages that scroll with every piece of text would be drawn anew all the time, and nobody could read them.
        super().__init__(half_pages=True, id=id)
        self._marks: tuple[Mark, ...] = ()
        self._mark_ends: list[int] = []
        self._by_hand = 0.0

    @property
    def marks(self) -> tuple[Mark, ...]:
        return self._marks

    def set_marks(self, marks: Sequence[Mark]) -> None:
        """Mark these stretches, in the order of the text, in place of the ones before."""
        marks = tuple(marks)
        if marks != self._marks:
            grown = len(marks) == len(self._marks) == 1 and marks[0].end >= self._marks[0].end
            before = self._marks[0].end if grown else 0
            self._marks = marks
            self._mark_ends = [mark.end for mark in marks]
            if grown:  # what is appended is drawn anyway; only the lines between need it
                first, last = self._page.line_at(before), self._page.line_at(marks[0].end)
                self.refresh_lines(self._top + first, last - first + 1)
            else:
                self.refresh()

    def lead(self, y: float) -> None:
        """Scroll to a line because another column was scrolled; where it ends sooner, to its end."""
        self._by_hand = 0.0
        self.scroll_to(y=min(y, self.max_scroll_y), animate=False, force=True)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if not self._moving and time.monotonic() - self._by_hand < BY_HAND_S:
            self.post_message(self.Moved(self, round(new_value)))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self._by_hand = time.monotonic()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self._by_hand = time.monotonic()

    def on_scroll_to(self, event: scrollbar.ScrollTo) -> None:
        self._by_hand = time.monotonic()

    def on_scroll_up(self, event: scrollbar.ScrollUp) -> None:
        self._by_hand = time.monotonic()

    def on_scroll_down(self, event: scrollbar.ScrollDown) -> None:
        self._by_hand = time.monotonic()

    def _measure_height(self) -> None:
        # A page that is not full yet counts as full: whenever its height is another, Textual draws all of it again.
        height, page = self._top + len(self._page.lines) + 1, self.size.height
        if self._empty or height > page:
            super()._measure_height()
        elif self.virtual_size != (size := Size(self.columns, page)):
            self.virtual_size = size

    def _segments(self, row: int, base: Style) -> list[Segment]:
        segments = super()._segments(row, base)
        line = row - self._top
        if not self._marks or self._empty or not 0 <= line < len(self._page.lines):
            return segments
        bounds = self._page.lines[line]
        first = bisect.bisect_right(self._mark_ends, bounds.start)
        if first == len(self._marks) or self._marks[first].start >= bounds.end:
            return segments
        return self._restyled(segments, bounds.start, bounds.end, first)

    def _restyled(self, segments: list[Segment], start: int, end: int, first: int) -> list[Segment]:
        """One line, `text[start:end]`, with the marks from the place `first` on."""
        styles = {kind: tone(self, f"story-view--{kind}") for kind in ("same", "alone")}
        out: list[Segment] = []
        place, position = first, start
        for text, style, _ in segments:
            cut = 0
            while cut < len(text):
                while place < len(self._marks) and self._marks[place].end <= position:
                    place += 1
                mark = self._marks[place] if place < len(self._marks) else None
                if mark is None or mark.start >= end or position >= end:
                    length, chosen = len(text) - cut, style
                elif position < mark.start:
                    length, chosen = min(len(text) - cut, mark.start - position), style
                else:
                    length = min(len(text) - cut, min(mark.end, end) - position)
                    chosen = (style or Style()) + styles[mark.kind]
                out.append(Segment(text[cut : cut + length], chosen))
                cut += length
                position += length
        return out
