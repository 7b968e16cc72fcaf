"""The list of runs on the screen: one row each, marks for comparing, a filter, an order. Wide or as a narrow strip beside the charts."""

from __future__ import annotations

from collections.abc import Sequence

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding
from textual.fuzzy import Matcher
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from engine.watching.feed import Feed
from tinytales_tui.text import one_line
from tinytales_tui.train.runs.rows import BADGES, SORTS, head_text, ordered, row_text, shown_names

_TONES = {
    "running": "good", "following": "good", "starting": "good", "failed": "bad", "stale": "bad", "paused": "odd", "stopping": "odd",
}  # fmt: skip


class RunsList(ScrollView, can_focus=True):
    """`show(feeds, ...)`; posts what a person wants with them."""

    KEYS_HELP = ("In the list of runs", ())

    BINDINGS = [
        Binding("up,k", "move(-1)", "Up", show=False, id="runs.up", tooltip="To the run above"),
        Binding("down,j", "move(1)", "Down", show=False, id="runs.down", tooltip="To the run below"),
        Binding("home,g", "move(-100000)", "First", show=False, id="runs.first", tooltip="To the first run"),
        Binding("end,G", "move(100000)", "Last", show=False, id="runs.last", tooltip="To the last run"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="runs.page_up"),
        Binding("pagedown", "page(1)", "Page down", show=False, id="runs.page_down"),
        Binding("enter", "open", "Open", id="runs.open", tooltip="Show this run"),
        Binding(
            "space", "mark", "Mark", id="runs.mark", tooltip="Mark a run: marked ones are drawn together, and deleted together"
        ),
        Binding("s", "sort", "Order", id="runs.sort", tooltip="Order the list by another column"),
        Binding("slash", "filter", "Filter", key_display="/", id="runs.filter", tooltip="Show only runs whose name matches"),
    ]
    COMPONENT_CLASSES = {"runs--head", "runs--row", "runs--good", "runs--bad", "runs--odd", "runs--open", "runs--cursor"}
    DEFAULT_CSS = """
    RunsList {
        scrollbar-size-vertical: 1;
        & .runs--head { color: $text-muted; }
        & .runs--row { color: $foreground; }
        & .runs--good { color: $text-success; }
        & .runs--bad { color: $text-error; }
        & .runs--odd { color: $text-warning; }
        & .runs--open { color: $primary; text-style: bold; }
        & .runs--cursor { background: $foreground 12%; }
        &:focus .runs--cursor { background: $primary 28%; }
        &:nocolor .runs--cursor { text-style: underline; }
        &:nocolor:focus .runs--cursor { text-style: reverse; }
    }
    """

    class Opened(Message):
        """A person wants to see this run."""

        def __init__(self, key: str) -> None:
            self.key = key
            super().__init__()

    class Moved(Message):
        """The cursor is on another run."""

    class Marked(Message):
        """Other runs are marked now."""

    class FilterWanted(Message):
        """A person wants to type a filter."""

    class SortChanged(Message):
        """The order is another one now."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.marked: list[str] = []
        """Keys, in the order in which they were marked."""
        self.sort = SORTS[0]
        self.words = ""
        """The filter."""
        self.note = ""
        """What is said where there is nothing to list."""
        self.shown: list[Feed] = []
        self._feeds: Sequence[Feed] = ()
        self._names: dict[str, str] = {}
        self._open = ""
        self._cursor = ""
        self._rows: list[object] = []

    @property
    def highlighted(self) -> Feed | None:
        """The run that the cursor is on."""
        return next((feed for feed in self.shown if feed.key == self._cursor), None)

    @property
    def chosen(self) -> list[Feed]:
        """What an action is for: the marked runs, or else the one under the cursor."""
        by_key = {feed.key: feed for feed in self.shown}  # nothing is done to a run that the filter hides
        marked = [by_key[key] for key in self.marked if key in by_key]
        return marked or [feed for feed in [self.highlighted] if feed is not None]

    def show(self, feeds: Sequence[Feed], open_key: str) -> None:
        """List these; cursor, marks and place stay with the runs they were on."""
        self._feeds, self._open = feeds, open_key
        known = {feed.key for feed in feeds}
        self.marked = [key for key in self.marked if key in known]
        self._names = shown_names(feeds)
        found = ordered(feeds, self.sort)
        if self.words:
            matcher = Matcher(self.words)
            found = [feed for feed in found if matcher.match(self._names[feed.key]) > 0]
        before = [feed.key for feed in self.shown]
        self.shown = found
        if found and all(feed.key != self._cursor for feed in found):
            place = min(before.index(self._cursor), len(found) - 1) if self._cursor in before else 0
            self._cursor = open_key if any(feed.key == open_key for feed in found) else found[place].key
        self.virtual_size = Size(self.size.width, len(found) + 1)
        rows = [self._row_key(feed) for feed in found]
        if rows != self._rows:
            self._rows = rows
            self.refresh()

    def set_filter(self, words: str) -> None:
        """Show only runs whose name matches, loosely; empty shows all."""
        self.words = words.strip()
        self.show(self._feeds, self._open)
        self.refresh()

    def _row_key(self, feed: Feed) -> object:
        return (
            row_text(feed, self.size.width, self._names[feed.key]),
            feed.key in self.marked,
            feed.key == self._open,
            feed.status.state,
        )

    def action_move(self, steps: int) -> None:
        keys = [feed.key for feed in self.shown]
        if keys:
            at = keys.index(self._cursor) if self._cursor in keys else 0
            at = min(len(keys) - 1, max(0, at + steps))
            self._cursor = keys[at]
            self._keep_in_view(at + 1)
            self.refresh()
            self.post_message(self.Moved())

    def action_page(self, pages: int) -> None:
        self.action_move(pages * max(1, self.size.height - 2))

    def _keep_in_view(self, line: int) -> None:
        top, height = round(self.scroll_offset.y), max(1, self.size.height)
        if line - 1 < top:
            self.scroll_to(y=line - 1, animate=False)
        elif line >= top + height:
            self.scroll_to(y=line - height + 1, animate=False)

    def action_open(self) -> None:
        if self.highlighted is not None:
            self.post_message(self.Opened(self.highlighted.key))

    def action_mark(self) -> None:
        if self._cursor in self.marked:
            self.marked.remove(self._cursor)
        elif self.highlighted is not None:
            self.marked.append(self._cursor)
        self._rows = []
        self.show(self._feeds, self._open)
        self.action_move(1)
        self.post_message(self.Marked())

    def unmark(self) -> None:
        """Take all marks away."""
        self.marked = []
        self._rows = []
        self.show(self._feeds, self._open)
        self.post_message(self.Marked())

    def action_sort(self) -> None:
        self.sort = SORTS[(SORTS.index(self.sort) + 1) % len(SORTS)]
        self.show(self._feeds, self._open)
        self.refresh()
        self.post_message(self.SortChanged())

    def action_filter(self) -> None:
        self.post_message(self.FilterWanted())

    def on_click(self, event: events.Click) -> None:
        line = event.y + round(self.scroll_offset.y) - 1
        if 0 <= line < len(self.shown):
            again = self._cursor == self.shown[line].key
            self._cursor = self.shown[line].key
            self.refresh()
            if event.x < 2:
                self.action_mark()
            elif again or event.chain > 1:
                self.action_open()

    def on_resize(self) -> None:
        self._rows = []
        self.show(self._feeds, self._open)

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        base = self.rich_style
        line = y + round(self.scroll_offset.y) - 1
        if line < 0:
            head = "    " + head_text(width)
            return Strip([Segment(head, self.get_component_rich_style("runs--head"))]).adjust_cell_length(width, base)
        if line >= len(self.shown):
            if line == 1 and not self.shown:
                note = self.note if not self.words else "No run's name matches; Esc shows all."
                return Strip(
                    [Segment("  " + one_line(note, width - 2), self.get_component_rich_style("runs--head"))]
                ).adjust_cell_length(width, base)
            return Strip.blank(width, base)
        feed = self.shown[line]
        tone = _TONES.get(feed.status.state)
        row = self.get_component_rich_style("runs--open" if feed.key == self._open else "runs--row")
        badge = self.get_component_rich_style(f"runs--{tone}") if tone else row
        marked = "●" if feed.key in self.marked else " "
        segments = [
            Segment(f"{marked} ", row),
            Segment(f"{BADGES.get(feed.status.state, '?')} ", badge),
            Segment(row_text(feed, width, self._names[feed.key]), row),
        ]
        if feed.key == self._cursor:
            # Laid over each cell: a style that is put under them would be hidden by the background that they have already.
            cursor = self.get_component_rich_style("runs--cursor")
            over = Style(bgcolor=cursor.bgcolor, reverse=cursor.reverse, underline=cursor.underline)
            segments = [Segment(text, (style or base) + over) for text, style, _ in segments]
        return Strip(segments).adjust_cell_length(width, base)
