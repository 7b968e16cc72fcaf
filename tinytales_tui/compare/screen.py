"""The comparison: two to four stories side by side that differ in one thing. They stream together; one of them can be kept.

It ties the engines (`running`), the columns on the screen and what is measured of them together; what is compared is in `columns`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal
from textual.geometry import Region
from textual.screen import Screen
from textual.timer import Timer
from textual.widgets import Footer, Static

from tinytales_tui.compare.asking import CompareDialog
from tinytales_tui.compare.collector import Collector
from tinytales_tui.compare.column_view import ColumnView
from tinytales_tui.compare.columns import MOST, Column, Plan, asked_words, columns_of
from tinytales_tui.compare.differences import Mark, live_marks, word_marks
from tinytales_tui.compare.facts import METHODS, Measured, different_steps, measure, table
from tinytales_tui.compare.moving import MOVING_BINDINGS, MovingKeys
from tinytales_tui.compare.names import Names
from tinytales_tui.compare.question import Kept, Question
from tinytales_tui.compare.running import Running, client_maker
from tinytales_tui.compare.tones import tone
from tinytales_tui.engine_client import ClientEvent
from tinytales_tui.text import one_line
from tinytales_tui.widgets.lines import Lines
from tinytales_tui.write.panel import LARGEST_ROLL

if TYPE_CHECKING:
    from tinytales_tui.app import TinyTalesApp

KEY_FIRST_S = 0.04
"""Seconds after a key in which no column is drawn."""
FACTS_EVERY_S = 0.5
"""How often the figures of a growing story change: faster than this nobody reads them."""


class CompareScreen(MovingKeys, Screen[Kept | None]):
    """Answers the column that was kept, or None."""

    app: TinyTalesApp
    CSS_PATH = "compare.tcss"
    TITLE = "Compare"
    HELP_TITLE = "Comparing stories"
    HELP_NOTES = [
        (
            "Marks",
            [
                ("dim", "As in the first column (without colours: italic)"),
                ("plain", "Otherwise than in the first column"),
                ("bold", "Words that stand in no other column, once all have ended (without colours: underlined too)"),
            ],
        )
    ]
    MOST_COLUMNS = MOST
    AUTO_FOCUS = ""
    VERTICAL_BREAKPOINTS = [(0, "-low"), (20, "-high")]
    BINDINGS = [
        Binding("enter", "keep", "Keep", key_display="enter", id="columns.keep", tooltip="Keep it in front; the others are branches"),
        Binding("1", "keep(0)", "Keep 1", show=False, id="columns.keep_1", tooltip="Keep this story"),
        Binding("2", "keep(1)", "Keep 2", show=False, id="columns.keep_2", tooltip="Keep this story"),
        Binding("3", "keep(2)", "Keep 3", show=False, id="columns.keep_3", tooltip="Keep this story"),
        Binding("4", "keep(3)", "Keep 4", show=False, id="columns.keep_4", tooltip="Keep this story"),
        Binding("escape", "back", "Stop, back", id="columns.back", tooltip="Stop writing; then go back to the desk without any"),
        Binding("r", "again", "Again", id="columns.again", tooltip="Write all of them again, with another seed"),
        Binding("s", "same", "Same seed", id="columns.same", tooltip="Write all of them again, with the same seed"),
        Binding("n,c", "choose", "Other", id="columns.choose", tooltip="Choose something else to compare"),
        Binding("d", "marks", "Marks", id="columns.marks", tooltip="Show or hide what differs"),
        Binding("y", "copy", "Copy", show=False, id="columns.copy", tooltip="Copy the story of this column"),
        Binding("question_mark", "methods", "Measures", id="columns.methods", tooltip="How each figure is measured"),
        *MOVING_BINDINGS,
    ]  # fmt: skip

    def __init__(self, question: Question) -> None:
        super().__init__()
        self.question = question
        self.plan: Plan | None = None
        self.marked = True
        self.running = Running(
            self.app.engine, client_maker(self.app.options, self.app.engine.interval), self._on_change, question.checkpoint
        )
        self._measured: list[Measured | None] = []
        self._word_marks: list[tuple[Mark, ...]] | None = None
        """How the whole stories differ; empty while that is found out."""
        self._collector = Collector()
        self._due: set[int] = set()
        """Columns that have grown and are not drawn yet."""
        self._drawn = -1
        """The one that was drawn last."""
        self._drawing: Timer | None = None
        self._round = 0
        self._facts_at: dict[int, float] = {}
        self._key_at = 0.0
        self._stopping = False
        self._note_shown = ""

    @property
    def columns(self) -> list[Column]:
        """What is compared, as far as it has come."""
        return self.running.columns

    def compose(self) -> ComposeResult:
        yield Lines(1, id="asked")
        yield Static("", id="compare-note", markup=False)
        yield Names(id="names")
        with Horizontal(id="columns"):
            for place in range(self.MOST_COLUMNS):
                yield ColumnView(place)
        yield Lines(1, id="compare-status")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self.views = list(self.query(ColumnView))
        self.app.engine_events.subscribe(self, self._on_engine)
        self._arrange()
        self._start()

    def _start(self) -> None:
        """The first columns."""
        self.action_choose()

    async def on_unmount(self) -> None:
        self._collector.let_go()
        await self.running.close()

    def _on_engine(self, batch: list[ClientEvent]) -> None:
        self.running.take(batch)

    def refresh(self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False) -> Self:
        # Regions are told by the screen beneath when something changes there: it cannot be seen, yet all of this one would be drawn.
        return self if regions else super().refresh(repaint=repaint, layout=layout, recompose=recompose)

    # What is compared

    def action_choose(self) -> None:
        self.app.push_screen(CompareDialog(self._question_now(), self.plan), self._on_plan)

    def _question_now(self) -> Question:
        return dataclasses.replace(self.question, checkpoint=self.running.held or self.question.checkpoint)

    def _on_plan(self, plan: Plan | None) -> None:
        if plan is not None:
            self.plan = plan
            self.chosen = 0
            self._begin()
        elif self.plan is None:
            self.call_later(self.action_back)

    def _begin(self) -> None:
        if self.plan is None:
            return
        self._stopping = False
        self.run_worker(self.running.begin(columns_of(self._question_now(), self.plan)), group="comparing")

    def action_again(self) -> None:
        self.question = dataclasses.replace(self.question, seed=random.randrange(1, LARGEST_ROLL))
        self._begin()

    def action_same(self) -> None:
        self._begin()

    async def action_back(self) -> None:
        if self.running.busy and not self._stopping:
            self._stopping = True
            await self._end_writing()
        else:
            self.dismiss(None)

    async def _end_writing(self) -> None:
        await self.running.stop()

    def action_keep(self, place: int | None = None) -> None:
        place = self.chosen if place is None else place
        if place >= len(self.columns):
            return
        if self.running.kept(place) is None:
            self.app.say("There is nothing in this column to keep yet.", "warning")
            return
        self._keep(place)

    def _keep(self, place: int) -> None:
        found = {other: kept for other in range(len(self.columns)) if (kept := self.running.kept(other)) is not None}
        self.dismiss(Kept(tuple(found.values()), list(found).index(place)))

    # What the engines say

    def _on_change(self, places: set[int]) -> None:
        if not self.is_mounted or self.plan is None:
            return
        if self._round != self.running.round:
            self._new_round()
        busy = self.running.busy
        if busy:
            self._collector.hold()
        else:
            self._collector.let_go()
        self._due |= places
        if not busy or self._drawing is None:
            self._draw_next()
        for place in places:
            if self.columns[place].ended and self._measured[place] is None:
                self._measured[place] = Measured()  # once
                self.run_worker(self._measure(place), group="measuring")
        if not busy:
            self._show_facts()
        self._show_lines()
        self._stopping = self._stopping and busy

    def on_key(self) -> None:
        self._key_at = time.monotonic()

    def _draw_next(self) -> None:
        """Draw one of the columns that have grown, and the next one a moment later; all at once where nothing grows any more.

        A picture with all of them in it takes four times as long, and a key that comes meanwhile waits for the whole of it. What a key
        changes is drawn by itself, before the columns go on.
        """
        busy, self._drawing = self.running.busy, None
        if busy and time.monotonic() - self._key_at < KEY_FIRST_S:
            self._drawing = self.set_timer(KEY_FIRST_S, self._draw_next)
            return
        for place in sorted(self._due, key=lambda place: (place - self._drawn - 1) % self.MOST_COLUMNS)[: 1 if busy else None]:
            self._due.discard(place)
            self._drawn = place
            self.views[place].show(self.columns[place], place == self.chosen)
            if self.marked and busy:
                self._mark_live(place)
            if busy and time.monotonic() - self._facts_at.get(place, 0.0) >= FACTS_EVERY_S:
                self._show_facts([place])
        if self._due:
            self._drawing = self.set_timer(self.app.engine.interval / 2, self._draw_next)

    def _new_round(self) -> None:
        """Other columns have taken the place of the ones before."""
        self._due = set(range(len(self.columns)))
        self._round = self.running.round
        self._measured = [None] * len(self.columns)
        self._word_marks = None
        self.chosen = min(self.chosen, len(self.columns) - 1)
        self._arrange()

    async def _measure(self, place: int) -> None:
        """What the whole story tells; and with the last one, how they differ."""
        this, column = self._round, self.columns[place]
        if column.message and column.text:
            self.app.say(column.message, "warning")
        if column.generation is not None:
            measured = await asyncio.to_thread(measure, column.given, column.generation)
            if this != self._round:
                return
            self._measured[place] = measured
            self._show_facts()
        if not self.running.busy and self._word_marks is None:
            self._word_marks = []
            texts = [view.story.text for view in self.views[: len(self.columns)]]
            found = await asyncio.to_thread(word_marks, texts)
            if this == self._round:
                self._word_marks = found
                self._show_marks()

    def _show_facts(self, places: Sequence[int] | None = None) -> None:
        with_step = different_steps(self.columns)
        for place in range(len(self.columns)) if places is None else places:
            self._facts_at[place] = time.monotonic()
            self.views[place].show_facts(table(self.columns[place], self._measured[place], with_step=with_step))

    # Marks

    def _mark_live(self, place: int) -> None:
        first, story = self.views[0].story, self.views[place].story
        if place and story.text:
            known = story.marks[0].end if story.marks else 0
            story.set_marks(live_marks(first.text, story.text, known))

    def _show_marks(self) -> None:
        if self.marked and (self.running.busy or not self._word_marks):
            for place in range(len(self.columns)):
                self._mark_live(place)
            return
        found = self._word_marks or [] if self.marked else [()] * len(self.columns)
        for place, marks in enumerate(found):
            self.views[place].mark(marks)

    def action_marks(self) -> None:
        self.marked = not self.marked
        self._show_marks()
        self._show_lines()

    # Lines above and below, and the rest

    def _show_lines(self) -> None:
        if self.plan is None:
            return
        asked, status = self.query_one("#asked", Lines), self.query_one("#compare-status", Lines)
        held = self.running.held
        model = f" · {one_line(held.name, 28)}" if held is not None and self.plan.kind != "checkpoints" else ""
        words = asked_words(self.question, self.plan)
        asked.show(
            [
                Text.assemble(
                    (words, tone(asked, "lines--strong")), (f" · seed {self.question.seed}{model}", tone(asked, "lines--muted"))
                )
            ]
        )
        if self.running.note != self._note_shown:
            self._note_shown = self.running.note
            note = self.query_one("#compare-note", Static)
            note.display = bool(self._note_shown)
            note.update(self._note_shown)
        switches = f"marks {'on' if self.marked else 'off'} · scrolling {'together' if self.locked else 'apart'}"
        status.show(
            [Text.assemble((self._state(), tone(status, "lines--strong")), (f"  {switches}", tone(status, "lines--muted")))]
        )
        in_sight = [place for place, view in enumerate(self.views) if view.display]
        self.query_one("#names", Names).show([column.name for column in self.columns], self.chosen, in_sight)

    def _state(self) -> str:
        columns = self.columns
        going = sum(column.state == "writing" for column in columns)
        if any(column.state == "loading" for column in columns):
            return "Loading…"
        if going:
            return f"Writing {going} {'story' if going == 1 else 'stories'}…"
        if all(column.state == "failed" for column in columns):
            return "No story came of this."
        return f"Enter keeps {one_line(columns[self.chosen].name, 30)}."

    def action_copy(self) -> None:
        column = self.columns[self.chosen] if self.columns else None
        if column is None or not column.text.strip():
            self.app.say("There is nothing in this column to copy yet.", "warning")
        else:
            self.app.copy_to_clipboard(column.given + column.text)

    def action_methods(self) -> None:
        from tinytales_tui.widgets.help_screen import HelpScreen

        self.app.push_screen(HelpScreen([("How the figures are measured", list(METHODS))]))
