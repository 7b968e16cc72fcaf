"""Stories as JSON: the whole tree with all recipes and tokens, which `importing` reads again without loss."""

from __future__ import annotations

import math
import re
from typing import Any

from engine.errors import UsageError
from tinytales_tui.library.recipe import Recipe
from tinytales_tui.library.runs import Run, joined
from tinytales_tui.library.story import Story
from tinytales_tui.library.tokens import NONE, Tokens
from tinytales_tui.library.tree import MOST_NODES, RATINGS, Node, Tree

FORMAT = "tinytales-tui stories"
VERSION = 1
_ID = re.compile(r"[a-z0-9]{4,32}")


def to_json(story: Story) -> dict[str, Any]:
    """A dictionary of plain JSON values; `text` is how it reads at the node in front, for other programs."""
    data = {
        "id": story.id,
        "name": story.name,
        "title": story.title,
        "tags": list(story.tags),
        "favourite": story.favourite,
        "created": story.created,
        "changed": story.changed,
        "trashed": story.trashed,
        "text": story.text,
        "current": story.tree.current,
    }
    return data | {"nodes": [node_to_json(story.tree.nodes[number]) for number in sorted(story.tree.nodes)]}


def node_to_json(node: Node) -> dict[str, Any]:
    data = {
        "number": node.number,
        "parent": node.parent,
        "runs": [_run_to_json(run) for run in node.runs],
        "recipe": node.recipe.to_json() if node.recipe else None,
        "stop_reason": node.stop_reason,
        "created": node.created,
        "changed": node.changed,
    }
    marks = {"bookmark": node.bookmark, "rating": node.rating, "deleted": node.deleted}
    return data | {name: value for name, value in marks.items() if value}


def from_json(data: Any) -> Story:
    """The story from what `to_json` gave; unknown keys are left out, a wrong shape raises `UsageError`."""
    if not isinstance(data, dict) or not isinstance(data.get("nodes"), list):
        raise UsageError("it has no nodes")
    nodes: dict[int, Node] = {}
    for entry in data["nodes"]:
        node = _node_from_json(entry)
        if node.number in nodes or (node.parent is not None and not (node.parent in nodes and node.parent < node.number)):
            raise UsageError(f"its node {node.number} stands twice, or hangs below one that is not there before it")
        nodes[node.number] = node
    current = data.get("current")
    if current is not None and current not in nodes:
        raise UsageError("the node in front is not there")
    tags = data.get("tags", [])
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise UsageError("its tags are no list of texts")
    id = data.get("id", "")
    trashed = data.get("trashed")
    return Story(
        id if isinstance(id, str) and _ID.fullmatch(id) else "",
        Tree(nodes, current),
        _of(data, "title", str, ""),
        tuple(sorted(tags)),
        _of(data, "favourite", bool, False),
        _time(data, "created"),
        _time(data, "changed"),
        None if trashed is None else _time(data, "trashed"),
    )


def _node_from_json(data: Any) -> Node:
    if not isinstance(data, dict) or type(data.get("number")) is not int or not 1 <= data["number"] <= MOST_NODES:
        raise UsageError("one of its nodes has no number")
    number, parent, runs, recipe = data["number"], data.get("parent"), data.get("runs"), data.get("recipe")
    if (parent is not None and type(parent) is not int) or not isinstance(runs, list):
        raise UsageError(f"its node {number} is of the wrong kind")
    rating, stop_reason = data.get("rating", 0), data.get("stop_reason")
    if type(rating) is not int or rating not in RATINGS or not isinstance(stop_reason, str | None):
        raise UsageError(f"the marks of its node {number} are of the wrong kind")
    try:
        made = None if recipe is None else Recipe.from_json(recipe)
    except UsageError as error:
        raise UsageError(f"in its node {number}, {error}") from error
    own = joined(_run_from_json(run, number) for run in runs)
    bookmark, deleted = _of(data, "bookmark", bool, False), _of(data, "deleted", bool, False)
    created, changed = _time(data, "created"), _time(data, "changed")
    return Node(number, parent, own, made, stop_reason, created, changed, bookmark, rating, deleted)


def _run_to_json(run: Run) -> dict[str, Any]:
    data: dict[str, Any] = {"author": run.author, "text": run.text}
    if run.tokens:  # five digits are all that half precision has
        data["tokens"] = [[t.id, t.letters, float(f"{t.logprob:.5g}") if math.isfinite(t.logprob) else None] for t in run.tokens]
    return data


def _run_from_json(data: Any, number: int) -> Run:
    wrong = UsageError(f"a run of its node {number} is of the wrong kind")
    if not isinstance(data, dict) or data.get("author") not in ("writer", "model") or not isinstance(data.get("text"), str):
        raise wrong
    values = data.get("tokens", [])
    try:
        tokens = Tokens.of((id, letters, -math.inf if logprob is None else logprob) for id, letters, logprob in values)
    except (TypeError, ValueError) as error:
        raise wrong from error
    if len(tokens) != len(values) or (tokens and tokens.letters != len(data["text"])):
        raise wrong
    return Run(data["author"], data["text"], tokens or NONE)


def _of(data: dict[str, Any], name: str, kind: type, default: Any) -> Any:
    value = data.get(name, default)
    if not isinstance(value, kind):
        raise UsageError(f"its {name} is of the wrong kind")
    return value


def _time(data: dict[str, Any], name: str) -> float:
    value = data.get(name, 0.0)
    if type(value) not in (int, float) or not 0 <= value < 1e11:
        raise UsageError(f"its {name} is no time")
    return float(value)
