"""The list of stories: ids are all it holds of most of them; lines are asked for when they come into sight."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from textual.binding import Binding
from textual.message import Message
from textual.strip import Strip

from tinytales_tui.library.finding import Order
from tinytales_tui.library.pane.telling import columns
from tinytales_tui.library.story import Listed
from tinytales_tui.text import one_line
from tinytales_tui.widgets.table import FRONT, GAP, Table

_KEPT = 1000
"""Lines that are kept; the oldest are forgotten first."""
_AROUND = 30
"""Lines that are asked for before and after those that are missing."""


class StoryList(Table[str]):
    """`show_stories(ids, lines)`; posts `Missing` for lines that it has to draw and does not have."""

    KEYS_HELP = ("In the list of stories", ())
    BINDINGS = [
        Binding("space", "mark", "Mark", show=False, id="stories.mark", tooltip="Mark a story: what is done next is done to all marked"),
    ]  # fmt: skip

    class Missing(Message):
        """These lines are in sight, or nearly."""

        def __init__(self, ids: Sequence[str]) -> None:
            self.ids = ids
            super().__init__()

    class Marked(Message):
        """Other stories are marked now."""

    def __init__(self, ascii: bool = False, id: str | None = None) -> None:
        self._mark, self._heart = ("x", "f") if ascii else ("●", "♥")
        self._lines: dict[str, Listed] = {}
        super().__init__(columns(self.line_of, self._name_of, "changed", self._heart), id)
        self.order: Order = "changed"
        self.marked: dict[str, None] = {}
        """Ids, in the order of marking."""
        self._missing: set[int] = set()

    def key(self, item: str) -> str:
        return item

    def front(self, item: str) -> tuple[str, str]:
        return (self._mark if item in self.marked else " ") + " ", "note"

    def __contains__(self, id: str) -> bool:
        return id in self._at

    def line_of(self, id: str) -> Listed | None:
        """A line; None as long as it is not there."""
        return self._lines.get(id)

    def _name_of(self, line: Listed) -> str:
        """Cut at its end, not in the middle as names of models are."""
        return one_line(line.name, self.room - FRONT - sum(column.width + GAP for column in self.columns[1:]))

    @property
    def chosen(self) -> list[str]:
        """What an action is for: the marked stories that are listed, in their order there, or else the one under the cursor."""
        marked = sorted((id for id in self.marked if id in self._at), key=self._at.__getitem__)
        return marked or [id for id in [self.highlighted] if id is not None]

    @property
    def in_sight(self) -> list[str]:
        """Ids of the rows on the screen, and the one under the cursor."""
        top = round(self.scroll_offset.y)
        seen = self.items[top : top + max(1, self.size.height)]
        return [*seen, *(id for id in [self.highlighted] if id is not None and id not in seen)]

    def show_stories(self, ids: Sequence[str], lines: Iterable[Listed], order: Order, *, top: bool = False) -> None:
        """List these; what was known of lines is forgotten. Cursor and marks stay with their stories, unless `top`."""
        self._lines.clear()
        self._missing.clear()
        if order != self.order:
            self.order, self._every_column = order, columns(self.line_of, self._name_of, order, self._heart)
            self._columns = []
        if top and ids:
            self._cursor = ids[0]
        self._put(lines)
        self.show(ids)
        if self._cursor in self._at:
            self._keep_in_view(self._at[self._cursor])
        self.refresh()

    def put(self, lines: Iterable[Listed]) -> None:
        """Lines that were missing have come."""
        self._put(lines)
        self._missing.clear()
        self.refresh()

    def _put(self, lines: Iterable[Listed]) -> None:
        for line in lines:
            self._lines[line.id] = line
        while len(self._lines) > _KEPT:
            del self._lines[next(iter(self._lines))]

    def render_line(self, y: int) -> Strip:
        at = y + round(self.scroll_offset.y) - 1
        if y and 0 <= at < len(self.rows) and self.rows[at] not in self._lines:
            if not self._missing:
                self.call_after_refresh(self._ask)
            self._missing.add(at)
        return super().render_line(y)

    def _ask(self) -> None:
        if self._missing:
            first, last = min(self._missing), max(self._missing)
            ids = [id for id in self.items[max(0, first - _AROUND) : last + _AROUND + 1] if id not in self._lines]
            self.post_message(self.Missing(ids))

    def action_mark(self) -> None:
        if self._cursor in self.marked:
            del self.marked[self._cursor]
        elif self.highlighted is not None:
            self.marked[self._cursor] = None
        self.action_move(1)
        self.refresh()
        self.post_message(self.Marked())

    def clicked_front(self) -> None:
        self.action_mark()

    def unmark(self) -> None:
        """Take all marks away."""
        self.marked = {}
        self.refresh()
        self.post_message(self.Marked())
