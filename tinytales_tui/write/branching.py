"""Undo and redo, typing, and going from branch to branch. A part of the Write pane's screen, in a file of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.binding import Binding

from engine.errors import UsageError
from tinytales_tui.library.tree import Edit
from tinytales_tui.write.page.view import Page

if TYPE_CHECKING:
    from tinytales_tui.write.screen import WriteScreen

BRANCHING_BINDINGS = [
    Binding("ctrl+z", "undo", "Undo", show=False, id="write.undo", tooltip="Take back the last thing: typing, a generation, a move"),
    Binding("ctrl+y", "redo", "Redo", show=False, id="write.redo", tooltip="Do again what was undone"),
    Binding("alt+up", "beside(-1)", "Branch before", show=False, id="write.branch_before", tooltip="The branch before this one"),
    Binding("alt+down", "beside(1)", "Next branch", show=False, id="write.branch_next", tooltip="The branch after this one"),
    Binding("alt+left", "shorter", "A step back", show=False, id="write.parent", tooltip="To the place that this branch goes on from"),
    Binding("alt+right", "longer", "A step on", show=False, id="write.child", tooltip="To the newest branch that goes on from here"),
    Binding("f7", "tree", "Tree", id="write.tree", tooltip="All branches of the story: look, rate, delete, go there"),
]  # fmt: skip
NEEDS_A_STORY = ("beside", "shorter")
NEEDS_A_TREE = ("longer", "tree")


class Branching:
    """Moves between nodes of the desk's tree."""

    async def action_undo(self: WriteScreen) -> None:
        await self._travel(self.desk.undo)

    async def action_redo(self: WriteScreen) -> None:
        await self._travel(self.desk.redo)

    async def _travel(self: WriteScreen, step) -> None:
        if self.desk.writing:
            await self.app.engine.cancel()
        front, before = self.desk.front, self.desk.text
        if not step():
            return
        change = Edit.between(before, self.desk.text)
        typed = front == self.desk.front and front is not None and self.focused is self.page
        cursor = change.start + len(change.text) if typed else None
        if front == self.desk.front:
            self._show_current(cursor)
        else:
            self._show_again(cursor)

    def on_page_edited(self: WriteScreen, event: Page.Edited) -> None:
        if event.stamp != self.page.stamp:
            return  # another text has been put on the page since the key was pressed
        if self.desk.writing is not None:
            self.run_worker(self.app.engine.cancel(), group="stopping")
        try:
            self.desk.edit(event.edit)
        except UsageError:  # never seen; but the page and the desk must not part
            self._show_current()
            return
        if self.page.marking != "none":
            self.page.mark_as(self.page.marking, self.desk.tree.runs(self.desk.tree.current))
        self._stopping = False
        self._refresh()

    # Branches

    def action_beside(self: WriteScreen, step: int) -> None:
        """To the branch beside; where there is none here, beside the nearest place on the way back where branches part."""
        desk, node = self.desk, self.desk.node
        if node is None:
            return
        parting = desk.tree.parting(node.number)
        other = desk.tree.beside(parting, step)
        if other == parting:
            alone = len(desk.tree.siblings(parting)) == 1
            self.app.say(
                "There is only this branch so far." if alone else f"This is the {'first' if step < 0 else 'last'} branch."
            )
        else:
            # What only leads to a branch, as the token of a fork does, is passed over: to where that branch has come.
            leads_on = parting != node.number or desk.tree.node(other).recipe is None
            desk.go(desk.tree.leaf(other) if leads_on else other)
            self._show_current()

    def action_shorter(self: WriteScreen) -> None:
        node = self.desk.node
        if node is not None and self.desk.go(node.parent):  # from the first words to the page before them
            self._show_current()

    def action_longer(self: WriteScreen) -> None:
        below = self.desk.tree.children(self.desk.tree.current)
        if below and self.desk.go(below[-1].number):
            self._show_current()

    def action_tree(self: WriteScreen) -> None:
        from tinytales_tui.write.tree.screen import TreeScreen

        desk = self.desk

        def back(number: int | None) -> None:
            if number is not None and number in desk.tree.nodes:
                desk.go(number)
            self._show_current()

        self.app.push_screen(TreeScreen(desk, self.app.engine.cancel), back)
