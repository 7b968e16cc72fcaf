"""One column on the screen: its name, its story with marks, and the table of facts under it. It shows what it is given."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message

from tinytales_tui.compare.columns import Column
from tinytales_tui.compare.differences import Mark
from tinytales_tui.compare.facts import Fact
from tinytales_tui.compare.marked_story import MarkedStory
from tinytales_tui.compare.tones import tone
from tinytales_tui.text import one_line
from tinytales_tui.widgets.lines import Lines

FACTS = 6
"""Lines of the table, mostly."""
LABEL = 10
"""Columns for the names of the facts."""
_STATES = {"waiting": "waits", "loading": "loading…", "writing": "writing…", "failed": "no story"}


class ColumnView(Vertical):
    """`show` may be called for every batch of tokens: text that only grew is only added to."""

    class Wanted(Message):
        """Its title was clicked."""

        def __init__(self, place: int) -> None:
            self.place = place
            super().__init__()

    def __init__(self, place: int) -> None:
        super().__init__(id=f"column-{place + 1}", classes="column")
        self.place = place
        self._shown: Column | None = None
        self._title: tuple[str, str, bool] = ("", "", False)
        self._table: list[Fact] = []

    def compose(self) -> ComposeResult:
        yield Lines(1, id="title")
        yield MarkedStory()
        yield Lines(FACTS + 1, id="facts")

    def on_mount(self) -> None:
        self.story = self.query_one(MarkedStory)
        self._head = self.query_one("#title", Lines)
        self._facts = self.query_one("#facts", Lines)

    def show(self, column: Column, chosen: bool) -> None:
        """The name and the story; `chosen`: the keys are for this one."""
        before, self._shown = self._shown, column
        self._show_title(column, chosen)
        grown = before is not None and _same_story(before, column)
        if grown and before is not None and before.text:
            self.story.append(column.text[len(before.text) :])
        elif before is None or not grown or column.text != before.text:
            self.story.set_marks(())
            self.story.show_story("", column.given if column.text else "", column.text)
        if not column.text:
            self.story.set_hints(_hints(column))

    def _show_title(self, column: Column, chosen: bool) -> None:
        mark = (">" if self._ascii else "▸") if chosen else " "
        state = _STATES.get(column.state, "")
        if column.state == "writing" and column.generation is not None and column.generation.started is None:
            state = "asked…"
        title = f"{mark} {self.place + 1} {one_line(column.name, 60)}", state, chosen
        if title != self._title:
            self._title = title
            self._draw_title()

    def _draw_title(self) -> None:
        words, state, chosen = self._title
        room = max(8, self.size.width - 2)
        words = one_line(words, room - len(state) - 1) if words[:1] != " " else " " + one_line(words, room - len(state) - 2)
        space = " " * max(room - len(words) - len(state), 1)
        head = self._head
        head.show(
            [
                Text.assemble(
                    (words, tone(head, "lines--good" if chosen else "lines--strong")), (space + state, tone(head, "lines--muted"))
                )
            ]
        )

    def on_resize(self) -> None:
        if self._shown is not None:
            self._draw_title()
            self._draw_facts()

    def show_facts(self, facts: Sequence[Fact]) -> None:
        """The table under the story."""
        self._table = list(facts)
        self._draw_facts()

    def _draw_facts(self) -> None:
        lines, room = self._facts, max(4, self.size.width - 2 - LABEL - 1)
        height = max(FACTS, len(self._table)) + 1  # with the line above it
        if lines.styles.height is None or lines.styles.height.value != height:
            lines.styles.height = height
        lines.show(
            [
                Text.assemble(
                    (f"{fact.label:<{LABEL}} ", tone(lines, "lines--muted")), (fact.fitting(room), tone(lines, "lines--strong"))
                )
                for fact in self._table
            ]
        )

    def mark(self, marks: Sequence[Mark]) -> None:
        self.story.set_marks(marks)

    def on_click(self, event: events.Click) -> None:
        self.post_message(self.Wanted(self.place))

    @property
    def _ascii(self) -> bool:
        return bool(getattr(self.app, "ascii", False))


def _same_story(before: Column, column: Column) -> bool:
    """Whether the column's story is the one that was shown, further on."""
    old, new = before.generation, column.generation
    if old is None or new is None:
        return old is new
    return (old.id, old.request) == (new.id, new.request) and new.text.startswith(old.text)


def _hints(column: Column) -> list[tuple[str, str]]:
    """What stands on a page that is still empty."""
    if column.state == "failed":
        return [("title", "There is no story here."), ("hint", ""), ("hint", column.message)]
    if column.state == "loading":
        return [("hint", "The model is being loaded…")]
    return []
