"""The desk's stories as stories of the library: each tree is saved as it is, with what only this machine knows of a recipe. No Textual.

Every generation gets the digest of the weights that wrote it, once; that, and SQLite, is why all of this runs in a thread.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from engine.errors import TinyTalesError
from engine.version import __version__
from tinytales_tui.generation import Generation
from tinytales_tui.library.identity import identity
from tinytales_tui.library.recipe import Recipe
from tinytales_tui.library.store import Library
from tinytales_tui.library.story import Story, StoryChanged
from tinytales_tui.library.tree import Tree
from tinytales_tui.story import StoryRecord
from tinytales_tui.write.draft import Draft

_LOOKED_AT = 20
"""Newest stories among which a restored one is looked for."""


@dataclass(frozen=True)
class Sitting:
    """What the library is given to keep: a copy of what the desk holds at one time."""

    drafts: Mapping[int, Draft] = field(default_factory=dict)
    generations: Mapping[tuple[int, int], Generation] = field(default_factory=dict)


class StoryKeeper:
    """One sitting's stories in the library at `path`. Its caller sees to it that one thread uses it at a time."""

    def __init__(self, path: Path, engine_is_here: bool = True) -> None:
        """`engine_is_here`: the engine runs with this installation, on this machine."""
        self.refused = False
        """The library refused the last time."""
        self._path, self._engine_is_here = path, engine_is_here
        self._library: Library | None = None
        self._stories: dict[int, Story] = {}
        """As they were last saved, by the desk's number."""
        self._parted = ""
        """A sentence where a story was kept as one of its own."""
        self._kept: dict[int, Tree] = {}
        """The desk's trees as they were last saved."""
        self._recipes: dict[tuple[int, int], tuple[Recipe, Recipe]] = {}
        """Of each generation: its recipe as the desk has it, and as it is kept."""

    def keep(self, sitting: Sitting) -> str | None:
        """Save what these stories have that is not saved yet; a sentence for a person, if there is one that was not said yet."""
        try:
            notice = self._open()
            self._parted = ""
            for number, draft in sitting.drafts.items():
                if self._kept.get(number) is not draft.tree:
                    self._keep_story(number, draft, sitting.generations)
        except TinyTalesError as error:
            said, self.refused = self.refused, True
            return None if said else f"The story is not in your library for now, but it is still on the page. {error}"
        self.refused = False
        return notice or self._parted or None

    def number_of(self, id: str) -> int | None:
        """The desk's number of a story of the library that lies there; also while another thread keeps them."""
        return next((number for number, story in dict(self._stories).items() if story.id == id), None)

    def reopen(self, record: StoryRecord) -> tuple[Story, Tree] | None:
        """The story of the library that a kept record is of, with the record's text in front; None where there is none."""
        try:
            self._open()
            return self._found(record)
        except TinyTalesError:
            return None

    def close(self) -> None:
        if self._library is not None:
            self._library.close()
            self._library = None

    def _open(self) -> str | None:
        if self._library is not None:
            return None
        self._library = Library.open(self._path)
        return self._library.notice or None

    def _keep_story(self, number: int, draft: Draft, generations: Mapping[tuple[int, int], Generation]) -> None:
        assert self._library is not None
        tree = self._told(number, draft.tree, generations)
        waits = len(tree.nodes) < len(draft.tree.nodes) and not any(node.recipe is not None for node in tree.nodes.values())
        if not any(node.text for node in tree.nodes.values()) or waits:  # nothing yet, or only the words to begin with
            return
        story = self._stories.get(number) or draft.origin
        if story is None:
            story = self._library.add(tree)
        try:
            self._stories[number] = self._library.save(story, tree)
        except StoryChanged:  # by another app, or it was deleted there: nothing of this sitting is lost
            self._parted = (
                f"{story.name} was changed elsewhere meanwhile, so what you write here is a story of its own in the library."
            )
            self._stories[number] = self._library.add(tree, title=story.title, tags=story.tags)
        self._kept[number] = draft.tree

    def _told(self, number: int, tree: Tree, generations: Mapping[tuple[int, int], Generation]) -> Tree:
        """The tree as the library has it: without what has come to nothing so far, the recipes with all that is known."""
        empty = [n.number for n in tree.nodes.values() if not n.text and n.recipe is not None and n.stop_reason is None]
        for node in empty:
            if not tree.children(node, deleted=True):
                tree = tree.drop(node)
        nodes = dict(tree.nodes)
        for node, kept in tree.nodes.items():
            generation = generations.get((number, node))
            if generation is not None and kept.recipe is not None:
                nodes[node] = dataclasses.replace(kept, recipe=self._recipe((number, node), kept.recipe, generation))
        current = tree.leaf(None) if tree.current is None else tree.current  # a list shows a story, not the page before it
        return Tree(nodes, current)

    def _recipe(self, key: tuple[int, int], recipe: Recipe, generation: Generation) -> Recipe:
        before, told = self._recipes.get(key, (None, None))
        if before is not recipe or told is None:
            about: dict[str, object] = {"program": __version__}
            if self._engine_is_here and generation.checkpoint is not None:
                found = identity(generation.checkpoint.path)
                about |= {"revision": found.revision, "sha256": found.sha256, "torch": _torch()}
            told = dataclasses.replace(recipe, **about)
            self._recipes[key] = recipe, told
        return told

    def _found(self, record: StoryRecord) -> tuple[Story, Tree] | None:
        assert self._library is not None
        whole = record.full_text
        cut_off: tuple[Story, Tree] | None = None
        for line in self._library.listing(most=_LOOKED_AT):
            story = self._library.get(line.id)
            for node in reversed(story.tree.nodes.values()):  # type: ignore[call-overload]
                if story.tree.hidden(node.number):
                    continue
                text = story.tree.text(node.number)
                same = not record.story or (node.recipe is not None and node.recipe.seed == record.seed)
                if same and text == whole:
                    return story, story.tree.go(node.number)
                going = node.recipe is not None and node.recipe.seed == record.seed and node.stop_reason is None
                last = not story.tree.children(node.number, deleted=True)
                if (
                    cut_off is None and going and last and node.text and whole.startswith(text)
                ):  # the end came between the two copies
                    grown = story.tree.grow(node.number, whole[len(text) :], now=time.time())
                    cut_off = story, grown.go(node.number)
        return cut_off


@functools.cache
def _torch() -> str:
    """Version of the torch that the engine of this installation imports."""
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return ""
