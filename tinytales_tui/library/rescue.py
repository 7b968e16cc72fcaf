"""Taking over from a damaged file what can still be read of it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from engine.errors import TinyTalesError
from tinytales_tui.library.opening import to_read
from tinytales_tui.library.rows import NODE_COLUMNS, story_of
from tinytales_tui.library.story import Story

_MOST = 1_000_000
"""Stories that are looked for where the file cannot say how many there are."""
_MOST_MISSING = 2_000
"""One after another, after which nothing more is looked for."""


def readable(path: Path) -> Iterator[Story]:
    """The stories in a damaged file that are whole, each looked for by itself; none where nothing can be read."""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(to_read(path)) as connection:
        connection.row_factory = sqlite3.Row
        missing = 0
        for key in range(1, _MOST):
            try:
                story = _story(connection, key)
            except (sqlite3.Error, TinyTalesError):
                story = None
            missing = 0 if story is not None else missing + 1
            if story is not None:
                yield story
            elif missing > _MOST_MISSING:
                return


def _story(connection: sqlite3.Connection, key: int) -> Story | None:
    row = connection.execute("SELECT * FROM stories WHERE key = ?", (key,)).fetchone()
    if row is None:
        return None
    nodes = connection.execute(f"SELECT {', '.join(NODE_COLUMNS)} FROM nodes WHERE story = ? ORDER BY key", (key,)).fetchall()
    tags: list[str] = []
    with contextlib.suppress(sqlite3.Error):
        tags = [tag for (tag,) in connection.execute("SELECT tag FROM tags WHERE story = ?", (key,))]
    story = story_of(row, nodes, tags)
    for number in (*story.tree.nodes, story.tree.current):
        story.tree.path(number)  # every branch hangs together, or it is an error
    return story
