"""The dialog in which a person says what the columns differ in: endings, presets, temperatures or models, and which of them.

It makes a `Plan`; the models there are come from `models.offers`, in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, get_args

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Static

from engine.errors import TinyTalesError
from tinytales_tui.checkpoints.background import in_background
from tinytales_tui.compare.columns import (
    ENDINGS,
    KINDS,
    PRESET_NAMES,
    Kind,
    Plan,
    check_count,
    ending_words,
    obstacle,
    temperatures,
)
from tinytales_tui.compare.models import Offer, memory_note, offers
from tinytales_tui.compare.picks import Picks
from tinytales_tui.compare.question import Question
from tinytales_tui.text import one_line
from tinytales_tui.widgets.choice import Choice
from tinytales_tui.widgets.confirm import LOW, leave_room

if TYPE_CHECKING:
    from tinytales_tui.app import TinyTalesApp

ABOUT: dict[Kind, str] = {
    "endings": "The same story with different ends.",
    "presets": "The same story, drawn with safer or more daring words.",
    "temperatures": "The same story, drawn more and more daringly. Two to four numbers:",
    "checkpoints": "The same question for different models. Two to four of them:",
}
START: dict[Kind, tuple[str, ...]] = {
    "endings": ("happy", "sad"),
    "presets": ("conservative", "balanced", "creative"),
    "temperatures": ("0.4", "0.8", "1.2"),
    "checkpoints": (),
}
"""What is picked at first."""
FILTER_FROM = 8
"""Models that are seen at a glance; with more of them there is a field that filters."""


class CompareDialog(ModalScreen[Plan | None]):
    """Closes with the plan; with None if a person left it."""

    app: TinyTalesApp
    VERTICAL_BREAKPOINTS = LOW
    HELP_TITLE = "Choosing what to compare"
    FIELD_HELP = ("In this field", [("enter", "Compare"), ("tab", "Go to the next field"), ("esc", "Leave")])
    AUTO_FOCUS = "#kind"
    BINDINGS = [
        Binding("escape", "dismiss(None)", "Cancel", id="comparing.close", tooltip="Close without comparing"),
        Binding("ctrl+j", "begin", "Compare", show=False, id="comparing.begin", tooltip="Compare what is picked"),
    ]

    def __init__(self, question: Question, plan: Plan | None = None) -> None:
        """`plan` is what was compared before; it is offered again."""
        super().__init__()
        self._question = question
        first: Kind = next((kind for kind, _ in KINDS if not obstacle(kind, question)), "presets")
        self._kind: Kind = plan.kind if plan is not None else first
        self._picked = dict(START)
        self._offers: list[Offer] | None = None
        self._before = plan.models if plan is not None else ()
        if plan is not None and plan.values:
            self._picked[plan.kind] = plan.values

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static("What shall be different?", classes="dialog-title", markup=False)
            yield Choice("Compare", KINDS, self._kind, label_width=7, id="kind")
            yield Static("", id="about", markup=False)
            with Horizontal(id="filter-row"):
                yield Label("Filter", classes="field-label")
                yield Input(placeholder="a part of the name", id="filter", compact=True)
            yield Picks(id="picks")
            yield Input(" ".join(self._picked["temperatures"]), id="temperatures", compact=True)
            yield Static("", id="trouble", markup=False)
            with Horizontal(classes="dialog-buttons"):
                yield Static("Space picks · Enter compares", id="keys", markup=False)
                yield Button("Compare", id="do", compact=True)
                yield Button("Cancel", id="cancel", compact=True)

    def on_mount(self) -> None:
        for field in self.query(Input):
            field.cursor_blink = False
        self._show_kind()

    # What is shown

    @property
    def _list(self) -> Picks:
        return self.query_one("#picks", Picks)

    def _show_kind(self) -> None:
        kind = self._kind
        self._say(obstacle(kind, self._question))
        self.query_one("#about", Static).update(ABOUT[kind])
        self.query_one("#filter-row").display = kind == "checkpoints" and len(self._offers or ()) > FILTER_FROM
        self.query_one("#temperatures").display = kind == "temperatures"
        self.query_one("#keys").visible = kind != "temperatures"
        self._list.display = kind != "temperatures"
        if kind == "endings":
            self._list.show([(ending, ending_words(ending)) for ending in ENDINGS], self._picked[kind])
        elif kind == "presets":
            self._list.show([(name, name) for name in PRESET_NAMES], self._picked[kind])
        elif kind == "checkpoints":
            if self._offers is None:
                self._list.show([])
                self._say("Looking for models…")
                self.run_worker(self._find(), group="finding", exclusive=True)
            else:
                self._show_offers(self._picked[kind])
        self._fit()

    def _fit(self) -> None:
        self._list.styles.height = "auto"

        def fit() -> None:
            if self._list.display:
                leave_room(self._list)

        self.call_after_refresh(fit)

    async def _find(self) -> None:
        found = await in_background(offers)
        self._offers = found
        at_first = [str(place) for model in self._before for place, offer in enumerate(found) if offer.model == model]
        held = [str(place) for place, offer in enumerate(found) if self._is_held(offer)]
        self._picked["checkpoints"] = tuple(at_first or held[:1])
        if self._kind == "checkpoints":
            self.query_one("#filter-row").display = len(found) > FILTER_FROM
            self._say("" if len(found) > 1 else "There is only one model here: train one (F3), or download another (F4).")
            self._show_offers(self._picked["checkpoints"])

    def _is_held(self, offer: Offer) -> bool:
        if self._question.checkpoint is None:  # it is still being loaded
            return offer.model.source == self.app.engine.load.source
        return offer.model.is_held(self._question.checkpoint)

    def _show_offers(self, picked: tuple[str, ...] | None = None) -> None:
        words = self.query_one("#filter", Input).value.lower().split()
        rows = []
        for place, offer in enumerate(self._offers or ()):
            line = f"{one_line(offer.model.name, 44)} · {offer.about}" + (", cannot be opened" if offer.obstacle else "")
            if all(word in line.lower() for word in words):
                rows.append((str(place), line))
        self._list.show(rows, picked)
        self._fit()

    def on_resize(self) -> None:
        self._fit()

    def _say(self, words: str) -> None:
        trouble = self.query_one("#trouble", Static)
        trouble.update(one_line(words, 400))
        trouble.display = bool(words)

    # What a person does

    def on_choice_changed(self, event: Choice.Changed) -> None:
        event.stop()
        self._remember()
        if event.value in get_args(Kind):
            self._kind = event.value  # type: ignore[assignment]
        self._show_kind()

    def _remember(self) -> None:
        if self._kind == "temperatures":
            return  # they stand in their field
        if self._kind != "checkpoints" or self._offers is not None:
            self._picked[self._kind] = tuple(self._list.picked)

    async def on_picks_changed(self, event: Picks.Changed) -> None:
        event.stop()
        self._say(obstacle(self._kind, self._question))
        if self._kind == "checkpoints":
            picked = self._picked_offers()
            blocked = next((offer for offer in picked if offer.obstacle), None)
            note = blocked.obstacle if blocked else await asyncio.to_thread(memory_note, picked, self._question.checkpoint)
            self._say(note)
        self._fit()

    def on_picks_begin(self, event: Picks.Begin) -> None:
        event.stop()
        self.action_begin()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        if event.input.id == "filter" and self._offers is not None:
            self._show_offers()
        elif event.input.id == "temperatures":
            self._say("")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_begin()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        event.stop()
        if event.button.id == "do":
            self.action_begin()
        else:
            self.dismiss(None)

    def on_key(self, event: events.Key) -> None:
        if event.key == "enter" and isinstance(self.focused, Choice):  # as good as on the button
            event.stop()
            self.action_begin()
        elif event.key == "down" and self.focused is self.query_one("#filter"):
            event.stop()
            self._list.focus()

    def action_begin(self) -> None:
        try:
            self.dismiss(self._plan())
        except TinyTalesError as error:
            self._say(str(error))
            self._fit()

    def _picked_offers(self) -> list[Offer]:
        found = self._offers or []
        with contextlib.suppress(ValueError, IndexError):
            return [found[int(value)] for value in self._list.picked]
        return []

    def _plan(self) -> Plan:
        """What stands in the dialog (`TinyTalesError` for what cannot be compared)."""
        if found := obstacle(self._kind, self._question):
            raise TinyTalesError(found)
        if self._kind == "temperatures":
            return Plan("temperatures", temperatures(self.query_one("#temperatures", Input).value))
        check_count(len(self._list.picked))
        if self._kind != "checkpoints":
            return Plan(self._kind, tuple(self._list.picked))
        picked = self._picked_offers()
        for offer in picked:
            if offer.obstacle:
                raise TinyTalesError(offer.obstacle)
        return Plan("checkpoints", (), tuple(offer.model for offer in picked))
