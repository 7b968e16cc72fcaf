"""What a person knows better than a checkpoint's files (`e`), and what the Hub knows that is newer. A part of the pane's screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.binding import Binding

from engine.catalog import newer
from engine.catalog.entries import Entry
from engine.errors import TinyTalesError
from tinytales_tui.checkpoints.background import in_background
from tinytales_tui.checkpoints.deleting import shown
from tinytales_tui.chosen import SHIPPED, choices_of

if TYPE_CHECKING:
    from tinytales_tui.checkpoints.screen import CheckpointsScreen

KNOWING_BINDINGS = [
    Binding("e", "choices", "Prompt", show=False, id="checkpoints.choices", tooltip="Say which prompt, tokenizer and end tokens it has"),
]  # fmt: skip
KNOWING_ACTIONS = {"choices": ("list", "details")}


class KnowingKeys:
    """What these keys do."""

    newer: dict[tuple[str, str], str]
    """By repository and branch: the commit at which it stands on the Hub."""
    offline: str
    """Why the Hub could not be asked, in a sentence; empty where it could, or was not asked yet."""
    _newer_asked: frozenset[tuple[str, str]] = frozenset()

    def ask_what_is_newer(self: CheckpointsScreen, again: bool = False) -> None:
        """Ask the Hub, once for everything that is in the list."""
        listing = self.shelf.listing if self.shelf is not None else None
        wanted = frozenset(newer.branches(listing.entries if listing is not None else ()))
        if wanted and (again or not wanted <= self._newer_asked):
            self._newer_asked = wanted
            self.run_worker(self._ask_what_is_newer(wanted, again), group="newer", exclusive=True)

    async def _ask_what_is_newer(self: CheckpointsScreen, wanted: frozenset[tuple[str, str]], again: bool) -> None:
        try:
            self.newer = await in_background(lambda: newer.commits(wanted, again=again))
            self.offline = ""
        except TinyTalesError as error:
            self.offline = str(error)
        self.draw()

    def chosen_words(self: CheckpointsScreen, entry: Entry) -> list[str]:
        """What was chosen about it, a phrase each."""
        return choices_of(self.shelf.notes, entry.source).in_words() if self.shelf is not None else []

    def action_choices(self: CheckpointsScreen) -> None:
        if self.shelf is not None and self.list.highlighted is not None:
            self.run_worker(self._choose(self.list.highlighted), group="notes")

    async def _choose(self: CheckpointsScreen, entry: Entry) -> None:
        from tinytales_tui.checkpoints.choices_dialog import ChoicesDialog

        assert self.shelf is not None
        before = choices_of(self.shelf.notes, entry.source)
        choices = await self.app.push_screen_wait(ChoicesDialog(entry.name, before))
        if choices is None or choices == before:
            return
        try:
            await in_background(self.shelf.notes.choose, entry.source, choices.to_json())
        except TinyTalesError as error:
            self.app.say(str(error), "error")
            return
        self.app.say(f"{shown(entry)}: {', '.join(choices.in_words()) or 'as its files say'}.")
        if (self.app.engine.load.source or SHIPPED) == entry.source:
            await self.app.hold_again()
        self.shelf.look_now()
