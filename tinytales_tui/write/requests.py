"""How the Write pane asks for stories: new ones, others, what goes on; and how a request is stopped. A part of its screen.

A request may have to wait for the engine; it is made anew once it is known which checkpoint will write.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from textual.binding import Binding

from engine.errors import UsageError
from engine.settings import GenerationRequest
from tinytales_tui.engine_client import EngineUnavailable
from tinytales_tui.library.records import record_of
from tinytales_tui.write.asking import Asked
from tinytales_tui.write.restore_bar import RestoreBar

if TYPE_CHECKING:
    from tinytales_tui.write.screen import WriteScreen

NOTHING_ASKED = "Type what the story is about first."
AFTER_THE_END = 24
"""Tokens at least that go on from a story the model had ended, as it would only end it again."""
ASKING_BINDINGS = [
    Binding("ctrl+j,ctrl+enter,enter", "write", "Write", id="write.write", tooltip="Write the story (Enter in a field does too)"),
    Binding("escape", "stop", "Stop", id="write.stop", tooltip="Stop writing; the text stays"),
    Binding("escape", "leave", "To the page", show=False, id="write.leave", tooltip="Go from a field to the page, and back"),
    Binding(
        "ctrl+r",
        "retry",
        "Retry",
        id="write.retry",
        tooltip="Write another story from the same words; of one that was gone on with, its newest part",
    ),
    Binding(
        "ctrl+g", "go_on", "Go on", id="write.continue", tooltip="Go on writing from the cursor on the page, or from the end"
    ),
]


class Asking:
    """Requests of the pane."""

    @property
    def _style(self: WriteScreen) -> str | None:
        return self.checkpoint.prompt_style if self.checkpoint is not None else None

    def action_write(self: WriteScreen) -> None:
        try:
            asked = self.composer.asked()
        except UsageError as error:
            self.app.say(str(error), "warning")
            return
        if asked.for_style(self._style).empty:
            self.app.say("Type how the story begins first." if self._style == "plain" else NOTHING_ASKED, "warning")
            self.composer.focus_first()
            return
        if notice := asked.notice(self._style):
            self.app.say(notice)
        self.query_one(RestoreBar).offer([])
        self._filled = self.composer.kept()
        self._ask(asked)

    def action_retry(self: WriteScreen) -> None:
        """A branch beside the newest generation; where everything was typed, one below what was typed."""
        node = self.desk.last_generated
        if node is None and self.desk.record is None:  # the page before the first words of a story
            node = next((node for node in self.desk.tree.children(None) if node.recipe is not None), None)
        if node is None:
            self.action_go_on()
            return
        if self.panel.seed_locked:
            self.app.say("The seed is locked, so the same words and settings write the same story again.")
        self._ask(Asked.of(record_of(self.desk.tree, node.number)), below=node.parent, new=False)

    def action_go_on(self: WriteScreen) -> None:
        """From the cursor, where a person is on the page with it; else from the end."""
        if self.desk.record is None:
            return
        place = self._place_on_page
        text = self.desk.text if place is None else self.desk.text[:place]
        if not text.strip():
            self.app.say("There is nothing before the cursor to go on from.", "warning")
            return
        self._ask(self._at(text, self._asked_here), below=self.desk.tree.current, new=False, cut=place)

    @property
    def _place_on_page(self: WriteScreen) -> int | None:
        """Where the cursor stands within the story; None where a person is elsewhere, or at its end."""
        return self.page.cursor if self.focused is self.page and not self.page.at_end else None

    def _ask(
        self: WriteScreen,
        asked: Asked,
        *,
        below: int | None = None,
        new: bool = True,
        tail: tuple[int, ...] = (),
        count: int = 1,
        cut: int | None = None,
    ) -> bool:
        """Ask for a story: a new one, or what goes on below a node of the one in front (`cut`: from this place of its text).

        Whether it was asked; if not, it was said why, and nothing is changed.
        """
        seed = self.panel.next_seed()
        least = self._least(below, new) if cut is None else 0

        def make() -> GenerationRequest:
            # Asked for again when the checkpoint is there: only then is it known what it recommends and what it takes.
            sampling = self._sampling().with_changes(seed=seed)
            sampling = sampling.with_changes(min_tokens=max(sampling.min_tokens, min(least, sampling.max_tokens)))
            request = asked.request(sampling, self._style)
            return dataclasses.replace(request, tail=tail, count=count)

        try:
            request = make()
        except UsageError as error:
            self.app.say(str(error), "warning")
            return False
        self._trouble = ""
        self._stopping = False
        number = self.app.engine.new_id()
        self._asked.add(number)
        if cut is not None:
            self.desk.cut_to(cut)
            below = self.desk.tree.current
        self.desk.begin(number, request, self.checkpoint, below=below, new=new)
        self._show_current()
        self.run_worker(self._send(number, make), group="asking")
        return True

    def _least(self: WriteScreen, below: int | None, new: bool) -> int:
        """Tokens at least: a model that has ended the story there would only end it again."""
        node = self.desk.tree.nodes.get(below) if below is not None and not new else None
        return AFTER_THE_END if node is not None and node.stop_reason == "end of text" else 0

    async def _send(self: WriteScreen, number: int, make: Callable[[], GenerationRequest]) -> None:
        try:
            await self.app.engine.ready()
            await self.app.engine.quiet()
            await asyncio.sleep(0)
            self._take_waiting_events()
            if self.desk.writing is None or self.desk.writing.id != number:
                return  # stopped, or another request overtook this one
            try:
                request = make()
            except UsageError as error:  # the checkpoint that has come in the meantime takes something else
                self.app.say(str(error), "warning")
                self.desk.let_go(None, forget=True)
                self._show_current()
                return
            if self.desk.amend(request):
                self._show_current()
            await self.app.engine.generate(request, number)
            if self.desk.writing is not None and self.desk.writing.id == number:
                self.desk.writing.sent = True
        except EngineUnavailable:
            # Why is said by the event that comes with it.
            if self.desk.writing is not None and self.desk.writing.id == number:
                self.desk.let_go(None, forget=True)
                self._show_current()

    def _take_waiting_events(self: WriteScreen) -> None:
        """What the engine said up to now, without waiting for the next batch."""
        self._on_engine(self.app.engine.drain())

    async def action_stop(self: WriteScreen) -> None:
        writing = self.desk.writing
        if writing is None:
            return
        await self.app.engine.cancel()
        if not writing.started or self._stopping:
            self.desk.let_go(forget=True)
            self._show_current()
        self._stopping = True
        self._refresh()
