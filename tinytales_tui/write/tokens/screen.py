"""The token cursor: walk through a story token by token, see what else might have come, and go on from another choice.

It asks the engine about one token at a time, when the cursor has come to rest; what was drawn is known from the story itself.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.screen import Screen
from textual.widgets import Footer, Static

from engine.errors import TinyTalesError
from engine.protocol import Prospect
from tinytales_tui.widgets.chance_bars import ChanceBars, percent, token_label
from tinytales_tui.write.page.legend import Legend, surprise_words
from tinytales_tui.write.page.marks import surprise_of
from tinytales_tui.write.tokens.steps import Fork, Step, fork_at, with_scores
from tinytales_tui.write.tokens.view import TokenView

if TYPE_CHECKING:
    from tinytales_tui.app import TinyTalesApp

REST_S = 0.08
"""How long the cursor rests before the engine is asked."""
ALTERNATIVES = 10
Ask = Callable[[Sequence[Step], int], Awaitable[tuple[Prospect, tuple[int, ...]]]]
"""What might have come at a step, and the tokens before it that were read as they were drawn (TinyTalesError)."""
Score = Callable[[], Awaitable[Sequence[tuple[int, int, float]]]]
"""How likely the whole text is to the model, token by token (TinyTalesError)."""


class TokenScreen(Screen[Fork | None]):
    """Answers the fork that was chosen, or None."""

    app: TinyTalesApp
    CSS_PATH = "tokens.tcss"
    HELP_TITLE = "On the token cursor"
    BINDINGS = [
        Binding("escape,q,ctrl+t", "dismiss(None)", "Back", id="tokens.back", tooltip="Back to the page; nothing changes"),
        Binding("left,h", "step(-1)", "Before", show=False, id="tokens.left", tooltip="To the token before"),
        Binding("right,l", "step(1)", "Next", show=False, id="tokens.right", tooltip="To the next token"),
        Binding("up,k", "row(-1)", "Up", show=False, id="tokens.up", tooltip="A line up"),
        Binding("down,j", "row(1)", "Down", show=False, id="tokens.down", tooltip="A line down"),
        Binding("home", "edge(0)", "First", show=False, id="tokens.first", tooltip="To the first token"),
        Binding("end", "edge(1)", "Last", show=False, id="tokens.last", tooltip="To the last token"),
        Binding("shift+left", "step(-1,True)", "Select", show=False, id="tokens.select_left", tooltip="Select a passage"),
        Binding("shift+right", "step(1,True)", "Passage", key_display="shift+→", id="tokens.select_right",
                tooltip="Select a passage: its perplexity is told"),
        Binding("tab,pagedown", "choose(1)", "Other", key_display="tab", id="tokens.other", tooltip="To the next alternative"),
        Binding("shift+tab,pageup", "choose(-1)", "Other before", show=False, id="tokens.other_before",
                tooltip="To the alternative before"),
        Binding("enter", "fork", "Fork here", key_display="enter", id="tokens.fork", tooltip="Go on from the marked one, as a branch"),
        *(Binding(str(digit), f"fork({(digit - 1) % 10})", "Fork", show=False, id=f"tokens.fork_{digit}",
                  tooltip="Go on from this alternative") for digit in range(10)),
        Binding("n", "surprise(1)", "Next surprise", id="tokens.surprise", tooltip="To the next token less likely than 1 in 20"),
        Binding("N", "surprise(-1)", "Surprise before", show=False, id="tokens.surprise_before", tooltip="To the one before"),
        Binding("c", "colours", "Colours", id="tokens.colours", tooltip="Show or hide how surprising each token was"),
    ]  # fmt: skip

    def __init__(self, heading: str, steps: Sequence[Step], ask: Ask, score: Score, at: int) -> None:
        """`at`: letters of the story before the token to begin with."""
        super().__init__()
        self._heading, self._steps, self._ask, self._score = heading, list(steps), ask, score
        self._at = self._step_at(at)
        self._wanted: int | None = at
        """Where the cursor is to be, until it is moved."""
        self._anchor: int | None = None
        self._colours = True
        self._question = 0
        self._asked: tuple[int, Prospect, tuple[int, ...]] | None = None

    def compose(self) -> ComposeResult:
        with Horizontal(id="tokens-body"):
            yield TokenView(half_pages=self.app.low_bandwidth, id="tokens-page")
            with Vertical(id="tokens-side"):
                yield Static("", id="token-here", markup=False)
                yield ChanceBars(chooses=True, id="token-chances")
                yield Static("", id="token-note", markup=False)
        yield Legend(page="#tokens-page", id="tokens-legend")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self._view = self.query_one("#tokens-page", TokenView)
        self._bars = self.query_one("#token-chances", ChanceBars)
        self._view.show_steps(self._heading, self._steps, self._colours)
        self.call_after_refresh(self._point)
        if any(step.token is None for step in self._steps):
            self.run_worker(self._know_the_rest(), group="scoring")

    async def _know_the_rest(self) -> None:
        """What was typed, or comes from elsewhere, is read by the model once."""
        try:
            scored = await self._score()
        except TinyTalesError as error:
            self.query_one("#token-note", Static).update(f"What was typed is not coloured: {error}")
            return
        place = self._steps[self._at].start if self._wanted is None else self._wanted
        self._steps = with_scores(self._steps, scored)
        self._at, self._anchor = self._step_at(place), None
        self._view.colour(self._steps, self._colours)
        self._point()

    # Where the cursor is

    def _step_at(self, place: int) -> int:
        found = next((index for index, step in enumerate(self._steps) if step.visible and step.end > place), None)
        if found is not None:
            return found
        return next((index for index in range(len(self._steps) - 1, -1, -1) if self._steps[index].visible), 0)

    @property
    def _passage(self) -> tuple[int, int] | None:
        """First and last step of what is selected."""
        return None if self._anchor is None else (min(self._anchor, self._at), max(self._anchor, self._at))

    def _point(self) -> None:
        """Show where the cursor is, and soon what might have come there."""
        if not self._steps:
            self._bars.show(None, "There is no word to look at.")
            return
        step, passage = self._steps[self._at], self._passage
        shown = (self._steps[passage[0]].start, self._steps[passage[1]].end) if passage else None
        self._view.point((step.start, step.end), shown)
        ascii = self.app.ascii
        if step.logprob is None or step.logprob != step.logprob:
            chance = "its probability is not known"
        else:
            chance = f"{percent(math.exp(min(step.logprob, 0.0))).strip()} by the model itself"
        whose = "yours" if step.author == "writer" else "drawn"
        label = token_label(step.text, ends=step.ends, ascii=ascii) if step.token is not None else "yours"
        self.query_one("#token-here", Static).update(f"{label}\n{whose}, {chance}")
        if passage:
            within = [one.logprob for one in self._steps[passage[0] : passage[1] + 1] if one.logprob is not None]
            words = surprise_words(f"passage of {passage[1] - passage[0] + 1}", surprise_of(within))
        else:
            known = [one.logprob for one in self._steps if one.logprob is not None]
            words = surprise_words("all of it", surprise_of(known))
        self.query_one("#tokens-legend", Legend).show("surprise", words)
        self._question += 1
        if self._asked is not None and self._asked[0] == self._at:
            return
        question = self._question
        self.set_timer(REST_S, lambda: self._look(question))

    def _look(self, question: int) -> None:
        if question == self._question:
            self.run_worker(self._find(question), group="looking")

    async def _find(self, question: int) -> None:
        at = self._at
        note = self.query_one("#token-note", Static)
        try:
            prospect, tail = await self._ask(self._steps, at)
        except TinyTalesError as error:
            if question == self._question:
                self._asked = None
                self._bars.show(None, "")
                note.update(str(error))
            return
        if question != self._question:
            return
        self._asked = at, prospect, tail
        self._bars.cursor = 0
        self._bars.show(prospect, drawn=self._steps[at].token)
        note.update(
            f"Of each token what the model gives it ({'-' if self.app.ascii else '░'}) and what your sliders leave "
            f"({'#' if self.app.ascii else '█'}, in %). {prospect.kept:,} may be drawn."
        )

    # Keys

    def action_step(self, by: int, select: bool = False) -> None:
        at = self._at + by
        while 0 <= at < len(self._steps) and not self._steps[at].visible:
            at += by
        if 0 <= at < len(self._steps):
            self._go(at, select)

    def action_row(self, by: int) -> None:
        if self._steps:
            self._go(self._step_at(self._view.near(self._steps[self._at].start, by)), False)

    def action_edge(self, last: int) -> None:
        if self._steps:
            self._go(self._step_at(self._steps[-1].end if last else 0), False)

    def _go(self, at: int, select: bool) -> None:
        if select:
            self._anchor = self._at if self._anchor is None else self._anchor
        else:
            self._anchor = None
        self._at, self._wanted = at, None
        self._point()

    def action_surprise(self, by: int) -> None:
        order = range(self._at + 1, len(self._steps)) if by > 0 else range(self._at - 1, -1, -1)
        for at in order:
            step = self._steps[at]
            if step.visible and step.logprob is not None and step.logprob < math.log(0.05):
                self._go(at, False)
                return
        self.app.say("No token that way was less likely than 1 in 20.")

    def action_colours(self) -> None:
        self._colours = not self._colours
        self._view.colour(self._steps, self._colours)

    def action_choose(self, by: int) -> None:
        self._bars.move(by)

    def on_token_view_pointed(self, event: TokenView.Pointed) -> None:
        if self._steps:
            self._go(self._step_at(event.place), False)

    @property
    def _within_a_letter(self) -> bool:
        before = self._steps[self._at - 1] if self._at else None
        return before is not None and not before.visible and before.chain == self._steps[self._at].chain

    async def action_fork(self, which: int | None = None) -> None:
        if self._asked is None or self._asked[0] != self._at:
            await asyncio.sleep(2 * REST_S)  # whoever is quick with the keys has not seen the alternatives yet
        if self._asked is None or self._asked[0] != self._at:
            self.app.say("The alternatives are still being looked for; try again in a moment.", "warning")
            return
        chances = self._asked[1].chances
        which = self._bars.cursor if which is None else which
        if which >= len(chances):
            return
        chance = chances[which]
        if chance.token == self._steps[self._at].token:
            self.app.say("That one stands here already; choose another with Tab or a digit.")
        elif self._within_a_letter:
            self.app.say("The token before this one is half a letter, so no other way can be taken here.", "warning")
        elif not chance.whole and not chance.ends:
            self.app.say("That token is only a part of a letter, so no story can go on from it.", "warning")
        else:
            self.dismiss(fork_at(self._steps[self._at], chance, self._asked[2]))
