"""Paints a page of a log, row by row: a mark for errors and warnings, the text, what was searched for, and a bar for the place.

It shows what it is given and knows no file. Turning the wheel and dragging the bar are told to whoever made it.
"""

from __future__ import annotations

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region
from textual.message import Message
from textual.selection import Selection
from textual.strip import Strip
from textual.widget import Widget

from tinytales_tui.text import safe_text
from tinytales_tui.train.log.layout import Row
from tinytales_tui.train.log.pager import Page
from tinytales_tui.widgets.wrap import WrappedText

GUTTER = 2
"""Columns left of the text: the mark of the level, and one for the line that was found or goes on to the left."""
BAR = 1
"""Columns of the bar that shows the place in the log."""
_MARKS = {"error": "E", "warning": "W"}
_WHEEL = 3


class LogCanvas(Widget, can_focus=True):
    """A page of rows."""

    KEYS_HELP = ("In the log", (("wheel", "Scroll"), ("drag the bar", "Go to a place in the log")))

    ALLOW_SELECT = True
    COMPONENT_CLASSES = {
        f"log--{name}" for name in ("error", "warning", "info", "debug", "text", "found", "bar", "thumb", "words")
    }
    DEFAULT_CSS = """
    LogCanvas {
        height: 1fr;
        background: $background;
        & .log--error { color: $error; }
        & .log--warning { color: $warning; }
        & .log--info, & .log--text { color: $foreground; }
        & .log--debug, & .log--words { color: $text-muted; }
        & .log--found { color: $background; background: $primary; }
        & .log--bar { color: $foreground 20%; }
        & .log--thumb { color: $foreground 45%; }
        &:focus .log--thumb { color: $primary; }
        &:nocolor .log--error { text-style: bold; }
        &:nocolor .log--found { text-style: reverse; }
        &:nocolor:focus .log--thumb { text-style: bold; }
    }
    """

    class Moved(Message):
        """The wheel was turned: so many rows down, or columns to the right."""

        def __init__(self, rows: int, columns: int) -> None:
            self.rows, self.columns = rows, columns
            super().__init__()

    class Dragged(Message):
        """The bar was taken to a place: 0 is the beginning of the log, 1 its end."""

        def __init__(self, fraction: float) -> None:
            self.fraction = fraction
            super().__init__()

    class Selecting(Message):
        """The reader selects something: what is shown should stand still."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.page = Page()
        self._words: list[str] = []
        self._dragging = False

    def show(self, page: Page) -> None:
        """Paint another page; only rows that look different are drawn again."""
        old, self.page = self.page, page
        if page.empty or old.empty:
            self._wrap_words()
            self.refresh()
            return
        rows = max(len(old.rows), len(page.rows))
        if [row.start for row in old.rows] != [row.start for row in page.rows] and self.text_selection is not None:
            self.screen.clear_selection()  # it was made of rows that are elsewhere now
        thumbs = self._thumb(old), self._thumb(page)
        changed = [
            Region(0, y, self.size.width, 1)
            for y in range(self.size.height)
            if (y < rows and old.rows[y : y + 1] != page.rows[y : y + 1]) or (y in thumbs[0]) != (y in thumbs[1])
        ]
        if changed:
            self.refresh(*changed)

    # Painting

    def render_line(self, y: int) -> Strip:
        width, base = self.size.width, self.rich_style
        if self.page.empty:
            words = self._words[y] if y < len(self._words) else ""
            return Strip([Segment(words, self._style("words"))]).crop_extend(0, width, base)
        bar = self._bar(y)
        if y >= len(self.page.rows):
            return Strip.join([Strip.blank(max(0, width - BAR), base), Strip([bar])])
        row = self.page.rows[y]
        level = self._style(row.level or "text")
        mark = _MARKS.get(row.level, " ") if row.first else " "
        side = "▸" if row.found and row.first else "‹" if row.cut[0] else " "
        gutter = Strip([Segment(mark, level + Style(bold=True)), Segment(side, self._style("words"))])
        text = Strip(self._text(row, y, level)).apply_offsets(0, y)
        body = text.crop_extend(0, max(0, width - GUTTER - BAR), base)
        return Strip.join([gutter, body, Strip([bar])]).crop_extend(0, width, base)

    def _text(self, row: Row, y: int, level: Style) -> list[Segment]:
        # The last door before the terminal: nothing in a log may steer it.
        segments = [Segment(safe_text(row.text).replace("\n", " "), level)]
        found = self._style("found") + Style(bold=row.found)
        for start, end in row.spans:
            segments = _painted(segments, start, end, found)
        selection = self.text_selection
        span = selection.get_span(y) if selection is not None else None
        if span is not None:
            background = self.screen.get_component_rich_style("screen--selection").bgcolor
            chosen = Style(bgcolor=background) if background and not self.app.no_color else Style(reverse=True)
            segments = _painted(segments, span[0], len(row.text) if span[1] < 0 else span[1], chosen)
        if row.cut[1]:
            used = sum(cell_len(segment.text) for segment in segments)
            space = self.size.width - GUTTER - BAR - used
            line = Strip(segments).crop_extend(0, max(0, used + space - 1), level)
            segments = [*line, Segment("›", self._style("words"))]
        return segments

    def _bar(self, y: int) -> Segment:
        thumb = self._thumb(self.page)
        if len(thumb) >= self.size.height:
            return Segment(" ", self.rich_style)
        return Segment("█", self._style("thumb")) if y in thumb else Segment("│", self._style("bar"))

    def _thumb(self, page: Page) -> range:
        """Rows of the bar that stand for what is in sight."""
        height = self.size.height
        begin = min(int(page.thumb[0] * height), max(0, height - 1))
        end = height if page.thumb[1] >= 1 else min(height, round(page.thumb[1] * height))
        return range(begin, max(end, begin + 1))

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(f"log--{name}")

    def _wrap_words(self) -> None:
        wrapped = WrappedText(max(1, min(60, self.size.width - 4)))
        wrapped.set_text(safe_text(self.page.empty))
        lines = [wrapped.text[line.start : line.end] for line in wrapped.lines]
        self._words = [""] * max(0, (self.size.height - len(lines)) // 3) + ["  " + line for line in lines]

    def on_resize(self) -> None:
        self._wrap_words()

    # Selecting

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """The selected rows; the pieces of a line that was wrapped are put together again."""
        parts: list[str] = []
        for y, row in enumerate(self.page.rows):
            span = selection.get_span(y)
            if span is None:
                continue
            text = row.text[span[0] : len(row.text) if span[1] < 0 else span[1]]
            if parts and not row.first:
                parts[-1] += text
            else:
                parts.append(text)
        return ("\n".join(parts), "\n") if parts else None

    def selection_updated(self, selection: Selection | None) -> None:
        if selection is not None:
            self.post_message(self.Selecting())
        self.refresh()

    # The mouse

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self._wheel(event, 1)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self._wheel(event, -1)

    def _wheel(self, event: events.MouseEvent, way: int) -> None:
        event.stop()
        sideways = event.shift or event.ctrl
        self.post_message(self.Moved(0, way * 8) if sideways else self.Moved(way * _WHEEL, 0))

    def on_mouse_down(self, event: events.MouseDown) -> None:
        if event.x >= self.size.width - BAR:
            event.stop()
            self._dragging = True
            self.capture_mouse()
            self._drag(event.y)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        if self._dragging:
            self._drag(event.y)

    def on_mouse_up(self) -> None:
        if self._dragging:
            self._dragging = False
            self.release_mouse()

    def _drag(self, y: int) -> None:
        last = max(1, self.size.height - 1)
        self.post_message(self.Dragged(min(1.0, max(0, y) / last)))


def _painted(segments: list[Segment], start: int, end: int, style: Style) -> list[Segment]:
    """The segments with `style` over the characters from `start` to `end`."""
    out, at = [], 0
    for text, own, _ in segments:
        low, high = max(start - at, 0), max(end - at, 0)
        for part, marked in ((text[:low], False), (text[low:high], True), (text[max(low, high) :], False)):
            if part:
                out.append(Segment(part, (own or Style()) + style if marked else own))
        at += len(text)
    return out
