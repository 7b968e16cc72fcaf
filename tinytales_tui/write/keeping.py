"""How the Write pane keeps stories, takes back what was kept, copies and saves. A part of the pane's screen, in a file of its own."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.binding import Binding

from tinytales_tui import paths
from tinytales_tui.write.asking import Asked
from tinytales_tui.write.restore_bar import RestoreBar
from tinytales_tui.write.save_dialog import SaveDialog
from tinytales_tui.write.saving import FORMATS

if TYPE_CHECKING:
    from tinytales_tui.library.story import Story
    from tinytales_tui.library.tree import Tree
    from tinytales_tui.write.autosave import Kept
    from tinytales_tui.write.screen import WriteScreen


KEEPING_BINDINGS = [
    Binding("ctrl+s", "save", "Save", show=False, id="write.save", tooltip="Save the story with its recipe to a file"),
    Binding("f5,ctrl+shift+c", "copy", "Copy", show=False, id="write.copy", tooltip="Copy the story, or what is selected of it"),
    Binding("f9", "restore", "Restore", id="write.restore", tooltip="Take back the story that was kept"),
]


class Keeping:
    """Keeping, copying, saving."""

    def _form(self: WriteScreen) -> dict[str, Any]:
        return self.composer.kept().to_form()

    def _to_keep(self: WriteScreen) -> tuple[Any, ...]:
        """What the keeper is given: the story in front, and the whole sitting for the library."""
        desk, sitting = self.desk, None
        if self.app.ui.keep_stories:
            from tinytales_tui.write.story_keeper import Sitting

            sitting = Sitting(dict(desk.drafts), dict(desk.generations))
        return desk.record, self._form(), desk.revision, sitting

    def _keep(self: WriteScreen) -> None:
        if self.desk.drafts and self.keeper.wants(self.desk.revision):
            what = self._to_keep()

            async def keep() -> None:
                trouble = await asyncio.to_thread(self.keeper.keep, *what)
                if trouble:
                    self.app.say(trouble, "error")

            self.run_worker(keep(), group="keeping")

    def keep_now(self: WriteScreen) -> str | None:
        """Keep everything before the app ends; returns a sentence if the disk refused."""
        if not self.desk.drafts or not self.is_mounted:
            return None
        return self.keeper.keep(*self._to_keep())

    async def _offer_kept(self: WriteScreen) -> None:
        offers = await asyncio.to_thread(self.keeper.find)
        self.query_one(RestoreBar).offer(offers)

    def action_restore(self: WriteScreen) -> None:
        self.query_one(RestoreBar).restore()

    def on_restore_bar_restore(self: WriteScreen, event: RestoreBar.Restore) -> None:
        bar = self.query_one(RestoreBar)
        bar.offer([kept for kept in bar.offers if kept is not event.kept])
        self.run_worker(self._take_back(event.kept), group="restoring")

    async def _take_back(self: WriteScreen, kept: Kept) -> None:
        """A kept story comes to the front with all its branches, where the library has them."""
        found = await asyncio.to_thread(self.keeper.reopen, kept.record) if self.app.ui.keep_stories else None
        if found is None:
            self.desk.restore(kept.record)
        else:
            self._open(*found)
        self.keeper.supersede(kept)
        self._filled = Asked.from_form(kept.form, self.app.ui.ending)
        self.composer.fill(self._filled)
        self._show_current()
        self._keep()
        self.page.focus()

    def open_story(self: WriteScreen, story: Story) -> None:
        """A story of the library comes to the front; what lay over the page was about another."""
        while self.app.screen is not self and self in self.app.screen_stack:
            self.app.pop_screen()
        self._watching = None
        self._open(story)
        self._show_again()
        self.page.focus()

    def _open(self: WriteScreen, story: Story, tree: Tree | None = None) -> None:
        number = self.keeper.number_of(story.id)
        if number is None:
            number = self.desk.number_of(story.id)
        if number is None or number not in self.desk.drafts:
            self.desk.open(story, tree)
            return
        wanted = story.tree.current if tree is None else tree.current
        if not self.desk.bring(number, wanted):  # it lies here already, with whatever is not kept yet
            self.desk.bring(number, self.desk.drafts[number].tree.current)

    def on_restore_bar_discard(self: WriteScreen, event: RestoreBar.Discard) -> None:
        trouble = self.keeper.discard(event.kept)
        if trouble:
            self.app.say(trouble, "error")
        bar = self.query_one(RestoreBar)
        bar.offer([kept for kept in bar.offers if kept is not event.kept])
        if not bar.display:
            self.composer.focus_first()

    def on_restore_bar_later(self: WriteScreen, event: RestoreBar.Later) -> None:
        self.query_one(RestoreBar).offer([])
        self.composer.focus_first()

    def action_copy(self: WriteScreen) -> None:
        text = self.page.selected_text or self.get_selected_text() or (self.desk.record.to_text() if self.desk.record else "")
        if text:
            self.app.copy_to_clipboard(text)

    def action_save(self: WriteScreen) -> None:
        record = self.desk.record
        if record is None:
            return

        def saved(path: object) -> None:
            if isinstance(path, Path):
                self.app.say(f"Saved: {paths.shown(path)}")
                if path.suffix[1:] in dict(FORMATS):
                    self.app.change_settings(save_format=path.suffix[1:])

        dialog = SaveDialog(record, self.app.ui.save_format, paths.stories_folder())
        self.app.push_screen(dialog, saved)
