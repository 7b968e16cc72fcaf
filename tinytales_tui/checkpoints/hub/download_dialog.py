"""The dialog before a download: what would be fetched, how large that is, whether it fits; and which file, where there are several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Static

from engine.errors import TinyTalesError, UsageError
from engine.hub.needed import SeveralModels
from engine.hub.planning import Plan, plan
from tinytales_tui import paths
from tinytales_tui.checkpoints.background import in_background
from tinytales_tui.figures import size
from tinytales_tui.text import one_line, safe_text
from tinytales_tui.widgets.confirm import LOW, leave_room

if TYPE_CHECKING:
    from tinytales_tui.app import TinyTalesApp


@dataclass(frozen=True)
class Wanted:
    """What a person agreed to fetch."""

    repo: str
    revision: str | None
    pattern: str | None


class DownloadDialog(ModalScreen[Wanted | None]):
    """Closes with what is to be fetched; with None if a person left it."""

    app: TinyTalesApp
    VERTICAL_BREAKPOINTS = LOW
    DEFAULT_CSS = """
    DownloadDialog {
        #files { height: auto; scrollbar-size-vertical: 1; }
        #list { height: auto; }
        #sum, #trouble { height: auto; margin-top: 1; }
        #trouble { color: $text-error; display: none; }
        #which { height: 1; margin-top: 1; display: none; }
        #pattern { width: 1fr; }
        &.-low #sum, &.-low #trouble, &.-low #which { margin: 0; }
    }
    """
    AUTO_FOCUS = "#cancel"
    BINDINGS = [
        Binding("escape", "dismiss(None)", "Cancel", id="download.close", tooltip="Close; nothing is fetched"),
        Binding("left", "app.focus_previous", show=False, id="download.left", tooltip="To the button before"),
        Binding("right", "app.focus_next", show=False, id="download.right", tooltip="To the next button"),
        Binding("up", "scroll_files(-1)", show=False, id="download.up", tooltip="Scroll up"),
        Binding("down", "scroll_files(1)", show=False, id="download.down", tooltip="Scroll down"),
    ]

    def __init__(self, repo: str, revision: str | None = None, pattern: str | None = None) -> None:
        super().__init__()
        self._wanted = Wanted(repo, revision, pattern)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(f"Download {one_line(self._wanted.repo, 60)}?", classes="dialog-title", markup=False)
            with VerticalScroll(id="files", can_focus=False):
                yield Static("Asking the Hub what it consists of…", id="list", markup=False)
            yield Static("", id="sum", markup=False)
            yield Static("", id="trouble", markup=False)
            with Horizontal(id="which"):
                yield Label("File", classes="field-label")
                yield Input(self._wanted.pattern or "", placeholder="name of the file to fetch", id="pattern", compact=True)
            with Horizontal(classes="dialog-buttons"):
                yield Button("Download", id="do", compact=True, disabled=True)
                yield Button("Cancel", id="cancel", compact=True)

    def on_mount(self) -> None:
        self.query_one("#pattern", Input).cursor_blink = False
        self._ask()

    def on_resize(self, event: events.Resize) -> None:
        self._fit()

    def _fit(self) -> None:
        self.query_one("#files").styles.height = "auto"
        self.call_after_refresh(lambda: leave_room(self.query_one("#files")))

    def _ask(self) -> None:
        self.run_worker(self._planning(self._wanted), group="planning", exclusive=True)

    async def _planning(self, wanted: Wanted) -> None:
        try:
            found = await in_background(plan, wanted.repo, wanted.revision, wanted.pattern)
        except UsageError as error:
            self._choose(str(error), error.names if isinstance(error, SeveralModels) else ())
        except TinyTalesError as error:
            self._show("", "", str(error))
        except Exception as error:  # a server's answer that nobody thought of
            self._show("", "", f"The Hub's answer could not be understood ({type(error).__name__}).")
        else:
            self._show_plan(found)

    def _show_plan(self, found: Plan) -> None:
        rows = [
            f"{size(file.size):>10}  {'here ' if file.cached else '     '} {one_line(file.name, 200)}" for file in found.files
        ]
        free = f"{size(found.free_bytes)} are free in {paths.shown(found.cache)}."
        if not found.to_fetch:
            self._show("\n".join(rows), "All of it is here already; it is looked through once more.", "")
        elif found.fits:
            self._show("\n".join(rows), f"{size(found.to_fetch)} to fetch; {free}", "")
        else:
            trouble = f"It does not fit: {size(found.to_fetch)} to fetch, and only {free} Delete something first (1, then D)."
            self._show("\n".join(rows), "", trouble)
        if found.fits or not found.to_fetch:
            button = self.query_one("#do", Button)
            button.disabled = False
            button.focus()

    def _choose(self, words: str, names: Sequence[str]) -> None:
        """Several files could be meant, or none is of the name that was given: let a person name one."""
        self._show("\n".join(f"  {one_line(name, 100)}" for name in names), "", words)
        which, field = self.query_one("#which"), self.query_one("#pattern", Input)
        which.display = True
        if names and not self._wanted.pattern:
            field.value = names[0]
        field.focus()

    def _show(self, files: str, summed: str, trouble: str) -> None:
        for name, words in (("list", files), ("sum", summed), ("trouble", trouble)):
            part = self.query_one(f"#{name}", Static)
            part.update(safe_text(words))
            part.display = bool(words)
        button = self.query_one("#do", Button)
        button.disabled = True
        button.display = not trouble
        if trouble:
            self.query_one("#cancel", Button).focus()
        self._fit()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._wanted = Wanted(self._wanted.repo, self._wanted.revision, event.value.strip() or None)
        self._show("Asking the Hub…", "", "")
        self._ask()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        event.stop()
        self.dismiss(self._wanted if event.button.id == "do" else None)

    def action_scroll_files(self, lines: int) -> None:
        self.query_one("#files").scroll_relative(y=lines, animate=False)
