"""Which stories a person wants to see, in which order, and where they say what was searched for."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from engine.errors import UsageError
from tinytales_tui.library import index
from tinytales_tui.library.rows import listed
from tinytales_tui.library.story import Listed

Order = Literal["changed", "created", "name", "words", "rating"]
ORDERS: tuple[Order, ...] = get_args(Order)
_ORDER_BY = {
    "changed": "s.changed DESC",
    "created": "s.created DESC",
    "name": "CASE WHEN s.title <> '' THEN s.title WHEN s.topic <> '' THEN s.topic ELSE s.begins END COLLATE NOCASE",
    "words": "s.words DESC",
    "rating": "s.rating DESC, s.favourite DESC, s.changed DESC",
}
_TAGS = "(SELECT group_concat(tag, char(31)) FROM tags WHERE tags.story = s.key) AS all_tags"


@dataclass(frozen=True)
class Wanted:
    """What a list is narrowed to; as it stands, everything outside the trash."""

    words: str = ""
    """Each of these words (or "phrases in quotes") stands in the story: in any branch, the title, the topic or a tag."""
    tags: tuple[str, ...] = ()
    """It has all of these."""
    favourites: bool = False
    trashed: bool | None = False
    """None: wherever it is."""

    def condition(self, full_text: bool) -> tuple[str, list[Any]]:
        """SQL that is true for the stories `s`, and its values."""
        where, values = index.condition(self.words, full_text)
        parts: list[str] = [where]
        values = list(values)
        for tag in self.tags:
            parts.append("EXISTS (SELECT 1 FROM tags WHERE tags.story = s.key AND tag = ?)")
            values.append(" ".join(tag.lower().split()))
        if self.favourites:
            parts.append("s.favourite")
        if self.trashed is not None:
            parts.append(f"s.trashed IS {'NOT ' if self.trashed else ''}NULL")
        return " AND ".join(parts), values


def ordered(
    run: Callable[..., sqlite3.Cursor], wanted: Wanted, order: Order, full_text: bool, most: int = -1, skip: int = 0
) -> list[str]:
    """The ids of a list in its order, and nothing else of the stories: of ten thousand they are quickly there, and small."""
    if order not in ORDERS:
        raise UsageError(f"There is no order {order!r}; choose {', '.join(ORDERS)}.")
    where, values = wanted.condition(full_text)
    ids = f"SELECT s.id FROM stories s WHERE {where} ORDER BY {_ORDER_BY[order]}, s.key DESC LIMIT ? OFFSET ?"
    return [id for (id,) in run(ids, [*values, most, skip])]


def rows_of(run: Callable[..., sqlite3.Cursor], ids: Sequence[str]) -> list[sqlite3.Row]:
    """The rows of these stories, in the order of the ids; those that are not there any more are left out."""
    rows: dict[str, sqlite3.Row] = {}
    for start in range(0, len(ids), 500):
        some = ids[start : start + 500]
        marks = ", ".join("?" * len(some))
        rows |= {row["id"]: row for row in run(f"SELECT s.*, {_TAGS} FROM stories s WHERE s.id IN ({marks})", some)}
    return [rows[id] for id in ids if id in rows]


def lines_of(run: Callable[..., sqlite3.Cursor], ids: Sequence[str], words: str = "") -> list[Listed]:
    """The lines of these stories, with where they say what was searched for."""
    return [listed(row, _excerpt(run, row["key"], words) if words.strip() else "") for row in rows_of(run, ids)]


def _excerpt(run: Callable[..., sqlite3.Cursor], story: int, words: str) -> str:
    for (text,) in run("SELECT text FROM nodes WHERE story = ? ORDER BY key", (story,)):
        if found := index.excerpt(text, words):
            return found
    return ""
