"""The few figures of a run that a list shows, gathered while its metrics stream by: nothing is kept but the last lines and the best one.

A run of a million lines takes as little memory here as one of ten. Knows no files and no torch.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from engine.run_status import NOT_FINITE, NUMBERS, RunStatus, finite, whole

_RECENT = 40
"""Lines of metrics from which the time that is left is worked out."""


@dataclass(frozen=True)
class Summary:
    """The figures of a run that a list shows; None for what is not known."""

    train_loss: float | None
    """Of the newest line that has one, nats a token; NaN and infinities too, since a run that has gone wrong must show it."""
    best_bits_per_byte: float | None
    best_val_loss: float | None
    """Validation loss in nats a token at the best step."""
    best_step: int | None
    tokens: int | None
    """Tokens that the run has learnt from."""
    tokens_per_s: float | None
    """The newest figure of training alone."""
    eta_s: float | None
    """Seconds to the last step at the recent pace; None unless the run is running."""
    started: float | None
    """Unix time of the run's first start."""
    seconds: float | None
    """From the first start to the last line of metrics, pauses counted."""
    size_bytes: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Digest:
    """`see(rows)` for the lines as they come, in their order; then ask for the summary."""

    def __init__(self) -> None:
        self._recent: deque[dict[str, Any]] = deque(maxlen=_RECENT)
        self._newest: dict[str, Any] = {}
        self._best: dict[str, list[dict[str, Any]]] = {"val_bits_per_byte": [], "val_loss": []}
        """Each line that was the best when it came: where a run goes back, the best of the steps before is the last one left."""

    def see(self, rows: Sequence[dict[str, Any]]) -> None:
        """Take in lines as they were read; those without a step and a time, and what is no number in them, do not count."""
        steps = [row.get("step") for row in rows]
        if not {int}.issuperset(map(type, steps)) or (steps and not 0 <= min(steps) <= max(steps) < 2**63):
            rows = clean_rows(rows)
            steps = [row["step"] for row in rows]
        falls = [at for at, (a, b) in enumerate(itertools.pairwise(steps), 1) if b < a] if steps != sorted(steps) else []
        for start, end in itertools.pairwise([0, *falls, len(rows)]):
            if end > start:
                self._see_rising(rows[start:end])

    def _see_rising(self, rows: Sequence[dict[str, Any]]) -> None:
        if self._recent and rows[0]["step"] < self._recent[-1]["step"]:
            self._go_back(rows[0]["step"])
        self._recent.extend(clean_rows(rows[-_RECENT:]))
        for row in clean_rows([row for row in rows if "val_loss" in row or "val_bits_per_byte" in row]):
            self._see_validation(row)
        for names in (("train_loss", "tokens_per_s"), ("tokens",)):
            for row in reversed(rows):
                if names[0] in row and (kept := clean_rows([row])):
                    self._newest.update((name, kept[0][name]) for name in names if name in kept[0])
                    break

    def _see_validation(self, row: dict[str, Any]) -> None:
        for key, records in self._best.items():
            value = finite(row.get(key))
            if value is not None and (not records or value < records[-1][key]):
                records.append(row)

    def _go_back(self, step: int) -> None:
        for rows in (self._recent, *self._best.values()):
            while rows and rows[-1]["step"] >= step:
                rows.pop()

    @property
    def last(self) -> dict[str, Any]:
        """The newest line; empty where there is none."""
        return self._recent[-1] if self._recent else {}

    @property
    def best(self) -> dict[str, Any]:
        """The line with the lowest validation figure: bits a byte, or nats where no line has those; empty where none has any."""
        return next((records[-1] for records in self._best.values() if records), {})

    def pace(self) -> float | None:
        """Seconds a step lately; gaps (a pause, a night between two starts, a clock that was set) do not count."""
        ends: dict[int, float] = {}  # when the last line of each step was written: a validation belongs to the time of its step
        for row in self._recent:
            if (at := finite(row["time"])) is not None:
                ends[row["step"]] = at
        gaps = [(b[1] - a[1], b[0] - a[0]) for a, b in itertools.pairwise(ends.items()) if b[0] > a[0] and b[1] >= a[1]]
        if not gaps:
            return None
        usual = sorted(seconds / steps for seconds, steps in gaps)[len(gaps) // 2]
        kept = [(seconds, steps) for seconds, steps in gaps if seconds <= 30 + 10 * usual * steps]
        return sum(seconds for seconds, _ in kept) / max(1, sum(steps for _, steps in kept))

    def seconds_left(self, status: RunStatus) -> float | None:
        """To the last step at the recent pace; None unless the run is running."""
        if status.state != "running" or status.step is None or not status.total_steps:
            return None
        pace = self.pace()
        return max(0.0, pace * (status.total_steps - status.step)) if pace is not None else None

    def summary(self, status: RunStatus, started: float | None, size_bytes: int) -> Summary:
        """The figures, with what was found out elsewhere: how the run stands, when it was first started, its size on disk."""
        best, ended = self.best, finite(self.last.get("time"))
        tokens = finite(self._newest.get("tokens", self.last.get("tokens")))
        return Summary(
            train_loss=_figure(self._newest.get("train_loss")),
            best_bits_per_byte=finite(best.get("val_bits_per_byte")),
            best_val_loss=finite(best.get("val_loss")),
            best_step=best.get("step"),
            tokens=int(tokens) if tokens is not None else None,
            tokens_per_s=_figure(self._newest.get("tokens_per_s")),
            eta_s=self.seconds_left(status),
            started=started,
            seconds=max(0.0, ended - started) if ended is not None and started is not None else None,
            size_bytes=size_bytes,
        )


def clean_rows(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lines of `metrics.jsonl` with numbers only (NaN and infinities as floats); those without a step and a time are left out."""
    kept = []
    for row in rows:
        if not NUMBERS.issuperset(map(type, row.values())):
            row = {key: NOT_FINITE.get(value, value) if type(value) is str else value for key, value in row.items()}
            row = {key: value for key, value in row.items() if type(value) in NUMBERS}
        if whole(row.get("step")) is not None and "time" in row:
            kept.append(row)
    return kept


def _figure(value: Any) -> float | None:
    return value if isinstance(value, float) else finite(value)
