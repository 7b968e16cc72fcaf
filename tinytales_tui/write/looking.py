"""What the model thinks: the next word beside the sliders, the token cursor, and how surprising a text is. A part of the Write pane's
screen, in a file of its own.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.binding import Binding

from engine.errors import TinyTalesError, UsageError
from engine.protocol import Prospect
from engine.settings import GenerationRequest
from tinytales_tui.library.recipe import Recipe
from tinytales_tui.library.tree import Tree
from tinytales_tui.write.asking import Asked, going_on
from tinytales_tui.write.draft import heading
from tinytales_tui.write.page.legend import Legend, surprise_words
from tinytales_tui.write.page.marks import MARKINGS, surprise_of

if TYPE_CHECKING:
    from tinytales_tui.write.screen import WriteScreen
    from tinytales_tui.write.tokens.steps import Fork, Step

LOOKING_BINDINGS = [
    Binding("ctrl+t", "tokens", "Tokens", id="write.tokens",
            tooltip="Walk from token to token: what else might have come, and go on from that"),
    Binding("ctrl+l", "marking", "Mark words", show=False, id="write.marking",
            tooltip="Mark words by who wrote them, then by how surprising they were, then not at all"),
]  # fmt: skip
REST_S = 0.12
"""How long nothing changes before the next word is asked about anew."""
CHANCES = 12
ALTERNATIVES = 10


class Looking:
    """Questions to the engine that write nothing."""

    _looked_at: object = None
    _looking = 0

    # The next word

    def _consider_next(self: WriteScreen) -> None:
        """Something may have changed that the next word depends on; it is asked about when that has come to rest."""
        if not self._loaded or not self.is_mounted or not self.panel.shows_next:
            return
        if self.desk.writing is not None:
            if self._looked_at is not None:
                self._looked_at = None
                self.panel.show_next(None, "The story is being written.")
            return
        self._looking += 1
        number = self._looking
        self.set_timer(REST_S, lambda: self._look_next(number))

    def _look_next(self: WriteScreen, number: int) -> None:
        if number == self._looking and self.is_mounted:
            self.run_worker(self._show_next(number), group="next")

    async def _show_next(self: WriteScreen, number: int) -> None:
        panel = self.panel
        if self.desk.writing is not None:
            return
        try:
            request = self._next_request()
        except UsageError:
            request = None
        if request is None:
            self._looked_at = None
            begun = self.desk.record is not None
            panel.show_next(
                None, "Nothing stands before the cursor." if begun else "Type what it is about, to see how it may begin."
            )
            return
        if (request, self.checkpoint) == self._looked_at:
            return
        checkpoint, self._looked_at = self.checkpoint, None
        try:
            prospect = await self.app.engine.look(request, CHANCES)
        except TinyTalesError as error:
            if number == self._looking:
                panel.show_next(None, str(error))
            return
        if number == self._looking and self.desk.writing is None:
            self._looked_at = request, checkpoint
            panel.show_next(prospect)

    def _next_request(self: WriteScreen) -> GenerationRequest | None:
        """What would be asked if the story went on from the cursor, or if one began."""
        sampling = self._sampling().with_changes(min_tokens=0, seed=0)
        record = self.desk.record
        if record is None:
            asked = self.composer.asked()
            return None if asked.for_style(self._style).empty else asked.request(sampling, self._style)
        place = self._place_on_page
        asked = self._at(self.desk.text if place is None else self.desk.text[:place], self._asked_here)
        return None if asked.for_style(self._style).empty else asked.request(sampling, self._style)

    @property
    def _asked_here(self: WriteScreen) -> Asked:
        """What the story in front was asked for with; where all of it was typed, what the fields say."""
        record = self.desk.record
        if record is None or self.desk.last_generated is None:
            return self.composer.kept()
        return going_on(record)

    @staticmethod
    def _at(text: str, asked: Asked) -> Asked:
        return dataclasses.replace(asked, opening=text)

    # The token cursor

    def action_tokens(self: WriteScreen) -> None:
        from tinytales_tui.write.tokens.screen import TokenScreen
        from tinytales_tui.write.tokens.steps import steps_of

        record = self.desk.record
        if record is None:
            return
        tree = self.desk.tree
        steps = steps_of(tree, tree.current)
        at = self.page.cursor if self.focused is self.page else len(self.desk.text)
        screen = TokenScreen(heading(record), steps, self._what_else, self._score_all, at)
        front, node = self.desk.front, tree.current
        assert front is not None

        def forked(fork: Fork | None) -> None:
            if fork is None:
                return
            if self.desk.bring(front, node):  # another story may have been opened meanwhile
                self._fork(fork)
            else:
                self.app.say("The story that this was opened for is not on the desk any more.", "warning")

        self.app.push_screen(screen, forked)

    async def _what_else(self: WriteScreen, steps: Sequence[Step], at: int) -> tuple[Prospect, tuple[int, ...]]:
        from tinytales_tui.write.tokens.steps import tail_of

        step = steps[at]
        text = "".join(one.text for one in steps[:at])
        tree = self.desk.tree
        request = self._told(_recipe_at(tree, step.node), text)
        tail = tail_of(steps, at)
        if tail:
            with contextlib.suppress(TinyTalesError):  # what was put together of several branches may not be read as it was drawn
                return await self.app.engine.look(dataclasses.replace(request, tail=tail), ALTERNATIVES, step.token), tail
        return await self.app.engine.look(request, ALTERNATIVES, step.token), ()

    def _told(self: WriteScreen, recipe: Recipe | None, text: str) -> GenerationRequest:
        """The question for what comes after a text, asked as a recipe tells it (UsageError where nothing stands before it)."""
        sampling = self._sampling().with_changes(min_tokens=0, seed=0)
        asked = self._asked_here if recipe is None else _asked_by(recipe)
        if asked.ending == "none" and not text:
            raise UsageError("Nothing stands before the first word, so the model has nothing to go on from.")
        return self._at(text, asked).request(sampling, self._style)

    async def _score_all(self: WriteScreen) -> Sequence[tuple[int, int, float]]:
        request = self._told(_recipe_at(self.desk.tree, self.desk.tree.current or 0), self.desk.text)
        return (await self.app.engine.score(request)).tokens

    def _fork(self: WriteScreen, fork: Fork) -> None:
        self.desk.fork(fork.node, fork.place, fork.run)
        if fork.run is None:
            self._show_current()
            self.app.say("The story ends here now; what came after it is on the branch beside.")
            return
        recipe = _recipe_at(self.desk.tree, fork.node)
        asked = self._asked_here if recipe is None else _asked_by(recipe)
        self._ask(self._at(self.desk.text, asked), below=self.desk.tree.current, new=False, tail=fork.tail)

    # Marking

    def action_marking(self: WriteScreen) -> None:
        marking = MARKINGS[(MARKINGS.index(self.page.marking) + 1) % len(MARKINGS)]
        self.page.mark_as(marking, self.desk.tree.runs(self.desk.tree.current))
        self._explain_marks()

    def _explain_marks(self: WriteScreen) -> None:
        marking = self.page.marking
        words = ""
        if marking != "none":
            told = [token.logprob for run in self.desk.tree.runs(self.desk.tree.current) for token in run.tokens]
            words = surprise_words("the model's words", surprise_of(told))
        self.query_one(Legend).show(marking, words)


def _asked_by(recipe: Recipe) -> Asked:
    """What a part of a story was asked for with, without the text that it went on from."""
    topic = recipe.topic if recipe.ending else ""
    return Asked(topic, "", recipe.ending or "none", recipe.words, recipe.features, recipe.sentence)


def _recipe_at(tree: Tree, node: int) -> Recipe | None:
    """The recipe that the text at a node was written by: its own, else the nearest before it, else the first of the story."""
    found = [one.recipe for one in tree.path(node) if one.recipe is not None]
    if found:
        return found[-1]
    return next((one.recipe for one in tree.nodes.values() if one.recipe is not None), None)
