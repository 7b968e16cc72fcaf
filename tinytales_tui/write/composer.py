"""The fields above the page. Which there are follows the checkpoint's prompt style: a topic with an ending, those and the fields of
TinyStories-Instruct, or the words to begin with alone.
"""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import Input, Label

from engine.errors import UsageError
from tinytales_tui.fields import parse_features, parse_words
from tinytales_tui.widgets.choice import Choice
from tinytales_tui.write.asking import Asked

ENDINGS = (("happy", "happy"), ("sad", "sad"), ("none", "none"))


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
        with Horizontal(classes="composer-row", id="topic-row"):
            yield Label("About", classes="field-label")
            yield Input(placeholder="a brave knight, a lost dog, a kite in the wind ...", id="topic", compact=True)
        with Horizontal(classes="composer-row", id="second-row"):
            with Horizontal(id="opening-part"):
                yield Label("Begin with", classes="field-label")
                yield Input(placeholder="Once upon a time ...", id="opening", compact=True, select_on_focus=False)
            yield Choice(
                "Ending",
                ENDINGS,
                self._first_ending,
                help="How the story should end. None: your words are simply continued, as they stand.",
                label_width=7,
                id="ending",
            )
        with Horizontal(classes="composer-row instruct-row"):
            yield Label("Words", classes="field-label")
            yield Input(placeholder="to use in it, as in: boat, yellow, sing", id="words", compact=True)
        with Horizontal(classes="composer-row instruct-row"):
            yield Label("Features", classes="field-label")
            yield Input(placeholder="Dialogue, Twist, MoralValue, Conflict, Foreshadowing", id="features", compact=True)
        with Horizontal(classes="composer-row instruct-row"):
            yield Label("Sentence", classes="field-label")
            yield Input(placeholder="to occur in it, word by word", id="sentence", compact=True)

    def on_mount(self) -> None:
        for field in self.query(Input):
            field.cursor_blink = self._blink

    def on_resize(self, event: events.Resize) -> None:
        """On a narrow screen the ending stands below the fields and lines up with them."""
        self.query_one("#ending", Choice).space_for_label = 10 if self.screen.has_class("-narrow") else 7

    def follow(self, style: str, first: bool) -> None:
        """Show the fields that a checkpoint of this prompt style takes; what stood in the others comes back with them.

        While the `first` checkpoint loads a person may be typing what turns out to be the opening.
        """
        topic, opening = self._field("topic"), self._field("opening")
        typing = self.screen.focused is topic
        self.set_class(style == "plain", "-plain")
        self.set_class(style == "instruct-fields", "-instruct")
        if style == "plain" and typing:
            if first and not opening.value:  # whoever is in the middle of a word goes on where it counts
                opening.value = topic.value
                opening.cursor_position = topic.cursor_position
            opening.focus()

    def focus_first(self) -> None:
        """Go to the first field there is."""
        self._field("opening" if self.has_class("-plain") else "topic").focus()

    @property
    def topic(self) -> str:
        return self._field("topic").value.strip()

    @property
    def opening(self) -> str:
        return self._field("opening").value

    @property
    def ending(self) -> str:
        """`happy`, `sad` or `none`; always none while the checkpoint knows no endings."""
        return "none" if self.has_class("-plain") else self.ending_choice

    @property
    def ending_choice(self) -> str:
        """What a person chose, whatever the present checkpoint makes of it."""
        return self.query_one("#ending", Choice).value

    def asked(self) -> Asked:
        """What a person asks for (UsageError for a feature that there is not)."""
        features = parse_features(self._field("features").value) if self.has_class("-instruct") else ()
        return Asked(
            self.topic,
            self.opening,
            self.ending,
            parse_words(self._field("words").value),
            features,
            " ".join(self._field("sentence").value.split()),
        )

    def kept(self) -> Asked:
        """All the fields, as they are to come back another time."""
        try:
            features = parse_features(self._field("features").value)
        except UsageError:  # not finished yet
            features = ()
        sentence = self._field("sentence").value
        return Asked(self.topic, self.opening, self.ending_choice, parse_words(self._field("words").value), features, sentence)

    def fill(self, asked: Asked) -> None:
        """Put back what stood in the fields."""
        for name, text in (
            ("topic", asked.topic),
            ("opening", asked.opening),
            ("words", ", ".join(asked.words)),
            ("features", ", ".join(asked.features)),
            ("sentence", asked.sentence),
        ):
            self._field(name).value = text
        self.query_one("#ending", Choice).set_value(asked.ending)

    def _field(self, name: str) -> Input:
        return self.query_one(f"#{name}", Input)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.post_message(self.Submitted())

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.post_message(self.Changed())

    def on_choice_changed(self, event: Choice.Changed) -> None:
        event.stop()
        self.post_message(self.Changed())
