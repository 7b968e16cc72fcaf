"""The small dialog that asks for one line of text: a name, tags, a command, a path. What is done with it is its caller's business."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Static

from engine.errors import TinyTalesError
from tinytales_tui.text import one_line, safe_text
from tinytales_tui.widgets.confirm import LOW

T = TypeVar("T")


class LineDialog(ModalScreen[T | None], Generic[T]):
    """Closes with what `take` makes of the line, which may be slow; None if a person left it.

    Where `take` raises a TinyTalesError, the sentence is said in the dialog, which stays open.
    """

    VERTICAL_BREAKPOINTS = LOW
    DEFAULT_CSS = """
    LineDialog {
        #row { height: 1; margin-top: 1; }
        #line { width: 1fr; }
        #trouble { display: none; height: auto; color: $text-error; margin-top: 1; }
        &.-low #row, &.-low #trouble, &.-low .dialog-title { margin: 0; }
    }
    """
    AUTO_FOCUS = "#line"
    FIELD_HELP = ("In this field", [("enter", "Take it"), ("esc", "Leave everything as it was"), ("ctrl+u", "Clear it")])
    BINDINGS = [Binding("escape", "dismiss(None)", "Cancel", id="line.close", tooltip="Close; nothing is changed")]

    def __init__(
        self,
        title: str,
        about: str,
        label: str,
        take: Callable[[str], Awaitable[T]],
        *,
        value: str = "",
        hint: str = "",
        verb: str = "Keep",
    ) -> None:
        super().__init__()
        self._taking = False
        self._title, self._about, self._label = one_line(title, 200), safe_text(about), label
        self._take, self._value, self._hint, self._verb = take, one_line(value, 2000), hint, verb

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(self._title, classes="dialog-title", markup=False)
            yield Static(self._about, markup=False)
            with Horizontal(id="row"):
                yield Label(self._label, classes="field-label", markup=False)
                yield Input(self._value, placeholder=self._hint, id="line", compact=True, select_on_focus=False)
            yield Static("", id="trouble", markup=False)
            with Horizontal(classes="dialog-buttons"):
                yield Button(self._verb, id="do", compact=True)
                yield Button("Cancel", id="cancel", compact=True)

    def on_mount(self) -> None:
        self.query_one("#line", Input).cursor_blink = False

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.query_one("#trouble").display = False

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.run_worker(self._finish())

    def on_button_pressed(self, event: Button.Pressed) -> None:
        event.stop()
        if event.button.id == "do":
            self.run_worker(self._finish())
        else:
            self.dismiss(None)

    async def _finish(self) -> None:
        if self._taking:  # what is under way is not to be done twice
            return
        self._taking = True
        try:
            self.dismiss(await self._take(self.query_one("#line", Input).value))
        except TinyTalesError as error:
            trouble = self.query_one("#trouble", Static)
            trouble.update(one_line(str(error), 400))
            trouble.display = True
        finally:
            self._taking = False
