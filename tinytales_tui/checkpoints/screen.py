"""The Checkpoints pane's screen: all that can be written with, what is known of it, the Hub, and the downloads.

What it shows comes from threads (`shelf`, `engine.hub.downloads`) that leave a note when something is new; a tick finds the note and
draws, at most a few times a second. Nothing here waits for a disk or a network.
"""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Container, Horizontal, Vertical
from textual.screen import Screen
from textual.widgets import Footer, Input

from engine.catalog.entries import Entry
from engine.catalog.newer import marked
from engine.catalog.notes import Notes
from engine.hub.search import Found
from tinytales_tui import paths
from tinytales_tui.checkpoints.background import in_background
from tinytales_tui.checkpoints.details import Inside
from tinytales_tui.checkpoints.drawing import VIEWS, Drawing
from tinytales_tui.checkpoints.hub.found import ModelList
from tinytales_tui.checkpoints.hub.keys import HUB_ACTIONS, HUB_BINDINGS, HubKeys
from tinytales_tui.checkpoints.hub.queue import DownloadList
from tinytales_tui.checkpoints.keeping import KEEPING_ACTIONS, KEEPING_BINDINGS, KeepingKeys
from tinytales_tui.checkpoints.knowing import KNOWING_ACTIONS, KNOWING_BINDINGS, KnowingKeys
from tinytales_tui.checkpoints.list import EntryList
from tinytales_tui.checkpoints.page import Page
from tinytales_tui.checkpoints.rows import BADGE_WORDS, SORT_WORDS
from tinytales_tui.checkpoints.shelf import Shelf
from tinytales_tui.checkpoints.trial.keys import TRYING_ACTIONS, TRYING_BINDINGS, TryingKeys
from tinytales_tui.widgets.lines import Lines
from tinytales_tui.widgets.table import Table
from tinytales_tui.widgets.top_bar import TopBar

if TYPE_CHECKING:
    from engine.hub.downloads import Downloads
    from tinytales_tui.app import TinyTalesApp

TICK, TICK_SLOWLY = 0.2, 1.0
"""Seconds between two looks for a note; the second on a slow line."""
COMING = "it is being downloaded"
_ACTIONS = KEEPING_ACTIONS | HUB_ACTIONS | TRYING_ACTIONS | KNOWING_ACTIONS


class CheckpointsScreen(Drawing, KeepingKeys, KnowingKeys, HubKeys, TryingKeys, Screen[None]):
    """Where checkpoints are found, looked at, fetched and put away."""

    app: TinyTalesApp
    CSS_PATH = "checkpoints.tcss"
    TITLE = "Checkpoints"
    AUTO_FOCUS = ""
    FIELD_HELP = ("In this field", [("enter", "Go to what was found"), ("esc", "Leave the field"), ("ctrl+u", "Clear it")])
    HELP_NOTES = [
        ("Badges", [(word, meaning) for word, meaning in BADGE_WORDS]),
        (
            "Before a name",
            [
                ("●", "marked"),
                ("A", "to be compared"),
                ("▸", "the standing checkpoint"),
                ("★", "on the Hub: a known story model"),
            ],
        ),
    ]
    BINDINGS = [
        *(Binding(str(number), f"view('{name}')", words, show=False, id=f"checkpoints.view_{name}", tooltip=f"Show: {words}")
          for number, (name, words) in enumerate(VIEWS, 1)),
        *KEEPING_BINDINGS,
        *TRYING_BINDINGS,
        *HUB_BINDINGS,
        *KNOWING_BINDINGS,
        Binding("slash", "find", "Find", key_display="/", id="checkpoints.find", tooltip="Find in the list, or on the Hub"),
        Binding("N", "panel", "Beside", show=False, id="checkpoints.panel", tooltip="Show or hide the details beside the list"),
        Binding("escape", "back", "Back", show=False, id="checkpoints.back", tooltip="Close the sample or the field; back to the list"),
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.view = "list"
        self.with_panel = True
        """Whether the details stand beside the list where there is room."""
        self.shelf: Shelf | None = None
        self.found: Found | None = None
        """What the Hub was last found to have."""
        self.searching = False
        self.progress = ""
        self.damaged = frozenset()
        self._asked = 0
        self._downloads: Downloads | None = None
        self._making_downloads = asyncio.Lock()
        self._states: dict[str, str] = {}
        self._trash: list[tuple[str, str]] = []
        self._verifying: threading.Event | None = None
        self._inside: tuple[str, float | None, Inside] | None = None
        self._paged = self._reading = ""
        self._told = False
        self.newer = {}
        self.offline = ""

    def compose(self) -> ComposeResult:
        yield TopBar(self.app.pane_names, "checkpoints", help_from=130)
        yield Lines(1, id="views")
        with Container(id="stage"):
            with Vertical(id="list-view"):
                yield Input(placeholder="show only what matches; Enter keeps it, Esc shows all", compact=True, id="filter")
                yield EntryList(id="entries")
                yield Lines(2, id="summary")
            yield Page(id="page")
            with Vertical(id="hub-view"):
                yield Input(placeholder="search the Hub; Enter goes to what was found", compact=True, id="search")
                yield Lines(1, id="trouble")
                yield ModelList(id="models")
                yield Lines(2, id="about")
            with Vertical(id="downloads-view"):
                with Horizontal(id="downloads-body"):
                    yield DownloadList(id="queue")
                    yield Page(id="files")
                yield Lines(1, id="disk")
        yield Vertical(id="trial")
        yield Lines(1, id="status")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self.list = self.query_one("#entries", EntryList)
        self.page = self.query_one("#page", Page)
        self.models = self.query_one("#models", ModelList)
        self.queue = self.query_one("#queue", DownloadList)
        self.files = self.query_one("#files", Page)
        self.filter = self.query_one("#filter", Input)
        self.search_line = self.query_one("#search", Input)
        for field in (self.filter, self.search_line):
            field.cursor_blink = False
        self.filter.display = False
        self.run_worker(self._begin(), group="begin")
        self.set_interval(15.0, self.rest_bench)
        self.set_interval(TICK_SLOWLY if self.app.low_bandwidth else TICK, self._tick)
        self._show_view()

    async def _begin(self) -> None:
        def make() -> Shelf:
            return Shelf(paths.runs_folder(), Notes(paths.checkpoint_notes()), self._on_change, facts=paths.checkpoint_facts())

        self.shelf = await in_background(make)
        self.shelf.set_shown(self.is_current)
        self.shelf.start()
        if self.shelf.notes.trouble:
            self.app.say(self.shelf.notes.trouble, "warning")
        await self.downloads()
        await self.purge_old_trash()

    async def on_unmount(self) -> None:
        if self._verifying is not None:
            self._verifying.set()
        if self.shelf is not None:
            self.shelf.close()
        await self.rest_bench(now=True)
        await self.close_downloads()
        await self.empty_trash()

    def on_screen_suspend(self) -> None:
        if self.shelf is not None:
            self.shelf.set_shown(False)

    def on_screen_resume(self) -> None:
        if self.shelf is not None:
            self.shelf.set_shown(True)

    # What threads tell, and when it is drawn

    def _on_change(self) -> None:
        self._told = True  # from a thread: only a note, which the next tick finds

    def _tick(self) -> None:
        if self._told:
            self._told = False
            self.tell_of_downloads()
            self.ask_what_is_newer()
        elif not self.progress and not (self.view == "downloads" and self.is_current):
            return
        if self.is_current:
            self.draw()

    @property
    def entries(self) -> Sequence[Entry]:
        """Every checkpoint there is; the one that is being written with here is in use."""
        listing = self.shelf.listing if self.shelf is not None else None
        if listing is None:
            return ()
        held = self.app.engine.load.source or "default"
        entries = [
            dataclasses.replace(entry, partial=COMING) if entry.partial and entry.repo in self.downloading else entry
            for entry in marked(listing.entries, self.newer)
        ]
        if self.app.engine.pid is None:
            return entries
        return [
            dataclasses.replace(entry, in_use="written with in this window") if not entry.in_use and _is(entry, held) else entry
            for entry in entries
        ]

    @property
    def downloading(self) -> set[str]:
        """Repositories that this window is fetching from."""
        return {one.repo for one in self._downloads.all if not one.over} if self._downloads is not None else set()

    @property
    def standing(self) -> str:
        """Source of the checkpoint that is used where none is named."""
        return (self.shelf.notes.standing if self.shelf is not None else None) or "default"

    # Views and fields

    def action_view(self, name: str) -> None:
        self.view = name
        self._show_view()
        if name == "hub" and self.found is None and not self.searching:
            self.look_on_hub("")

    def _show_view(self) -> None:
        for name, _ in VIEWS:
            self.set_class(name == self.view, f"-view-{name}")
        self.set_class(not self.with_panel, "-no-panel")
        {"list": self.list, "details": self.page, "hub": self.models, "downloads": self.queue}[self.view].focus()
        self.refresh_bindings()
        self.call_after_refresh(self.draw)

    def action_panel(self) -> None:
        if not self.has_class("-wide"):
            self.app.say("The details stand beside the list from 110 columns on; 2 shows them here.")
        self.with_panel = not self.with_panel
        self._show_view()

    def action_find(self) -> None:
        if self.view == "hub":
            self.set_focus(self.search_line)  # at once: the next key is already meant for it
        elif self.view == "list":
            self._open_filter()
        else:
            self.action_view("list")
            self.call_after_refresh(self._open_filter)

    def action_back(self) -> None:
        if self.stop_verifying() or self.close_trial():
            return
        if self.filter.display and (self.filter.has_focus or self.list.words):
            self._close_filter(clear=True)
        elif self.search_line.has_focus:
            self.set_focus(self.models)
        elif self.view != "list":
            self.action_view("list")
        elif self.list.words:
            self.list.set_filter("")
        else:
            self.list.unmark()
        self.draw()

    def _open_filter(self) -> None:
        self.filter.value = self.list.words
        self.filter.display = True
        self.set_focus(self.filter)

    def _close_filter(self, clear: bool) -> None:
        self.filter.display = False
        if clear:
            self.list.set_filter("")
        self.set_focus(self.list)
        self.draw()

    def _filter_changed(self, event: Input.Changed) -> None:
        if event.input is self.filter and self.filter.display:
            self.list.set_filter(event.value)
            self.draw()

    def _filter_submitted(self, event: Input.Submitted) -> None:
        if event.input is self.filter:
            self._close_filter(clear=False)

    def on_entry_list_changed(self, event: EntryList.Changed) -> None:
        if event.what == "order":
            turned = ", turned round" if self.list.reverse else ""
            self.app.say(f"Ordered by {SORT_WORDS[self.list.sort]}{turned}")
        self.draw()

    def on_table_opened(self, event: Table.Opened) -> None:
        if event.table is self.list:
            self.action_write()
        elif event.table is self.models:
            self.action_download()

    def on_table_moved(self, event: Table.Moved) -> None:
        self.draw()

    def on_resize(self) -> None:
        self.call_after_refresh(self.draw)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        views = _ACTIONS.get(action)
        return views is None or self.view in views


def _is(entry: Entry, held: str) -> bool:
    return entry.source == held or (held not in ("", "default") and entry.origin != "shipped" and entry.path == Path(held))
