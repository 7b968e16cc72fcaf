"""The list of checkpoints: rows, marks, a filter, an order, groups."""

from __future__ import annotations

from collections.abc import Sequence

from textual.binding import Binding
from textual.message import Message

from engine.catalog.entries import Entry
from tinytales_tui.checkpoints.rows import COLUMNS, GROUPS, SORTS, badge, badge_tone, grouped, matching, ordered
from tinytales_tui.widgets.columns import Column
from tinytales_tui.widgets.table import Table


class EntryList(Table[Entry]):
    """`show_entries(entries)`; posts what a person wants with them."""

    KEYS_HELP = ("In the list of checkpoints", ())
    BINDINGS = [
        Binding("enter", "open", "Write", id="entries.open", tooltip="Write stories with this checkpoint"),
        Binding("space", "mark", "Mark", id="entries.mark", tooltip="Mark a checkpoint: marked ones are deleted or verified together"),
        Binding("s", "sort", "Order", show=False, id="entries.sort", tooltip="Order the list by another column"),
        Binding("S", "turn", "Turn", show=False, id="entries.turn", tooltip="Turn the order round"),
        Binding("o", "group", "Group", show=False, id="entries.group", tooltip="Group by origin, by family, or not at all"),
    ]  # fmt: skip

    class Changed(Message):
        """Marks, order or groups are others now."""

        def __init__(self, what: str) -> None:
            self.what = what
            super().__init__()

    def __init__(self, id: str | None = None) -> None:
        last = Column[Entry]("badge", 7, self._badge_of, 1, left=True, tone=lambda entry: badge_tone(self._badge_of(entry)))
        super().__init__([*COLUMNS, last], id)
        self.marked: list[str] = []
        """Keys, in the order of marking."""
        self.sort, self.reverse, self.group = SORTS[0], False, GROUPS[0]
        self.compared = ""
        """Key of the first of two that are to be compared."""
        self.words = ""
        """The filter."""
        self._standing = ""
        self._damaged: frozenset[str] = frozenset()
        self._entries: Sequence[Entry] = ()

    def _badge_of(self, entry: Entry) -> str:
        return badge(entry, self._damaged)

    def key(self, item: Entry) -> str:
        return item.key

    def front(self, item: Entry) -> tuple[str, str]:
        marked = "A" if item.key == self.compared else "●" if item.key in self.marked else " "
        return marked + ("▸" if item.source == self._standing else " "), "note"

    @property
    def chosen(self) -> list[Entry]:
        """What an action is for: the marked ones that are in sight, or else the one under the cursor."""
        by_key = {entry.key: entry for entry in self.items}  # nothing is done to what the filter hides
        marked = [by_key[key] for key in self.marked if key in by_key]
        return marked or [entry for entry in [self.highlighted] if entry is not None]

    def show_entries(self, entries: Sequence[Entry], standing: str = "", damaged: frozenset[str] = frozenset()) -> None:
        """List these, filtered, ordered and grouped as is set; cursor and marks stay with what they were on.

        `standing` is the source that is used where none is named, `damaged` has the keys of those whose checksums are wrong.
        """
        if (standing, damaged) != (self._standing, self._damaged):
            self._standing, self._damaged = standing, damaged
            self.refresh()
        self._entries = entries
        known = {entry.key for entry in entries}
        self.marked = [key for key in self.marked if key in known]
        self.show(grouped(ordered(matching(entries, self.words), self.sort, self.reverse), self.group))

    def again(self) -> None:
        """Show the same once more, since an order or a mark is another one."""
        before = self._cursor
        self.show_entries(self._entries, self._standing, self._damaged)
        if self._cursor in self._at:
            self._keep_in_view(self._at[self._cursor])
        self.refresh()
        if self._cursor != before:
            self.post_message(self.Moved(self))

    def set_filter(self, words: str) -> None:
        """Show only what matches, loosely; empty shows all."""
        self.words = words.strip()
        self.again()

    def action_open(self) -> None:
        if self.highlighted is not None:
            self.post_message(self.Opened(self))

    def action_mark(self) -> None:
        if self._cursor in self.marked:
            self.marked.remove(self._cursor)
        elif self.highlighted is not None:
            self.marked.append(self._cursor)
        self.action_move(1)
        self.refresh()
        self.post_message(self.Changed("marks"))

    def clicked_front(self) -> None:
        self.action_mark()

    def unmark(self) -> None:
        """Take all marks away."""
        self.marked = []
        self.refresh()
        self.post_message(self.Changed("marks"))

    def action_sort(self) -> None:
        self.sort, self.reverse = SORTS[(SORTS.index(self.sort) + 1) % len(SORTS)], False
        self.again()
        self.post_message(self.Changed("order"))

    def action_turn(self) -> None:
        self.reverse = not self.reverse
        self.again()
        self.post_message(self.Changed("order"))

    def action_group(self) -> None:
        self.group = GROUPS[(GROUPS.index(self.group) + 1) % len(GROUPS)]
        self.again()
        self.post_message(self.Changed("groups"))
