"""The tables of the library, and how an older file becomes one of this version.

`nodes.key` is the story's key times 2^20 and the node's number, so that whoever has a node's key knows its story: the index of words
(`index`) is asked for whole stories without a join.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from tinytales_tui.library.story import LibraryError

APPLICATION = 0x54545331
"""`PRAGMA application_id` of our files."""
NODE_BITS = 20

_TABLES = (
    """
    CREATE TABLE stories (
        key INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        title TEXT NOT NULL DEFAULT '',
        favourite INTEGER NOT NULL DEFAULT 0,
        created REAL NOT NULL,
        changed REAL NOT NULL,
        trashed REAL,
        revision INTEGER NOT NULL DEFAULT 0,
        current INTEGER,
        -- From here on: worked out from the tree, the title and the tags, for lists and searches.
        topic TEXT NOT NULL DEFAULT '',
        ending TEXT,
        begins TEXT NOT NULL DEFAULT '',
        words INTEGER NOT NULL DEFAULT 0,
        nodes INTEGER NOT NULL DEFAULT 0,
        rating INTEGER NOT NULL DEFAULT 0,
        checkpoint TEXT NOT NULL DEFAULT '',
        head TEXT NOT NULL DEFAULT ''
    )
    """,
    "CREATE INDEX stories_by_change ON stories (trashed, changed)",
    """
    CREATE TABLE nodes (
        key INTEGER PRIMARY KEY,
        story INTEGER NOT NULL REFERENCES stories (key) ON DELETE CASCADE,
        parent INTEGER,
        text TEXT NOT NULL,
        runs TEXT NOT NULL,
        tokens BLOB NOT NULL,
        recipe TEXT,
        stop_reason TEXT,
        created REAL NOT NULL,
        changed REAL NOT NULL,
        bookmark INTEGER NOT NULL DEFAULT 0,
        rating INTEGER NOT NULL DEFAULT 0,
        deleted INTEGER NOT NULL DEFAULT 0
    )
    """,
    "CREATE INDEX nodes_of_a_story ON nodes (story)",
    """
    CREATE TABLE tags (
        story INTEGER NOT NULL REFERENCES stories (key) ON DELETE CASCADE,
        tag TEXT NOT NULL,
        PRIMARY KEY (story, tag)
    ) WITHOUT ROWID
    """,
    # Whether the index of words says what the nodes say: a Python without FTS5 writes, but cannot keep it.
    "CREATE TABLE word_index (state TEXT NOT NULL)",
    "INSERT INTO word_index VALUES ('none')",
    f"PRAGMA application_id = {APPLICATION}",
)
STEPS: tuple[Sequence[str], ...] = (_TABLES,)
"""Step i makes a file of version i one of version i + 1; a step that was released is never changed."""


def check(connection: sqlite3.Connection, steps: Sequence[Sequence[str]] = STEPS) -> int:
    """The version of the file; 0 where it is empty.

    LibraryError for one that a newer program made; `sqlite3.DatabaseError` for one that is no library.
    """
    version, ours = _number(connection, "user_version"), _number(connection, "application_id") == APPLICATION
    if not ours and (version or connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]):
        raise sqlite3.DatabaseError("a database of another program")
    if version > len(steps):
        raise LibraryError(
            "The library was written by a newer version of tinytales-tui, so this one leaves it alone; update to open it."
        )
    return version


def migrate(connection: sqlite3.Connection, steps: Sequence[Sequence[str]] = STEPS) -> None:
    """Bring the file to the version of these steps, whole or not at all; raises what `check` does."""
    if check(connection, steps) == len(steps):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for step in steps[check(connection, steps) :]:  # asked again: another process may have been quicker
            for statement in step:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(steps)}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])
