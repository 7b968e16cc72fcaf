"""The page a story is written on: it takes text at its end, wraps words, and redraws only the lines that changed.

Drawn line by line (Textual's line API), so a long story costs no more than a short one. What it shows is plain text, never
markup, and control codes are taken out here as the last door before the terminal. It does not know where the text comes from.
"""

from __future__ import annotations

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Offset, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip

from tinytales_tui.text import safe_text
from tinytales_tui.widgets.wrap import WrappedText, plain_cells

MEASURE = 70
"""Widest line in columns; longer lines are hard to read."""


class StoryView(ScrollView, can_focus=True):
    """A scrolling page with a heading, given words (dimmer) and written words."""

    ALLOW_SELECT = True
    COMPONENT_CLASSES = {
        "story-view--heading",
        "story-view--given",
        "story-view--written",
        "story-view--title",
        "story-view--hint",
    }
    DEFAULT_CSS = """
    StoryView {
        overflow-x: hidden;
        overflow-y: auto;
        scrollbar-gutter: stable;
        scrollbar-size-vertical: 1;
        background: $background;
        & .story-view--heading { color: $text-muted; text-style: italic; }
        & .story-view--given { color: $text-muted; }
        & .story-view--written { color: $foreground; }
        & .story-view--title { color: $foreground; text-style: bold; }
        & .story-view--hint { color: $text-muted; }
        &:nocolor .story-view--given { text-style: dim; }
    }
    """

    class FollowChanged(Message):
        """The reader left the end of the story, or came back to it."""

        def __init__(self, view: StoryView, following: bool) -> None:
            self.following = following
            super().__init__()

    def __init__(self, *, half_pages: bool = False, id: str | None = None) -> None:
        super().__init__(id=id)
        self.half_pages = half_pages
        """Move half a page at a time while following: a scrolled page is sent whole, which a slow line feels."""
        self._heading = WrappedText()
        self._page = WrappedText()
        self._given = 0
        self._hints: list[tuple[str, str]] = []
        self._hint_lines: list[tuple[str, str]] = []
        self._follow = True
        self._anchor = 0
        self._moving = False

    # What a pane calls

    @property
    def text(self) -> str:
        """The text on the page, without the heading."""
        return self._page.text

    @property
    def following(self) -> bool:
        """Whether the end of the story is kept in sight."""
        return self._follow

    def show_story(self, heading: str, given: str, written: str) -> None:
        """Put a whole story on the page and go to its end."""
        given = self.showable(given)
        text = self._without_lead(given + self.showable(written), given == "")
        self._heading.set_text(safe_text(heading))
        self._given = len(given)
        self._page.set_text(text)
        self._set_follow(True)
        self._resized()

    def append(self, text: str) -> None:
        """Add written text at the end, following it if the reader is there."""
        text = self.showable(text)
        if not self._page.text:
            text = self._without_lead(text, True)
        if not text:
            return
        was_empty = self._empty
        first = self._page.append(text)
        if was_empty:
            self._resized()
            return
        self._measure_height()
        top = self._top
        self.refresh_lines(top + first, len(self._page.lines) - first)
        if self._follow:
            self._go_to_end()

    def showable(self, text: str) -> str:
        """The text as it may be drawn: without what could steer the terminal."""
        return plain_cells(safe_text(text))

    def _without_lead(self, text: str, strip: bool) -> str:
        """A model begins with a blank, which at the beginning of a page would only look like a slip."""
        return text.lstrip() if strip else text

    def set_hints(self, hints: list[tuple[str, str]]) -> None:
        """What stands on an empty page: (`title` or `hint`, words) a paragraph."""
        if hints != self._hints:
            self._hints = hints
            if self._empty:
                self._resized()

    def go_to_end(self) -> None:
        """Follow the story from now on."""
        self._set_follow(True)
        self._go_to_end()

    # Size and scrolling

    @property
    def _empty(self) -> bool:
        return not self._page.text and not self._heading.text

    @property
    def _top(self) -> int:
        """Rows above the first line of the story."""
        return 1 + (len(self._heading.lines) + 1 if self._heading.text else 0)

    @property
    def columns(self) -> int:
        """Columns there are beside the scrollbar."""
        return self.scrollable_content_region.width

    @property
    def measure(self) -> int:
        """Columns of text."""
        width = self.columns
        return max(min(MEASURE, width - (4 if width >= 40 else 2)), 1)

    @property
    def margin(self) -> int:
        """Columns left of the text."""
        return max((self.columns - self.measure) // 2, 0)

    def on_resize(self, event: events.Resize) -> None:
        self._resized()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if self._moving or not self.size:
            return
        self._set_follow(round(new_value) >= self.max_scroll_y)
        lines = self._page.lines
        row = round(new_value) - self._top
        self._anchor = lines[row].start if 0 <= row < len(lines) else 0

    def _set_follow(self, follow: bool) -> None:
        if follow != self._follow:
            self._follow = follow
            self.post_message(self.FollowChanged(self, follow))

    def _resized(self) -> None:
        """Wrap everything for the present width and stay where the reader was."""
        if self.columns <= 0:
            return
        width = self.measure
        at_top = round(self.scroll_y) <= 0
        self._heading.set_width(width)
        self._page.set_width(width)
        self._hint_lines = self._wrap_hints(width) if self._empty else []
        anchor = self._anchor
        self._moving = True
        try:
            self._measure_height()
            if self._empty:
                self.scroll_to(y=0, animate=False, force=True)
            elif self._follow:
                self._go_to_end()
            elif not at_top:
                self.scroll_to(y=self._top + self._page.line_at(anchor), animate=False, force=True)
        finally:
            self._moving = False
        self.refresh()

    def _measure_height(self) -> None:
        height = len(self._hint_lines) if self._empty else self._top + len(self._page.lines) + 1
        page = self.size.height
        if self.half_pages and height > page > 3:
            half = page // 2
            height = page + -(-(height - page) // half) * half
        size = Size(self.columns, height)
        if size != self.virtual_size:
            self.virtual_size = size

    def _go_to_end(self) -> None:
        if round(self.scroll_y) != self.max_scroll_y:
            moving, self._moving = self._moving, True
            try:
                self.scroll_to(y=self.max_scroll_y, animate=False, force=True)
            finally:
                self._moving = moving

    # Drawing

    def _wrap_hints(self, width: int) -> list[tuple[str, str]]:
        lines: list[tuple[str, str]] = []
        wrapped = WrappedText(width)
        for kind, words in self._hints:
            wrapped.set_text(words)
            lines += [(kind, wrapped.text[line.start : line.end]) for line in wrapped.lines] or [(kind, "")]
        above = max(min((self.size.height - len(lines)) // 3, 6), 1)
        return [("hint", "")] * above + lines

    def render_line(self, y: int) -> Strip:
        row = self.scroll_offset.y + y
        base = self.rich_style
        segments = self._segments(row, base)
        if not segments:
            return Strip.blank(self.size.width, base)
        body = Strip(segments).apply_offsets(0, row)
        left = Strip([Segment(" " * self.margin, base)], self.margin)
        return Strip.join([left, body]).crop_extend(0, self.size.width, base)

    def _segments(self, row: int, base: Style) -> list[Segment]:
        if self._empty:
            kind, words = self._hint_lines[row] if row < len(self._hint_lines) else ("hint", "")
            return [Segment(words, self._style(f"story-view--{kind}"))] if words else []
        if row < self._top:
            line = row - 1
            if not 0 <= line < len(self._heading.lines):
                return []
            bounds = self._heading.lines[line]
            return [Segment(self._heading.text[bounds.start : bounds.end], self._style("story-view--heading"))]
        line = row - self._top
        if line >= len(self._page.lines):
            return []
        bounds = self._page.lines[line]
        text = self._page.text[bounds.start : bounds.end]
        # The blank rest of the line belongs to the last piece: a piece of its own would cost its colours again, on every scroll.
        rest = " " * (self.size.width - self.margin - cell_len(text))
        return self._with_selection(self._pieces(bounds.start, text, rest), row, len(text))

    def _pieces(self, start: int, text: str, rest: str) -> list[Segment]:
        """One line of the story, which begins at the offset `start`, with the blank rest of its row."""
        split = min(max(self._given - start, 0), len(text))
        segments = []
        if split:
            segments.append(Segment(text[:split], self._style("story-view--given")))
        return [*segments, Segment(text[split:] + rest, self._style("story-view--written"))]

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(name)

    def _with_selection(self, segments: list[Segment], row: int, length: int) -> list[Segment]:
        selection = self.text_selection
        span = selection.get_span(row) if selection is not None else None
        if span is None:
            return segments
        start, end = min(span[0], length), span[1]
        end = length if end == -1 else min(end, length)
        # Only the background: the theme's foreground for a selection is meant to be blended with it, and alone would hide the text.
        background = self.screen.get_component_rich_style("screen--selection").bgcolor
        chosen = Style(bgcolor=background) if background and not self.app.no_color else Style(reverse=True)
        out, position = [], 0
        for text, style, _ in segments:
            low, high = max(start - position, 0), max(end - position, 0)
            for part, marked in ((text[:low], False), (text[low:high], True), (text[max(low, high) :], False)):
                if part:
                    out.append(Segment(part, (style or Style()) + chosen if marked else style))
            position += len(text)
        return out

    # Selecting

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """The selected part of the story, with its own line breaks and not those of the wrapping."""
        if self._empty:
            return None
        start = 0 if selection.start is None else self._offset_in_text(selection.start)
        end = len(self._page.text) if selection.end is None else self._offset_in_text(selection.end)
        return self._page.text[start:end], "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        self.refresh()

    def _offset_in_text(self, place: Offset) -> int:
        lines = self._page.lines
        row = place.y - self._top
        if row < 0 or not lines:
            return 0
        if row >= len(lines):
            return len(self._page.text)
        return min(lines[row].start + place.x, lines[row].end)
