"""The dialog that adds a folder of checkpoints to the list."""

from __future__ import annotations

import os
from pathlib import Path

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Static

from engine.errors import UsageError
from tinytales_tui import paths
from tinytales_tui.checkpoints.background import in_background
from tinytales_tui.text import one_line
from tinytales_tui.widgets.confirm import LOW


def folder_named(words: str) -> Path:
    """The folder that was typed (`~` is home); UsageError where there is none that can be looked into."""
    if not words.strip():
        raise UsageError("Type the path of a folder, such as ~/models.")
    path = Path(os.path.abspath(os.path.expanduser(words.strip())))  # noqa: PTH100, PTH111 (expanduser raises for an unknown ~name)
    try:
        if not path.exists():
            raise UsageError(f"There is no folder {paths.shown(path)}; check the path.")
        if not path.is_dir():
            raise UsageError(f"{paths.shown(path)} is a file; name the folder that it lies in.")
        next(path.iterdir(), None)
    except OSError as error:
        raise UsageError(f"{paths.shown(path)} cannot be looked into: {paths.reason(error)}.") from error
    except ValueError as error:  # a NUL in it
        raise UsageError("That is not a path.") from error
    return path


class FolderDialog(ModalScreen[Path | None]):
    """Closes with a folder that is there; with None if a person left it."""

    VERTICAL_BREAKPOINTS = LOW
    DEFAULT_CSS = """
    FolderDialog {
        #row { height: 1; margin-top: 1; }
        #folder { width: 1fr; }
        #trouble { display: none; height: auto; color: $text-error; margin-top: 1; }
        &.-low #row, &.-low #trouble { margin: 0; }
    }
    """
    AUTO_FOCUS = "#folder"
    BINDINGS = [Binding("escape", "dismiss(None)", "Cancel", id="folder.close", tooltip="Close; no folder is added")]

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static("Add a folder to the list", classes="dialog-title", markup=False)
            yield Static("A checkpoint's folder, or one with several of them in it. Nothing in it is changed.", markup=False)
            with Horizontal(id="row"):
                yield Label("Folder", classes="field-label")
                yield Input(placeholder="~/models", id="folder", compact=True)
            yield Static("", id="trouble", markup=False)
            with Horizontal(classes="dialog-buttons"):
                yield Button("Add", id="do", compact=True)
                yield Button("Cancel", id="cancel", compact=True)

    def on_mount(self) -> None:
        self.query_one("#folder", Input).cursor_blink = False

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.query_one("#trouble").display = False

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.run_worker(self._add(), exclusive=True)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        event.stop()
        if event.button.id == "do":
            self.run_worker(self._add(), exclusive=True)
        else:
            self.dismiss(None)

    async def _add(self) -> None:
        try:
            self.dismiss(await in_background(folder_named, self.query_one("#folder", Input).value))
        except UsageError as error:
            trouble = self.query_one("#trouble", Static)
            trouble.update(one_line(str(error), 400))
            trouble.display = True
