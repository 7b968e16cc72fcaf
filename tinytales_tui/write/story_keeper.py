"""The desk's stories as stories of the library: a retry becomes a sibling, going on a child. Knows no Textual.

Only imported when there is something to keep. A library that refuses never disturbs the writing: it is said once, and tried again.
"""

from __future__ import annotations

import functools
import importlib.metadata
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from engine.errors import TinyTalesError
from engine.version import __version__
from tinytales_tui.library.identity import identity
from tinytales_tui.library.recipe import Recipe
from tinytales_tui.library.records import tree_of
from tinytales_tui.library.store import Library
from tinytales_tui.library.story import Story, StoryChanged
from tinytales_tui.library.tokens import Tokens
from tinytales_tui.library.tree import Tree
from tinytales_tui.story import StoryRecord
from tinytales_tui.write.desk import Entry

_LOOKED_AT = 20
"""Newest stories among which a restored one is looked for."""


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
        self._nodes: dict[int, int] = {}
        """The node of each entry."""
        self._kept: dict[int, Entry] = {}
        """Each entry as it was last saved."""

    def keep(self, entries: Sequence[Entry], front: int | None) -> str | None:
        """Save what these entries have that is not saved yet; a sentence for a person, if there is one that was not said yet."""
        try:
            notice = self._open()
            for story in dict.fromkeys(entry.story for entry in entries):
                self._keep_story(story, [entry for entry in entries if entry.story == story], front)
        except TinyTalesError as error:
            said, self.refused = self.refused, True
            return None if said else f"The story is not in your library for now, but it is still on the page. {error}"
        self.refused = False
        return notice

    def close(self) -> None:
        if self._library is not None:
            self._library.close()
            self._library = None

    def _open(self) -> str | None:
        if self._library is not None:
            return None
        self._library = Library.open(self._path)
        return self._library.notice or None

    def _keep_story(self, number: int, entries: Iterable[Entry], front: int | None) -> None:
        assert self._library is not None
        story, nodes = self._stories.get(number), dict(self._nodes)
        tree = story.tree if story is not None else Tree()
        changed = [entry for entry in entries if self._kept.get(entry.number) is not entry and _has_come_to_something(entry)]
        for entry in changed:
            if entry.number < 0:
                story, tree, nodes[entry.number] = self._restored(entry.record)
            else:
                tree = self._grown(tree, entry, nodes)
        if front in nodes and any(entry.number == front for entry in entries):
            tree = tree.go(nodes[front])  # type: ignore[index]
        if not tree.nodes:
            return
        if story is None:
            story = self._library.add(tree)
        try:
            self._stories[number] = self._library.save(story, tree)
        except StoryChanged:  # by another app, or it was deleted there: nothing of this sitting is lost
            self._stories[number] = self._library.add(tree, title=story.title, tags=story.tags)
        self._nodes = nodes
        self._kept |= {entry.number: entry for entry in changed}

    def _grown(self, tree: Tree, entry: Entry, nodes: dict[int, int]) -> Tree:
        """The tree with what the entry has written since it was last kept; its node goes into `nodes`."""
        before, record, now = self._kept.get(entry.number), entry.record, time.time()
        if entry.number not in nodes:
            parent = nodes.get(entry.after) if entry.after is not None else None
            if parent is None and record.given:
                tree, parent = _opened(tree, record.given, now)
            tree = tree.add(parent, now=now, recipe=self._recipe(entry))
            nodes[entry.number] = max(tree.nodes)
        node = nodes[entry.number]
        text = record.story[len(before.record.story) if before else 0 :]
        tokens = Tokens.of(entry.drawn[len(before.drawn) if before else 0 :])
        letters = tokens.letters
        if tokens and letters <= len(text):
            tree, text = tree.grow(node, text[:letters], tokens, now=now), text[letters:]
        if text:
            tree = tree.grow(node, text, now=now)
        return tree.change(node, stop_reason=record.stop_reason, recipe=self._recipe(entry))

    def _recipe(self, entry: Entry) -> Recipe:
        about: dict[str, object] = {"program": __version__}
        if entry.checkpoint is not None:
            about["device"] = entry.checkpoint.device
            if self._engine_is_here:
                found = identity(entry.checkpoint.path)
                about |= {"revision": found.revision, "sha256": found.sha256, "torch": _torch()}
        if entry.started is not None:
            told = entry.started
            about |= {"step": told.step, "precision": told.precision, "threads": told.threads, "precision_loss": told.loss}
        return Recipe.of(entry.record, **about)

    def _restored(self, record: StoryRecord) -> tuple[Story | None, Tree, int]:
        """The story that was restored, if it is in the library already, and its node; else a tree made of it."""
        assert self._library is not None
        whole = record.full_text
        for line in self._library.listing(most=_LOOKED_AT):
            story = self._library.get(line.id)
            for node in story.tree.nodes.values():
                if node.recipe is not None and node.recipe.seed == record.seed and not story.tree.hidden(node.number):
                    text = story.tree.text(node.number)
                    if text == whole:
                        return story, story.tree, node.number
                    cut_off = node.stop_reason is None and not story.tree.children(node.number, deleted=True)
                    if cut_off and node.text and whole.startswith(text):  # the end came between the two copies
                        return story, story.tree.grow(node.number, whole[len(text) :], now=time.time()), node.number
        tree = tree_of(record)
        assert tree.current is not None
        return None, tree, tree.current


def _has_come_to_something(entry: Entry) -> bool:
    return bool(entry.record.story) or entry.record.stop_reason is not None


def _opened(tree: Tree, given: str, now: float) -> tuple[Tree, int]:
    """The tree with the words that a story begins with, and their node; one for all that begin so."""
    for node in tree.children(None):
        if node.recipe is None and node.text == given:
            return tree, node.number
    tree = tree.write(None, given, now=now)
    return tree, max(tree.nodes)


@functools.cache
def _torch() -> str:
    """Version of the torch that the engine of this installation imports."""
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return ""
