"""The panel of steering, in the place of the sliders: fields for words, what has been mentioned, and where the story stands."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.message import Message
from textual.widgets import Input, Label, Static

from engine.settings import SamplingSettings, ranges
from tinytales_tui.text import one_line
from tinytales_tui.widgets.slider import ParamSlider
from tinytales_tui.write.steering.standing import Standing
from tinytales_tui.write.steering.steering import Steering

FIELDS = (
    ("banned", "Never these words", "dark, wolf", "They cannot come, however they are written. Between commas."),
    ("favoured", "Rather these words", "moon, sea", "They become likelier wherever they may come. Between commas."),
    ("mention", "Must mention", "kite, grandma", "Made likelier until they have come; ticked off here. Between commas."),
    (
        "stop",
        "Stop before",
        "The end | \\n\\n",
        "The story ends where this would come. Several: between bars, \\n is a new line.",
    ),
)
"""Of each field: its name, its label, an example, and what it does."""


class SteerField(Input):
    """A field whose Enter goes on to the next."""

    KEYS_HELP = (
        "In this field",
        [("enter  tab", "Go to the next field; what is typed counts at once"), ("esc", "Close the panel")],
    )


class SteeringPanel(VerticalScroll, can_focus=False):
    """Posts `Changed` whenever `steering` is another."""

    class Changed(Message):
        """Other words, or another strength."""

    def __init__(self, *, cursor_blink: bool, id: str | None = None) -> None:
        super().__init__(id=id)
        self._blink = cursor_blink
        self._steering = Steering()

    def compose(self) -> ComposeResult:
        yield Static("Where it goes", classes="panel-title")
        for name, label, example, _ in FIELDS:
            yield Label(label, classes="steer-label")
            yield SteerField(placeholder=f"such as {example}", compact=True, select_on_focus=False, id=f"steer-{name}")
            if name == "favoured":
                limits = ranges(SamplingSettings)["favour"]
                yield ParamSlider("favour", limits, Steering().favour, id="steer-favour")
            if name == "mention":
                yield Static("", id="steer-mentioned", markup=False)
        yield Static("", id="steer-standing", markup=False)
        yield Static("", id="steer-help", markup=False)

    def on_mount(self) -> None:
        for field in self.query(Input):
            field.cursor_blink = self._blink
        self._explain(None)

    @property
    def steering(self) -> Steering:
        return self._steering

    def focus_first(self) -> None:
        self.query_one("#steer-banned").focus()

    def show_story(self, text: str, asked: str | None, standing: Standing | None) -> None:
        """Tick off what the story has mentioned; say where it stands, if that is known."""
        if not self.query("#steer-mentioned"):  # the app is being closed
            return
        done, open_ = ("[x]", "[ ]") if getattr(self.app, "ascii", False) else ("✓", "○")
        ticks = "  ".join(f"{done if there else open_} {one_line(word, 24)}" for word, there in self._steering.mentioned(text))
        self.query_one("#steer-mentioned", Static).update(ticks)
        words = ""
        if standing is not None:
            told = f"Asked to end {asked}; it " if asked else "It "
            words = f"{told}{standing.words} ({standing.probability:.0%}). {standing.method}"
        self.query_one("#steer-standing", Static).update(words)

    def _read(self) -> None:
        values = [self.query_one(f"#steer-{name}", Input).value for name, *_ in FIELDS]
        steering = Steering.of_fields(*values, float(self.query_one("#steer-favour", ParamSlider).value))
        if steering != self._steering:
            self._steering = steering
            self.post_message(self.Changed())

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._read()

    def on_param_slider_changed(self, event: ParamSlider.Changed) -> None:
        event.stop()
        self._read()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.screen.focus_next()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        self._explain(event.widget.id)

    def on_descendant_blur(self, event: events.DescendantBlur) -> None:
        self._explain(None)

    def _explain(self, id: str | None) -> None:
        words: Sequence[str] = [help for name, _, _, help in FIELDS if id == f"steer-{name}"]
        if id == "steer-favour":
            words = [ranges(SamplingSettings)["favour"].help]
        usual = "Counts from the next story on, and stands in its recipe. F9 closes this, F8 has the sliders."
        self.query_one("#steer-help", Static).update(words[0] if words else usual)
