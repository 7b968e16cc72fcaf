"""Following one run directory: everything that a screen shows of it, read on from where the last look ended.

`poll` reads (in slices, so that a long file does not keep anybody waiting) and belongs to one thread; everybody else reads the
attributes, and holds `lock` while looking into the table. Only reads. Logs of other programs have feeds of the same face in
`engine.watching.foreign`.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.growing_files import JsonLines
from engine.run_digest import Digest, Summary
from engine.run_status import RunStatus, read_status
from engine.run_view import CheckpointInfo, RunView, folder_bytes
from engine.watching.table import MetricsTable

SLICE = 1 << 21
"""Bytes of metrics that one look reads."""
SIZE_EVERY, ENDED_STATUS_EVERY = 30.0, 2.0
"""Seconds between two counts of a run's size on disk, and two looks at the status of one that has ended."""

UNKNOWN = RunStatus("unknown", None, None, None, None, None, None, None, None)
"""What is known of a run before the first look."""


class Feed:
    """What is known of one run or log; the base of all feeds. Attributes are replaced, never changed in place (the table excepted)."""

    kind = "run"
    """`run`, or the kind of a foreign log in a word or two."""
    steerable = False
    """Whether requests can be left for the run."""

    def __init__(self, path: Path, name: str = "") -> None:
        self.path = path
        self.key = str(path)
        """Tells feeds apart, also those of one name."""
        self.name = name or path.name or path.resolve().name
        self.lock = threading.Lock()
        """Held while the table changes."""
        self.version = 0
        """Rises with every change."""
        self.table: MetricsTable | None = None
        self.status: RunStatus = UNKNOWN
        self.summary: Summary | None = None
        self.events: Sequence[dict[str, Any]] = ()
        self.samples: Sequence[dict[str, Any]] = ()
        self.checkpoints: Sequence[CheckpointInfo] = ()
        self.settings: dict[str, Any] = {}
        """The trainer's settings; empty where they are not known."""
        self.log: Path | None = None
        """A file of text to show as the log."""
        self.usual_step_s: float | None = None
        """Seconds a step lately."""
        self.trouble = ""
        """One sentence on what cannot be read; empty where all is well."""
        self.loading: float | None = 0.0
        """Share of the metrics that has been read, 0 to 1, while they are being read for the first time; None when that is done."""

    def poll(self) -> bool:
        """Look once, without reading more than a slice; True while there is more to read at once. Never raises for what files hold."""
        raise NotImplementedError

    def look_anew(self) -> None:
        """Look at everything with the next look, as after something was done to the run."""

    def close(self) -> None:
        """Let go of what is held open."""


class RunFeed(Feed):
    """A run directory. With `full`, the metrics become a table; without, only the figures of a list are gathered."""

    steerable = True

    def __init__(self, path: Path, full: bool = False) -> None:
        super().__init__(path)
        self.view = RunView(path)
        self.log = path / "output.log"
        self._full = full
        self._begin_again()
        self._size: int | None = None
        self._size_due = self._status_due = 0.0
        self._told: object = None

    def set_full(self, full: bool) -> None:
        """Keep the whole curve, or forget it; takes effect with the next look."""
        self._full = full

    def poll(self) -> bool:
        if self._full != (self.table is not None):
            self._begin_again()
        now = time.monotonic()
        status = self.status
        if now >= self._status_due or status.alive or self._metrics.behind:
            self._status_due = now + ENDED_STATUS_EVERY
            status = read_status(self.path)
        more = self._read_metrics()
        self._read_events()
        # After the events: whoever sees a state can see what led to it. Metrics are ahead of the heartbeat, which comes seldom.
        last = self._digest.last
        newer = (
            status.alive and bool(last) and last["time"] > (status.heartbeat or math.inf) and last["step"] > (status.step or 0)
        )
        self.status = replace(status, step=last["step"]) if newer else status
        if now >= self._size_due and not more:
            self._size_due = now + SIZE_EVERY
            self._size = folder_bytes(self.path)
            self.checkpoints = tuple(self.view.checkpoints())
            self.settings = self.view.settings
        self.usual_step_s = self._digest.pace()
        self.summary = self._digest.summary(self.status, self.view.started(), self._size or 0)
        self._tell_change()
        return more

    def look_anew(self) -> None:
        self._size_due = self._status_due = 0.0

    def _begin_again(self) -> None:
        self._metrics = JsonLines(self.path / "metrics.jsonl")
        self._digest = Digest()
        self.loading = 0.0
        with self.lock:
            self.table = MetricsTable() if self._full else None

    def _read_metrics(self) -> bool:
        rows, restarted = self._metrics.new_rows(SLICE)
        if restarted:
            self._digest = Digest()
            if self.table is not None:
                with self.lock:
                    self.table = MetricsTable()
        self._digest.see(rows)
        if self.table is not None and rows:
            for start in range(0, len(rows), 4000):  # the lock is never held for long
                with self.lock:
                    self.table.add(rows[start : start + 4000])
        behind = self._metrics.behind
        self.loading = self._metrics.share if behind and self.loading is not None else None
        self.version += bool(rows or restarted)
        damaged = self._metrics.damaged
        self.trouble = f"{damaged:,} line{'s' * (damaged != 1)} of its metrics cannot be read." if damaged else ""
        if self._metrics.trouble:
            self.trouble = f"Its metrics cannot be read now: {self._metrics.trouble}."
        return behind

    def _read_events(self) -> None:
        before = len(self.events)
        self.events, self.samples = self.view.events(), self.view.samples()
        if any(row["event"] in ("checkpoint", "finished", "stopped") for row in self.events[before:]):
            self._size_due = 0.0  # a new checkpoint is shown at once

    def _tell_change(self) -> None:
        state = (
            self.status.state, self.status.step, self.status.message, len(self.events), len(self.samples), len(self.checkpoints),
            self._size, self.loading, self.trouble,
        )  # fmt: skip
        if state != self._told:
            self._told = state
            self.version += 1
