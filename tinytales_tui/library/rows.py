"""Stories and nodes as rows of the store, and back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from typing import Any

from engine.errors import UsageError
from tinytales_tui.library.recipe import Recipe
from tinytales_tui.library.runs import Run
from tinytales_tui.library.schema import NODE_BITS
from tinytales_tui.library.story import Listed, Story, name_of, topic_of
from tinytales_tui.library.tokens import Tokens
from tinytales_tui.library.tree import Node, Tree

NODE_COLUMNS = (
    "key", "story", "parent", "text", "runs", "tokens", "recipe", "stop_reason", "created", "changed", "bookmark", "rating", "deleted",
)  # fmt: skip
_BEGINS = 300
"""Letters of a story that its line in a list keeps."""


def node_key(story: int, number: int) -> int:
    return story << NODE_BITS | number


def node_row(story: int, node: Node) -> tuple[Any, ...]:
    """The values of `NODE_COLUMNS`."""
    runs = [[run.author, len(run.text), len(run.tokens)] for run in node.runs]
    recipe = None if node.recipe is None else json.dumps(node.recipe.to_json(), ensure_ascii=False)
    marks = (node.bookmark, node.rating, node.deleted)
    key, runs_json, packed = node_key(story, node.number), json.dumps(runs, separators=(",", ":")), node.tokens.packed
    text, recipe = sound(node.text), recipe if recipe is None else sound(recipe)
    return (key, story, node.parent, text, runs_json, packed, recipe, node.stop_reason, node.created, node.changed, *marks)


def node_of(row: sqlite3.Row) -> Node:
    """The node of a row of `NODE_COLUMNS`; `sqlite3.DatabaseError` where the row does not hold together."""
    try:
        runs, text, tokens = [], row["text"], Tokens(row["tokens"])
        for author, letters, count in json.loads(row["runs"]):
            runs.append(Run("model" if author == "model" else "writer", text[:letters], tokens[:count]))
            text, tokens = text[letters:], tokens[count:]
        recipe = None if row["recipe"] is None else Recipe.from_json(json.loads(row["recipe"]))
    except (ValueError, TypeError, UsageError) as error:
        raise sqlite3.DatabaseError("a row of it cannot be understood") from error
    return Node(
        row["key"] & ((1 << NODE_BITS) - 1), row["parent"], tuple(runs), recipe, row["stop_reason"], row["created"], row["changed"],
        bool(row["bookmark"]), row["rating"], bool(row["deleted"]),
    )  # fmt: skip


def story_of(row: sqlite3.Row, nodes: Iterable[sqlite3.Row], tags: Iterable[str]) -> Story:
    tree = Tree({node.number: node for node in map(node_of, nodes)}, row["current"])
    return Story(
        row["id"], tree, row["title"], tuple(sorted(tags)), bool(row["favourite"]), row["created"], row["changed"], row["trashed"],
        row["revision"],
    )  # fmt: skip


def listed(row: sqlite3.Row, excerpt: str = "") -> Listed:
    return Listed(
        id=row["id"],
        name=name_of(row["title"], row["topic"], row["begins"]),
        title=row["title"],
        topic=row["topic"],
        ending=row["ending"],
        begins=row["begins"],
        words=row["words"],
        nodes=row["nodes"],
        rating=row["rating"],
        checkpoint=row["checkpoint"],
        tags=tuple(sorted(filter(None, (row["all_tags"] or "").split("\x1f")))),
        favourite=bool(row["favourite"]),
        created=row["created"],
        changed=row["changed"],
        trashed=row["trashed"],
        excerpt=excerpt,
    )


def worked_out(tree: Tree) -> dict[str, Any]:
    """What a list shows of a tree: values of the columns `current` to `checkpoint`."""
    path, text = tree.path(tree.current), tree.text(tree.current)
    topic, ending = topic_of(tree)
    return {
        "current": tree.current,
        "topic": sound(topic),
        "ending": ending,
        "begins": sound(text[:_BEGINS]),
        "words": len(text.split()),
        "nodes": len(tree.nodes),
        "rating": max((node.rating for node in path), default=0),
        "checkpoint": sound(next((node.recipe.checkpoint for node in reversed(path) if node.recipe), "")),
    }


def sound(text: str) -> str:
    """The text without halves of surrogate pairs, which no file takes; as long as it was."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
