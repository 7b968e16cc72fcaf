"""The store: all stories in one SQLite file, safe for several processes at once; only what changed is written.

A commit is on the disk when the method returns; whatever ends the process between two of them costs what came after the last. All
methods may be called from any thread. They raise `LibraryError` with one sentence, and then nothing of that change was made.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self

from tinytales_tui import paths
from tinytales_tui.library import index, opening
from tinytales_tui.library.finding import Order, Wanted, lines_of, ordered
from tinytales_tui.library.rows import NODE_COLUMNS, node_key, node_row, sound, story_of, worked_out
from tinytales_tui.library.story import LibraryError, Listed, Story, StoryChanged
from tinytales_tui.library.tree import Node, Tree

ID_LETTERS = "abcdefghjkmnpqrstvwxyz23456789"
"""Without those that look alike."""
ID_LENGTH = 8
_COLUMNS = ", ".join(NODE_COLUMNS)
_UPDATES = ", ".join(f"{name} = excluded.{name}" for name in NODE_COLUMNS[2:])
_PUT_NODE = (
    f"INSERT INTO nodes ({_COLUMNS}) VALUES ({', '.join('?' * len(NODE_COLUMNS))}) ON CONFLICT (key) DO UPDATE SET {_UPDATES}"
)


class Library:
    """An open library; close it, or use it as a context manager."""

    def __init__(self, path: Path, opened: opening.Opened) -> None:
        self.path = path
        self._mutex = threading.RLock()
        self.notice = self._take(opened)
        """What a person should be told about the opening: one sentence, or nothing."""

    def _take(self, opened: opening.Opened) -> str:
        """Use this connection from now on; the sentence for a person where a damaged file was set aside."""
        self.readonly, self._full_text = opened.readonly, opened.full_text
        self._connection = opened.connection
        self._connection.row_factory = sqlite3.Row
        self._file = _which_file(self.path)
        if opened.aside is None:
            return ""
        from tinytales_tui.library.rescue import readable

        said = f"The library in {paths.shown(self.path)} was damaged: it is kept as {opened.aside.name}; a new one was begun"
        with contextlib.suppress(LibraryError):
            stories, count = readable(opened.aside), 0
            while some := list(itertools.islice(stories, 200)):
                count += len(self.add_all(some))
            found = f"with the {count:,} stories that could still be read" if count else "as nothing in it could be read"
            return f"{said}, {found}."
        return f"{said}."

    @classmethod
    def open(cls, path: Path, *, full_text: bool = True) -> Self:
        """The library at `path`, made if there is none; `full_text` False searches without an index of words."""
        return cls(path, opening.open_file(path, full_text=full_text))

    def close(self) -> None:
        with self._mutex:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Looking

    def find(self, name: str) -> str:
        """The id that begins so (LibraryError if none does, or several)."""
        wanted = name.strip().lower()
        with self._using() as run:
            like = wanted.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
            found = [row["id"] for row in run("SELECT id FROM stories WHERE id LIKE ? ESCAPE '\\' ORDER BY id LIMIT 5", (like,))]
        if wanted in found:
            return wanted
        if not wanted or not found:
            raise LibraryError(f"There is no story {name!r} in the library; `tinytales-tui stories list` names them.")
        if len(found) > 1:
            raise LibraryError(f"Several stories begin with {name!r}: {', '.join(found)} …; type more of the id.")
        return found[0]

    def get(self, id: str) -> Story:
        """A story with its whole tree, by its id or what the id begins with (LibraryError)."""
        id = self.find(id)
        with self._using() as run:
            row = run("SELECT * FROM stories WHERE id = ?", (id,)).fetchone()
            if row is None:
                raise LibraryError(f"The story {id} is no longer in the library.")
            nodes = run(f"SELECT {_COLUMNS} FROM nodes WHERE story = ? ORDER BY key", (row["key"],)).fetchall()
            tags = [tag for (tag,) in run("SELECT tag FROM tags WHERE story = ?", (row["key"],))]
            return story_of(row, nodes, tags)

    def listing(self, wanted: Wanted | None = None, *, order: Order = "changed", most: int = -1, skip: int = 0) -> list[Listed]:
        """Lines of the list, those a person wants to see; at most `most` of them after the first `skip` (-1: all)."""
        wanted = wanted or Wanted()
        with self._using() as run:
            return lines_of(run, ordered(run, wanted, order, self._full_text, most, skip), wanted.words)

    def ids(self, wanted: Wanted | None = None, *, order: Order = "changed") -> list[str]:
        """The ids of a whole list, in its order; `lines` tells more of those that are in sight."""
        with self._using() as run:
            return ordered(run, wanted or Wanted(), order, self._full_text)

    def lines(self, ids: Sequence[str], words: str = "") -> list[Listed]:
        """Lines of the list by their ids, as far as they are there still; with where they say the words of a search."""
        with self._using() as run:
            return lines_of(run, ids, words)

    def count(self, wanted: Wanted | None = None) -> int:
        """How many there are."""
        where, values = (wanted or Wanted()).condition(self._full_text)
        with self._using() as run:
            return run(f"SELECT count(*) FROM stories s WHERE {where}", values).fetchone()[0]

    def tags(self) -> dict[str, int]:
        """All tags with how many stories outside the trash have them."""
        with self._using() as run:
            rows = run(
                "SELECT tag, count(*) FROM tags JOIN stories s ON s.key = tags.story WHERE trashed IS NULL GROUP BY tag ORDER BY tag"
            )
            return dict(rows.fetchall())

    def version(self) -> object:
        """Another value as soon as another connection, of this or another process, has changed something."""
        with self._using() as run:
            return self._file, run("PRAGMA data_version").fetchone()[0]

    # Adding and saving

    def add(
        self,
        tree: Tree,
        *,
        title: str = "",
        tags: Iterable[str] = (),
        favourite: bool = False,
        created: float | None = None,
        changed: float | None = None,
        trashed: float | None = None,
        id: str | None = None,
    ) -> Story:
        """A new story; `id` is taken if it is free, else it gets a new one."""
        return self.add_all([Story(id or "", tree, title, tuple(tags), favourite, created or 0.0, changed or 0.0, trashed)])[0]

    def add_all(self, stories: Sequence[Story]) -> list[Story]:
        """New stories, all of them or none; those without times begin now."""
        now, added = time.time(), []
        with self._changing() as run:
            for story in stories:
                created = story.created or now
                changed = max(story.changed or now, created)
                taken = not story.id or run("SELECT 1 FROM stories WHERE id = ?", (story.id,)).fetchone()
                id = _new_id(run) if taken else story.id
                cursor = run(
                    "INSERT INTO stories (id, title, favourite, created, changed, trashed) VALUES (?, ?, ?, ?, ?, ?)",
                    (id, sound(story.title), story.favourite, created, changed, story.trashed),
                )
                key = int(cursor.lastrowid or 0)
                self._put_tags(run, key, story.tags)
                self._put_nodes(run, key, Tree(), story.tree)
                self._put_what_follows(run, key, story.tree)
                tags = _tidy(story.tags)
                added.append(Story(id, story.tree, story.title, tags, story.favourite, created, changed, story.trashed))
        return added

    def save(self, story: Story, tree: Tree, *, now: float | None = None) -> Story:
        """Write what `tree` has otherwise than the story; only that.

        StoryChanged where another process has changed the tree since: `add` keeps this one as a story of its own.
        """
        if tree.nodes == story.tree.nodes and tree.current == story.tree.current:
            return story
        moment = time.time() if now is None else now
        with self._changing() as run:
            row = run("SELECT key, revision FROM stories WHERE id = ?", (story.id,)).fetchone()
            if row is None:
                raise StoryChanged(f"The story {story.id} was deleted by another process.")
            if row["revision"] != story.revision:
                raise StoryChanged(f"The story {story.id} was written on by another process, so this text was not put into it.")
            self._put_nodes(run, row["key"], story.tree, tree)
            self._put_what_follows(run, row["key"], tree)
            run("UPDATE stories SET revision = revision + 1, changed = ? WHERE key = ?", (moment, row["key"]))
        return Story(
            story.id, tree, story.title, story.tags, story.favourite, story.created, moment, story.trashed, story.revision + 1
        )

    def duplicate(self, id: str) -> Story:
        """A copy with the whole tree, under a title of its own."""
        story = self.get(id)
        return self.add(story.tree, title=f"{story.name} (copy)", tags=story.tags)

    # What a person notes about a story

    def rename(self, id: str, title: str) -> None:
        """Give it a title; an empty one lets the topic or the first words stand for it again."""
        self._note([id], "title", sound(" ".join(title.split())))

    def favour(self, *ids: str, favourite: bool = True) -> None:
        self._note(ids, "favourite", favourite)

    def tag(self, id: str, *, add: Iterable[str] = (), remove: Iterable[str] = ()) -> tuple[str, ...]:
        """Give it tags and take others away; those it has then, in the order of the alphabet."""
        with self._changing() as run:
            key = self._key(run, id)
            run("DELETE FROM tags WHERE story = ? AND tag IN (SELECT value FROM json_each(?))", (key, json.dumps(_tidy(remove))))
            self._put_tags(run, key, add)
            self._put_head(run, key)
            return tuple(sorted(tag for (tag,) in run("SELECT tag FROM tags WHERE story = ?", (key,))))

    # The trash

    def trash(self, *ids: str) -> None:
        """Put them into the trash, all or none; they stay there until `restore` or `delete`."""
        self._note(ids, "trashed", time.time())

    def restore(self, *ids: str) -> None:
        self._note(ids, "trashed", None)

    def delete(self, *ids: str) -> None:
        """Remove them for good, all or none."""
        with self._changing() as run:
            for id in ids:
                key = self._key(run, id)
                self._forget_nodes(run, key)
                run("DELETE FROM stories WHERE key = ?", (key,))

    # Within a transaction

    def _note(self, ids: Iterable[str], column: str, value: object) -> None:
        with self._changing() as run:
            for id in ids:
                key = self._key(run, id)
                run(f"UPDATE stories SET {column} = ? WHERE key = ?", (value, key))
                if column == "title":
                    self._put_head(run, key)

    @staticmethod
    def _key(run: _Run, id: str) -> int:
        row = run("SELECT key FROM stories WHERE id = ?", (id,)).fetchone()
        if row is None:
            raise LibraryError(f"There is no story {id!r} in the library.")
        return row["key"]

    def _put_nodes(self, run: _Run, story: int, before: Tree, after: Tree) -> None:
        changed = [node for number, node in after.nodes.items() if before.nodes.get(number) != node]
        run.many(_PUT_NODE, [node_row(story, node) for node in changed])
        self._put_words(story, before, changed)

    def _put_words(self, story: int, before: Tree, changed: Sequence[Node]) -> None:
        if not self._full_text:
            index.forget(self._connection)
            return
        for node in changed:
            old, key = before.nodes.get(node.number), node_key(story, node.number)
            if old is not None and old.text != node.text:
                index.take_out(self._connection, key, sound(old.text))
            if old is None or old.text != node.text:
                index.put(self._connection, key, sound(node.text))

    def _forget_nodes(self, run: _Run, story: int) -> None:
        if not self._full_text:
            index.forget(self._connection)
            return
        for row in run("SELECT key, text FROM nodes WHERE story = ?", (story,)).fetchall():
            index.take_out(self._connection, row["key"], row["text"])

    def _put_what_follows(self, run: _Run, story: int, tree: Tree) -> None:
        """What lists and searches show, worked out anew."""
        values = worked_out(tree)
        run(f"UPDATE stories SET {', '.join(f'{name} = :{name}' for name in values)} WHERE key = :key", values | {"key": story})
        self._put_head(run, story)

    @staticmethod
    def _put_head(run: _Run, story: int) -> None:
        row = run("SELECT title, topic FROM stories WHERE key = ?", (story,)).fetchone()
        tags = [tag for (tag,) in run("SELECT tag FROM tags WHERE story = ? ORDER BY tag", (story,))]
        run("UPDATE stories SET head = ? WHERE key = ?", ("\n".join((row["title"], row["topic"], *tags)).casefold(), story))

    @staticmethod
    def _put_tags(run: _Run, story: int, tags: Iterable[str]) -> None:
        run.many("INSERT OR IGNORE INTO tags (story, tag) VALUES (?, ?)", [(story, tag) for tag in _tidy(tags)])

    # Transactions

    @contextlib.contextmanager
    def _using(self) -> Iterator[_Run]:
        """Reading; what SQLite refuses is one sentence, and a file that turns out to be damaged is set aside."""
        with self._mutex:
            try:
                with opening.sentences(self.path):
                    self._stay_with_the_file()
                    yield _Run(self._connection)
            except opening.Damaged as error:
                raise self._damaged(error) from error

    @contextlib.contextmanager
    def _changing(self) -> Iterator[_Run]:
        """Writing: all of it or nothing, with no other writer in between."""
        if self.readonly:
            raise LibraryError(f"The library in {paths.shown(self.path)} can only be read, so nothing of it was changed.")
        with self._using() as run:
            run("BEGIN IMMEDIATE")
            try:
                yield run
                run("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # SQLite may have rolled it back itself
                    run("ROLLBACK")
                raise

    def _stay_with_the_file(self) -> None:
        """Open the library anew where another file has taken its place, or none: what is written to the old one nobody would find."""
        if _which_file(self.path) != self._file:
            self._connection.close()
            self._take(opening.open_file(self.path))

    def _damaged(self, error: opening.Damaged) -> LibraryError:
        cause = error.__cause__
        if getattr(cause, "sqlite_errorcode", 0) == _INDEX_DAMAGED:  # nothing of a story is lost with it
            with contextlib.suppress(sqlite3.Error):
                index.forget(self._connection)
                index.prepare(self._connection)
                return LibraryError("The library's index of words was damaged and has been made anew; try again.")
        self._connection.close()
        if _which_file(self.path) != self._file:
            self._take(opening.open_file(self.path))
            return LibraryError("The library was damaged, and another process has begun a new one; try again.")
        with opening.sentences(self.path):
            return LibraryError(self._take(opening.begin_anew(self.path)))


_INDEX_DAMAGED = 267
"""SQLITE_CORRUPT_VTAB."""


class _Run:
    """`run(sql, values)` on the connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.many = connection.executemany
        self._execute = connection.execute

    def __call__(self, sql: str, values: object = ()) -> sqlite3.Cursor:
        return self._execute(sql, values)  # type: ignore[arg-type]


def _which_file(path: Path) -> tuple[int, int] | None:
    """What tells a file from another that stands in its place; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _new_id(run: _Run) -> str:
    while True:
        id = "".join(secrets.choice(ID_LETTERS) for _ in range(ID_LENGTH))
        if run("SELECT 1 FROM stories WHERE id = ?", (id,)).fetchone() is None:
            return id


def _tidy(tags: Iterable[str]) -> tuple[str, ...]:
    """Tags as they are kept: small letters, one space between words, no commas, in the order of the alphabet."""
    return tuple(sorted({kept for tag in tags if (kept := " ".join(sound(tag).replace(",", " ").lower().split()))}))
