"""A thread that keeps the list of checkpoints up to date, so that a slow disk holds up nobody who looks at the screen. Knows no Textual.

What knows the formats of checkpoints is imported on the thread as well, since that takes longer than drawing the pane.
A whole look reads the headers of what is new; between two of them only the times of folders are asked for, which costs next to nothing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.catalog.notes import Notes
from engine.errors import TinyTalesError

if TYPE_CHECKING:
    from engine.catalog.facts import FactsCache
    from engine.catalog.listing import Listing

LOOK_EVERY, AT_LEAST_EVERY = 10.0, 120.0
"""Seconds between cheap looks while somebody watches, and after which everything is looked at whatever those say."""
_DEPTH = 3
"""Levels of folders whose times are compared: a repository of the cache, its `snapshots`, a revision."""


@dataclass(frozen=True)
class Disk:
    """The disk that the cache lies on."""

    total: int
    free: int


class Shelf:
    """`start()`, then read `listing` (replaced as a whole) whenever `changed` was called, from the thread; `close()` at the end."""

    def __init__(
        self, runs: Path, notes: Notes, changed: Callable[[], None], *, cache: Path | None = None, facts: Path | None = None
    ) -> None:
        self.notes = notes
        self.listing: Listing | None = None
        """None until everything has been looked at once."""
        self.disk: Disk | None = None
        self.trouble = ""
        """Why the last look failed, in a sentence."""
        self.looks = 0
        """How often everything has been looked at."""
        self._runs = runs
        self._changed = changed
        self._cache = cache
        self._facts_file = facts
        self._facts: FactsCache | None = None
        self._shown = True
        self._closed = False
        self._wanted = True
        self._wake = threading.Event()
        self._looking = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="looking at checkpoints", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """End the thread; it is not waited for, since it may stand in a file system that hangs."""
        self._closed = True
        self._wake.set()

    def look_now(self) -> None:
        """Look at everything at once, as after a download."""
        self._wanted = True
        self._wake.set()

    def set_shown(self, shown: bool) -> None:
        """Whether somebody watches; where nobody does, nothing is looked at."""
        if shown and not self._shown:
            self._wake.set()
        self._shown = shown

    def _run(self) -> None:
        seen: object = None
        looked = 0.0
        while not self._closed:
            self._wake.clear()
            if self._wanted or self._shown:
                found = self._times()
                if self._wanted or found != seen or time.monotonic() - looked >= AT_LEAST_EVERY:
                    self._wanted = False
                    self.look()
                    seen, looked = found, time.monotonic()
            self._wake.wait(LOOK_EVERY if self._shown else None)

    def look(self) -> None:
        """Look at everything now, on the thread that asks; `listing` is fresh afterwards."""
        with self._looking:
            self._look()

    def _look(self) -> None:
        from engine.catalog.facts import FactsCache
        from engine.catalog.listing import list_entries

        try:
            if self._facts is None:
                self._facts = FactsCache(self._facts_file)
            self.notes.reload()
            self.listing = list_entries(self._runs, self.notes, cache=self._cache, facts_cache=self._facts)
            self._facts.save()
            self.trouble = ""
            self.disk = self._disk()
        except TinyTalesError as error:
            self.trouble = str(error)
        except Exception as error:  # one odd folder that nobody thought of must not end the looking for good
            self.trouble = f"The checkpoints cannot be looked through ({type(error).__name__}: {' '.join(str(error).split())})."
        self.looks += 1
        if not self._closed:
            self._changed()

    def _disk(self) -> Disk | None:
        folder = self._cache_folder()
        with contextlib.suppress(OSError):
            there = next((path for path in (folder, *folder.parents) if path.exists()), None)
            if there is not None:
                usage = shutil.disk_usage(there)
                return Disk(usage.total, usage.free)
        return None

    def _cache_folder(self) -> Path:
        from engine.hub.cache import cache_folder

        return self._cache or cache_folder()

    def _times(self) -> tuple[tuple[str, int], ...]:
        """When each folder that a checkpoint may come to, or go from, was last changed."""
        found: list[tuple[str, int]] = []
        for root in (self._runs, self._cache_folder(), *self.notes.folders):
            found += _times_below(Path(root), _DEPTH)
        with contextlib.suppress(OSError):
            found.append(("notes", self.notes.path.stat().st_mtime_ns))
        return tuple(found)


def _times_below(folder: Path, depth: int) -> Iterator[tuple[str, int]]:
    try:
        yield str(folder), folder.stat().st_mtime_ns
        if depth == 0:
            return
        with os.scandir(folder) as entries:
            names = sorted(
                entry.name for entry in entries if entry.is_dir(follow_symlinks=False) and entry.name not in _PASSED_OVER
            )
    except OSError:
        return
    for name in names:
        yield from _times_below(folder / name, depth - 1)


_PASSED_OVER = {"blobs", ".locks", "data", "requests", "state"}
"""Folders that change all the time, or are large, and hold no checkpoint."""
