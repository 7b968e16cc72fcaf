"""What all feeds of foreign logs have in common: rows go into the table, and how the log stands is told from its file alone.

A log says nothing of the process behind it, so its state is `following` while the file keeps growing and `quiet` once it has not for ten
times its usual gap. Knows no format; each kind is a subclass that brings the rows.
"""

from __future__ import annotations

import itertools
import math
import os
import stat
import statistics
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from engine.growing_files import GrowingFile
from engine.run_digest import Digest, Summary
from engine.run_status import RunStatus
from engine.watching.feed import SLICE, Feed
from engine.watching.foreign.names import Columns, Naming
from engine.watching.foreign.steps import Row, StepCount
from engine.watching.table import MetricsTable

QUIET_AFTER, USUAL_GAPS = 60.0, 10
"""A log is quiet after this many seconds without growth, or this many times its usual gap, whichever is longer."""
_USUAL_NAMES = frozenset(
    "metrics log logs train training train_log training_log trainer_log trainer_state history output stdout main progress "
    "results".split()
)
_LOOSE_END_AFTER = 3.0
"""Seconds after which a last line without a newline is taken as it is."""


class ForeignFeed(Feed):
    """A log of another program: `poll` brings rows (`_read`), the rest is worked out here."""

    kind = "log"

    def __init__(self, path: Path, columns: Columns | None = None, name: str = "") -> None:
        super().__init__(path, name or telling_name(path))
        self.columns = columns or Columns()
        self.table = MetricsTable()
        self.status = RunStatus("quiet", None, None, None, None, None, None, None, None)
        self._growths: deque[float] = deque(maxlen=20)
        self._told: object = None
        self._bytes = 0
        self._line_gap: float | None = None  # seconds between two lines, by the times that they say
        self._begin_again()

    def poll(self) -> bool:
        now = time.time()
        try:
            missing = self._look()
            more = self._read() and not missing
        except (OSError, ValueError) as error:  # a name with a zero byte, a network that is away
            missing, more = f"{self.path.name} cannot be read: {getattr(error, 'strerror', None) or error}.", False
        self._show(now, missing, more)
        return more

    def _read(self) -> bool:
        """Read a slice and `_take` its rows; True while there is more."""
        raise NotImplementedError

    def _problem(self) -> str:
        """One sentence on what this kind of log cannot read; empty where all is well."""
        return ""

    def _share(self) -> float:
        """How much has been read, 0 to 1."""
        return 1.0

    def _files(self) -> Sequence[Path]:
        """Files whose changes are signs of life."""
        return (self.path,)

    def _begin_again(self) -> None:
        self._naming = Naming(self.columns)
        self._steps = StepCount()
        self.total_steps: int | None = None
        self.loading = 0.0
        self._changed_rows = True
        self._late = False
        with self.lock:
            self.table = MetricsTable()

    def _take(self, rows: list[Row]) -> None:
        if not rows:
            return
        shown = self._steps.follow(rows, self.total_steps)
        for start in range(0, len(shown), 4000):  # the lock is never held for long
            with self.lock:
                self.table.add(shown[start : start + 4000])
        if shown:
            self._changed_rows = True
            self.version += 1

    def _take_anew(self, rows: list[Row]) -> None:
        """All rows, in place of what was known: a new table, put there when it is full."""
        table = MetricsTable()
        table.add(self._steps.follow(rows, self.total_steps))
        with self.lock:
            self.table = table
        self._changed_rows = True
        self.version += 1

    def _look(self) -> str:
        """Note when the files changed; a sentence where they cannot be read."""
        newest, size = 0.0, 0
        for path in self._files():
            try:
                found = os.stat(path)  # noqa: PTH116 (a ValueError for odd names is caught by the caller)
            except FileNotFoundError:
                continue
            if not stat.S_ISREG(found.st_mode):
                return f"{path.name} is no file any more."
            if not os.access(path, os.R_OK):
                return f"{path.name} may not be read; change its permissions."
            newest, size = max(newest, found.st_mtime), size + found.st_size
        self._bytes = size
        if not newest:
            return f"{self.path.name} is not there; it is shown once it is."
        if not self._growths or newest != self._growths[-1]:
            self._growths.append(newest)
        return ""

    def _show(self, now: float, missing: str, more: bool) -> None:
        if self._changed_rows and not more:
            self._changed_rows = False
            self._figures()
        at = self._growths[-1] if self._growths and not missing else None
        age = None if at is None else max(0.0, now - at)
        gap = self._usual_gap()
        growing = age is not None and age < max(QUIET_AFTER, USUAL_GAPS * (gap or 0.0))
        last = self._steps.last
        step = int(last) if last is not None and 0 <= last < 2**63 else None
        total = None if self._steps.begun_anew else self.total_steps  # a counter within an epoch does not say how far it goes
        self.status = RunStatus("following" if growing else "quiet", None, step, total, None, None, at, age, None)
        if self.summary is not None:
            left = None
            if growing and step is not None and total and self.usual_step_s is not None:
                left = max(0.0, self.usual_step_s * (total - step))
            self.summary = replace(self.summary, eta_s=left, size_bytes=self._bytes)
        self.trouble = missing or " ".join(filter(None, (self._problem(), self._steps.sentence)))
        self.loading = self._share() if more and self.loading is not None else None
        told = (self.status.state, step, self.total_steps, self.loading, self.trouble, self.kind, self._bytes)
        if told != self._told:
            self._told = told
            self.version += 1

    def _usual_gap(self) -> float | None:
        """Seconds between two signs of life."""
        gaps = [b - a for a, b in itertools.pairwise(self._growths) if b > a]
        if self._line_gap is not None:
            gaps.append(self._line_gap)
        return max(statistics.median(gaps), self._line_gap or 0.0) if gaps else None

    def _figures(self) -> None:
        """The figures of a list, and the pace, out of the table."""
        table = self.table
        steps, times, tokens = (table.axis(name) for name in ("step", "time", "tokens"))
        recent = Digest()
        pairs = zip(steps[-40:].tolist(), times[-40:].tolist(), strict=True)
        recent.see([{"step": int(step), "time": at} for step, at in pairs if abs(step) < 2**63])
        newest = times[-40:][np.isfinite(times[-40:])]
        self._line_gap = float(np.median(np.diff(newest))) if len(newest) > 2 else None
        self.usual_step_s = self._pace() or recent.pace()
        finite_times = times[np.isfinite(times)]
        known_tokens = tokens[np.isfinite(tokens)]
        best_at, best_loss = self._lowest("val_loss")
        bits_at, best_bits = self._lowest("val_bits_per_byte")
        if best_bits is not None:
            best_at = bits_at
            best_loss = self._value_at("val_loss", bits_at)
        self.summary = Summary(
            train_loss=self._newest("train_loss"),
            best_bits_per_byte=best_bits,
            best_val_loss=best_loss,
            best_step=best_at,
            tokens=int(known_tokens[-1]) if len(known_tokens) else None,
            tokens_per_s=self._newest("tokens_per_s"),
            eta_s=None,
            started=float(finite_times[0]) if len(finite_times) else None,
            seconds=max(0.0, float(finite_times[-1] - finite_times[0])) if len(finite_times) else None,
            size_bytes=self._bytes,
        )

    def _pace(self) -> float | None:
        """Seconds a step, where the log says so itself; else a step's share of the steps a second."""
        for name, invert in (("step_s", False), ("steps_per_s", True)):
            if (series := self.table.series(name)) is not None:
                value = float(np.median(series.values[-40:]))
                if math.isfinite(value) and value > 0:
                    return 1 / value if invert else value
        return None

    def _newest(self, name: str) -> float | None:
        series = self.table.series(name)
        return None if series is None else series.last

    def _lowest(self, name: str) -> tuple[int | None, float | None]:
        series = self.table.series(name)
        if series is None or not np.isfinite(series.values).any():
            return None, None
        at = int(np.argmin(np.where(np.isfinite(series.values), series.values, np.inf)))
        return int(self.table.axis("step")[series.rows][at]), float(series.values[at])

    def _value_at(self, name: str, step: int | None) -> float | None:
        series = self.table.series(name)
        if series is None or step is None:
            return None
        at = np.flatnonzero(self.table.axis("step")[series.rows].astype(np.int64) == step)
        value = float(series.values[at[-1]]) if len(at) else math.nan
        return value if math.isfinite(value) else None


def telling_name(path: Path) -> str:
    """The name of a file; where every training has one of that name, with its folder's."""
    folder = path.absolute().parent.name
    if "tfevents" in path.name:
        return folder or path.name
    usual = path.name.split(".")[0].lower().replace("-", "_") in _USUAL_NAMES and path.suffix
    return f"{folder}/{path.name}" if usual and folder else path.name or path.absolute().name


class LineFeed(ForeignFeed):
    """A log of lines: a subclass turns lines into rows."""

    def __init__(self, path: Path, columns: Columns | None = None, name: str = "") -> None:
        self._file = self._open(path)
        super().__init__(path, columns, name)

    def _open(self, path: Path) -> Any:
        """What knows the lines: something with `behind` and `share`."""
        return GrowingFile(path)

    def _new(self) -> tuple[list[Any], bool]:
        """A slice of new lines, and whether reading began again at the start."""
        return self._file.new_lines(SLICE)

    def _rows(self, lines: list[Any]) -> list[Row]:
        """The rows that these complete lines hold."""
        raise NotImplementedError

    def _rows_of_rest(self, rest: bytes) -> list[Row]:
        """Rows of a last line without a newline; none where they would be counted twice."""
        return self._rows([rest])

    def _read(self) -> bool:
        lines, restarted = self._new()
        if restarted:
            self._begin_again()
        if lines:
            self._late = False
            self._take(self._rows(lines))
        elif not self._late and self._growths and time.time() - self._growths[-1] > _LOOSE_END_AFTER:
            self._late = True
            self._take_loose_end()
        return self._file.behind

    def _share(self) -> float:
        return self._file.share

    def _take_loose_end(self) -> None:
        """A last line that has no newline, and may never get one. When it does, it comes again and takes its own place."""
        tail = GrowingFile(self.path)
        tail.skip_to_tail(0)
        if rest := tail.rest().rsplit(b"\r", 1)[-1].strip(b" \t\0"):
            self._take(self._rows_of_rest(rest))
