"""A story's tree as lines, one a node: only where branches part does a line move in, so that a long story stays on the screen.

Plain data; knows no Textual.
"""

from __future__ import annotations

from dataclasses import dataclass

from tinytales_tui.library.tree import Node, Tree
from tinytales_tui.text import one_line

ALIKE = 16
"""Letters that two branches may begin with in common before the line of the later one begins where they part."""
DEEPEST = 12
"""Steps that a line moves in at most."""


@dataclass(frozen=True)
class TreeRow:
    """One line."""

    node: Node
    depth: int
    """How often branches have parted above it."""
    last: bool
    """No branch beside it comes after it."""
    branches: bool
    """There are others beside it."""
    words: str
    """Its first words, or the first that are its own."""
    here: bool
    """It is in front."""
    on_the_way: bool
    """What is in front goes on from it."""
    hidden: bool
    """It is deleted, or hangs below one that is."""


def rows_of(tree: Tree, *, deleted: bool = False, width: int = 60) -> list[TreeRow]:
    """All lines, in the order of the story, older branches first; `deleted`: those too that were deleted."""
    way = {node.number for node in tree.path(tree.current)}
    rows: list[TreeRow] = []
    # Children are put on in reverse, so that they come off in order; no recursion, as a story may go on for thousands of steps.
    waiting: list[tuple[Node, int, bool, bool, bool]] = []

    def put(parent: int | None, depth: int, hidden: bool) -> None:
        nodes = tree.children(parent, deleted=deleted)
        for place, node in reversed(list(enumerate(nodes))):
            inside = depth + (len(nodes) > 1)
            waiting.append((node, inside, place == len(nodes) - 1, len(nodes) > 1, hidden or node.deleted))

    put(None, 0, False)
    while waiting:
        node, depth, last, branches, hidden = waiting.pop()
        here = node.number == tree.current
        words = _first_words(tree, node, width)
        rows.append(TreeRow(node, depth, last, branches, words, here, node.number in way, hidden))
        put(node.number, depth, hidden)
    return rows


def _first_words(tree: Tree, node: Node, width: int) -> str:
    text, start = node.text, 0
    for other in tree.children(node.parent, deleted=True):
        if other.number >= node.number:
            break
        start = max(start, _alike(text, other.text))
    if start < ALIKE:
        return one_line(text, width)
    start = text.rfind(" ", 0, start) + 1
    return one_line("… " + text[start:], width) if text[start:].strip() else one_line("… " + text[-width // 2 :], width)


def _alike(one: str, other: str) -> int:
    return next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def line(row: TreeRow, *, ascii: bool = False) -> str:
    """The line as text: where it hangs, whether it is in front, its marks and its words."""
    mark = (">" if ascii else "▶") if row.here else ("*" if ascii else "•") if row.on_the_way else " "
    corner = ("`-" if row.last else "|-") if ascii else ("└─" if row.last else "├─")
    indent = "  " * max(min(row.depth, DEEPEST) - 1, 0) + (f"{corner} " if row.branches else ("  " if row.depth else ""))
    stars = f"{row.node.rating}{'*' if ascii else '★'} " if row.node.rating else ""
    flag = ("# " if ascii else "⚑ ") if row.node.bookmark else ""
    who = ""
    if row.node.recipe is None and not row.hidden:
        who = "(you) " if any(run.author == "writer" for run in row.node.runs) else "(chosen) "
    gone = "(deleted) " if row.hidden else ""
    return f"{mark} {indent}{flag}{stars}{gone}{who}{row.words or '(nothing)'}"
