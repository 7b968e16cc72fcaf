"""Reading stories from JSON: our own exports, records of `--prompt --json`, saved and autosaved stories.

One or many of them, in one piece or a line each.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

from engine.errors import TinyTalesError, UsageError
from tinytales_tui.library import exchange
from tinytales_tui.library.recipe import Recipe
from tinytales_tui.library.records import tree_of
from tinytales_tui.library.store import ID_LENGTH, ID_LETTERS, Library
from tinytales_tui.library.story import Story
from tinytales_tui.library.tree import Tree
from tinytales_tui.story import StoryRecord
from tinytales_tui.text import one_line


def read(data: bytes, name: str) -> list[Story]:
    """The stories in a file of this name; UsageError with one sentence, and the line, for what is none."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{name}, line {line}: this is not UTF-8 text, so it holds no stories.") from error
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        return _lines(text, name, error)
    return _stories(found, name)


def add_new(library: Library, stories: list[Story]) -> tuple[list[Story], int]:
    """Put stories into the library, all or none; those that are there already, node for node, are passed over (and counted)."""
    new: list[Story] = []
    trees: dict[str, Tree] = {}
    for story in stories:
        if not story.id or (trees.get(story.id) != story.tree and not _is_there(library, story)):
            new.append(story)
            trees[story.id] = story.tree
    return library.add_all([dataclasses.replace(story, trashed=None) for story in new]), len(stories) - len(new)


def _is_there(library: Library, story: Story) -> bool:
    try:
        return library.get(story.id).tree.nodes == story.tree.nodes
    except TinyTalesError:
        return False


def _lines(text: str, name: str, whole: Exception) -> list[Story]:
    """A file with a story a line."""
    stories: list[Story] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            one_piece = not stories and isinstance(whole, json.JSONDecodeError)  # which is broken, not a file of lines
            place, fault = (whole.lineno, whole) if one_piece else (number, error)  # type: ignore[attr-defined]
            raise UsageError(f"{name}, line {place}: this is not JSON ({_why(fault)}).") from error
        stories += _stories(found, f"{name}, line {number}")
    if not stories:
        raise UsageError(f"{name}: there is no story in it.")
    return stories


def _stories(data: Any, where: str) -> list[Story]:
    if isinstance(data, dict) and data.get("format") == exchange.FORMAT:
        version = data.get("version")
        if type(version) is not int or version > exchange.VERSION or not isinstance(data.get("stories"), list):
            raise UsageError(f"{where}: this was exported by a newer version of tinytales-tui, or is damaged.")
        data = data["stories"]
    if isinstance(data, list):
        stories = [_story(entry, f"{where}, story {number}") for number, entry in enumerate(data, 1)]
    else:
        stories = [_story(data, where)]
    return stories


def _story(data: Any, where: str) -> Story:
    try:
        if isinstance(data, dict) and "nodes" in data:
            return exchange.from_json(data)
        at = 0.0
        if isinstance(data, dict) and isinstance(data.get("story"), dict):  # as the Write pane keeps what is on its page
            saved_at = data.get("saved_at")
            at = float(saved_at) if type(saved_at) in (int, float) and 0 <= saved_at < 1e11 else 0.0
            data = data["story"]
        tree = tree_of(StoryRecord.from_json(data))
        for node in tree.nodes.values():
            if node.recipe is not None:
                Recipe.from_json(node.recipe.to_json())
        return Story(_id_of(data), tree, created=at, changed=at)
    except (TinyTalesError, TypeError, ValueError) as error:
        said = one_line(str(error), 200).rstrip(".")
        raise UsageError(f"{where}: {said[:1].lower()}{said[1:]}.") from error


def _id_of(record: dict[str, Any]) -> str:
    """An id that the same record always gets, so that it is not taken in twice."""
    number = int.from_bytes(hashlib.sha256(json.dumps(record, sort_keys=True).encode()).digest())
    letters = []
    for _ in range(ID_LENGTH):
        number, place = divmod(number, len(ID_LETTERS))
        letters.append(ID_LETTERS[place])
    return "".join(letters)


def _why(error: Exception) -> str:
    return f"column {error.colno}: {error.msg.lower()}" if isinstance(error, json.JSONDecodeError) else "it is nested too deeply"
