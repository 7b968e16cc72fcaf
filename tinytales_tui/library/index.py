"""The index of words over the text of every node (FTS5), and how a search is asked of it, or of the text itself where there is none.

The index keeps no text of its own (`content='nodes'`), so whoever changes a node's text takes the old text out first.
"""

from __future__ import annotations

import re
import sqlite3

from tinytales_tui.library.schema import NODE_BITS

_PREFIXES = "prefix='1 2'"
"""Beginnings of words beside the whole ones: a search as it is typed is four times as fast for a fifth more bytes."""
_MAKE = (
    f"CREATE VIRTUAL TABLE node_words USING fts5(text, content='nodes', content_rowid='key', {_PREFIXES},"
    ' tokenize="unicode61 remove_diacritics 2")'
)
_PIECE = re.compile(r'"([^"]+)"|(\S+)')
_WORD = re.compile(r"\w")


def available(connection: sqlite3.Connection) -> bool:
    """Whether this Python's SQLite has FTS5."""
    try:
        return connection.execute("SELECT count(*) FROM pragma_module_list WHERE name = 'fts5'").fetchone()[0] > 0
    except sqlite3.OperationalError:  # one that does not tell its modules
        return ("ENABLE_FTS5",) in connection.execute("PRAGMA compile_options").fetchall()


def prepare(connection: sqlite3.Connection) -> None:
    """Have an index that says what the nodes say, made anew where it does not."""
    if _as_it_should_be(connection):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        if not _as_it_should_be(connection):
            connection.execute("DROP TABLE IF EXISTS node_words")
            connection.execute(_MAKE)
            connection.execute("INSERT INTO node_words (node_words) VALUES ('rebuild')")
            connection.execute("UPDATE word_index SET state = 'whole'")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _as_it_should_be(connection: sqlite3.Connection) -> bool:
    """Whether the index is whole, and not one of an earlier version, which knows no beginnings of words."""
    made = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'node_words'").fetchone()
    return state(connection) == "whole" and made is not None and _PREFIXES in made[0]


def state(connection: sqlite3.Connection) -> str:
    """`whole`: it says what the nodes say; `none` or `behind`: it does not."""
    return connection.execute("SELECT state FROM word_index").fetchone()[0]


def forget(connection: sqlite3.Connection) -> None:
    """It says no more what the nodes say; the next one that can makes it anew."""
    connection.execute("UPDATE word_index SET state = 'behind' WHERE state = 'whole'")


def put(connection: sqlite3.Connection, key: int, text: str) -> None:
    connection.execute("INSERT INTO node_words (rowid, text) VALUES (?, ?)", (key, text))


def take_out(connection: sqlite3.Connection, key: int, text: str) -> None:
    """`text`: exactly what was put there."""
    connection.execute("INSERT INTO node_words (node_words, rowid, text) VALUES ('delete', ?, ?)", (key, text))


def pieces(query: str) -> list[str]:
    """The words of a search; what stands in double quotes is one."""
    return [quoted or word for quoted, word in _PIECE.findall(query.replace("\0", " ")) if quoted.strip() or word]


def condition(query: str, full_text: bool) -> tuple[str, list[str]]:
    """SQL that is true for stories `s` in which every word stands, in any node, the title, the topic or a tag; and its values."""
    parts: list[str] = []
    values: list[str] = []
    for piece in pieces(query):
        like = "%" + re.sub(r"([%_\\])", r"\\\1", piece.casefold()) + "%"
        if full_text and _WORD.search(piece):
            inside = f"s.key IN (SELECT rowid >> {NODE_BITS} FROM node_words WHERE node_words MATCH ?)"
            values.append('"' + piece.replace('"', '""') + '"*')
        else:
            inside = "s.key IN (SELECT story FROM nodes WHERE text LIKE ? ESCAPE '\\')"
            values.append(like)
        parts.append(f"({inside} OR s.head LIKE ? ESCAPE '\\')")
        values.append(like)
    return " AND ".join(parts) or "1", values


def excerpt(text: str, query: str, width: int = 120) -> str:
    """The stretch of a text in which one of the words stands first; empty where none does."""
    found = [place for piece in pieces(query) if (place := text.casefold().find(piece.casefold())) >= 0]
    if not found:
        return ""
    start = max(0, min(found) - width // 3)
    start = text.rfind(" ", 0, start) + 1 if start else 0
    return ("…" if start else "") + text[start : start + width] + ("…" if start + width < len(text) else "")
