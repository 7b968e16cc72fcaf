"""The steps of a foreign log as a count that rises: a counter that begins anew with every epoch is counted on, a late line moves up.

A training that went back to a checkpoint keeps its own steps, so that the table puts the later lines in place of the earlier ones.
Knows no files.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

_NUMBERS = frozenset((int, float))
Row = dict[str, Any]


class StepCount:
    """`follow(rows)` for lines as they come; what comes back has a number `step` in every line."""

    def __init__(self) -> None:
        self.last: float | None = None
        """The last step, counted on."""
        self.begun_anew = 0
        """How often the log's own counter began again at its start."""
        self.start: float | None = None
        """The step at which the log's counter starts."""
        self._offset = 0.0
        self._raw: float | None = None
        self._gap = 1.0
        self._rows = 0
        self._epoch: float | None = None
        self._held: list[Row] = []

    def follow(self, rows: list[Row], total: float | None = None) -> list[Row]:
        """The lines that may be shown now; one that fell back waits for the next, which tells why it did."""
        rows = self._held + rows if self._held else rows
        self._held = []
        raw = [row.get("step") for row in rows]
        if not _NUMBERS.issuperset(map(type, raw)):
            rows = [row for row in rows if type(row.get("step")) in _NUMBERS]
            raw = [row["step"] for row in rows]
        try:
            steps = np.array(raw, dtype=np.float64)
        except OverflowError:
            rows = [row for row in rows if abs(row["step"]) < 2**63]
            steps = np.array([row["step"] for row in rows], dtype=np.float64)
        good = np.isfinite(steps)
        if not good.all():
            rows, steps = [row for row, kept in zip(rows, good, strict=True) if kept], steps[good]
        if not len(rows):
            return []
        if self.start is None:
            self.start = float(steps[0])
        before = steps[0] if self._raw is None else self._raw
        if not self._offset and before <= steps[0] and (steps[1:] >= steps[:-1]).all():
            self._note(rows, steps)
            self.last = float(steps[-1])
            return rows
        return self._sort_out(rows, steps, total)

    def _sort_out(self, rows: list[Row], steps: np.ndarray, total: float | None) -> list[Row]:
        shown: list[Row] = []
        bounds = [0, *(np.flatnonzero(steps[1:] < steps[:-1]) + 1).tolist(), len(rows)]
        for start, end in itertools.pairwise(bounds):
            part, at = rows[start:end], steps[start:end].copy()
            if self._raw is not None and at[0] < self._raw:
                if self._starts_again(part[0], float(at[0]), total):
                    self._offset += self._raw - float(at[0]) + self._gap
                    self.begun_anew += 1
                    self._rows = 0
                elif len(part) == 1 and end == len(rows):
                    self._held = part
                    break
                elif len(part) == 1 or at[1] >= self._raw:
                    at[0] = self._raw  # one late line between others
            self._note(part, at)
            shown.extend(self._counted_on(part, at))
        if shown:
            self.last = shown[-1]["step"]
        return shown

    def _counted_on(self, rows: list[Row], steps: np.ndarray) -> list[Row]:
        steps = steps + self._offset
        values = (
            steps.astype(np.int64).tolist() if (steps == np.floor(steps)).all() and abs(steps).max() < 2**62 else steps.tolist()
        )
        return [{**row, "step": step} for row, step in zip(rows, values, strict=True)]

    def _note(self, rows: list[Row], steps: np.ndarray) -> None:
        known = steps if self._raw is None else np.concatenate(([self._raw], steps[-50:]))
        gaps = np.diff(known)
        gaps = gaps[gaps > 0]
        if len(gaps):
            self._gap = float(np.median(gaps))
        self._rows += len(rows)
        self._raw = float(steps[-1])
        epoch = rows[-1].get("epoch")
        self._epoch = epoch if type(epoch) in _NUMBERS else self._epoch

    def _starts_again(self, row: Row, step: float, total: float | None) -> bool:
        """Whether a counter that fell to `step` began a new epoch (or a new training), and did not go back to a checkpoint."""
        assert self._raw is not None and self.start is not None
        span = self._raw - self.start
        if self._rows < 3 or abs(step - self.start) > max(self._gap, 0.02 * span) or span < 2 * self._gap:
            return False
        epoch = row.get("epoch")
        if type(epoch) in _NUMBERS and self._epoch is not None:
            return bool(epoch > self._epoch)
        # A counter that says how far it goes and broke off long before began again after a failure.
        return self.begun_anew > 0 or total is None or self._raw >= 0.9 * total

    @property
    def sentence(self) -> str:
        """What was done to the steps; empty where nothing was."""
        if not self.begun_anew:
            return ""
        times = "once" if self.begun_anew == 1 else f"{self.begun_anew:,} times"
        return f"Its steps began again at {self.start:g} {times}; they are counted on here."
