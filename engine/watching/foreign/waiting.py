"""A log that cannot be told yet, or that comes through a pipe: a feed that becomes the right one once there is enough to see.

What it shows is what the right one shows. Knows no format.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from engine.errors import UsageError
from engine.run_status import RunStatus
from engine.watching.feed import Feed
from engine.watching.foreign.names import Columns
from engine.watching.foreign.pipe import NAME, copy_at
from engine.watching.table import MetricsTable

LOOK_EVERY = 0.5
"""Seconds between two looks at what is not there yet."""
_SHOWN = (
    "lock", "table", "status", "summary", "events", "samples", "checkpoints", "settings", "log", "usual_step_s", "trouble", "loading",
)  # fmt: skip


class WaitingFeed(Feed):
    """Looks again until the kind of a log can be told, then is a feed of that kind."""

    def __init__(self, path: Path, columns: Columns | None = None) -> None:
        self._copy = copy_at(path)
        super().__init__(path, NAME if self._copy else "")
        self.kind = "waiting"
        self.columns = columns
        self.table = MetricsTable()
        self.status = RunStatus("quiet", None, None, None, None, None, None, None, None)
        self.loading = None
        self.trouble = self._not_yet()
        self._inner: Feed | None = None
        self._before = 0  # the version at which the right feed took over
        self._due = 0.0
        self._size = -1
        self._told: object = None

    def poll(self) -> bool:
        if self._inner is None:
            self._try()
        if self._inner is None:
            self._add_pipe()
            self._tell()
            return False
        more = self._inner.poll()
        with self.lock:  # whoever looks into the old table goes on to the new one with its own lock
            for name in _SHOWN:
                setattr(self, name, getattr(self._inner, name))
        self._add_pipe()
        self.version = self._before + self._inner.version
        self._tell()
        return more

    def look_anew(self) -> None:
        if self._inner is not None:
            self._inner.look_anew()

    def close(self) -> None:
        if self._inner is not None:
            self._inner.close()
        if self._copy is not None:
            self._copy.close()

    def _try(self) -> None:
        from engine.watching.foreign.opening import told

        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + LOOK_EVERY
        try:
            found = self.path.stat()
            # What could not be told from a megabyte is not looked through again for every line that is added.
            if self.path.is_file() and found.st_size > 1 << 20 and self._size < found.st_size < 1.5 * self._size:
                return
            self._size = found.st_size
        except (OSError, ValueError):
            self._size = -1
        try:
            self._inner = told(self.path, self.columns, self.name if self._copy else "")
            self.trouble = self._not_yet()
        except UsageError as error:
            self.trouble = str(error)
        self.log = self.path if self._size > 0 and self.path.is_file() else None
        if self._inner is not None:
            self.kind, self.steerable, self.key = self._inner.kind, self._inner.steerable, str(self.path)
            self._before = self.version + 1

    def _not_yet(self) -> str:
        if self._copy is not None:
            if self._copy.ended:
                return "The pipe has ended, and nothing with a step and a loss came through it."
            return "Nothing with a step and a loss has come through the pipe yet."
        if self.path.is_dir():
            return f"{self.name} is empty; what comes into it is shown."
        if self.path.exists():
            return f"No line of {self.name} says a step and a loss yet."
        return f"{self.name} is not there yet; it is shown once it is."

    def _add_pipe(self) -> None:
        if self._copy is None:
            return
        if self._inner is None:
            self.trouble = self._not_yet()
        self.status = replace(self.status, state="quiet" if self._copy.ended else "following")
        if self._copy.ended and self.summary is not None:
            self.summary = replace(self.summary, eta_s=None)
        ended = "The input has ended." if self._copy.ended and self._inner is not None else ""
        self.trouble = " ".join(filter(None, (ended, self._copy.trouble, self.trouble)))

    def _tell(self) -> None:
        now = self.kind, self.trouble, self.status.state, self.log
        if now != self._told:
            self._told = now
            self._before += 1
            self.version += 1
