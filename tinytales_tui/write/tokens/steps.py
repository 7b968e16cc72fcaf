"""A story as a walk from token to token, with what is needed to ask the engine about each. Plain data; knows no Textual."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from engine.protocol import Chance
from tinytales_tui.library.runs import Author, Run
from tinytales_tui.library.tokens import Tokens
from tinytales_tui.library.tree import Tree


@dataclass(frozen=True)
class Step:
    """One token; or a stretch of text whose tokens are not known yet."""

    node: int
    """The node of the tree that it stands in."""
    place: int
    """Letters of that node before it."""
    start: int
    """Letters of the whole story before it."""
    text: str
    author: Author
    token: int | None = None
    logprob: float | None = None
    """What the model gave it; None where that is not known."""
    chain: int = 0
    """The steps before it with the same number are tokens that were read as they were drawn, ..."""
    before: tuple[int, ...] = ()
    """... and so were these, which stand before the first of them."""
    ends: bool = False
    """It ended the story."""

    @property
    def end(self) -> int:
        return self.start + len(self.text)

    @property
    def visible(self) -> bool:
        return bool(self.text) or self.ends


@dataclass(frozen=True)
class Fork:
    """The story goes on otherwise: the text of a node up to a place, then another token."""

    node: int
    place: int
    run: Run | None
    """The other token; None where the story is to end there."""
    tail: tuple[int, ...]
    """The tokens to read as they are, the other one included."""


def steps_of(tree: Tree, number: int | None) -> list[Step]:
    """The walk through the story as it reads at a node."""
    steps: list[Step] = []
    start = chain = 0
    for node in tree.path(number):
        tail = node.recipe.tail if node.recipe is not None else 0
        before = _known_at_the_end(tree, node.parent)[-tail:] if tail else ()
        place, chain = 0, chain + 1
        for run in node.runs:
            if not run.tokens:
                steps.append(Step(node.number, place, start, run.text, run.author))
                place, start, chain, before = place + len(run.text), start + len(run.text), chain + 1, ()
            at = 0
            for token in run.tokens:
                text = run.text[at : at + token.letters]
                steps.append(Step(node.number, place, start, text, run.author, token.id, token.logprob, chain, before))
                at, place, start = at + token.letters, place + token.letters, start + token.letters
        if node.stop_reason == "end of text" and steps and steps[-1].node == node.number and not steps[-1].text:
            steps[-1] = replace(steps[-1], ends=True)
    return steps


def _known_at_the_end(tree: Tree, number: int | None) -> tuple[int, ...]:
    """The tokens that the text at a node ends with, as far back as they are known without a gap."""
    found: list[int] = []
    for run in reversed(tree.runs(number)):
        if not run.tokens:
            break
        found = [token.id for token in run.tokens] + found
    return tuple(found)


def tail_of(steps: Sequence[Step], at: int) -> tuple[int, ...]:
    """The tokens before a step that are read as they were drawn; what stands before them is encoded."""
    step = steps[at]
    first = at
    while first and steps[first - 1].chain == step.chain and steps[first - 1].token is not None:
        first -= 1
    return (*step.before, *(one.token for one in steps[first:at] if one.token is not None)) if step.chain else ()


def with_scores(steps: Sequence[Step], scored: Sequence[tuple[int, int, float]]) -> list[Step]:
    """The walk with the stretches of unknown tokens cut into those that the engine has read the whole text as."""
    bounds: list[tuple[int, int, int, float]] = []
    at = 0
    for token, letters, logprob in scored:
        bounds.append((at, at + letters, token, logprob))
        at += letters
    found: list[Step] = []
    for step in steps:
        if step.token is not None:
            found.append(step)
            continue
        for low, high, token, logprob in bounds:
            low, high = max(low, step.start), min(high, step.end)
            if low < high:
                text = step.text[low - step.start : high - step.start]
                found.append(Step(step.node, step.place + low - step.start, low, text, step.author, token, logprob))
    return found


def fork_at(step: Step, chance: Chance, tail: tuple[int, ...]) -> Fork:
    """The story with another token in place of the one at a step; `tail`: those before it that were read as they were drawn."""
    if chance.ends:
        return Fork(step.node, step.place, None, ())
    run = Run("model", chance.text, Tokens.of([(chance.token, len(chance.text), chance.logprob)]))
    return Fork(step.node, step.place, run, (*tail, chance.token))
