"""Which columns are in sight, which of them the keys are for, and how they are scrolled. A part of the screen, in a file of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.binding import Binding

from tinytales_tui.compare.column_view import ColumnView
from tinytales_tui.compare.columns import MOST
from tinytales_tui.compare.marked_story import MarkedStory
from tinytales_tui.compare.names import Names

if TYPE_CHECKING:
    from tinytales_tui.compare.screen import CompareScreen

NARROWEST = 29
"""Columns of the terminal that a story is given at least, where there is more than one in sight."""
ONE_AT_A_TIME = 60
"""Terminals narrower than this show one column."""
MOVING_BINDINGS = [
    Binding("l", "lock", "Lock", show=False, id="columns.lock", tooltip="Scroll all columns together, or each by itself"),
    Binding("f", "facts", "Facts", show=False, id="columns.facts", tooltip="Show or hide the figures under the columns"),
    Binding("tab,right", "move(1)", "Next", show=False, id="columns.next", tooltip="To the next column"),
    Binding("shift+tab,left", "move(-1)", "Before", show=False, id="columns.before", tooltip="To the column before"),
    Binding("up", "scroll(-1)", "Up", show=False, id="columns.up", tooltip="Scroll a line up"),
    Binding("down", "scroll(1)", "Down", show=False, id="columns.down", tooltip="Scroll a line down"),
    Binding("pageup", "scroll_page(-1)", "Up a page", show=False, id="columns.page_up", tooltip="Scroll a page up"),
    Binding("pagedown", "scroll_page(1)", "Down a page", show=False, id="columns.page_down", tooltip="Scroll a page down"),
    Binding("home", "scroll_end(False)", "Begin", show=False, id="columns.home", tooltip="To the beginning"),
    Binding("end", "scroll_end(True)", "End", show=False, id="columns.end", tooltip="To the end"),
]  # fmt: skip


class MovingKeys:
    """What the keys do that change nothing of the stories."""

    chosen = 0
    """The column that the keys are for."""
    locked = True
    """All columns are scrolled together."""
    _first = 0
    """The first column in sight."""
    _facts_wanted: bool | None = None
    """Whether the figures are shown; None: as there is room."""

    @property
    def in_sight(self: CompareScreen) -> int:
        """How many columns there is room for."""
        width = self.size.width
        return 1 if width < ONE_AT_A_TIME else min(MOST, width // NARROWEST)

    def _arrange(self: CompareScreen) -> None:
        """Show as many columns as fit, the chosen one among them."""
        count = len(self.columns)
        room = min(self.in_sight, max(count, 1))
        self._first = max(0, min(self._first, self.chosen, max(count - room, 0)), self.chosen - room + 1)
        for place, view in enumerate(self.views):
            view.display = self._first <= place < min(self._first + room, count)
            view.set_class(place == self._first, "-first")
            view.query_one("#facts").display = self._facts_shown
        self.query_one("#names", Names).display = count > room

    @property
    def _facts_shown(self: CompareScreen) -> bool:
        return not self.has_class("-low") if self._facts_wanted is None else self._facts_wanted

    def on_resize(self: CompareScreen) -> None:
        self.call_after_refresh(self._resized)

    def _resized(self: CompareScreen) -> None:
        self._arrange()
        if self.plan is not None and self.columns:
            self._show_facts()
        self._show_lines()

    def _choose_column(self: CompareScreen, place: int) -> None:
        if not 0 <= place < len(self.columns):
            return
        before, self.chosen = self.chosen, place
        self._arrange()
        for other in {before, place}:
            self.views[other].show(self.columns[other], other == place)
        self._show_lines()

    def action_move(self: CompareScreen, steps: int) -> None:
        if self.columns:
            self._choose_column((self.chosen + steps) % len(self.columns))

    def on_column_view_wanted(self: CompareScreen, event: ColumnView.Wanted) -> None:
        event.stop()
        self._choose_column(event.place)

    def on_names_wanted(self: CompareScreen, event: Names.Wanted) -> None:
        event.stop()
        self._choose_column(event.place)

    def action_facts(self: CompareScreen) -> None:
        self._facts_wanted = not self._facts_shown
        self._arrange()

    # Scrolling

    @property
    def _scrolled(self: CompareScreen) -> list[MarkedStory]:
        stories = [view.story for view in self.views[: len(self.columns)]]
        return stories if self.locked else stories[self.chosen : self.chosen + 1]

    def action_scroll(self: CompareScreen, lines: int) -> None:
        if self.columns:
            self._scroll_to(self.views[self.chosen].story.scroll_y + lines)

    def action_scroll_page(self: CompareScreen, pages: int) -> None:
        if self.columns:
            story = self.views[self.chosen].story
            self._scroll_to(story.scroll_y + pages * max(1, story.size.height - 1))

    def action_scroll_end(self: CompareScreen, end: bool) -> None:
        for story in self._scrolled:
            if end:
                story.go_to_end()
            else:
                story.lead(0)

    def _scroll_to(self: CompareScreen, y: float) -> None:
        for story in self._scrolled:
            story.lead(max(0, y))

    def on_marked_story_moved(self: CompareScreen, event: MarkedStory.Moved) -> None:
        event.stop()
        if self.locked:
            for view in self.views[: len(self.columns)]:
                if view.story is not event.view:
                    view.story.lead(event.y)

    def action_lock(self: CompareScreen) -> None:
        self.locked = not self.locked
        self._show_lines()
