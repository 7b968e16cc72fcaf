"""Between the library's trees and the records that batch mode, the Write pane and its autosave files know."""

from __future__ import annotations

from tinytales_tui.library.recipe import Recipe
from tinytales_tui.library.runs import Run
from tinytales_tui.library.tree import Tree
from tinytales_tui.story import StoryRecord


def tree_of(record: StoryRecord) -> Tree:
    """A record as a tree: the given words, and each part that was written."""
    tree = Tree()
    if record.given:
        tree = tree.write(None, record.given, now=0.0)
    for part in record.parts():
        tree = tree.add(tree.current, (Run("model", part.story),), now=0.0, recipe=Recipe.of(part), stop_reason=part.stop_reason)
    return tree


def record_of(tree: Tree, number: int | None) -> StoryRecord:
    """The story as it reads at a node, as a record: with a part for each generation, as far as nothing was typed in between.

    Where the text does not end with a generation, it is the opening of a record in which nothing is written yet.
    """
    record: StoryRecord | None = None
    text = ""
    for node in tree.path(number):
        if (recipe := node.recipe) is not None:
            before = record if record is not None and record.full_text == text else None
            the_topic = before is None and recipe.ending is None and text == recipe.topic
            record = recipe.record("" if the_topic else text, node.text, len(node.tokens), node.stop_reason, before)
        text += node.text
    if record is not None and record.full_text == text:
        return record
    first = next((node.recipe for node in (*tree.path(number), *tree.nodes.values()) if node.recipe is not None), Recipe())
    return first.record(text, "", 0, None, None)
