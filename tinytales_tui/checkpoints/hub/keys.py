"""The keys of the Hub and of the downloads: search, download, cancel, try again. A part of the pane's screen, in a file of its own."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from textual.binding import Binding
from textual.widgets import Input

from engine.errors import TinyTalesError
from engine.hub.search import Found, Model, search
from tinytales_tui import paths
from tinytales_tui.checkpoints.background import in_background
from tinytales_tui.text import one_line

if TYPE_CHECKING:
    from engine.hub.downloads import Download, Downloads
    from tinytales_tui.checkpoints.screen import CheckpointsScreen

HUB_BINDINGS = [
    Binding("d", "download", "Download", show=False, id="checkpoints.download", tooltip="Download it; shows first what will be fetched"),
    Binding("x", "cancel", "Cancel", id="checkpoints.cancel", tooltip="Cancel the download"),
    Binding("R", "retry", "Again", id="checkpoints.retry", tooltip="Try a download again that failed or was cancelled"),
    Binding("backspace", "forget", "Forget", show=False, id="checkpoints.forget", tooltip="Take an ended download off the list"),
]  # fmt: skip
HUB_ACTIONS = {"download": ("hub",), "cancel": ("downloads",), "retry": ("downloads",), "forget": ("downloads",)}
"""In which views these actions are there."""
SETTLE = 0.6
"""Seconds of no typing after which the Hub is asked."""


class HubKeys:
    """What these keys do."""

    found: Found | None
    searching: bool
    _asked: int
    _downloads: Downloads | None
    _making_downloads: asyncio.Lock
    _states: dict[str, str]
    _told: bool

    async def downloads(self: CheckpointsScreen) -> Downloads:
        """All downloads of this app; made when it is first asked for, since reading their history takes a disk."""

        def make() -> Downloads:
            from engine.hub.downloads import Downloads

            return Downloads(self._on_change, history=paths.download_history())

        async with self._making_downloads:
            if self._downloads is None:
                self._downloads = await in_background(make)
                self._states = {one.id: one.state for one in self._downloads.all}
                self._told = True
        return self._downloads

    # Searching

    def look_on_hub(self: CheckpointsScreen, words: str, wait: float = 0.0) -> None:
        """Ask the Hub, after so many seconds without another question."""
        self._asked += 1
        self.run_worker(self._searching(words, self._asked, wait), group="search", exclusive=True)

    async def _searching(self: CheckpointsScreen, words: str, number: int, wait: float) -> None:
        await asyncio.sleep(wait)

        def so_far(found: Found) -> None:  # from the thread: kept for the next tick
            if number == self._asked:
                self.found = found
                self._told = True

        self.searching = True
        self.draw()
        try:
            found = await in_background(lambda: search(words, told=so_far))
        except TinyTalesError as error:
            found = Found((), str(error))
        except Exception as error:  # a server's answer that nobody thought of
            found = Found((), f"The Hub's answer could not be understood ({type(error).__name__}).")
        if number == self._asked:
            self.found, self.searching = found, False
            self.draw()

    def on_input_changed(self: CheckpointsScreen, event: Input.Changed) -> None:
        if event.input is self.search_line:
            self.look_on_hub(event.value, SETTLE)
        else:
            self._filter_changed(event)

    def on_input_submitted(self: CheckpointsScreen, event: Input.Submitted) -> None:
        if event.input is self.search_line:
            self.look_on_hub(event.value)
            self.set_focus(self.models)
        else:
            self._filter_submitted(event)

    # Downloading

    def action_download(self: CheckpointsScreen) -> None:
        if self.models.highlighted is not None:
            self.run_worker(self._download(self.models.highlighted), group="download")

    async def _download(self: CheckpointsScreen, model: Model) -> None:
        from tinytales_tui.checkpoints.hub.download_dialog import DownloadDialog

        wanted = await self.app.push_screen_wait(DownloadDialog(model.repo, None, model.file or None))
        if wanted is None:
            return
        downloads = await self.downloads()
        one = await in_background(lambda: downloads.add(wanted.repo, wanted.revision, wanted.pattern))
        self.queue.show_downloads(downloads.all)
        self.queue.go_to(one.id)
        self.app.say(f"{one_line(wanted.repo, 80)} is being downloaded; 4 shows how far it is.")
        self._on_change()

    def _steer_download(self: CheckpointsScreen, what: str, able: bool, why: str) -> None:
        one = self.queue.highlighted
        if one is None or self._downloads is None:
            self.app.say("There is no download; 3 shows what the Hub has.", "warning")
        elif one.over is able:
            self.app.say(f"{one_line(one.repo, 80)}: {why}", "warning")
        else:
            self._states[one.id] = "waiting"  # so that its next end is told too
            self.run_worker(in_background(getattr(self._downloads, what), one.id), group="download", exit_on_error=False)

    def action_cancel(self: CheckpointsScreen) -> None:
        self._steer_download("cancel", True, "this download has ended.")

    def action_retry(self: CheckpointsScreen) -> None:
        self._steer_download("retry", False, "this download is under way; x cancels it.")

    def action_forget(self: CheckpointsScreen) -> None:
        self._steer_download("remove", False, "this download is under way; x cancels it first.")

    def tell_of_downloads(self: CheckpointsScreen) -> None:
        """A sentence for each download that has ended since the last time; what is new is looked for at once."""
        if self._downloads is None:
            return
        from engine.hub.downloads import ENDED

        for one in self._downloads.all:
            before, self._states[one.id] = self._states.get(one.id, "waiting"), one.state
            if one.state != before and before not in ENDED and one.over:
                self._tell_of(one)

    def _tell_of(self: CheckpointsScreen, one: Download) -> None:
        name = one_line(one.repo, 80)
        if one.state == "done":
            self.run_worker(self._tell_what_came(one), group="telling")
        elif one.state == "failed":
            self.app.say(one.message or f"{name} could not be downloaded; R in the downloads tries again.", "error")
        else:
            self.app.say(f"The download of {name} was cancelled; files that are whole stay, R fetches the rest.")
        if self.shelf is not None:
            self.shelf.look_now()

    async def _tell_what_came(self: CheckpointsScreen, one: Download) -> None:
        """That it is here, and whether it can be opened at all."""
        from engine.catalog.facts import facts_of

        name = one_line(one.repo, 80)
        known = await in_background(facts_of, one.path) if one.path is not None else None
        if known is not None and known.refused:
            self.app.say(f"{name} is here, but it cannot be opened: {one_line(known.refused, 200)}", "warning")
        else:
            self.app.say(f"{name} is here; it stands in the list.")

    def where_models_stand(self: CheckpointsScreen) -> dict[str, str]:
        """By source: `here`, or how its download stands."""
        found = {}
        for entry in self.entries:
            if entry.origin == "hub" and not entry.partial:
                found[entry.source] = found[entry.repo] = "here"
        for one in self._downloads.all if self._downloads is not None else ():
            if not one.over:
                found[f"{one.repo}/{one.pattern}" if one.pattern else one.repo] = "coming"
        return found

    async def close_downloads(self: CheckpointsScreen) -> None:
        if self._downloads is not None:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(in_background(self._downloads.close), 3.0)
