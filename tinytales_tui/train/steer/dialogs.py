"""Small dialogs of the Train pane: which checkpoint to write with, and how many steps a finished run is to have.

What they ask about is read in a thread; what is done with the answer is not their business. Copying a checkpoint has a dialog of its
own, in `export_dialog`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, OptionList, Static
from textual.widgets.option_list import Option

from engine.run_view import CheckpointInfo, RunView
from tinytales_tui.text import one_line
from tinytales_tui.train.steer.checkpoint_rows import CheckpointRow, checkpoint_rows, table_lines
from tinytales_tui.train.steer.steering import shown
from tinytales_tui.widgets.confirm import LOW, leave_room

_MOST_STEPS = 1 << 40


class CheckpointDialog(ModalScreen[CheckpointInfo | None]):
    """Closes with the chosen checkpoint, which was still there when it was chosen; with None if a person left it."""

    CSS_PATH = "dialogs.tcss"
    VERTICAL_BREAKPOINTS = LOW
    AUTO_FOCUS = "#checkpoints"
    BINDINGS = [
        Binding("escape,q", "dismiss(None)", "Cancel", id="checkpoint.close", tooltip="Close without choosing"),
        Binding("g", "first", "First", show=False, id="checkpoint.first", tooltip="To the first checkpoint"),
        Binding("G", "last", "Last", show=False, id="checkpoint.last", tooltip="To the last checkpoint"),
        Binding("k", "move(-1)", "Up", show=False, id="checkpoint.up", tooltip="To the checkpoint above"),
        Binding("j", "move(1)", "Down", show=False, id="checkpoint.down", tooltip="To the checkpoint below"),
    ]

    def __init__(
        self, run: RunView, notes: Mapping[int, str] | None = None, *, title: str = "Write with which checkpoint?"
    ) -> None:
        """`notes` says by step what is known of the model then; without it, the run's own metrics are read."""
        super().__init__()
        self._run = run
        self._notes = notes
        self._title = title
        self._rows: list[CheckpointRow] = []
        self._lines: list[str] = []

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(self._title, classes="dialog-title", markup=False)
            yield Static("", id="headings", markup=False)
            yield OptionList(id="checkpoints", markup=False, compact=True)
            yield Static("Looking for checkpoints…", id="said", markup=False)
            yield Static("enter choose · esc cancel", id="keys", markup=False)

    def on_mount(self) -> None:
        self._list.display = False
        self.run_worker(self._load(""), group="load", exclusive=True)

    @property
    def _list(self) -> OptionList:
        return self.query_one("#checkpoints", OptionList)

    async def _load(self, said: str) -> None:
        self._rows = await asyncio.to_thread(checkpoint_rows, self._run, self._notes)
        self._lines = []
        self._show()
        if not self._rows:
            said = f"{shown(self._run)} has no checkpoint yet."
        self._say(said)
        if self._rows:
            self._list.focus()

    def _show(self) -> None:
        """The rows, in the columns and lines that there is room for."""
        room = max(10, min(self.size.width, 72) - 8)
        lines = table_lines(self._rows, room) if self._rows else []
        self._list.styles.height = "auto"
        self.call_after_refresh(self._fit)
        if lines == self._lines:
            return
        self._lines = lines
        options, at = self._list, self._list.highlighted or 0
        self.query_one("#headings", Static).update(lines[0] if lines else "")
        options.clear_options()
        options.add_options([Option(Text(line)) for line in lines[1:]])
        options.display = bool(lines)
        if lines:
            options.highlighted = min(at, len(self._rows) - 1)

    def _fit(self) -> None:
        leave_room(self._list)
        self.call_after_refresh(self._list.scroll_to_highlight)

    def _say(self, words: str) -> None:
        said = self.query_one("#said", Static)
        said.update(words)
        said.display = bool(words)

    def on_resize(self, event: events.Resize) -> None:
        if self._rows:
            self._show()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        chosen = self._rows[event.option_index].info

        async def choose() -> None:
            there = await asyncio.to_thread((chosen.path / "model.safetensors").is_file)
            if there and self.app.screen is self:  # nothing has been laid over the dialog meanwhile
                self.dismiss(chosen)
            elif not there:
                await self._load(f"{one_line(chosen.name, 60)} has been removed meanwhile; choose another one.")

        self.run_worker(choose(), group="load", exclusive=True)

    def action_first(self) -> None:
        self._list.action_first()

    def action_last(self) -> None:
        self._list.action_last()

    def action_move(self, rows: int) -> None:
        if rows < 0:
            self._list.action_cursor_up()
        else:
            self._list.action_cursor_down()


class MoreStepsDialog(ModalScreen[int | None]):
    """Closes with the number of steps that the run is to have in all; with None if a person left it."""

    CSS_PATH = "dialogs.tcss"
    VERTICAL_BREAKPOINTS = LOW
    AUTO_FOCUS = "#steps"
    BINDINGS = [Binding("escape", "dismiss(None)", "Cancel", id="steps.close", tooltip="Leave the run as it is")]

    def __init__(self, name: str, done: int, suggested: int | None = None) -> None:
        """`done` is how many steps the run has done; twice as many are suggested unless `suggested` says otherwise."""
        super().__init__()
        self._run_name = name
        self._done = done
        self._suggested = suggested or 2 * done

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static("Go on with how many steps?", classes="dialog-title", markup=False)
            done = f"{one_line(self._run_name, 60)} has done its {self._done:,} steps."
            yield Static(f"{done} Say how many it is to have in all.", markup=False)
            with Horizontal(classes="dialog-row", id="steps-row"):
                yield Label("Steps in all", classes="field-label")
                yield Input(str(self._suggested), id="steps", compact=True, select_on_focus=True)
            yield Static("", id="more", markup=False)
            yield Static("", id="trouble", markup=False)
            with Horizontal(classes="dialog-buttons"):
                yield Button("Go on", id="go", compact=True)
                yield Button("Cancel", id="close", compact=True)

    def on_mount(self) -> None:
        self.query_one("#steps", Input).cursor_blink = False

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        steps = self._steps()
        more = f"{steps - self._done:,} more than now; the learning rate then follows the longer plan." if steps else ""
        self.query_one("#more", Static).update(more)
        self._say("")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._go_on()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        event.stop()
        if event.button.id == "go":
            self._go_on()
        else:
            self.dismiss(None)

    def _go_on(self) -> None:
        steps = self._steps()
        if steps is None:
            self._say(f"Type a whole number above {self._done:,}.")
            self.query_one("#steps", Input).focus()
        else:
            self.dismiss(steps)

    def _steps(self) -> int | None:
        """What was typed, where it makes sense; 20 000, 20,000 and 20_000 are one number."""
        typed = self.query_one("#steps", Input).value
        digits = typed.translate({ord(mark): None for mark in " ,_'"})
        if not digits.isascii() or not digits.isdecimal() or len(digits) > 15:
            return None
        return int(digits) if self._done < int(digits) <= _MOST_STEPS else None

    def _say(self, words: str) -> None:
        trouble = self.query_one("#trouble", Static)
        trouble.update(words)
        trouble.display = bool(words)
