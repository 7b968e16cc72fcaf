"""Where the Write pane leads to: the comparison, the reading view, several candidates at once. A part of its screen."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from textual.binding import Binding

from engine.errors import UsageError
from tinytales_tui.compare.question import Kept, Question
from tinytales_tui.library.records import record_of
from tinytales_tui.library.story import name_of, topic_of
from tinytales_tui.write.asking import Asked
from tinytales_tui.write.restore_bar import RestoreBar
from tinytales_tui.write.status import REASONS

if TYPE_CHECKING:
    from tinytales_tui.write.desk import Writing
    from tinytales_tui.write.screen import WriteScreen

ELSEWHERE_BINDINGS = [
    Binding("ctrl+n", "candidates", "Several", id="write.candidates",
            tooltip="Several at once, to pick one: from the fields new ones, from the page ways to go on from the cursor"),
    Binding("ctrl+o", "compare", "Compare", id="write.compare",
            tooltip="Side by side, from the same words: other endings, presets, temperatures or models"),
    Binding("f12", "read", "Read", show=False, id="write.read", tooltip="Read the story page by page, without anything around it"),
]  # fmt: skip


class Elsewhere:
    """Screens that are opened from here and answer something."""

    _watching: Callable[[], None] | None = None
    """Who wants to know when the desk has heard of something."""

    async def action_candidates(self: WriteScreen) -> None:
        from tinytales_tui.compare.candidates import CandidatesScreen

        try:
            asked, below, new = self._place_for_several()
        except UsageError as error:
            self.app.say(str(error), "warning")
            return
        if asked.for_style(self._style).empty:
            self.app.say("Type first what the stories are about.", "warning")
            self.composer.focus_first()
            return

        def ask(below: int | None, new: bool) -> Writing | None:
            self._ask(asked, below=below, new=new, count=self.app.ui.candidates)
            return self.desk.writing

        def take(node: int) -> None:
            self.desk.go(node)

        def back(_: object) -> None:
            self._watching = None
            self._show_current()
            self.page.focus()

        self.query_one(RestoreBar).offer([])
        writing = ask(below, new)
        if writing is None:
            return  # it was said why
        parent = self.desk.tree.node(writing.nodes[0]).parent
        question = Question(asked, self._sampling(), self.panel.seed, self.checkpoint)
        screen = CandidatesScreen(
            question, self.desk, writing=writing, more=lambda: ask(parent, False), stop=self.action_stop, take=take
        )
        self._watching = screen.look
        self.app.push_screen(screen, back)

    def _place_for_several(self: WriteScreen) -> tuple[Asked, int | None, bool]:
        """What several are asked for with, the node that they go on from, and whether they begin a story.

        On the page they are ways to go on from the cursor, in the fields whole stories: beside the one in front, where that was asked
        for with the same words. UsageError for what cannot be asked.
        """
        tree = self.desk.tree
        if self.focused is self.page and self.desk.record is not None:
            if not self.page.at_end:
                self.desk.cut_to(self.page.cursor)
            self.desk.let_go()
            return self._at(self.desk.text, self._asked_here), self.desk.tree.current, False
        asked = self.composer.asked()
        first = next((node for node in tree.path(tree.current) if node.recipe is not None), None)
        if first is not None:
            before = Asked.of(record_of(tree, first.number))
            if before.for_style(self._style) == asked.for_style(self._style):
                return before, first.parent, False
        return asked, None, True

    async def action_compare(self: WriteScreen) -> None:
        from tinytales_tui.compare.screen import CompareScreen

        try:
            asked, below, new = self._place_for_several()
        except UsageError as error:
            self.app.say(str(error), "warning")
            return
        if asked.for_style(self._style).empty:
            self.app.say("Type first what the stories are about.", "warning")
            self.composer.focus_first()
            return
        await self.action_stop()
        self.query_one(RestoreBar).offer([])

        def answered(kept: Kept | None) -> None:
            if kept is not None:
                self.desk.keep(kept.generation, below=below, new=new)
                self._show_current()
                self.page.focus()
            self._consider_next()

        question = Question(asked, self._sampling(), self.panel.seed, self.checkpoint)
        self.app.push_screen(CompareScreen(question), answered)

    def action_read(self: WriteScreen) -> None:
        from tinytales_tui.reading.screen import ReadingScreen

        tree, node, text = self.desk.tree, self.desk.node, self.desk.text
        if node is None or not text.strip():
            return
        cut_off = node.recipe is not None and node.stop_reason != "end of text"
        topic, ending = topic_of(tree)
        facts = " · ".join(filter(None, (f"with a {ending} ending" if ending else "", REASONS.get(node.stop_reason or "", ""))))
        self.app.push_screen(ReadingScreen(name_of("", topic, text), text, facts=facts, cut_off=cut_off))
