"""Where the Write pane leads to: the comparison, the reading view, several candidates at once. A part of its screen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.binding import Binding

from engine.errors import UsageError
from tinytales_tui.library.records import record_of
from tinytales_tui.library.story import name_of, topic_of
from tinytales_tui.write.asking import Asked
from tinytales_tui.write.restore_bar import RestoreBar
from tinytales_tui.write.status import REASONS

if TYPE_CHECKING:
    from tinytales_tui.compare.question import Kept
    from tinytales_tui.write.draft import Writing
    from tinytales_tui.write.screen import WriteScreen

ELSEWHERE_BINDINGS = [
    Binding("ctrl+n", "candidates", "Several", id="write.candidates",
            tooltip="Several at once, to pick one: from the fields new ones, from the page ways to go on from the cursor"),
    Binding("ctrl+o", "compare", "Compare", id="write.compare",
            tooltip="Side by side, from the same words: other endings, presets, temperatures or models"),
    Binding("f12", "read", "Read", show=False, id="write.read", tooltip="Read the story page by page, without anything around it"),
]  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where several stories go on from, or begin."""

    asked: Asked
    story: int | None
    """The desk's number of the story that they are branches of; None: they begin one."""
    below: int | None = None
    """The node that they go on from."""
    cut: int | None = None
    """The place within that node's text, where it is not its end."""


class Elsewhere:
    """Screens that are opened from here and answer something. By then another story may be in front."""

    _watching: Callable[[], None] | None = None
    """Who wants to know when the desk has heard of something."""

    def _place_for_several(self: WriteScreen) -> Place | None:
        """On the page, ways to go on from the cursor; in the fields, whole stories: beside the one in front, where that was asked for
        with the same words. None where nothing is asked yet, which is said then.
        """
        desk, tree = self.desk, self.desk.tree
        try:
            place = Place(self.composer.asked(), None)
        except UsageError as error:
            self.app.say(str(error), "warning")
            return None
        if self.focused is self.page and desk.record is not None:
            cut = self._place_on_page
            text = desk.text if cut is None else desk.text[:cut]
            place = Place(self._at(text, self._asked_here), desk.front, tree.current, cut)
            if not text.strip():
                self.app.say("There is nothing before the cursor to go on from.", "warning")
                return None
        elif (first := desk.begun_by) is not None and desk.record is not None:
            before = Asked.of(record_of(tree, first.number))
            if before.for_style(self._style) == place.asked.for_style(self._style):
                place = Place(before, desk.front, first.parent)
        if place.asked.for_style(self._style).empty:
            self.app.say("Type first what the stories are about.", "warning")
            self.composer.focus_first()
            return None
        self.query_one(RestoreBar).offer([])
        self._filled = self.composer.kept()
        return place

    def _bring_back(self: WriteScreen, place: Place) -> bool:
        """The story that something was opened for is in front again, cut where it was opened."""
        if place.story is None:
            return True
        if not self.desk.bring(place.story, place.below):
            self.app.say("The story that this was opened for is not on the desk any more.", "warning")
            return False
        if place.cut is not None:
            self.desk.cut_to(place.cut)
        return True

    # Several candidates

    def action_candidates(self: WriteScreen) -> None:
        from tinytales_tui.compare.candidates import CandidatesScreen
        from tinytales_tui.compare.question import Question

        place = self._place_for_several()
        if place is None:
            return
        before = self.desk.front, self.desk.tree.current

        def ask(story: int | None, below: int | None, cut: int | None) -> Writing | None:
            if story is not None and not self.desk.bring(story, below):
                return None
            count = self.app.ui.candidates
            asked = self._ask(place.asked, below=below, new=story is None, count=count, cut=cut)
            return self.desk.writing if asked else None

        writing = ask(place.story, place.below, place.cut)
        if writing is None:
            return
        story, parent = writing.story, self.desk.tree.node(writing.nodes[0]).parent
        taken: list[int] = []

        def back(_: object) -> None:
            self._watching = None
            if taken:
                self.desk.bring(story, taken[0])
            elif place.story is not None and before[0] is not None:  # the page is as it was; they are branches of it
                self.desk.bring(before[0], before[1])
            self._show_current()
            self.page.focus()

        question = Question(place.asked, self._sampling(), self.panel.seed, self.checkpoint)
        screen = CandidatesScreen(
            question,
            self.desk,
            writing=writing,
            more=lambda: ask(story, parent, None),
            stop=self.action_stop,
            take=taken.append,
        )
        self._watching = screen.look
        self.app.push_screen(screen, back)

    # The comparison

    async def action_compare(self: WriteScreen) -> None:
        from tinytales_tui.compare.question import Question
        from tinytales_tui.compare.screen import CompareScreen

        await self.action_stop()
        place = self._place_for_several()
        if place is None:
            return

        def answered(kept: Kept | None) -> None:
            if kept is not None and self._bring_back(place):
                below = self.desk.tree.current if place.cut is not None else place.below
                self.desk.keep(kept.generations, kept.chosen, below=below, new=place.story is None)
                self._show_again()
                self.page.focus()
            self._consider_next()

        least = self._least(place.below, place.story is None) if place.cut is None else 0
        sampling = self._sampling()
        sampling = sampling.with_changes(min_tokens=max(sampling.min_tokens, min(least, sampling.max_tokens)))
        self.app.push_screen(CompareScreen(Question(place.asked, sampling, self.panel.seed, self.checkpoint)), answered)

    # Reading

    def action_read(self: WriteScreen) -> None:
        from tinytales_tui.reading.screen import ReadingScreen

        tree, node, text = self.desk.tree, self.desk.node, self.desk.text
        if node is None or not text.strip():
            return
        cut_off = node.recipe is not None and node.stop_reason != "end of text"
        topic, ending = topic_of(tree)
        facts = " · ".join(filter(None, (f"with a {ending} ending" if ending else "", REASONS.get(node.stop_reason or "", ""))))
        self.app.push_screen(ReadingScreen(name_of("", topic, text), text, facts=facts, cut_off=cut_off))
