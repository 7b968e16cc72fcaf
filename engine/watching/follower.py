"""A thread that follows runs: the list of a folder, and closely those that somebody has opened. Never on the screen's own thread.

A file system that hangs (a network that is away) holds this thread up and nobody else. Polling by `stat` works on every file system;
a look at a file that has not changed costs microseconds.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from engine.run_view import looks_like_run
from engine.watching.feed import Feed, RunFeed

CLOSE, BEHIND = 0.25, 1.0
"""Seconds between looks at what is open: while somebody watches, and while not."""
LIST_EVERY, ENDED_EVERY = 2.0, 10.0
"""Seconds between looks at the folder and its live runs, and at runs that have ended."""


class Follower:
    """`start()`, then read `feeds` (replaced as a whole) whenever `changed` was called, from the thread; `close()` at the end."""

    def __init__(self, folder: Path | None, changed: Callable[[], None], extra: Iterable[Feed] = ()) -> None:
        self.folder = folder
        self.trouble = ""
        """Why the folder cannot be read, in a sentence; empty where it can, or is not there yet."""
        self.listed = False
        """Whether the folder has been looked through once."""
        self.feeds: tuple[Feed, ...] = tuple(extra)
        """Those given as extra first, then the runs of the folder, the last started first."""
        self._extra = tuple(extra)
        self._changed = changed
        self._open: frozenset[str] = frozenset(feed.key for feed in self._extra)
        self._interval = CLOSE
        self._wake = threading.Event()
        self._closed = False
        self._due: dict[str, float] = {}
        self._list_due = 0.0
        self._thread = threading.Thread(target=self._run, name="following runs", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """End the thread; it is not waited for, since it may stand in a file system that hangs."""
        self._closed = True
        self._wake.set()

    def set_open(self, keys: Iterable[str]) -> None:
        """Follow these feeds closely and keep their whole curves; the others give theirs up."""
        self._open = frozenset(keys)
        self._wake.set()

    def set_interval(self, seconds: float) -> None:
        """Seconds between two looks at what is open."""
        if seconds != self._interval:
            self._interval = seconds
            self._wake.set()

    def look_now(self) -> None:
        """Look at everything at once, as after something was done to a run."""
        self._list_due = 0.0
        for feed in self.feeds:
            feed.look_anew()
        self._due = {}
        self._wake.set()

    def _run(self) -> None:
        while not self._closed:
            begun = time.monotonic()
            self._wake.clear()
            busy = self._look(begun)
            if self._closed:
                break
            # Where there is more to read at once, a breath is left for the thread that draws.
            self._wake.wait(0.0005 if busy else max(0.02, self._interval - (time.monotonic() - begun)))
        for feed in self.feeds:
            feed.close()

    def _look(self, now: float) -> bool:
        before = self._fingerprint()
        if self.folder is not None and now >= self._list_due:
            self._list_due = now + LIST_EVERY
            self._list(self.folder)
        busy = False
        opened = self._open
        for feed in self.feeds:
            if isinstance(feed, RunFeed):
                feed.set_full(feed.key in opened)
        for feed in sorted(self.feeds, key=lambda feed: feed.key not in opened):
            if self._closed:
                return False
            near = feed.key in opened
            if not near and now < self._due.get(feed.key, 0.0):
                continue
            more = self._poll(feed)
            if not more:
                self._due[feed.key] = now + (LIST_EVERY if feed.status.alive else ENDED_EVERY)
            busy = busy or more
            if more and near:
                break  # what is open is read first
        if self._fingerprint() != before:
            self._changed()
        return busy

    def _poll(self, feed: Feed) -> bool:
        try:
            return feed.poll()
        except Exception as error:  # one run with something in it that nobody thought of must not end the following of all others
            feed.trouble = f"It cannot be read any further ({type(error).__name__}: {one_line_of(error)})."
            feed.version += 1
            return False

    def _list(self, folder: Path) -> None:
        known = {feed.key: feed for feed in self.feeds if feed not in self._extra}
        try:
            with os.scandir(folder) as entries:
                paths = [folder / entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir()]
            self.trouble = ""
        except FileNotFoundError:
            paths, self.trouble = [], ""
        except OSError as error:  # a network that is away for a moment: what was there is kept
            self.trouble = f"The runs in {folder} cannot be read: {(error.strerror or str(error)).lower()}."
            self.listed = True
            return
        extra = {feed.key for feed in self._extra}
        runs = []
        for path in paths:
            if str(path) in known:
                runs.append(known[str(path)])
            elif str(path) not in extra and (looks_like_run(path) or not os.access(path, os.R_OK | os.X_OK)):
                runs.append(RunFeed(path))
        gone = known.keys() - {feed.key for feed in runs}
        for key in gone:
            known[key].close()
            self._due.pop(key, None)
        if gone or len(runs) != len(known) or not self.listed:
            runs.sort(key=lambda feed: (-(feed.view.started() or 0.0) if isinstance(feed, RunFeed) else 0.0, feed.name))
            self.feeds = (*self._extra, *runs)
        self.listed = True

    def _fingerprint(self) -> tuple[object, ...]:
        return (self.listed, self.trouble, *((feed.key, feed.version) for feed in self.feeds))


def one_line_of(error: Exception) -> str:
    """What an error says, on one short line."""
    return " ".join(str(error).split())[:200]
