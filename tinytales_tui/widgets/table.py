"""A table on the screen, one line an item: columns that fit, a cursor that stays with its item, headings between groups.

Lists of panes are made of it; what their columns say and what is done with an item is their business. Only the lines in
sight are made into text, so thousands of rows cost no more than a screenful.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tinytales_tui.text import both_ends, one_line
from tinytales_tui.widgets.columns import Column, Heading

T = TypeVar("T")
FRONT = 2
"""Cells before the first column, for marks."""
GAP = 2


class Table(ScrollView, Generic[T], can_focus=True):
    """`show(rows)`, again whenever they are others; posts `Moved` and `Opened`."""

    BINDINGS = [
        Binding("up,k", "move(-1)", "Up", show=False, id="table.up", tooltip="To the row above"),
        Binding("down,j", "move(1)", "Down", show=False, id="table.down", tooltip="To the row below"),
        Binding("home,g", "move(-1000000)", "First", show=False, id="table.first", tooltip="To the first row"),
        Binding("end,G", "move(1000000)", "Last", show=False, id="table.last", tooltip="To the last row"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="table.page_up", tooltip="A page up"),
        Binding("pagedown", "page(1)", "Page down", show=False, id="table.page_down", tooltip="A page down"),
    ]
    COMPONENT_CLASSES = {
        "table--head", "table--row", "table--good", "table--odd", "table--bad", "table--note", "table--muted", "table--cursor",
        "table--heading",
    }  # fmt: skip
    DEFAULT_CSS = """
    Table {
        overflow-x: hidden;
        scrollbar-size-vertical: 1;
        & .table--head, & .table--muted { color: $text-muted; }
        & .table--row { color: $foreground; }
        & .table--heading { color: $primary; text-style: bold; }
        & .table--good { color: $text-success; }
        & .table--odd { color: $text-warning; }
        & .table--bad { color: $text-error; }
        & .table--note { color: $primary; }
        & .table--cursor { background: $foreground 12%; }
        &:focus .table--cursor { background: $primary 28%; }
        &:nocolor .table--cursor { text-style: underline; }
        &:nocolor:focus .table--cursor { text-style: reverse; }
    }
    """

    class Moved(Message):
        """The cursor is on another item."""

        def __init__(self, table: Table[Any]) -> None:
            self.table = table
            super().__init__()

        @property
        def control(self) -> Table[Any]:
            return self.table

    class Opened(Moved):
        """A person wants to use the item under the cursor."""

    def __init__(self, columns: Sequence[Column[T]], id: str | None = None) -> None:
        super().__init__(id=id)
        self._every_column = list(columns)
        self.note = ""
        """What is said where there is no item."""
        self.rows: list[T | Heading] = []
        self._at: dict[str, int] = {}
        self._cursor = ""
        self._columns: list[Column[T]] = []
        self._columns_for = 0

    def key(self, item: T) -> str:
        """What an item is known by from one `show` to the next."""
        raise NotImplementedError

    def front(self, item: T) -> tuple[str, str]:
        """`FRONT` letters before the first column, and their tone."""
        return " " * FRONT, ""

    @property
    def highlighted(self) -> T | None:
        """The item under the cursor."""
        at = self._at.get(self._cursor)
        return self.rows[at] if at is not None else None  # type: ignore[return-value]

    @property
    def items(self) -> list[T]:
        """All rows that are items, in order."""
        return [row for row in self.rows if not isinstance(row, Heading)]

    def show(self, rows: Sequence[T | Heading]) -> None:
        """Show these; the cursor stays with the item it is on, or with its place where that has gone."""
        before = self._at.get(self._cursor, 0)
        changed = self.rows != list(rows)
        self.rows = list(rows)
        self._at = {self.key(row): at for at, row in enumerate(self.rows) if not isinstance(row, Heading)}
        if self._cursor not in self._at:
            places = list(self._at.values())
            near = next((at for at in places if at >= before), places[-1] if places else None)
            self._cursor = self.key(self.rows[near]) if near is not None else ""  # type: ignore[arg-type]
        self.virtual_size = Size(self.room, len(self.rows) + 1)
        if changed:
            self._columns = []
        if changed or not self.rows:
            self.refresh()

    def go_to(self, key: str) -> None:
        """Put the cursor on this item, where it is there."""
        if key in self._at:
            self._cursor = key
            self._keep_in_view(self._at[key])
            self.refresh()
            self.post_message(self.Moved(self))

    def action_move(self, steps: int) -> None:
        keys = list(self._at)
        if keys:
            at = keys.index(self._cursor) if self._cursor in self._at else 0
            self.go_to(keys[min(len(keys) - 1, max(0, at + steps))])

    def action_page(self, pages: int) -> None:
        self.action_move(pages * max(1, self.size.height - 2))

    def _keep_in_view(self, row: int) -> None:
        top, height = round(self.scroll_offset.y), max(1, self.size.height - 1)
        first = row - 1 if row and isinstance(self.rows[row - 1], Heading) else row  # its heading is shown with it
        if first < top:
            self.scroll_to(y=first, animate=False)
        elif row >= top + height:
            self.scroll_to(y=row - height + 1, animate=False)

    def on_click(self, event: events.Click) -> None:
        at = event.y + round(self.scroll_offset.y) - 1
        if event.y > 0 and 0 <= at < len(self.rows) and not isinstance(self.rows[at], Heading):
            again = self._cursor == self.key(self.rows[at])  # type: ignore[arg-type]
            self.go_to(self.key(self.rows[at]))  # type: ignore[arg-type]
            if event.x < FRONT:
                self.clicked_front()
            elif again and event.chain > 1:
                self.post_message(self.Opened(self))

    def clicked_front(self) -> None:
        """The marks of the row under the cursor were clicked."""

    # Drawing

    def on_resize(self) -> None:
        self._columns = []
        self.virtual_size = Size(self.room, len(self.rows) + 1)
        self.refresh()

    @property
    def room(self) -> int:
        """Cells that a row may take; the scroll bar has its own."""
        return self.scrollable_content_region.width

    @property
    def columns(self) -> list[Column[T]]:
        """Those that there is room for, in order."""
        if not self._columns or self._columns_for != self.room:  # a scroll bar that comes up sends no resize
            self._columns_for = self.room
            items = self.items if any(not column.must for column in self._every_column) else []
            kept = [column for column in self._every_column if column.must or any(column.text(item) for item in items)]
            while len(kept) > 1 and FRONT + kept[0].width + sum(column.width + GAP for column in kept[1:]) > self.room:
                kept.remove(max(kept[1:], key=lambda column: column.spare))
            self._columns = kept
        return self._columns

    def _cells(self, text: Callable[[Column[T]], str]) -> list[str]:
        columns = self.columns
        first = max(1, self.room - FRONT - sum(column.width + GAP for column in columns[1:]))
        cells = [_padded(both_ends(text(columns[0]), first), first, True)]
        return cells + [" " * GAP + _padded(text(column), column.width, column.left) for column in columns[1:]]

    def _tone(self, name: str) -> Style:
        return self.get_component_rich_style(f"table--{name or 'row'}")

    def render_line(self, y: int) -> Strip:
        width, base = self.room, self.rich_style
        at = y + round(self.scroll_offset.y) - 1
        if y == 0:
            words = " " * FRONT + "".join(self._cells(lambda column: column.title))
            return _strip([Segment(words, self._tone("head"))], width, base)
        if at >= len(self.rows):
            if y == 1 and not self.rows:
                return _strip([Segment("  " + one_line(self.note, max(1, width - 2)), self._tone("head"))], width, base)
            return Strip.blank(width, base)
        row = self.rows[at]
        if isinstance(row, Heading):
            return _strip([Segment(one_line(row.words, width), self._tone("heading"))], width, base)
        letters, tone = self.front(row)
        segments = [Segment(letters, self._tone(tone))]
        for column, cell in zip(self.columns, self._cells(lambda column: column.text(row)), strict=True):
            segments.append(Segment(cell, self._tone(column.tone(row) if column.tone else "")))
        if self.key(row) == self._cursor:
            cursor = self.get_component_rich_style("table--cursor")
            over = Style(bgcolor=cursor.bgcolor, reverse=cursor.reverse, underline=cursor.underline)
            segments = [Segment(text, (style or base) + over) for text, style, _ in segments]
        return _strip(segments, width, base)


def _strip(segments: list[Segment], width: int, base: Style) -> Strip:
    return Strip(segments).adjust_cell_length(width, base)


def _padded(words: str, width: int, left: bool) -> str:
    """Exactly `width` cells of it; letters that are two cells wide are counted as such."""
    words = one_line(words, width)
    if cell_len(words) > width:
        return set_cell_size(words, width)
    room = " " * (width - cell_len(words))
    return words + room if left else room + words
