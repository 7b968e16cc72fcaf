"""The story scrubber on the screen: what the model wrote at the step under the cursor, on request between the first and the newest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Static

from engine.prompts import split_sample_prompt
from tinytales_tui.text import one_line, safe_text
from tinytales_tui.train.stories.scrubbing import Sitting, at_step, prompts

NARROWEST = 28
"""Columns that one story needs at least, so that several stand side by side."""


@dataclass(frozen=True)
class Card:
    """One story on the screen."""

    title: str
    story: str


def cards(found: Sequence[Sitting], step: float | None, prompt: str, beside: bool) -> list[Card]:
    """The story at a step; with `beside`, the first and the present one to its left and right."""
    here = at_step(found, step)
    if here is None:
        return []
    chosen = [("", here)]
    if beside:
        chosen = [("first", found[0]), ("here", here), ("now", found[-1])]
        chosen = [(words, sitting) for at, (words, sitting) in enumerate(chosen) if at == 1 or sitting.step != here.step]
    return [
        Card(f"{words + ', ' if words else ''}step {sitting.step:,}", sitting.stories.get(prompt, "(not written at this step)"))
        for words, sitting in chosen
    ]


class StoryCard(VerticalScroll):
    """A title and a story that can be scrolled."""

    DEFAULT_CSS = """
    StoryCard {
        width: 1fr;
        height: 1fr;
        padding: 0 1;
        scrollbar-size-vertical: 1;
        & .card-title { color: $primary; height: 1; text-wrap: nowrap; text-overflow: ellipsis; }
        & .card-story { height: auto; }
        &:focus { background: $foreground 4%; }
        &:focus .card-title { text-style: bold; }
        &:nocolor:focus .card-title { text-style: bold reverse; }
    }
    """

    def compose(self) -> ComposeResult:
        self._title, self._story = Static("", classes="card-title", markup=False), Static("", classes="card-story", markup=False)
        self._shown: Card | None = None
        yield self._title
        yield self._story

    def show(self, card: Card, opening: str) -> None:
        """Show this story after the opening that it was given, which is set apart."""
        if card == self._shown:
            return
        self._shown = card
        self._title.update(Text(one_line(card.title, 200)))
        self._story.update(Text.assemble((safe_text(opening), "italic"), safe_text(card.story).rstrip()))
        self.scroll_home(animate=False)


class StoriesView(Horizontal):
    """`show(...)`; one card, or up to three side by side."""

    DEFAULT_CSS = """
    StoriesView { height: 1fr; }
    """

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.prompt = ""
        """Whose stories are shown; empty: the first one's."""
        self._known: list[str] = []

    def compose(self) -> ComposeResult:
        self._cards = [StoryCard(classes="story-card") for _ in range(3)]
        yield from self._cards

    def show(self, found: Sequence[Sitting], step: float | None, beside: bool, note: str) -> None:
        """Show what was written at or before `step`; `note` where there is nothing yet."""
        self._known = prompts(found)
        if self.prompt not in self._known:
            self.prompt = self._known[0] if self._known else ""
        room = max(1, self.size.width // NARROWEST)
        made = cards(found, step, self.prompt, beside and room > 1)
        if len(made) > room:  # the first one and the one at the cursor say most
            made = made[:room]
        if not made:
            made = [Card("stories", note)]
        place = f" ({self._known.index(self.prompt) + 1} of {len(self._known)})" if len(self._known) > 1 else ""
        for at, card in enumerate(self._cards):
            card.display = at < len(made)
            if at < len(made):
                title = f"{made[at].title} · {self.prompt}{place if at == 0 else ''}" if found else made[at].title
                ending, words = split_sample_prompt(self.prompt)
                card.show(Card(title, made[at].story), words if ending is None and found else "")

    def next_prompt(self, steps: int) -> None:
        """Go on to another prompt's stories."""
        if self._known:
            self.prompt = self._known[(self._known.index(self.prompt) + steps) % len(self._known)]
