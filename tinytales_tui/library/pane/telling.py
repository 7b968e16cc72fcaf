"""What the pane says of stories: the columns of the list and the facts above a preview. Knows no Textual."""

from __future__ import annotations

import time
from collections.abc import Callable

from tinytales_tui.figures import counted, duration, short_duration
from tinytales_tui.library.finding import Order
from tinytales_tui.library.prose import facts
from tinytales_tui.library.story import Listed, Story
from tinytales_tui.text import both_ends, one_line
from tinytales_tui.widgets.columns import Column

Toned = tuple[str, str]
"""A tone and a paragraph."""


def columns(
    line_of: Callable[[str], Listed | None], name_of: Callable[[Listed], str], order: Order, heart: str
) -> list[Column[str]]:
    """The columns of a list of ids.

    `line_of` tells a line, or None as long as it is not there, `name_of` its name as it fits; `heart` is the sign of a favourite.
    """

    def told(what: Callable[[Listed], str]) -> Callable[[str], str]:
        return lambda id: what(line) if (line := line_of(id)) is not None else ""

    age = "created" if order == "created" else "changed"
    return [
        Column("name", 20, told(name_of)),
        Column(heart, 1, told(lambda line: heart if line.favourite else ""), tone=lambda _: "note"),
        Column("words", 6, told(lambda line: f"{line.words:,}"), 1),
        Column("parts", 5, told(lambda line: str(line.nodes)), 3),
        Column("stars", 5, told(lambda line: "★" * line.rating), 2, left=True, tone=lambda _: "note"),
        Column("tags", 11, told(lambda line: ", ".join(line.tags)), 4, left=True, tone=lambda _: "muted"),
        Column("model", 10, told(lambda line: model_words(line.checkpoint, 10)), 5, left=True, tone=lambda _: "muted"),
        Column(age, 7, told(lambda line: short_duration(time.time() - getattr(line, age))), 0),
    ]


def stories(count: int) -> str:
    """`1 story`, `6 stories`."""
    return f"{count:,} {'story' if count == 1 else 'stories'}"


def model_words(checkpoint: str, width: int) -> str:
    """A checkpoint by the last part of its name, which is what tells it from others."""
    return both_ends(checkpoint.rstrip("/").rpartition("/")[2], width)


def about(line: Listed, story: Story | None, words_are_shown: bool) -> list[Toned]:
    """The paragraphs above a story's text; `words_are_shown`: what was searched for stands in the text itself."""
    told = [
        counted(line.words, "word"),
        counted(line.nodes, "part"),
        f"{line.rating} of 5 stars" if line.rating else "",
        "a favourite" if line.favourite else "",
    ]
    lines: list[Toned] = [("heading", line.name), ("muted", " · ".join(filter(None, told)))]
    if story is not None and (more := facts(story)):
        lines.append(("muted", one_line(more, 300)))
    if line.tags:
        lines.append(("muted", f"tags: {one_line(', '.join(line.tags), 300)}"))
    if line.trashed is not None:
        lines.append(("warning", f"in the trash for {duration(time.time() - line.trashed)}"))
    if line.excerpt and story is not None and not words_are_shown:
        lines.append(("excerpt", f"In another branch: {one_line(line.excerpt, 300)}"))
    return lines


def summary(line: Listed) -> str:
    """One line on a story, below the title in the reading view."""
    ending = f"with a {line.ending} ending" if line.ending else ""
    wrote = f"written by {model_words(line.checkpoint, 40)}" if line.checkpoint else ""
    return " · ".join(filter(None, (ending, time.strftime("%Y-%m-%d", time.localtime(line.created)), wrote)))
