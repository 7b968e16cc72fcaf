"""The dialog in which a person says how a checkpoint is to be used, where its files leave that open or are mistaken."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Static

from engine.checkpoints.choices import Choices, check_tokenizer
from engine.errors import TinyTalesError, UsageError
from tinytales_tui.checkpoints.background import in_background
from tinytales_tui.text import one_line
from tinytales_tui.widgets.choice import Choice
from tinytales_tui.widgets.confirm import LOW

AS_FOUND = "as-found"
STYLES = (
    (AS_FOUND, "as found"),
    ("topic-ending", "topic and ending"),
    ("instruct-fields", "TinyStories-Instruct fields"),
    ("plain", "goes on from words"),
)


def parse(style: str, tokenizer: str, ends: str, begin: str) -> Choices:
    """The choices that stand in the fields (`UsageError` for what makes no sense)."""
    try:
        end_ids = tuple(int(part) for part in ends.replace(",", " ").split())
        begin_id = int(begin) if begin.strip() else None
    except ValueError as error:
        raise UsageError("Tokens are named by their numbers, such as 1 2.") from error
    return Choices(
        None if style == AS_FOUND else style,  # type: ignore[arg-type]
        tokenizer.strip() or None,
        end_ids if ends.strip() else None,
        begin_id,
    )


class ChoicesDialog(ModalScreen[Choices | None]):
    """Closes with the choices, which may be none at all; with None if a person left it."""

    VERTICAL_BREAKPOINTS = LOW
    DEFAULT_CSS = """
    ChoicesDialog {
        .row { height: 1; }
        .row Input { width: 1fr; }
        #style { margin: 1 0; }
        #trouble { display: none; height: auto; color: $text-error; margin-top: 1; }
        &.-low #style, &.-low #trouble { margin: 0; }
    }
    """
    AUTO_FOCUS = "#style"
    FIELD_HELP = (
        "In this field",
        [("enter", "Keep these choices"), ("tab", "Go to the next field"), ("esc", "Leave them as they were")],
    )
    BINDINGS = [Binding("escape", "dismiss(None)", "Cancel", id="choices.close", tooltip="Leave them as they were")]

    def __init__(self, name: str, choices: Choices) -> None:
        super().__init__()
        self._name = one_line(name, 80)
        self._choices = choices

    def compose(self) -> ComposeResult:
        now = self._choices
        ends = " ".join(map(str, now.end_ids or ()))
        begin = "" if now.begin_id is None else str(now.begin_id)
        with Vertical(classes="dialog"):
            yield Static(f"How {self._name} is used", classes="dialog-title", markup=False)
            yield Static("What is left empty stays as its files say.", markup=False)
            yield Choice("Prompt", STYLES, now.prompt_style or AS_FOUND, label_width=10, id="style")
            for name, words, value, hint in (
                ("tokenizer", "Tokenizer", now.tokenizer or "", "gpt2, or the path of a tokenizer.json, .model or .bin"),
                ("ends", "Ends at", ends, "further tokens that end a story, as in 1 2"),
                ("begin", "Begins with", begin, "a token before everything; -1 for none"),
            ):
                with Horizontal(classes="row"):
                    yield Label(words, classes="field-label")
                    yield Input(value, placeholder=hint, id=name, compact=True)
            yield Static("", id="trouble", markup=False)
            with Horizontal(classes="dialog-buttons"):
                yield Button("Keep", id="do", compact=True)
                yield Button("Cancel", id="cancel", compact=True)

    def on_mount(self) -> None:
        for field in self.query(Input):
            field.cursor_blink = False

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.query_one("#trouble").display = False

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.run_worker(self._keep(), exclusive=True)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        event.stop()
        if event.button.id == "do":
            self.run_worker(self._keep(), exclusive=True)
        else:
            self.dismiss(None)

    async def _keep(self) -> None:
        fields = [self.query_one(f"#{name}", Input).value for name in ("tokenizer", "ends", "begin")]
        try:
            choices = parse(self.query_one("#style", Choice).value, *fields)
            if choices.tokenizer is not None:
                choices = await in_background(check_tokenizer, choices)
            self.dismiss(choices)
        except TinyTalesError as error:
            trouble = self.query_one("#trouble", Static)
            trouble.update(one_line(str(error), 400))
            trouble.display = True
