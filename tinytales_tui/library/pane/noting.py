"""What a person notes about stories and where they put them: favourites, tags, names, copies, the trash. A part of the pane's screen."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from textual.binding import Binding

from tinytales_tui.library.pane.telling import stories
from tinytales_tui.library.store import Library
from tinytales_tui.text import one_line
from tinytales_tui.widgets.confirm import ConfirmDialog
from tinytales_tui.widgets.line_dialog import LineDialog

if TYPE_CHECKING:
    from tinytales_tui.library.pane.screen import LibraryScreen

T = TypeVar("T")
NOTING_BINDINGS = [
    Binding("f", "favour", "Favourite", id="library.favour", tooltip="Make it a favourite, or one no more"),
    Binding("t", "tags", "Tags", show=False, id="library.tags", tooltip="Change its tags"),
    Binding("r", "rename", "Rename", show=False, id="library.rename", tooltip="Give it another name"),
    Binding("c", "duplicate", "Copy", show=False, id="library.duplicate", tooltip="Make a copy of it, with all its branches"),
    Binding("x", "trash", "Trash", id="library.trash", tooltip="Put it into the trash"),
    Binding("u", "undo", "Undo", show=False, id="library.undo", tooltip="Bring back what was put into the trash"),
    Binding(
        "D", "delete", "Delete", show=False, id="library.delete", tooltip="In the trash: delete it for good, after a question"
    ),
]
OUTSIDE_THE_TRASH = {"favour", "tags", "rename", "duplicate", "trash"}
IN_THE_TRASH = {"delete"}


class NotingKeys:
    """Each key does what it says to the marked stories, or to the one under the cursor."""

    _put_away: list[list[str]]
    """Ids that were put into the trash here, the latest last."""

    def _note(self: LibraryScreen, work: Callable[[Library], T], then: Callable[[T], None] = lambda _: None) -> None:
        """Do this on a thread, look again, and go on with what came of it; what cannot be done is said."""

        async def noting() -> None:
            done, result = await self.of_library(work)
            if done:
                then(result)  # type: ignore[arg-type]
                self.look()

        self.run_worker(noting(), group="noting")

    def action_favour(self: LibraryScreen) -> None:
        ids = self.list.chosen

        def work(library: Library) -> bool:
            lines = library.lines(ids)
            favourite = not all(line.favourite for line in lines)
            library.favour(*(line.id for line in lines), favourite=favourite)
            return favourite

        def then(favourite: bool) -> None:
            if len(ids) > 1:
                self.app.say(f"{stories(len(ids))}: {'favourites' if favourite else 'no favourites any more'}.")

        if ids:
            self._note(work, then)

    async def action_tags(self: LibraryScreen) -> None:
        ids = self.list.chosen
        if not ids:
            return
        done, lines = await self.of_library(lambda library: library.lines(ids))
        if not done or not lines:
            return
        before = set(lines[0].tags).intersection(*(line.tags for line in lines))

        async def take(typed: str) -> bool:
            after = {" ".join(tag.lower().split()) for tag in typed.split(",")} - {""}

            def work(library: Library) -> None:
                for line in lines:
                    library.tag(line.id, add=after - before, remove=before - after)

            if after != before:
                await self.in_thread(work)
            return after != before

        title = f"Tags of {one_line(lines[0].name, 60)}" if len(lines) == 1 else f"Tags of {stories(len(lines))}"
        about = "Divide them with commas, as in bedtime, for Ada."
        if len(lines) > 1:
            about = "Only the tags that all of them have are shown; what you add or take away here, all of them get or lose."
        dialog = LineDialog(title, about, "Tags", take, value=", ".join(sorted(before)), hint="bedtime, for Ada")
        self.app.push_screen(dialog, lambda changed: self.look() if changed else None)

    def action_rename(self: LibraryScreen) -> None:
        line = self.list.line_of(self.list.highlighted or "")
        if line is None:
            return

        async def take(title: str) -> bool:
            await self.in_thread(lambda library: library.rename(line.id, title))
            return True

        about = "Without a name of its own, a story is called after its topic or its first words."
        value = line.title or line.name
        dialog = LineDialog("The story's name", about, "Name", take, value=value, hint=one_line(line.topic or line.begins, 40))
        self.app.push_screen(dialog, lambda changed: self.look() if changed else None)

    def action_duplicate(self: LibraryScreen) -> None:
        if id := self.list.highlighted:
            self._note(lambda library: library.duplicate(id), lambda copy: self.look(go_to=copy.id))

    # The trash

    def action_trash(self: LibraryScreen) -> None:
        ids = self.list.chosen

        def then(_: None) -> None:
            self._put_away.append(ids)
            self.list.unmark()
            self.app.say(f"{stories(len(ids))} in the trash; u brings {'it' if len(ids) == 1 else 'them'} back.")

        if ids:
            self._note(lambda library: library.trash(*ids), then)

    def action_undo(self: LibraryScreen) -> None:
        latest = self._put_away[-1] if self._put_away else []
        ids = self.list.chosen if self.asked.trash else latest
        if not ids:
            self.app.say("Nothing was put into the trash here; T shows what is in it.")
            return

        def work(library: Library) -> list[str]:
            there = [line.id for line in library.lines(ids) if line.trashed is not None]
            library.restore(*there)
            return there

        def then(there: list[str]) -> None:
            self._put_away = [left for group in self._put_away if (left := [id for id in group if id not in ids])]
            self.list.unmark()
            self.app.say(f"{stories(len(there))} brought back." if there else "It is not in the trash any more.")
            if there and not self.asked.trash:
                self.look(go_to=there[0])

        self._note(work, then)

    def action_delete(self: LibraryScreen) -> None:
        ids = self.list.chosen
        line = self.list.line_of(ids[0]) if ids else None
        if line is None:
            return
        what = f"“{one_line(line.name, 60)}”" if len(ids) == 1 else stories(len(ids))
        branches = "It is removed with all its branches, and nothing can bring it back."
        if len(ids) > 1:
            branches = "They are removed with all their branches, and nothing can bring them back."

        def then(agreed: bool | None) -> None:
            if agreed:
                self._note(lambda library: library.delete(*ids), lambda _: self.list.unmark())

        self.app.push_screen(ConfirmDialog(f"Delete {what} for good?", [branches], "Delete"), then)
