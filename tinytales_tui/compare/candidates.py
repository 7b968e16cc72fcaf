"""Several candidates at once: the same words go on in as many ways, written as one batch, and the one that reads best is taken.

The stories are branches on the writer's desk from the first token on, so none of them is lost; this screen follows them there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from textual.binding import Binding

from engine import protocol
from tinytales_tui.compare.columns import Column, Plan
from tinytales_tui.compare.moving import MOVING_BINDINGS
from tinytales_tui.compare.question import Question
from tinytales_tui.compare.screen import CompareScreen
from tinytales_tui.engine_client import ClientEvent, WorkerLost
from tinytales_tui.generation import Generation
from tinytales_tui.write.desk import Desk
from tinytales_tui.write.draft import Writing

FEWEST, MOST = 2, 8


class OnTheDesk:
    """The candidates as columns: what the desk knows of its nodes, as far as it has come."""

    def __init__(self, desk: Desk, question: Question, on_change: Callable[[set[int]], None]) -> None:
        self.columns: list[Column] = []
        self.held = question.checkpoint
        self.round = 0
        self.note = ""
        self.nodes: tuple[int, ...] = ()
        self._desk, self._question, self._on_change = desk, question, on_change
        self._story: int | None = None

    @property
    def busy(self) -> bool:
        return any(not column.ended for column in self.columns)

    def follow(self, writing: Writing) -> None:
        """From now on the stories of this request."""
        self.round += 1
        self._story, self.nodes = writing.story, writing.nodes
        blank = Column("", self._question.asked, self._question.sampling, checkpoint=self.held, state="loading")
        self.columns = [replace(blank, name=f"candidate {place + 1}") for place in range(len(self.nodes))]
        self.look(tell_all=True)

    def look(self, *, tell_all: bool = False) -> None:
        """See how far they have come."""
        changed = set(range(len(self.columns))) if tell_all else set()
        for place, node in enumerate(self.nodes):
            column = self.columns[place]
            generation = self._desk.generations.get((self._story, node))  # type: ignore[arg-type]
            if generation is None:  # it was let go before a word of it came
                if not column.ended:
                    self.columns[place] = replace(column, state="failed", message="Stopped before it began.")
                    changed.add(place)
            elif generation is not column.generation:
                state = "ended" if generation.ended else "writing"
                self.columns[place] = replace(column, generation=generation, state=state, checkpoint=generation.checkpoint)
                changed.add(place)
        if changed:
            self._on_change(changed)

    def kept(self, place: int) -> Generation | None:
        generation = self.columns[place].generation
        return generation if generation is not None and generation.text.strip() else None

    async def close(self) -> None:
        """Nothing of it is ours to end."""


class CandidatesScreen(CompareScreen, inherit_bindings=False):
    """Calls `take` with the node that was chosen; answers nothing."""

    HELP_TITLE = "Several candidates"
    MOST_COLUMNS = MOST
    BINDINGS = [
        Binding("enter", "keep", "Take", key_display="enter", id="columns.take", tooltip="Go on with it; the others stay as branches"),
        *(
            Binding(str(digit), f"keep({digit - 1})", f"Take {digit}", show=False, id=f"columns.take_{digit}",
                    tooltip="Take this candidate")
            for digit in range(1, MOST + 1)
        ),
        Binding("escape", "back", "Stop, back", id="columns.leave", tooltip="Stop writing; then go back to the page"),
        Binding("r", "again", "Again", id="columns.more", tooltip="As many others, from other seeds; these stay as branches"),
        Binding("plus,equals_sign", "count(1)", "More", key_display="+", id="columns.one_more", tooltip="One more the next time"),
        Binding("minus", "count(-1)", "Fewer", key_display="-", id="columns.one_less", tooltip="One less the next time"),
        Binding("d", "marks", "Marks", id="columns.differences", tooltip="Show or hide what differs"),
        Binding("y", "copy", "Copy", show=False, id="columns.copy_one", tooltip="Copy this candidate"),
        Binding("question_mark", "methods", "Measures", id="columns.how", tooltip="How each figure is measured"),
        *MOVING_BINDINGS,
    ]  # fmt: skip

    def __init__(
        self,
        question: Question,
        desk: Desk,
        *,
        writing: Writing,
        more: Callable[[], Writing | None],
        stop: Callable[[], Awaitable[None]],
        take: Callable[[int], None],
    ) -> None:
        """`writing`: the request to follow; `more` asks for as many others, `stop` ends those under way, `take` brings a node up."""
        super().__init__(question)
        self._request = writing
        self._more, self._stop, self._take = more, stop, take
        self.running = OnTheDesk(desk, question, self._on_change)  # type: ignore[assignment]
        self.plan = Plan("presets", ())

    def _start(self) -> None:
        self.call_later(self.running.follow, self._request)  # type: ignore[attr-defined]

    def _on_engine(self, batch: list[ClientEvent]) -> None:
        for event in batch:
            if isinstance(event, WorkerLost | protocol.Failed):
                self.app.say(event.message, "warning")

    def look(self) -> None:
        """The desk has heard of something: see how far the candidates have come."""
        if self.is_mounted:
            self.running.look()  # type: ignore[attr-defined]

    # Keys

    def action_again(self) -> None:
        writing = self._more()
        if writing is not None:
            self.chosen = 0
            self.running.follow(writing)  # type: ignore[attr-defined]

    def action_count(self, by: int) -> None:
        count = min(max(self.app.ui.candidates + by, FEWEST), MOST)
        if count != self.app.ui.candidates:
            self.app.change_settings(candidates=count)
        self.app.say(f"{count} candidates the next time; r writes them.")

    async def _end_writing(self) -> None:
        await self._stop()
        self.running.look()  # type: ignore[attr-defined]

    def _keep(self, place: int) -> None:
        self._take(self.running.nodes[place])  # type: ignore[attr-defined]
        self.dismiss(None)

    def _state(self) -> str:
        going = sum(not column.ended for column in self.columns)
        if going:
            return f"Writing {going} {'candidate' if going == 1 else 'candidates'}…"
        return f"Enter takes candidate {self.chosen + 1}; the others stay as branches."
