"""The small dialog that asks where and in which form to save a story."""

from __future__ import annotations

from pathlib import Path

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Static

from tinytales_tui import paths
from tinytales_tui.story import StoryRecord
from tinytales_tui.widgets.choice import Choice
from tinytales_tui.write import saving


class SaveDialog(ModalScreen[Path | None]):
    """Saves, and closes with the file's path; None if a person left it. An error is said in the dialog, which stays open."""

    BINDINGS = [
        Binding("escape", "dismiss(None)", "Cancel", id="save.close"),
        Binding("enter", "save", "Save", id="save.save"),
    ]

    def __init__(self, record: StoryRecord, form: str, folder: Path) -> None:
        super().__init__()
        self.record = record
        self.form = form
        self.folder = folder
        self._asked: Path | None = None
        self._suggested = saving.suggest_name(record, form, folder)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static("Save the story", classes="dialog-title")
            yield Choice("Format", saving.FORMATS, self.form, label_width=6, id="form")
            with Horizontal(classes="dialog-row"):
                yield Label("Name", classes="field-label")
                yield Input(self._suggested, id="name", compact=True, select_on_focus=True)
            yield Static(f"Saved in {paths.shown(self.folder)}, unless you type a whole path.", id="where", markup=False)
            yield Static("", id="trouble", markup=False)
            with Horizontal(classes="dialog-buttons"):
                yield Button("Save", id="save", compact=True)
                yield Button("Cancel", id="close", compact=True)

    def on_mount(self) -> None:
        name = self.query_one("#name", Input)
        name.cursor_blink = False
        name.focus()

    def on_choice_changed(self, event: Choice.Changed) -> None:
        event.stop()
        self.form = event.value
        name = self.query_one("#name", Input)
        if name.value == self._suggested:
            self._suggested = saving.suggest_name(self.record, self.form, self.folder)
            name.value = self._suggested
        elif Path(name.value).suffix in {f".{ending}" for ending, _ in saving.FORMATS}:
            name.value = str(Path(name.value).with_suffix(f".{self.form}"))

    def on_input_changed(self, event: Input.Changed) -> None:
        self._asked = None
        self._say("")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._save()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        event.stop()
        if event.button.id == "save":
            self._save()
        else:
            self.dismiss(None)

    def action_save(self) -> None:
        self._save()

    def _save(self) -> None:
        try:
            path = saving.target(self.query_one("#name", Input).value, self.form, self.folder)
            typed = path.suffix[1:].lower()  # a file that is called .json holds JSON, whatever is chosen above
            form = typed if typed in dict(saving.FORMATS) else self.form
            saving.save(self.record, form, path, replace=path == self._asked)
        except saving.FileExists as error:
            self._asked = path
            self._say(str(error))
        except saving.SaveError as error:
            self._say(str(error))
        else:
            self.dismiss(path)

    def _say(self, words: str) -> None:
        trouble = self.query_one("#trouble", Static)
        trouble.update(words)
        trouble.display = bool(words)
        if words:
            self.call_after_refresh(trouble.scroll_visible, animate=False)
