"""The open library behind the pane. Its methods wait for the disk, so each belongs on a thread. Knows no Textual.

The file is opened at the first look, and again at a later one where it could not be opened.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tinytales_tui.library.pane.asking import Asked
from tinytales_tui.library.store import Library
from tinytales_tui.library.story import LibraryError, Listed, Story

T = TypeVar("T")
AT_ONCE = 60
"""Lines that are read with a list: a screenful; others are read when they come into sight."""


@dataclass(frozen=True)
class Found:
    """A list as it is now."""

    asked: Asked
    ids: list[str]
    """Of all of it, in its order."""
    lines: list[Listed]
    """The first lines, and those that were asked for beside them."""
    total: int
    """Stories outside the trash."""
    in_trash: int


class Shelf:
    """`look` and `lines` raise `LibraryError`, as `do` does whatever its work raises."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notice = ""
        """What is to be said of the opening: one sentence, or nothing."""
        self.readonly = False
        self._library: Library | None = None
        self._version: object = None
        self._closed = False
        self._opening = threading.Lock()

    def do(self, work: Callable[[Library], T]) -> T:
        """What `work` makes of the open library."""
        with self._opening:
            if self._closed:
                raise LibraryError("The library is closed.")
            if self._library is None:
                self._library = Library.open(self.path)
                self.notice, self.readonly = self._library.notice, self._library.readonly
            library = self._library
        return work(library)

    def look(self, asked: Asked, beside: Sequence[str] = ()) -> Found:
        """The list that is asked for, with its first lines and those with the ids in `beside` that are in it."""

        def work(library: Library) -> Found:
            self._version = library.version()  # asked first: what is changed meanwhile is found the next time
            ids = library.ids(asked.wanted, order=asked.order)
            known = set(ids)
            first = [*ids[:AT_ONCE], *(id for id in beside if id in known)]
            lines = library.lines(list(dict.fromkeys(first)), asked.words)
            total, in_trash = library.count(), library.count(Asked(trash=True).wanted)
            return Found(asked, ids, lines, total, in_trash)

        return self.do(work)

    def lines(self, ids: Sequence[str], words: str) -> list[Listed]:
        return self.do(lambda library: library.lines(ids, words))

    def get(self, id: str) -> Story:
        return self.do(lambda library: library.get(id))

    def changed(self) -> bool:
        """Whether somebody else has changed something since the last look."""
        return self.do(lambda library: library.version()) != self._version

    def close(self) -> None:
        with self._opening:
            self._closed = True
            if self._library is not None:
                self._library.close()
