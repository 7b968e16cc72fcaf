"""The tree of the story in front, as a list of its branches with the story beside it as it reads at the one under the cursor."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal
from textual.screen import Screen
from textual.widgets import Footer, OptionList, Static
from textual.widgets.option_list import Option

from tinytales_tui.library.prose import checkpoint_words
from tinytales_tui.library.tree import Node
from tinytales_tui.widgets.story_view import StoryView
from tinytales_tui.write.desk import Desk
from tinytales_tui.write.status import REASONS
from tinytales_tui.write.tree.rows import TreeRow, line, rows_of

if TYPE_CHECKING:
    from tinytales_tui.app import TinyTalesApp

REFRESH_S = 0.5


class Branches(OptionList, inherit_bindings=False):
    """The lines; they do not begin anew at either end, where a slip of a key would lead far away."""

    BINDINGS = [
        Binding("enter", "select", "Go there", key_display="enter", id="tree.take", tooltip="Bring this branch to the page"),
        Binding("up,k", "step(-1)", "Up", show=False, id="tree.up", tooltip="To the line above"),
        Binding("down,j", "step(1)", "Down", show=False, id="tree.down", tooltip="To the line below"),
        Binding("home", "first", "First", show=False, id="tree.first", tooltip="To the first line"),
        Binding("end", "last", "Last", show=False, id="tree.last", tooltip="To the last line"),
        Binding("pageup", "page_up", "A page up", show=False, id="tree.page_up", tooltip="A page up"),
        Binding("pagedown", "page_down", "A page down", show=False, id="tree.page_down", tooltip="A page down"),
    ]

    def action_step(self, by: int) -> None:
        if self.option_count:
            self.highlighted = min(max((self.highlighted or 0) + by, 0), self.option_count - 1)


class TreeScreen(Screen[int | None]):
    """Answers the node to bring to the front, or None where a person only looked."""

    app: TinyTalesApp
    CSS_PATH = "tree.tcss"
    HELP_TITLE = "On the tree"
    BINDINGS = [
        Binding("escape,q,f7", "dismiss(None)", "Back", id="tree.back", tooltip="Back to the page; nothing else changes"),
        Binding("b", "bookmark", "Bookmark", id="tree.bookmark", tooltip="Put a bookmark here, or take it away"),
        *(
            Binding(str(stars), f"rate({stars})", "Rate", show=stars == 5, key_display="0-5", id=f"tree.rate_{stars}",
                    tooltip="Give it so many stars; 0 takes them away")
            for stars in range(6)
        ),
        Binding("x,delete", "delete", "Delete", id="tree.delete", tooltip="Take this branch away, with all that goes on from it"),
        Binding("u", "restore", "Restore", id="tree.restore", tooltip="Bring a deleted branch back"),
        Binding("d", "deleted", "Show deleted", id="tree.deleted", tooltip="Show or hide what was deleted"),
        Binding("ctrl+z", "undo", "Undo", show=False, id="tree.undo", tooltip="Take back the last change"),
        Binding("ctrl+y", "redo", "Redo", show=False, id="tree.redo", tooltip="Do again what was undone"),
        Binding("n", "mark(1)", "Next mark", show=False, id="tree.next_mark", tooltip="To the next bookmark or rated branch"),
        Binding("p", "mark(-1)", "Mark before", show=False, id="tree.mark_before", tooltip="To the one before"),
    ]  # fmt: skip

    def __init__(self, desk: Desk, stop: Callable[[], Awaitable[None]]) -> None:
        """`stop` ends what the engine is writing."""
        super().__init__()
        self._desk, self._stop = desk, stop
        self._rows: list[TreeRow] = []
        self._deleted = False
        self._drawn = -1

    def compose(self) -> ComposeResult:
        yield Static("", id="tree-title", markup=False)
        with Horizontal(id="tree-body"):
            yield Branches(id="tree-rows", markup=False)
            yield StoryView(half_pages=self.app.low_bandwidth, id="tree-story")
        yield Static("", id="tree-facts", markup=False)
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self._list = self.query_one("#tree-rows", OptionList)
        self._draw(self._desk.tree.current)
        self.set_interval(REFRESH_S, self._draw_again)
        self._list.focus()

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw_anew)

    # What is shown

    @property
    def _here(self) -> Node | None:
        at = self._list.highlighted
        return self._rows[at].node if at is not None and at < len(self._rows) else None

    def _draw_again(self) -> None:
        if self._desk.revision != self._drawn:
            self._draw_anew()

    def _draw_anew(self) -> None:
        self._draw(self._here.number if self._here is not None else self._desk.tree.current)

    def _draw(self, at: int | None) -> None:
        """All lines anew, the cursor on node `at`, or as near as can be."""
        self._drawn = self._desk.revision
        place = self._list.highlighted or 0
        self._rows = rows_of(self._desk.tree, deleted=self._deleted, width=max(self._list.size.width - 8, 40))
        with self.prevent(OptionList.OptionHighlighted):
            self._list.clear_options()
            self._list.add_options([Option(self._line(row)) for row in self._rows])
            found = next((index for index, row in enumerate(self._rows) if row.node.number == at), None)
            if self._rows:
                self._list.highlighted = min(place, len(self._rows) - 1) if found is None else found
        self._show_story()
        gone = sum(node.deleted for node in self._desk.tree.nodes.values())
        there = sum(not row.hidden for row in self._rows)
        shown = f"{there} part{'' if there == 1 else 's'}"
        hidden = f", {gone} deleted (d {'hides' if self._deleted else 'shows'} them)" if gone else ""
        self.query_one("#tree-title", Static).update(f"The whole story: {shown}{hidden}")

    def _line(self, row: TreeRow) -> Text:
        style = "dim" if row.hidden else "bold" if row.here else ""
        return Text(line(row, ascii=self.app.ascii), style=style, no_wrap=True, overflow="ellipsis")

    def _show_story(self) -> None:
        node = self._here
        story = self.query_one("#tree-story", StoryView)
        if node is None:
            story.show_story("", "", "")
            self.query_one("#tree-facts", Static).update("")
            return
        story.show_story("", self._desk.tree.text_before(node.number), node.text)
        self.query_one("#tree-facts", Static).update(self._facts(node))

    def _facts(self, node: Node) -> str:
        words = f"{len(node.text.split()):,} words here, {len(self._desk.tree.text(node.number).split()):,} up to its end"
        recipe = node.recipe
        if recipe is None:
            by_hand = any(run.author == "writer" for run in node.runs)
            return f"{'yours, or changed by you' if by_hand else 'chosen by you from what the model had'} · {words}"
        how = REASONS.get(node.stop_reason or "", "being written" if self._writes(node) else "cut short")
        return " · ".join(
            filter(
                None, (how, words, f"seed {recipe.seed}" if recipe.seed is not None else "", checkpoint_words(recipe.checkpoint))
            )
        )

    def _writes(self, node: Node) -> bool:
        return self._desk.writes(self._desk.front, node.number)

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        self._show_story()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.action_take()

    # What can be done

    def action_take(self) -> None:
        node = self._here
        if node is None:
            return
        if self._desk.tree.hidden(node.number):
            self.app.say("This branch is deleted; u brings it back.", "warning")
            return
        self.dismiss(node.number)

    def action_bookmark(self) -> None:
        if (node := self._here) is not None:
            self._desk.mark(node.number, bookmark=not node.bookmark)
            self._draw(node.number)

    def action_rate(self, stars: int) -> None:
        if (node := self._here) is not None:
            self._desk.mark(node.number, rating=stars)
            self._draw(node.number)

    def action_delete(self) -> None:
        node = self._here
        if node is None or self._desk.tree.hidden(node.number):
            return
        self._do(lambda: self._desk.delete(node.number))
        self._draw(node.number if self._deleted else None)
        self.app.say("Deleted, with all that goes on from it. Ctrl+Z takes that back, and so does u where d shows it.")

    def _do(self, change: Callable[[], object]) -> None:
        """Change something on the desk; where that lets go of a request, the engine need not go on with it."""
        writing = self._desk.writing
        change()
        if writing is not None and self._desk.writing is not writing:
            self.run_worker(self._stop(), group="stopping")

    def action_restore(self) -> None:
        node = self._here
        if node is None or not self._desk.tree.hidden(node.number):
            self.app.say("This branch is not deleted; d shows those that are.")
            return
        for above in self._desk.tree.path(node.number):
            if above.deleted:
                self._desk.bring_back(above.number)
        self._draw(node.number)

    def action_deleted(self) -> None:
        self._deleted = not self._deleted
        self._draw_anew()

    def action_undo(self) -> None:
        self._do(self._desk.undo)
        self._draw_anew()

    def action_redo(self) -> None:
        self._do(self._desk.redo)
        self._draw_anew()

    def action_mark(self, step: int) -> None:
        at = self._list.highlighted or 0
        order = range(at + 1, len(self._rows)) if step > 0 else range(at - 1, -1, -1)
        found = next((i for i in order if self._rows[i].node.bookmark or self._rows[i].node.rating), None)
        if found is None:
            self.app.say("There is no bookmark and no rating that way.")
        else:
            self._list.highlighted = found
