"""The dialog that copies a checkpoint of a run out of it: which one, to where, and how far the copying has come.

The copying itself is `engine.run_actions.export_run`, in a thread; the dialog tells it to break off when a person does.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Static

from engine.errors import TinyTalesError, UsageError
from engine.run_actions import DestinationExists, export_run
from engine.run_view import RunView
from tinytales_tui import paths
from tinytales_tui.figures import size
from tinytales_tui.text import one_line
from tinytales_tui.train.steer.checkpoint_rows import (
    CheckpointRow,
    checkpoint_rows,
    destination_of,
    folder_to_start_from,
    in_words,
    suggest_destination,
)
from tinytales_tui.train.steer.steering import shown
from tinytales_tui.widgets.choice import Choice
from tinytales_tui.widgets.confirm import LOW

if TYPE_CHECKING:
    from tinytales_tui.app import TinyTalesApp


class _BrokenOff(TinyTalesError):
    """A person wants the copy no longer."""


class ExportDialog(ModalScreen[Path | None]):
    """Closes with the folder that the checkpoint was copied to; with None if a person left it, and then nothing is left of a copy."""

    app: TinyTalesApp
    CSS_PATH = "dialogs.tcss"
    VERTICAL_BREAKPOINTS = LOW
    AUTO_FOCUS = "#where"
    BINDINGS = [
        Binding("escape", "leave", "Cancel", id="export.close", tooltip="Close; a copy that is being made is broken off"),
    ]

    def __init__(self, run: RunView, notes: Mapping[int, str] | None = None, *, folder: Path | None = None) -> None:
        """`folder` is where names that are no whole paths lead: the current folder unless it is given."""
        super().__init__()
        self._run = run
        self._notes = notes
        self._folder = folder
        self._rows: list[CheckpointRow] = []
        self._asked: Path | None = None
        self._cancel = threading.Event()
        self._copied: int | None = None
        """Bytes copied so far; None while nothing is being copied."""
        self._made: Path | None = None

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(f"Copy a checkpoint of {shown(self._run)}", classes="dialog-title", markup=False)
            yield Choice("Checkpoint", [("", "looking…")], "", label_width=11, id="which")
            with Horizontal(classes="dialog-row"):
                yield Label("To", classes="field-label")
                yield Input("", id="where", compact=True, select_on_focus=True)
            yield Static("", id="said", markup=False)
            yield Static("", id="trouble", markup=False)
            with Horizontal(classes="dialog-buttons"):
                yield Button("Copy", id="copy", compact=True)
                yield Button("Cancel", id="close", compact=True)

    def on_mount(self) -> None:
        self.query_one("#where", Input).cursor_blink = False
        self.run_worker(self._load(), group="load")

    def on_unmount(self) -> None:
        self._cancel.set()

    def on_screen_resume(self) -> None:
        self.call_later(self._close_when_made)

    def _close_when_made(self) -> None:
        if self._made is not None and self.app.screen is self:  # else something lies over the dialog; it closes when that is gone
            made, self._made = self._made, None
            self.dismiss(made)

    async def _load(self) -> None:
        def look() -> tuple[list[CheckpointRow], Path, str]:
            folder = self._folder or folder_to_start_from()
            return checkpoint_rows(self._run, self._notes), folder, suggest_destination(self._run.name, folder)

        self._rows, self._folder, suggestion = await asyncio.to_thread(look)
        choice = self.query_one("#which", Choice)
        if not self._rows:
            choice.options = [("", "none")]
            choice.refresh()
            self._say(f"{shown(self._run)} has no checkpoint yet.")
            self.query_one("#close", Button).focus()
            return
        choice.options = [(row.info.name, in_words(row)) for row in self._rows]
        choice.set_value(self._rows[0].info.name)
        where = self.query_one("#where", Input)
        if not where.value:
            where.value = suggestion
            where.action_select_all()
        self._show()

    @property
    def _row(self) -> CheckpointRow | None:
        chosen = self.query_one("#which", Choice).value
        return next((row for row in self._rows if row.info.name == chosen), None)

    def _target(self) -> Path:
        if self._folder is None:
            raise UsageError("One moment: the run's checkpoints are being looked for.")
        return destination_of(self.query_one("#where", Input).value, self._folder, self._run.name)

    def _show(self) -> None:
        """Where the copy goes, or how far it has come."""
        row = self._row
        if row is None:
            return
        if self._copied is not None:
            done = f"Copying, {size(min(self._copied, row.info.bytes))} of {size(row.info.bytes)}…"
            self.query_one("#said", Static).update(f"{done} Esc breaks it off.")
            return
        try:
            said = f"A folder of {size(row.info.bytes)}: {one_line(paths.shown(self._target()), 400)}"
        except UsageError:
            said = f"A folder of {size(row.info.bytes)}."
        self.query_one("#said", Static).update(said)

    def on_choice_changed(self, event: Choice.Changed) -> None:
        event.stop()
        self._show()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._asked = None
        if self._rows:
            self._say("")
            self._show()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._copy()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        event.stop()
        if event.button.id == "copy":
            self._copy()
        else:
            self.action_leave()

    def action_leave(self) -> None:
        if self._copied is None:
            self.dismiss(None)
        else:
            self._cancel.set()
            self._say("Breaking off…")

    def _copy(self) -> None:
        if self._copied is not None:
            return
        try:
            target = self._target()
        except UsageError as error:
            self._say(str(error))
            return
        row = self._row
        if row is None:
            return
        self._say("")
        self._copied = 0
        self._cancel.clear()
        self._lock(True)
        self.run_worker(self._copying(row, target, target == self._asked), group="copy")

    async def _copying(self, row: CheckpointRow, target: Path, replace: bool) -> None:
        def piece(count: int) -> None:
            if self._cancel.is_set():
                raise _BrokenOff("The copy was broken off; nothing is left of it.")
            self._copied = (self._copied or 0) + count

        ticks = self.set_interval(2.0 if self.app.low_bandwidth else 0.5, self._show)
        self._show()
        trouble, done = "", False
        try:
            await asyncio.to_thread(export_run, self._run, target, row.which, replace, piece)
            done = True
        except DestinationExists:
            self._asked = target
            trouble = f"{target.name} is there already: press Copy again to replace it, or give another name."
        except TinyTalesError as error:
            trouble = str(error)
        except OSError as error:
            trouble = f"{paths.shown(target)} cannot be written: {paths.reason(error)}."
        finally:
            ticks.stop()
            self._copied = None
        if done:
            self._made = target
            self._close_when_made()
            return
        self._lock(False)
        self._say(trouble)
        self._show()
        self.query_one("#where", Input).focus()

    def _lock(self, locked: bool) -> None:
        for name in ("#which", "#where", "#copy"):
            self.query_one(name).disabled = locked
        if locked:
            self.query_one("#close", Button).focus()

    def _say(self, words: str) -> None:
        trouble = self.query_one("#trouble", Static)
        trouble.update(one_line(words, 400))
        trouble.display = bool(words)
        if words:
            self.call_after_refresh(trouble.scroll_visible, animate=False)
