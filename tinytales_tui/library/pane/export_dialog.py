"""The dialog that gives stories out: which, in which form, and to which file."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Static

from engine.errors import TinyTalesError
from tinytales_tui import paths
from tinytales_tui.library.pane import sending
from tinytales_tui.text import one_line
from tinytales_tui.widgets.choice import Choice
from tinytales_tui.widgets.confirm import LOW


@dataclass(frozen=True)
class Choosable:
    """Some stories that can be given out."""

    words: str
    """As a person chooses them."""
    name: str
    """What their file may be called."""
    count: int


Give = Callable[[str, str, str, Path | None], Awaitable[Path]]
"""(which stories, form, file name, what may be replaced) -> where they are now; raises `sending.FileThere` and TinyTalesError."""


class ExportDialog(ModalScreen[Path | None]):
    """Closes with the file's path when it is written; None if a person left it. What goes wrong is said in it, and it stays open."""

    VERTICAL_BREAKPOINTS = LOW
    DEFAULT_CSS = """
    ExportDialog {
        #name { width: 1fr; }
        #where, #trouble { height: auto; margin-top: 1; }
        #where { color: $text-muted; }
        #trouble { display: none; color: $text-error; }
        &.-low .dialog-title, &.-low #where, &.-low #trouble, &.-low .dialog-buttons { margin: 0; }
    }
    """
    AUTO_FOCUS = "#name"
    FIELD_HELP = ("In this field", [("enter", "Export"), ("tab", "Go to the next field"), ("esc", "Leave without exporting")])
    BINDINGS = [
        Binding("escape", "leave", "Cancel", id="export.close", tooltip="Close; nothing is exported"),
        Binding("enter", "export", "Export", show=False, id="export.export", tooltip="Write the file"),
    ]

    def __init__(self, choosable: Mapping[str, Choosable], folder: Path, give: Give) -> None:
        super().__init__()
        self._choosable, self._folder, self._give = choosable, folder, give
        self._which, self._form = next(iter(choosable)), "md"
        self._suggested = self._suggest()
        self._asked: Path | None = None
        self._writing = False

    def _suggest(self) -> str:
        return sending.suggested(self._choosable[self._which].name, self._form, self._folder)

    def compose(self) -> ComposeResult:
        options = [(which, some.words) for which, some in self._choosable.items()]
        with Vertical(classes="dialog"):
            yield Static("Export", classes="dialog-title", markup=False)
            yield Choice("Stories", options, self._which, label_width=8, id="which")
            yield Choice("Form", sending.FORM_WORDS, self._form, label_width=8, id="form")
            with Horizontal(classes="dialog-row"):
                yield Label("File", classes="field-label")
                yield Input(self._suggested, id="name", compact=True)
            where = paths.shown(self._folder)
            yield Static(f"It goes to {where}, unless you type a whole path. JSON keeps every branch.", id="where", markup=False)
            yield Static("", id="trouble", markup=False)
            with Horizontal(classes="dialog-buttons"):
                yield Button("Export", id="do", compact=True)
                yield Button("Cancel", id="cancel", compact=True)

    def on_mount(self) -> None:
        self.query_one("#name", Input).cursor_blink = False

    def on_choice_changed(self, event: Choice.Changed) -> None:
        event.stop()
        name = self.query_one("#name", Input)
        untouched = name.value == self._suggested
        if event.choice.id == "form":
            self._form = event.value
        else:
            self._which = event.value
        self._suggested = self._suggest()
        if untouched:
            name.value = self._suggested
        elif sending.form_of(name.value, "") and event.choice.id == "form":
            name.value = str(Path(name.value).with_suffix(f".{self._form}"))

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._asked = None
        self._say("")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_export()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        event.stop()
        if event.button.id == "do":
            self.action_export()
        else:
            self.action_leave()

    def action_leave(self) -> None:
        if self._writing:
            self._say("It is being written; this closes by itself when it is there.")
        else:
            self.dismiss(None)

    def action_export(self) -> None:
        if not self._writing:
            self._writing = True
            self.run_worker(self._export())

    async def _export(self) -> None:
        if (count := self._choosable[self._which].count) > 100:
            self._say(f"Writing {count:,} stories…")
        try:
            name = self.query_one("#name", Input).value
            self.dismiss(await self._give(self._which, self._form, name, self._asked))
        except sending.FileThere as error:
            self._asked = error.path
            self._say(str(error))
        except TinyTalesError as error:
            self._say(str(error))
        finally:
            self._writing = False

    def _say(self, words: str) -> None:
        trouble = self.query_one("#trouble", Static)
        trouble.update(one_line(words, 400))
        trouble.display = bool(words)
