"""The tree of a story: every generation and every edit is a node, and nothing that was written is ever changed or lost.

The text at a node is the texts of its ancestors and its own, joined. A retry is a sibling, going on is a child; an edit of text that is
there already makes a new branch from the node before the place. All values are frozen: each change gives a new tree, which shares all
nodes but the changed one with the old.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from engine.errors import UsageError
from tinytales_tui.library.recipe import Recipe
from tinytales_tui.library.runs import Author, Run, cut, joined, text_of
from tinytales_tui.library.tokens import NONE, Tokens

RATINGS = range(6)
"""0: none; 1 to 5 stars."""
MOST_NODES = 2**20 - 1
"""Of one story, as the store numbers them."""


@dataclass(frozen=True)
class Node:
    """One step of a story: what was written at once."""

    number: int
    """From 1 up within its story; never used again."""
    parent: int | None
    """None: it begins the story."""
    runs: tuple[Run, ...] = ()
    """Its own text; in as few runs as there can be."""
    recipe: Recipe | None = None
    """How it was generated; None for what the writer typed or edited."""
    stop_reason: str | None = None
    """`engine.settings.StopReason`; None: the writer's, or cut short before the engine could say."""
    created: float = 0.0
    """Unix seconds, as `changed`: when its text last grew."""
    changed: float = 0.0
    bookmark: bool = False
    rating: int = 0
    """One of `RATINGS`."""
    deleted: bool = False
    """It and what hangs below it are hidden."""

    @cached_property
    def text(self) -> str:
        """Its own text."""
        return text_of(self.runs)

    @property
    def tokens(self) -> Tokens:
        """All generated tokens in it that are known."""
        return sum((run.tokens for run in self.runs), NONE)


@dataclass(frozen=True)
class Edit:
    """The characters from `start` to `end` of a text are replaced by `text`."""

    start: int
    end: int
    text: str

    def least(self, before: str) -> Edit:
        """The same change with nothing in it that stays as it was: letters that were typed over by themselves keep their author."""
        old, new = before[self.start : self.end], self.text
        head = _alike(old, new)
        tail = _alike(old[head:][::-1], new[head:][::-1])
        return Edit(self.start + head, self.end - tail, new[head : len(new) - tail])

    @classmethod
    def between(cls, before: str, after: str) -> Edit:
        """The one edit that makes `after` of `before`, as small as it can be."""
        return cls(0, len(before), after).least(before)


@dataclass(frozen=True)
class Tree:
    """All nodes of a story, and the one in front."""

    nodes: Mapping[int, Node] = field(default_factory=dict)
    current: int | None = None
    """The node that is shown; None: the empty page."""
    spent: int = field(default=0, compare=False)
    """The highest number that was ever given out, also where that node was dropped."""

    # Looking

    @cached_property
    def _children(self) -> dict[int | None, tuple[Node, ...]]:
        found: dict[int | None, list[Node]] = {}
        for node in sorted(self.nodes.values(), key=lambda node: node.number):
            found.setdefault(node.parent, []).append(node)
        return {parent: tuple(nodes) for parent, nodes in found.items()}

    def node(self, number: int) -> Node:
        """A node by its number (UsageError if there is none)."""
        try:
            return self.nodes[number]
        except KeyError:
            raise UsageError(f"The story has no node {number}.") from None

    def children(self, number: int | None, *, deleted: bool = False) -> tuple[Node, ...]:
        """What hangs directly below a node (None: what the story may begin with), the oldest first."""
        return tuple(node for node in self._children.get(number, ()) if deleted or not node.deleted)

    def siblings(self, number: int) -> tuple[Node, ...]:
        """The node among those of the same parent, the oldest first; only itself of the deleted ones."""
        nodes = self._children[self.node(number).parent]
        return tuple(node for node in nodes if not node.deleted or node.number == number)

    def beside(self, number: int, step: int) -> int:
        """The sibling so many places further on, or the last on that side: what keys flip to."""
        numbers = [node.number for node in self.siblings(number)]
        return numbers[min(max(numbers.index(number) + step, 0), len(numbers) - 1)]

    def path(self, number: int | None) -> tuple[Node, ...]:
        """From the beginning of the story to the node, itself included; empty for None."""
        found: list[Node] = []
        while number is not None:
            found.append(self.node(number))
            number = found[-1].parent
        return tuple(reversed(found))

    def text(self, number: int | None) -> str:
        """The story as it reads at a node."""
        return "".join(node.text for node in self.path(number))

    def text_before(self, number: int) -> str:
        """What the node goes on from."""
        return self.text(self.node(number).parent)

    def runs(self, number: int | None) -> tuple[Run, ...]:
        """The same with the author of every letter."""
        return joined(run for node in self.path(number) for run in node.runs)

    def hidden(self, number: int) -> bool:
        """Whether it, or something it hangs below, is deleted."""
        return any(node.deleted for node in self.path(number))

    def leaf(self, number: int | None) -> int | None:
        """The end of the newest branch below a node; itself where nothing hangs below it."""
        while below := self.children(number):
            number = below[-1].number
        return number

    # Writing

    def add(
        self,
        parent: int | None,
        runs: tuple[Run, ...] = (),
        *,
        now: float,
        recipe: Recipe | None = None,
        stop_reason: str | None = None,
    ) -> Tree:
        """A new node below `parent`, in front from now on: of a generation with its recipe, else of the writer."""
        if parent is not None:
            self.node(parent)
        number = max(self.spent, max(self.nodes, default=0)) + 1
        if number > MOST_NODES:
            raise UsageError("The story has as many branches as a story can have; go on in a duplicate of it.")
        return self._with(Node(number, parent, joined(runs), recipe, stop_reason, now, now), number)

    def write(self, parent: int | None, text: str, *, now: float) -> Tree:
        """What the writer typed after the text at `parent`."""
        return self.add(parent, (Run("writer", text),), now=now)

    def grow(self, number: int, text: str, tokens: Tokens = NONE, *, now: float, author: Author = "model") -> Tree:
        """More text at the end of a node that is being written (UsageError where something hangs below it already)."""
        node = self.node(number)
        if self._children.get(number):
            raise UsageError("The story goes on from there already, so that part can grow no more.")
        return self._with(dataclasses.replace(node, runs=joined((*node.runs, Run(author, text, tokens))), changed=now))

    def change(self, number: int, **fields: Any) -> Tree:
        """Other marks of a node: `bookmark`, `rating`, `stop_reason`, `recipe` (its text never changes)."""
        if not fields.keys() <= {"bookmark", "rating", "stop_reason", "recipe"}:
            raise TypeError(f"not to be changed: {', '.join(fields)}")
        if fields.get("rating", 0) not in RATINGS:
            raise UsageError("A rating is a whole number from 0 (none) to 5.")
        return self._with(dataclasses.replace(self.node(number), **fields))

    def go(self, number: int | None) -> Tree:
        """This node is in front."""
        if number is not None:
            self.node(number)
        return dataclasses.replace(self, current=number)

    def until(self, number: int, letters: int, run: Run | None = None, *, now: float) -> Tree:
        """A new node beside one, with its text up to so many letters, and then `run`: where another branch goes on from the middle.

        A node that has just this text already is in front instead; so is the parent where there would be no text.
        """
        node = self.node(number)
        head = cut(node.runs, letters)[0]
        if run is not None and head:  # a token without letters ended the text there, which goes on now
            head = (*head[:-1], head[-1].without_silent_end())
        runs = joined((*head, *((run,) if run is not None else ())))
        if run is None and letters >= len(node.text):
            return self.go(number)
        if not runs:
            return self.go(node.parent)
        for other in self.children(node.parent):
            if other.recipe is None and other.runs == runs:
                return self.go(other.number)
        return self.add(node.parent, runs, now=now)

    def edit(self, at: int | None, edit: Edit, *, now: float, same_go: bool = False) -> Tree:
        """The writer changes the text that stands at a node, anywhere in it; the text at every other node stays as it is.

        The changed text is that of a new node, which is in front then; what the edit left alone keeps its authors and tokens. With
        `same_go`, the edit is one with the edit that made the node `at`, so that node is written anew instead (unless it is a
        generation or something hangs below it). Where nothing is left of a branch, the node before it is in front.
        """
        path, whole = self.path(at), self.text(at)
        if not 0 <= edit.start <= edit.end <= len(whole):
            raise UsageError("The place of the edit lies outside of the story.")
        edit = edit.least(whole)
        if edit.start == edit.end and not edit.text:
            return self.go(at)
        anew = path[-1] if same_go and path and path[-1].recipe is None and not self._children.get(at) else None
        first, before = 0, 0  # the first node of the path that is touched, and the letters before it
        while first < len(path) and before + len(path[first].text) <= edit.start and path[first] is not anew:
            before += len(path[first].text)
            first += 1
        own = joined(run for node in path[first:] for run in node.runs)
        head, rest = cut(own, edit.start - before)
        tail = cut(rest, edit.end - edit.start)[1]
        runs = joined((*head, Run("writer", edit.text), *tail))
        parent = path[first - 1].number if first else None
        if anew is not None:
            return self._with(dataclasses.replace(anew, parent=parent, runs=runs, changed=now), anew.number)
        return self.add(parent, runs, now=now) if text_of(runs) else self.go(parent)

    def parting(self, number: int) -> int:
        """The nearest node on the way back that has others beside it; itself where there is none."""
        return next((node.number for node in reversed(self.path(number)) if len(self.siblings(node.number)) > 1), number)

    def begin_with(self, numbers: Sequence[int], given: str, *, now: float) -> Tree:
        """These empty nodes go on from other words than before, which stand in a node of their own; what was in front stays there."""
        tree = self.write(self.node(numbers[0]).parent, given, now=now)
        parent = tree.current
        for number in numbers:
            tree = tree._with(dataclasses.replace(tree.node(number), parent=parent))
        return tree.go(self.current)

    def drop(self, number: int) -> Tree:
        """Without a node in which nothing is written and below which nothing hangs; where it was in front, its parent is."""
        node = self.node(number)
        if node.text or self._children.get(number):
            raise UsageError("Only an empty end of a branch can be dropped.")
        nodes = {other: kept for other, kept in self.nodes.items() if other != number}
        current = node.parent if self.current == number else self.current
        return Tree(nodes, current, max(self.spent, max(self.nodes)))

    # Back to what was

    def as_at(self, old: Tree) -> Tree:
        """As it was at an earlier (or undone) time: what was in front, the marks, and what the writer had typed by then.

        Nothing goes: what came since stays where it is, and where something hangs below a text that has been typed on, the older text
        stands beside it.
        """
        tree, current = self, old.current
        for number, was in old.nodes.items():
            now = tree.nodes.get(number)
            if now is None:
                continue
            marks = {"deleted": was.deleted, "bookmark": was.bookmark, "rating": was.rating}
            if was.recipe is None and (was.parent, was.runs) != (now.parent, now.runs):
                if tree._children.get(number):
                    tree, beside = tree._beside(was)
                    current = beside if current == number else current
                    continue
                now = dataclasses.replace(now, parent=was.parent, runs=was.runs, changed=was.changed)
            tree = tree._with(dataclasses.replace(now, **marks))
        while current is not None and current not in tree.nodes:
            current = old.nodes[current].parent
        return tree.go(current)

    def keeping(self, old: Tree) -> Tree:
        """With everything that the writer had typed in `old` and that has another text here, as branches of their own."""
        tree = self
        for number, was in old.nodes.items():
            now = tree.nodes.get(number)
            if was.recipe is None and now is not None and was.runs != now.runs and not now.text.startswith(was.text):
                tree = tree._beside(was)[0]
        return dataclasses.replace(tree, current=self.current)

    def _beside(self, node: Node) -> tuple[Tree, int]:
        """The tree with the same text below the same parent under another number, and that number; one that is there already will do."""
        for other in self._children.get(node.parent, ()):
            if other.number != node.number and other.recipe is None and other.runs == node.runs:
                return self, other.number
        tree = self.add(node.parent, node.runs, now=node.changed)
        return tree, max(tree.nodes)

    # Deleting

    def delete(self, number: int) -> Tree:
        """Hide a node and all below it; where the one in front is among them, a sibling or the parent comes to the front."""
        tree = self._with(dataclasses.replace(self.node(number), deleted=True))
        if tree.current is None or all(node.number != number for node in tree.path(tree.current)):
            return tree
        others = [node.number for node in tree.siblings(number) if node.number != number]
        nearest = min(others, key=lambda other: abs(other - number), default=self.node(number).parent)
        return tree.go(nearest)

    def restore(self, number: int) -> Tree:
        """Take `delete` back; the node is in front."""
        return self._with(dataclasses.replace(self.node(number), deleted=False), number)

    def _with(self, node: Node, current: int | None = None) -> Tree:
        return Tree({**self.nodes, node.number: node}, self.current if current is None else current, self.spent)


def _alike(one: str, other: str) -> int:
    """How many letters both begin with."""
    for place, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return place
    return min(len(one), len(other))
