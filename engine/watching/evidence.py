"""What a verdict goes by: the last stretch of a run's curves and how it stands, gathered from a feed.

Only the end of each curve is taken, so that a run of a million steps costs no more than one of ten thousand. Knows no rules (those are
in `engine.watching.rules`), no files and no screen.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine.run_status import finite, whole
from engine.watching.feed import Feed
from engine.watching.table import MetricsTable, Series

RECENT_POINTS, RECENT_VALIDATIONS, RECENT_EVENTS = 4000, 200, 500
"""How much of the end of each curve, and of the events, is looked at."""


@dataclass(frozen=True)
class Curve:
    """The end of one curve: arrays of one shape, float64; values may be NaN or infinite, steps never are."""

    steps: np.ndarray = field(default_factory=lambda: np.empty(0))
    values: np.ndarray = field(default_factory=lambda: np.empty(0))
    broken_since: int | None = None
    """Where the newest values are no finite numbers: the step since when; looked for in the whole curve."""

    def __len__(self) -> int:
        return len(self.values)

    def finite(self) -> Curve:
        """Only the points whose values are finite."""
        good = np.isfinite(self.values)
        return self if good.all() else Curve(self.steps[good], self.values[good], self.broken_since)


@dataclass(frozen=True)
class Best:
    """The best validation of a run."""

    value: float
    step: int | None


@dataclass(frozen=True)
class Evidence:
    """All that the rules look at. What is not known is None, or an empty curve."""

    now: float
    """Unix time in seconds."""
    state: str
    """Of `RunStatus`, or `following` and `quiet` for a log of another program."""
    own: bool = True
    """Whether it is a run of this program's trainer."""
    claimed: str | None = None
    step: int | None = None
    """Optimizer steps done."""
    total_steps: int | None = None
    silent_s: float | None = None
    """Seconds since the last sign of life; never negative."""
    ahead_s: float = 0.0
    """Seconds by which the last sign of life lies in the future, as when clocks disagree."""
    here: bool = True
    """Whether the trainer runs on this machine, as far as it says."""
    message: str | None = None
    """What the trainer said about its state."""
    loading: float | None = None
    """Share of the figures that has been read; None where all are."""
    train: Curve = Curve()
    """Training loss."""
    val: Curve = Curve()
    """Validation: bits a byte where they are measured, else the loss."""
    val_unit: str = ""
    """`bits a byte`, `nats a token`, or empty where it is not known."""
    grad: Curve = Curve()
    """Norm of the gradient."""
    lr: Curve = Curve()
    """Learning rate."""
    last_loss: float | None = None
    """The newest training loss, known also where the curve is not."""
    best: Best | None = None
    usual_step_s: float | None = None
    last_step_at: float | None = None
    """Unix time of the newest figures."""
    usual_gap_s: float | None = None
    """Seconds between two lines of figures lately (median)."""
    longest_gap_s: float | None = None
    """The longest of the last few hundred such gaps, those of ten minutes and more left out."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The trainer's settings; empty where they are not known."""
    events: Sequence[Mapping[str, Any]] = ()

    @property
    def here_step(self) -> int | None:
        """The step that the figures have come to, else the one that the status says."""
        return int(self.train.steps[-1]) if len(self.train) else self.step

    def setting(self, name: str) -> int | None:
        """A whole number out of the settings."""
        return whole(self.settings.get(name))

    def last_event(self, *names: str) -> Mapping[str, Any] | None:
        """The newest event of one of these names."""
        return next((row for row in reversed(self.events) if row.get("event") in names), None)


def evidence_of(feed: Feed, now: float) -> Evidence:
    """What is known of a run or log at `now` (Unix seconds). Takes the feed's lock for a moment; safe from any thread."""
    status, summary, own = feed.status, feed.summary, feed.kind == "run"
    curves: dict[str, Any] = {}
    with feed.lock:
        if feed.table is not None:
            curves = _curves(feed.table, own)
    if status.heartbeat is not None:
        age = now - status.heartbeat
        silent, ahead = max(0.0, age), max(0.0, -age)
    else:
        silent, ahead = status.age, 0.0
    best = _best(curves.get("val", Curve()), curves.get("val_unit", ""), summary)
    if best and not curves.get("val_unit"):
        curves["val_unit"] = _unit_of(summary, own)
    return Evidence(
        now=now,
        state=status.state,
        own=own,
        claimed=status.claimed,
        step=status.step,
        total_steps=status.total_steps,
        silent_s=silent,
        ahead_s=ahead,
        here=status.host is None or status.host == socket.gethostname(),
        message=status.message,
        loading=feed.loading,
        last_loss=summary.train_loss if summary else None,
        best=best,
        usual_step_s=feed.usual_step_s,
        settings=feed.settings,
        events=tuple(feed.events[-RECENT_EVENTS:]),
        **curves,
    )


def _curves(table: MetricsTable, own: bool) -> dict[str, Any]:
    bits, loss = table.series("val_bits_per_byte"), table.series("val_loss")
    use_bits = bits is not None and (loss is None or len(bits) >= len(loss))
    train = table.series("train_loss")
    found: dict[str, Any] = {
        "train": _tail(table, train, RECENT_POINTS),
        "val": _tail(table, bits if use_bits else loss, RECENT_VALIDATIONS),
        "val_unit": "bits a byte" if use_bits else "nats a token" if own else "",
        "grad": _tail(table, table.series("grad_norm"), RECENT_POINTS // 4),
        "lr": _tail(table, table.series("lr"), 50),
    }
    times = table.axis("time")[-300:]
    known = times[np.isfinite(times)]
    if len(known):
        found["last_step_at"] = float(known[-1])
    gaps = np.diff(known)
    gaps = gaps[(gaps >= 0) & (gaps < 600)]
    if len(gaps):
        found["usual_gap_s"], found["longest_gap_s"] = float(np.median(gaps)), float(gaps.max())
    return found


def _tail(table: MetricsTable, series: Series | None, count: int) -> Curve:
    """A copy of the last points, so that the table may change afterwards."""
    if series is None:
        return Curve()
    steps, values = table.axis("step"), series.values
    return Curve(_rows(steps, series, len(values) - count), values[-count:].astype(np.float64), _broken_since(steps, series))


def _rows(axis: np.ndarray, series: Series, start: int) -> np.ndarray:
    start = max(0, start)
    if isinstance(series.rows, slice):
        return axis[series.rows.start + start : series.rows.stop].copy()
    return axis[series.rows[start:]]


def _broken_since(steps: np.ndarray, series: Series) -> int | None:
    values = series.values
    if not len(values) or math.isfinite(values[-1]):
        return None
    end = len(values)
    while end > 0:
        start = max(0, end - 65_536)
        good = np.flatnonzero(np.isfinite(values[start:end]))
        if len(good):
            end = start + int(good[-1]) + 1
            break
        end = start
    row = series.rows.start + end if isinstance(series.rows, slice) else int(series.rows[end])
    return int(steps[row])


def _best(val: Curve, unit: str, summary: Any) -> Best | None:
    """The lowest validation: of the whole run where the summary has it, else of the stretch that was taken."""
    told = None
    if summary is not None:
        bits, nats = finite(summary.best_bits_per_byte), finite(summary.best_val_loss)
        value = (bits if bits is not None else nats) if not unit else bits if unit == "bits a byte" else nats
        told = Best(value, summary.best_step) if value is not None else None
    val = val.finite()
    if len(val):
        at = int(np.argmin(val.values))
        if told is None or val.values[at] < told.value - 1e-6 * abs(told.value):
            return Best(float(val.values[at]), int(val.steps[at]))
    return told


def _unit_of(summary: Any, own: bool) -> str:
    return "bits a byte" if finite(summary.best_bits_per_byte) is not None else "nats a token" if own else ""
