"""A story as paragraphs for a reader, with what the writer typed told apart; for every form in which it leaves the library."""

from __future__ import annotations

import time
from collections.abc import Iterable

from tinytales_tui.library.runs import Author, Run
from tinytales_tui.library.story import Story
from tinytales_tui.text import one_line, safe_text

Paragraph = list[tuple[Author, str]]
_NO_CHARACTERS = {0xFFFE: None, 0xFFFF: None}
"""What no XML file may hold, beside what `safe_text` takes out."""


def clean(text: str) -> str:
    """Text without anything that could steer whatever shows it, or that a page may not hold."""
    return safe_text(text).translate(_NO_CHARACTERS)


def paragraphs(runs: Iterable[Run]) -> list[Paragraph]:
    """The lines that have any text, each as stretches of one author, without space around it."""
    lines: list[Paragraph] = [[]]
    for run in runs:
        first, *others = clean(run.text).split("\n")
        lines[-1].append((run.author, first))
        lines += [[(run.author, other)] for other in others]
    return [kept for line in lines if (kept := _stripped(line))]


def facts(story: Story) -> str:
    """A line about a story: ending, when it was begun, what wrote it."""
    path = story.tree.path(story.tree.current)
    recipes = [node.recipe for node in path if node.recipe is not None]
    wrote = sorted({checkpoint_words(recipe.checkpoint) for recipe in recipes if recipe.checkpoint})
    seeds = [str(recipe.seed) for recipe in recipes if recipe.seed is not None]
    told = [
        f"with a {story.ending} ending" if story.ending else "",
        time.strftime("%Y-%m-%d", time.gmtime(story.created)) if story.created else "",
        f"written by {', '.join(wrote)}" if wrote else "",
        f"seed {', '.join(seeds)}" if seeds else "",
    ]
    return " · ".join(filter(None, told))


def checkpoint_words(source: str) -> str:
    """What wrote a story, as a reader may be told it."""
    return "the model of the program" if source == "default" else one_line(source, 60)


def _stripped(line: Paragraph) -> Paragraph:
    """Without space at both ends and empty stretches."""
    line = [(author, text) for author, text in line if text]
    while line and not (text := line[0][1].lstrip()):
        line = line[1:]
    if line:
        line[0] = (line[0][0], text)
    while line and not (text := line[-1][1].rstrip()):
        line = line[:-1]
    if line:
        line[-1] = (line[-1][0], text)
    return line
