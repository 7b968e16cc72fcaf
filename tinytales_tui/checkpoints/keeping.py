"""The keys that do something with checkpoints: write, delete and bring back, prune, verify, copy, add folders, make standing.

A part of the pane's screen, in a file of its own. What can be deleted is decided in `deleting`; here it is asked for and done.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import shlex
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from textual.binding import Binding

from engine.catalog.entries import Entry
from engine.errors import TinyTalesError
from tinytales_tui import paths
from tinytales_tui.checkpoints.background import in_background
from tinytales_tui.checkpoints.rows import shown
from tinytales_tui.figures import size
from tinytales_tui.text import one_line

if TYPE_CHECKING:
    from engine.hub.trash import Deletion
    from tinytales_tui.checkpoints.deleting import Sorted
    from tinytales_tui.checkpoints.screen import CheckpointsScreen

KEEPING_BINDINGS = [
    Binding("i", "details", "Details", id="checkpoints.details", tooltip="Everything that is known of this checkpoint"),
    Binding("D", "delete", "Delete", id="checkpoints.delete", tooltip="Delete what is marked, or this one; asks first, and u undoes it"),
    Binding("u", "undo", "Undo", show=False, id="checkpoints.undo", tooltip="Bring back what was deleted last"),
    Binding("v", "verify", "Verify", show=False, id="checkpoints.verify", tooltip="Compare the files with their checksums"),
    Binding("U", "stand", "Standing", show=False, id="checkpoints.stand", tooltip="Use this one wherever none is named, or no longer"),
    Binding("y", "copy", "Copy", show=False, id="checkpoints.copy", tooltip="Copy the command line that writes with it"),
    Binding("plus", "add_folder", "Add folder", key_display="+", show=False, id="checkpoints.add", tooltip="Add a folder"),
    Binding("P", "prune", "Prune", show=False, id="checkpoints.prune", tooltip="Remove broken-off downloads and the trash; asks"),
    Binding("r", "look", "Look again", show=False, id="checkpoints.look", tooltip="Look through all places again"),
]  # fmt: skip
KEEPING_ACTIONS: dict[str, tuple[str, ...]] = {
    "details": ("list",),
    **dict.fromkeys(("delete", "verify", "stand", "copy", "undo", "add_folder"), ("list", "details")),
}
"""In which views these actions are there; the others are everywhere."""


TRASH_S = 86_400.0
"""How long what was deleted stays in the trash where no window was there at its end to empty it."""


class KeepingKeys:
    """What these keys do."""

    progress: str
    """What is being done and how far it is, for the line at the foot; empty where nothing is."""
    damaged: frozenset[str]
    _trash: list[tuple[str, str]]
    _verifying: threading.Event | None

    @functools.cached_property
    def _deleting(self) -> asyncio.Lock:
        """Held by what deletes or brings back. One waits for the other: a worker that is cancelled leaves its thread at work, and would
        not know what that did."""
        return asyncio.Lock()

    @property
    def targets(self: CheckpointsScreen) -> list[Entry]:
        """What an action is for: in the list the marked ones or the one under the cursor, in the details the one shown."""
        if self.view == "list":
            return self.list.chosen
        return [entry for entry in [self.list.highlighted] if entry is not None]

    def action_details(self: CheckpointsScreen) -> None:
        self.action_view("details")

    # Writing

    def action_write(self: CheckpointsScreen) -> None:
        """Hold the checkpoint under the cursor, and go to where stories are written."""
        entry = self.list.highlighted
        if entry is None:
            return
        if entry.obstacle:
            self.app.say(one_line(entry.obstacle, 300), "warning")
        else:
            self.app.write_with(entry.source, shown(entry))

    def action_copy(self: CheckpointsScreen) -> None:
        if (entry := self.list.highlighted) is not None:
            self.app.copy_to_clipboard(f"tinytales-tui --checkpoint {shlex.quote(entry.source)}")

    # Notes

    def _note(self: CheckpointsScreen, change: Callable[..., Any], *arguments: Any, words: str) -> None:
        """Change the notes in a thread, say so, look again."""

        async def do() -> None:
            try:
                await in_background(change, *arguments)
            except TinyTalesError as error:
                self.app.say(str(error), "error")
                return
            self.app.say(words)
            self.draw()
            if self.shelf is not None:
                self.shelf.look_now()

        self.run_worker(do(), group="notes")

    def action_stand(self: CheckpointsScreen) -> None:
        entry = self.list.highlighted
        if self.shelf is None or entry is None:
            return
        notes = self.shelf.notes
        if entry.facts.refused or entry.partial:
            self.app.say(f"{shown(entry)} cannot be opened, so it cannot stand in for others.", "warning")
        elif entry.origin == "shipped" or entry.source == notes.standing:
            self._note(
                notes.set_standing, None, words="The checkpoint that travels with the program is used where none is named."
            )
        else:
            self._note(notes.set_standing, entry.source, words=f"{shown(entry)} is used from now on wherever none is named.")

    def action_add_folder(self: CheckpointsScreen) -> None:
        self.run_worker(self._add_folder(), group="notes")

    async def _add_folder(self: CheckpointsScreen) -> None:
        from tinytales_tui.checkpoints.folder_dialog import FolderDialog

        folder = await self.app.push_screen_wait(FolderDialog())
        if folder is not None and self.shelf is not None:
            self._note(self.shelf.notes.add_folder, folder, words=f"{one_line(paths.shown(folder), 200)} is looked through too.")

    def action_look(self: CheckpointsScreen) -> None:
        if self.shelf is not None:
            self.app.say("Looking through all places again.")
            self.shelf.look_now()
            self.ask_what_is_newer(again=True)

    # Deleting

    def action_delete(self: CheckpointsScreen) -> None:
        if self.shelf is None or not self.targets:
            self.app.say("There is no checkpoint under the cursor.", "warning")
            return
        self.run_worker(self._one_at_a_time(self._delete, list(self.targets)), group="deleting")

    async def _one_at_a_time(self: CheckpointsScreen, do: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        async with self._deleting:
            await do(*arguments)

    async def _delete(self: CheckpointsScreen, chosen: Sequence[Entry]) -> None:
        from tinytales_tui.checkpoints import deleting
        from tinytales_tui.widgets.confirm import ConfirmDialog

        assert self.shelf is not None
        notes = self.shelf.notes
        sorted_out = await self._sort_out(chosen)
        if not sorted_out.revisions and not sorted_out.folders:
            self.app.say(" ".join(sorted_out.left[:2]), "warning")
            return
        try:
            question = await in_background(deleting.question_about, sorted_out, chosen, notes.standing)
            dialog = ConfirmDialog(question.title, question.sentences, question.verb, typed=question.typed)
            if not await self.app.push_screen_wait(dialog):
                return
            if (await self._sort_out(chosen)).left != sorted_out.left:  # another window has taken it into use meanwhile
                self.app.say("What is in use has changed in the meantime; nothing was deleted. Press D again.", "warning")
                return
            if question.deletion is not None:
                await self._to_trash(question.deletion, f"{len(sorted_out.entries)} checkpoints"
                                     if len(sorted_out.entries) > 1 else shown(sorted_out.entries[0]))  # fmt: skip
            await in_background(self._forget, sorted_out)
        except TinyTalesError as error:
            self.app.say(str(error), "error")
        self.list.unmark()
        self.shelf.look_now()

    async def _sort_out(self: CheckpointsScreen, chosen: Sequence[Entry]) -> Sorted:
        """What can go of what was chosen, as things stand at this moment: another window may have taken one into use."""
        from tinytales_tui.checkpoints import deleting

        assert self.shelf is not None
        await in_background(self.shelf.look)
        there = {entry.key: entry for entry in self.entries}
        now = [there[entry.key] for entry in chosen if entry.key in there]
        return deleting.sort_out(now, there.values(), self.shelf.notes.folders, self.shelf.notes.pinned)

    def _forget(self: CheckpointsScreen, sorted_out: Sorted) -> None:
        """What the notes say of what has gone, in a thread."""
        assert self.shelf is not None
        notes = self.shelf.notes
        for folder in sorted_out.folders:
            notes.forget_folder(folder)
        if notes.standing in {entry.source for entry in (*sorted_out.entries, *sorted_out.forgotten)}:
            notes.set_standing(None)

    async def _to_trash(self: CheckpointsScreen, deletion: Deletion, what: str) -> None:
        from engine.hub import trash

        def move() -> None:
            self._trash.append(
                (trash.to_trash(deletion).id, what)
            )  # in the thread, which goes on where nobody waits for it any more

        await in_background(move)
        self.app.say(f"{what} deleted; {size(deletion.freed)} will be free when you quit, or with P. u brings it back.")

    def action_undo(self: CheckpointsScreen) -> None:
        self.run_worker(self._one_at_a_time(self._undo), group="deleting")

    async def _undo(self: CheckpointsScreen) -> None:
        """Bring back the newest deletion of this window; one that was brought back or removed elsewhere gives way to the one before."""
        from engine.hub import trash

        if not self._trash:
            self.app.say("Nothing was deleted here that could be brought back.", "warning")
        while self._trash:
            id, what = self._trash.pop()  # what is being brought back is not removed at the end of the program
            try:
                await in_background(trash.restore, id)
            except TinyTalesError as error:
                there = id in {item.id for item in await in_background(trash.trashed)}
                if there:
                    self._trash.append((id, what))
                if there or not self._trash:
                    self.app.say(str(error), "error")
                    break
            else:
                self.app.say(f"{what} brought back.")
                break
        if self.shelf is not None:
            self.shelf.look_now()

    def action_prune(self: CheckpointsScreen) -> None:
        self.run_worker(self._one_at_a_time(self._prune), group="deleting")

    async def _prune(self: CheckpointsScreen) -> None:
        from engine.hub import trash
        from tinytales_tui.checkpoints import deleting
        from tinytales_tui.widgets.confirm import ConfirmDialog

        try:
            question = await in_background(deleting.question_about_leavings)
            if question is None:
                self.app.say("No broken-off download has left anything behind, and the trash is empty.")
                return
            dialog = ConfirmDialog(question.title, question.sentences, question.verb, typed=question.typed)
            if not await self.app.push_screen_wait(dialog):
                return

            def remove() -> int:
                ids = [trash.to_trash(question.deletion).id] if question.deletion is not None else []
                return sum(trash.purge(id) for id in (*ids, *question.trash))

            freed = await in_background(remove)
            self._trash[:] = [(id, what) for id, what in self._trash if id not in question.trash]
            self.app.say(f"{size(freed)} are free again.")
        except TinyTalesError as error:
            self.app.say(str(error), "error")
        if self.shelf is not None:
            self.shelf.look_now()

    async def purge_old_trash(self: CheckpointsScreen) -> None:
        """Free what an earlier window put there and could not free itself, once a day has gone by."""
        from engine.hub import trash

        with contextlib.suppress(TinyTalesError):
            if freed := await in_background(lambda: trash.purge(older_than=TRASH_S)):
                self.app.say(f"The trash of an earlier day was emptied; {size(freed)} are free again.")

    async def empty_trash(self: CheckpointsScreen) -> None:
        """Free what was deleted here, at the end."""
        from engine.hub import trash

        for id, _ in list(self._trash):
            with contextlib.suppress(Exception):  # what is left lies in the trash, where the next one finds it
                await asyncio.wait_for(in_background(trash.purge, id), 5.0)

    # Verifying

    def action_verify(self: CheckpointsScreen) -> None:
        if self._verifying is not None:
            self.app.say("Checksums are being compared already; Esc ends that.", "warning")
        elif self.targets:
            self.run_worker(self._verify(list(self.targets)), group="verifying")

    def stop_verifying(self: CheckpointsScreen) -> bool:
        """End it; whether there was anything to end."""
        if self._verifying is None or self._verifying.is_set():
            return False
        self._verifying.set()
        return True

    async def _verify(self: CheckpointsScreen, entries: Sequence[Entry]) -> None:
        from engine.hub.verifying import verify

        cancel = self._verifying = threading.Event()
        wrong: list[str] = []
        checked = done_bytes = unknown = 0

        try:
            for entry in entries:

                def told(name: str, done: int, total: int, entry: Entry = entry) -> None:  # from the thread
                    part = f", {100 * done // total} %" if total else ""
                    self.progress = f"Verifying {shown(entry)}: {one_line(name, 60)}{part}. Esc ends it."

                found = await in_background(verify, entry.path, told, cancel.is_set)
                if cancel.is_set():
                    self.app.say("Verifying was ended.")
                    return
                checked, done_bytes, unknown = checked + found.checked, done_bytes + found.bytes, unknown + len(found.unknown)
                self.damaged = self.damaged | {entry.key} if found.wrong else self.damaged - {entry.key}
                wrong += [f"{shown(entry)}: {one_line(name, 80)}" for name in found.wrong]
        except Exception as error:
            if cancel.is_set():
                self.app.say("Verifying was ended.")
            elif isinstance(error, TinyTalesError):
                self.app.say(str(error), "error")
            else:
                raise
            return
        finally:
            self._verifying, self.progress = None, ""
            self.draw()
        self._say_verified(checked, done_bytes, unknown, wrong)

    def _say_verified(self: CheckpointsScreen, checked: int, count: int, unknown: int, wrong: Sequence[str]) -> None:
        without = f" {unknown} {'file has' if unknown == 1 else 'files have'} no checksum to compare with." if unknown else ""
        if wrong:
            self.app.say(f"Damaged: {'; '.join(wrong[:3])}. Delete it (D) and download it again.{without}", "error")
        elif checked:
            self.app.say(f"{checked} {'file is' if checked == 1 else 'files are'} as they should be ({size(count)}).{without}")
        else:
            self.app.say(f"There was nothing to compare.{without}", "warning")
