"""The fields above the page: what the story is about, how it ends, words to begin with."""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import Input, Label

from tinytales_tui.widgets.choice import Choice

ENDINGS = (("happy", "happy"), ("sad", "sad"), ("none", "none"))
PLAIN_NOTE = "(this model takes none)"


class Composer(Vertical):
    """Enter in a field posts `Submitted`; every change posts `Changed`."""

    class Submitted(Message):
        """A person wants the story written."""

    class Changed(Message):
        """A field or the ending is another now."""

    def __init__(self, *, ending: str, cursor_blink: bool, id: str | None = None) -> None:
        super().__init__(id=id)
        self._first_ending = ending
        self._blink = cursor_blink

    def compose(self) -> ComposeResult:
        with Horizontal(classes="composer-row"):
            yield Label("About", classes="field-label")
            yield Input(placeholder="a brave knight, a lost dog, a kite in the wind ...", id="topic", compact=True)
        with Horizontal(classes="composer-row", id="second-row"):
            with Horizontal(id="opening-part"):
                yield Label("Begin with", classes="field-label")
                yield Input(placeholder="Once upon a time ...", id="opening", compact=True)
            yield Choice(
                "Ending",
                ENDINGS,
                self._first_ending,
                help="How the story should end. None: your words are simply continued, as they stand.",
                label_width=7,
                id="ending",
            )

    def on_mount(self) -> None:
        for field in self.query(Input):
            field.cursor_blink = self._blink

    def on_resize(self, event: events.Resize) -> None:
        """On a narrow screen the ending stands below the fields and lines up with them."""
        self.query_one("#ending", Choice).space_for_label = 10 if self.screen.has_class("-narrow") else 7

    @property
    def topic(self) -> str:
        return self.query_one("#topic", Input).value.strip()

    @property
    def opening(self) -> str:
        return self.query_one("#opening", Input).value

    @property
    def ending(self) -> str:
        """`happy`, `sad` or `none`; always none while the checkpoint knows no endings."""
        choice = self.query_one("#ending", Choice)
        return "none" if choice.disabled else choice.value

    @property
    def ending_choice(self) -> str:
        """What a person chose, whatever the present checkpoint makes of it."""
        return self.query_one("#ending", Choice).value

    def fill(self, topic: str, opening: str, ending: str) -> None:
        """Put back what stood in the fields."""
        self.query_one("#topic", Input).value = topic
        self.query_one("#opening", Input).value = opening
        self.query_one("#ending", Choice).set_value(ending)

    def allow_endings(self, allowed: bool) -> None:
        """A plain checkpoint was trained on stories without a prompt, so there is no ending to ask for."""
        choice = self.query_one("#ending", Choice)
        choice.note = "" if allowed else PLAIN_NOTE
        choice.disabled = not allowed
        choice.refresh()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.post_message(self.Submitted())

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.post_message(self.Changed())

    def on_choice_changed(self, event: Choice.Changed) -> None:
        event.stop()
        self.post_message(self.Changed())
