"""The line below the page: what is going on, and the numbers that were measured. What was not measured is shown as a dash."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.segment import Segment
from textual.strip import Strip
from textual.widget import Widget

from engine.protocol import CheckpointInfo
from tinytales_tui.story import step_words
from tinytales_tui.text import one_line
from tinytales_tui.write.desk import Desk

if TYPE_CHECKING:
    from tinytales_tui.write.steering.standing import Standing
    from tinytales_tui.write.steering.steering import Steering

REASONS = {
    "end of text": "finished",
    "length": "ended at its length",
    "stop string": "ended at a stop word",
    "cancelled": "stopped",
    "loop": "ended: it repeated itself",
}
DASH = "–"


@dataclass(frozen=True)
class Fact:
    text: str
    weight: int
    """The lightest is left out first where the line is too long."""


def ended_words(desk: Desk) -> str:
    """Why the text in front ends where it does."""
    node, generation = desk.node, desk.generation
    if node is None or node.recipe is None:
        return "as you typed it" if node is None or any(run.author == "writer" for run in node.runs) else "as you chose it"
    words = REASONS.get(node.stop_reason or "", "cut short")
    detail = generation.finished.detail if generation is not None and generation.finished is not None else ""
    return f"{words}: {one_line(detail, 80)}" if detail else words


def facts(
    checkpoint: CheckpointInfo | None, desk: Desk, steering: Steering | None = None, standing: Standing | None = None
) -> list[Fact]:
    """The numbers of what is in front, in the order they are shown."""
    node, generation = desk.node, desk.generation
    count = sum(len(run.tokens) for part in desk.tree.path(desk.tree.current) for run in part.runs)
    recipe = node.recipe if node is not None else None
    speed = generation.tokens_per_s if generation else recipe.tokens_per_s if recipe else None
    ttft = generation.ttft_s if generation else recipe.ttft_s if recipe else None
    tokens = str(count) if count else DASH
    rate = f"{speed:.0f}" if speed else DASH
    first = f"{ttft:.2f} s" if ttft is not None else DASH
    left = generation.context_left if generation else None
    how = step_words(checkpoint) if checkpoint else ""
    parting = desk.tree.parting(node.number) if node is not None else None
    beside = desk.tree.siblings(parting) if parting is not None else ()
    place = next((at for at, other in enumerate(beside, 1) if other.number == parting), 0)
    return [
        Fact(one_line(checkpoint.name, 28) if checkpoint else DASH, 3),
        Fact(one_line(checkpoint.device, 12) if checkpoint else DASH, 0),
        *([Fact(how, 2)] if how else []),
        *_steered(desk, steering, standing),
        *([Fact(f"branch {place} of {len(beside)}", 7)] if len(beside) > 1 else []),
        Fact(f"{tokens} token{'' if tokens == '1' else 's'}", 6),
        Fact(f"{rate} tok/s", 5),
        Fact(f"first {first}", 1),
        Fact(f"context left {DASH if left is None else left}", 4),
    ]


def _steered(desk: Desk, steering: Steering | None, standing: Standing | None) -> list[Fact]:
    """How the story fares with what was wanted of it."""
    found = []
    if steering is not None and steering.mention and desk.text:
        told = steering.mentioned(desk.text)
        found.append(Fact(f"{sum(there for _, there in told)} of {len(told)} mentioned", 8))
    if steering is not None and (steering.banned or steering.favoured or steering.stop):
        found.append(Fact("steered", 8))
    if standing is not None:
        found.append(Fact(standing.words, 2))
    return found


class StatusLine(Widget):
    """Left the state, right the facts that fit."""

    COMPONENT_CLASSES = {"status--busy", "status--state", "status--fact", "status--trouble"}
    DEFAULT_CSS = """
    StatusLine {
        height: 1;
        background: $surface;
        & .status--busy { color: $text-accent; }
        & .status--state { color: $foreground; }
        & .status--trouble { color: $text-error; text-style: bold; }
        & .status--fact { color: $text-muted; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.state = ""
        self.mood = "state"
        self._facts: list[Fact] = []

    def show(self, state: str, mood: str, shown: list[Fact]) -> None:
        """`mood` is `state`, `busy` or `trouble`."""
        if (state, mood, shown) != (self.state, self.mood, self._facts):
            self.state, self.mood, self._facts = state, mood, shown
            self.refresh()

    @property
    def words(self) -> str:
        """The whole line, whatever fits of it."""
        return "  ".join([self.state, *(fact.text for fact in self._facts)])

    def render_line(self, y: int) -> Strip:
        base = self.rich_style
        width = self.size.width - 2
        ascii = getattr(self.app, "ascii", False)
        mark = ("* " if ascii else "● ") if self.mood == "busy" else ""
        state = one_line(mark + self.state, max(width, 0))
        room = width - cell_len(state) - 2
        gap = "  " if ascii else " · "
        shown = list(self._facts)
        while shown and cell_len(gap.join(fact.text for fact in shown)) > room:
            shown.remove(min(shown, key=lambda fact: fact.weight))
        right = gap.join(fact.text for fact in shown)
        space = " " * max(width - cell_len(state) - cell_len(right), 0)
        parts = [
            Segment(" ", base),
            Segment(state, self.get_component_rich_style(f"status--{self.mood}")),
            Segment(space, base),
            Segment(right, self.get_component_rich_style("status--fact")),
            Segment(" ", base),
        ]
        return Strip(parts).crop_extend(0, self.size.width, base)
