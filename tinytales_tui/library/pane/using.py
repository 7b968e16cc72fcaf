"""Writing on in a story, reading it, giving stories out, taking some in. A part of the pane's screen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from textual.binding import Binding

from tinytales_tui import paths
from tinytales_tui.library.pane import sending
from tinytales_tui.library.pane.export_dialog import Choosable, ExportDialog
from tinytales_tui.library.pane.sending import TakenIn
from tinytales_tui.library.pane.tag_picker import TagPicker
from tinytales_tui.library.pane.telling import stories, summary
from tinytales_tui.widgets.line_dialog import LineDialog

if TYPE_CHECKING:
    from tinytales_tui.library.pane.screen import LibraryScreen

USING_BINDINGS = [
    Binding("enter", "open", "Open", id="library.open", tooltip="Write on in it, in the Write pane"),
    Binding("v", "read", "Read", id="library.read", tooltip="Read it page by page, on nothing but paper"),
    Binding(
        "e", "export", "Export", id="library.export", tooltip="Export it, the marked ones, or all that are listed, to a file"
    ),
    Binding("i", "import", "Import", show=False, id="library.import", tooltip="Take in the stories of a JSON file"),
]


class UsingKeys:
    """Each key is for the story under the cursor, where it is not said otherwise."""

    def action_open(self: LibraryScreen) -> None:
        id = self.list.highlighted
        if id is None:
            return
        if self.asked.trash:
            self.app.say("It is in the trash: u brings it back first, v reads it.")
            return

        async def opening() -> None:
            done, story = await self.of_library(lambda library: library.get(id))
            if done and story is not None:
                self.app.open_story(story)

        self.run_worker(opening(), group="using", exclusive=True)

    def action_read(self: LibraryScreen) -> None:
        from tinytales_tui.reading.screen import ReadingScreen

        line = self.list.line_of(self.list.highlighted or "")
        if line is None:
            return

        async def reading() -> None:
            done, story = await self.of_library(lambda library: library.get(line.id))
            if done and story is not None:
                path = story.tree.path(story.tree.current)
                cut_off = bool(path) and path[-1].recipe is not None and path[-1].stop_reason != "end of text"
                await self.app.push_screen(ReadingScreen(story.name, story.text, facts=summary(line), cut_off=cut_off))

        self.run_worker(reading(), group="using", exclusive=True)

    def action_export(self: LibraryScreen) -> None:
        line = self.list.line_of(self.list.highlighted or "")
        if line is None:
            return
        chosen, listed = self.list.chosen, list(self.list.items)
        which = {"one": ([line.id], Choosable("this one", line.name, 1))}
        if self.list.marked:
            which = {"marked": (chosen, Choosable(f"{len(chosen)} marked", "stories", len(chosen)))} | which
        if len(listed) > 1:
            name = "-".join((*self.asked.tags, "stories"))
            which["listed"] = (listed, Choosable(f"all {len(listed):,} listed", name, len(listed)))
        folder = paths.stories_folder()

        async def give(some: str, form: str, name: str, replace: Path | None) -> Path:
            ids = which[some][0]
            return await self.in_thread(lambda library: sending.give_out(library, ids, form, name, folder, replace))

        def then(path: Path | None) -> None:
            if path is not None:
                self.app.say(f"Exported to {paths.shown(path)}")

        self.app.push_screen(ExportDialog({name: some for name, (_, some) in which.items()}, folder, give), then)

    def action_import(self: LibraryScreen) -> None:
        async def take(name: str) -> TakenIn:
            return await self.in_thread(lambda library: sending.take_in(library, name, paths.stories_folder()))

        def then(taken: TakenIn | None) -> None:
            if taken is None:
                return
            there = f", {taken.there:,} {'was' if taken.there == 1 else 'were'} there already" if taken.there else ""
            self.app.say(f"{stories(len(taken.added))} taken in{there}.")
            self.look(go_to=taken.added[0] if taken.added else "")

        about = "A JSON file: an export, or what tinytales-tui --prompt --json has printed. All of it comes in, or nothing."
        dialog = LineDialog("Take in stories", about, "File", take, hint="~/stories.json", verb="Take in")
        self.app.push_screen(dialog, then)

    async def action_pick_tag(self: LibraryScreen) -> None:
        done, tags = await self.of_library(lambda library: library.tags())
        if not done:
            return
        if not tags:
            self.app.say("No story has a tag yet; t gives some to the story under the cursor.")
            return
        self.app.push_screen(TagPicker(tags), self.narrow_to)  # type: ignore[arg-type]
