"""What `tinytales-tui stories list`, `search` and `show` print. What comes from stories is made safe to show. No Textual, no torch."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from typing import Any

from tinytales_tui.figures import facts, fitting_table, short_duration
from tinytales_tui.library.finding import Wanted
from tinytales_tui.library.runs import pieces
from tinytales_tui.library.story import Listed, Story
from tinytales_tui.library.tree import Node
from tinytales_tui.output import json_line, note, put
from tinytales_tui.report import DONE, FAILED
from tinytales_tui.stories_find import NOTHING_YET, library, line_json
from tinytales_tui.text import one_line, safe_text

_NAME = 40
_FIRST_WORDS = 60


def show_list(words: str, sort: str, tags: Sequence[str], favourites: bool, trash: bool, limit: int | None, as_json: bool) -> int:
    """Print the stories that are wanted; with words to search for, the exit code says whether there are any."""
    wanted = Wanted(words, tuple(tags), favourites, trash)
    with library() as opened:
        lines = opened.listing(wanted, order=sort, most=limit or -1)  # type: ignore[arg-type]
        more = opened.count(wanted) - len(lines) if limit else 0
    if as_json:
        put(json_line([line_json(line) for line in lines]).rstrip("\n"))
        return DONE if lines or not words else FAILED
    if not lines:
        narrowed = words or tags or favourites
        note("No story has that." if narrowed else "The trash is empty." if trash else NOTHING_YET)
        return FAILED if words else DONE
    for line in _table(lines, bool(words)):
        put(line.rstrip())
    if more:
        note(f"{more:,} more are not shown (--limit).")
    return DONE


def show_one(id: str, number: int | None, with_tree: bool, with_tokens: bool, as_json: bool) -> int:
    """Print one story as it reads, its tree, or its tokens."""
    with library() as opened:
        story = opened.get(id)
    at = story.tree.node(number).number if number is not None else story.tree.current
    if as_json:
        from tinytales_tui.library.exchange import to_json

        put(json_line(to_json(story) | {"topic": story.topic, "ending": story.ending, "text": story.tree.text(at)}).rstrip("\n"))
        return DONE
    if with_tree:
        _put_tree(story, at)
    elif with_tokens:
        for node in story.tree.path(at):
            _put_tokens(node)
    else:
        put(one_line(story.name, 200))
        for line in facts(_facts(story, at)):
            put(line)
        put("")
        put(safe_text(story.tree.text(at)).strip())
    return DONE


def _table(lines: Sequence[Listed], searched: bool) -> list[str]:
    now = time.time()
    headers = ("id", "", "name", "words", "parts", "rating", "model", "tags", "age", "where" if searched else "begins")
    rows = [
        (
            line.id,
            "*" if line.favourite else "",
            one_line(line.name, _NAME),
            f"{line.words:,}",
            str(line.nodes),
            str(line.rating) if line.rating else "-",
            one_line(line.checkpoint, 30) or "-",
            ", ".join(line.tags) or "-",
            short_duration(now - line.changed),
            one_line(line.excerpt if searched else line.begins, _FIRST_WORDS),
        )
        for line in lines
    ]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000
    spare = (6, 5, 4, 7, 3, 9, 8) if not searched else (6, 5, 4, 7, 3, 8, 9)
    return fitting_table(headers, rows, width, left=(0, 1, 2, 6, 7, 9), spare=spare)


def _facts(story: Story, at: int | None) -> list[tuple[str, str]]:
    tree = story.tree
    path = tree.path(at)
    recipe = next((node.recipe for node in reversed(path) if node.recipe), None)
    siblings = len(tree.siblings(at)) if at is not None else 0
    pairs = [
        ("id", story.id),
        ("asked for", f"{story.topic}, with a {story.ending} ending" if story.ending else ""),
        ("tags", ", ".join(story.tags)),
        ("favourite", "yes" if story.favourite else ""),
        ("in the trash", f"since {_day(story.trashed)}" if story.trashed else ""),
        ("begun", _day(story.created)),
        ("changed", _day(story.changed)),
        ("written by", _wrote(recipe) if recipe else ""),
        (
            "parts",
            f"{len(tree.nodes)} in all branches, {len(path)} in this one (--tree shows them)" if len(tree.nodes) > 1 else "",
        ),
        ("node", f"{at}, one of {siblings} side by side" if siblings > 1 else ""),
    ]
    return [(name, value) for name, value in pairs if value]


def _wrote(recipe: Any) -> str:
    how = [
        recipe.step if recipe.step == "compiled" else "",
        recipe.precision if recipe.precision not in ("fp32", "float32") else "",
    ]
    told = [recipe.checkpoint, recipe.revision[:7], f"seed {recipe.seed}" if recipe.seed is not None else "", *how, recipe.device]
    return ", ".join(filter(None, told))


def _put_tree(story: Story, at: int | None) -> None:
    tree = story.tree
    front = {node.number for node in tree.path(at)}
    waiting = [(node, 0) for node in reversed(tree.children(None, deleted=True))]
    while waiting:
        node, depth = waiting.pop()
        marks = [
            "in front" if node.number == at else "",
            "bookmark" if node.bookmark else "",
            f"{node.rating} of 5" if node.rating else "",
            "deleted" if node.deleted else "",
        ]
        what = "written" if node.recipe else "edited" if any(run.author == "model" for run in node.runs) else "typed"
        told = ", ".join((what, *filter(None, marks)))
        sign = ">" if node.number in front else " "
        put(f"{sign} {'  ' * min(depth, 20)}{node.number}  {one_line(node.text, _FIRST_WORDS)}  ({told})")
        waiting += [(child, depth + 1) for child in reversed(tree.children(node.number, deleted=True))]


def _put_tokens(node: Node) -> None:
    """A line a token: its number, its probability, its text."""
    put(f"node {node.number}")
    for piece in pieces(node.runs):
        if piece.token is None:
            put(f"  {piece.author:>16}  {one_line(repr(piece.text), 100)}")
        else:
            text = one_line(repr(piece.text), 60) if piece.text else "-"
            put(f"  {piece.token.id:>8} {piece.token.probability:>7.1%}  {text}")


def _day(at: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(min(max(at, 0), 4e9))) if at else ""
