"""From runs to figures: which arrays are drawn, over which range, and what stands under the cursor. Knows no Textual.

Arrays are taken from a feed's table under its lock and used without it: they stay valid (see `engine.watching.table`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from engine.watching.curves import nearest, smooth
from engine.watching.feed import Feed
from engine.watching.table import Series
from tinytales_tui.figures import duration, short_count
from tinytales_tui.plot.figure import FIRST_CURVE, MARK, Curve, Figure, MarkAt
from tinytales_tui.train.charts.measures import MEASURES, Axis, Looking, Measure

if TYPE_CHECKING:
    from engine.watching.marks import Mark

LETTERS = "abcdef"
"""Name the runs of a chart where colours do not."""
CHECKS = FIRST_CURVE + 12
"""Style of validation where one run is drawn."""
MARK_LETTERS = {
    "checkpoint": ("c", 2), "best": ("★", 6), "sample": ("s", 1), "started": ("┆", 0), "resumed": ("r", 4), "warning": ("!", 7),
    "phase": ("~", 3), "paused": ("p", 4), "finished": ("f", 5), "failed": ("✖", 8), "stopped": ("x", 5),
}  # fmt: skip
"""Letter and rank of each kind of mark."""
MARK_WORDS = (
    ("★", "the best validation"), ("!", "a warning"), ("✖", "it failed"), ("c", "a checkpoint"), ("s", "sample stories"),
    ("r", "it went on"), ("p", "it was paused"), ("x  f", "it was stopped; it finished"), ("~", "the learning rate turns"),
    ("faint, line, dots", "raw values, their moving average, validation"), ("▲ ▼ ×", "values above, below, or no numbers"),
)  # fmt: skip
"""What stands in and under a chart, for the help."""
_NEGLIGIBLE = 1e-6


@dataclass(frozen=True)
class Taken:
    """The arrays of one feed as they are at this moment."""

    feed: Feed
    axes: dict[str, np.ndarray]
    series: dict[str, Series]

    @property
    def rows(self) -> int:
        return len(self.axes["step"])

    def along(self, axis: Axis) -> np.ndarray | None:
        """x of every row, ascending; None where the run does not say it. Time counts from the first row, in seconds."""
        values = self.axes[axis]
        if axis == "step":
            return values
        if not len(values) or math.isnan(values[0]):
            return None
        rising = np.fmax.accumulate(values)  # a clock that was set back stands still for a while
        return rising - rising[0] if axis == "time" else rising

    def points(self, name: str, axis: Axis) -> tuple[np.ndarray, np.ndarray] | None:
        """x and y of a series; None where there is none."""
        found, x = self.series.get(name), self.along(axis)
        return (x[found.rows], found.values) if found is not None and x is not None else None

    def names(self) -> list[str]:
        return list(self.series)


def take(feed: Feed) -> Taken | None:
    """The arrays of a feed; None while its curve is not kept."""
    with feed.lock:
        table = feed.table
        if table is None:
            return None
        axes = {name: table.axis(name) for name in ("step", "tokens", "time")}
        found = (table.series(name) for name in table.names)
        return Taken(feed, axes, {series.name: series for series in found if series is not None})


def usable_axis(taken: Sequence[Taken], axis: Axis) -> Axis:
    """The axis itself, or steps where the first run does not say the other."""
    return axis if taken and taken[0].along(axis) is not None else "step"


def extent(taken: Sequence[Taken], axis: Axis, snap: bool = True) -> tuple[float, float]:
    """From the first to the last x of all runs; the end at a round place a little beyond, so that not every new point moves it all."""
    ends = [(float(x[0]), float(x[-1])) for one in taken if (x := one.along(axis)) is not None and len(x)]
    if not ends:
        return 0.0, 1.0
    first, last = min(low for low, _ in ends), max(high for _, high in ends)
    if snap and last > first:
        step = 2.0 ** math.ceil(math.log2((last - first) / 50))
        last = math.ceil(last / step) * step
    return first, last if last > first else first + 1


def figure(
    measure: Measure,
    taken: Sequence[Taken],
    looking: Looking,
    marks: Sequence[Mark] | None = None,
    gutter: int = 0,
) -> Figure:
    """The chart of a measure; the first run counts most, and alone shows its raw values."""
    axis = usable_axis(taken, looking.axis)
    first, last = looking.range(*extent(taken, axis))
    curves: list[Curve] = []
    alone = len(taken) == 1
    for place, one in enumerate(taken):
        strong = FIRST_CURVE + 2 * place
        letter = "*" if alone else LETTERS[place]
        if measure.raw and (points := one.points(measure.raw, axis)):
            curves += _measured(*points, first, last, looking.smoothing, strong, letter, alone)
        if measure.checks and (points := one.points(measure.checks, axis)):
            curves.append(Curve(*points, CHECKS if alone else strong, "points", "o" if alone else letter))
    return Figure(
        curves,
        first,
        last,
        log=measure.log if looking.log is None else looking.log,
        marks=None if marks is None else _marks_at(marks, taken, axis),
        cursor=looking.cursor,
        time=axis == "time",
        trim=looking.trim,
        gutter=gutter,
    )


def _measured(
    x: np.ndarray, y: np.ndarray, first: float, last: float, weight: float, style: int, letter: str, alone: bool
) -> list[Curve]:
    # What lies further before the visible part than the average remembers need not be smoothed.
    memory = math.ceil(math.log(_NEGLIGIBLE) / math.log(weight)) if weight > 0 else 0
    start = max(0, int(np.searchsorted(x, first)) - memory)
    end = int(np.searchsorted(x, last, "right"))
    x, y = x[start:end], y[start:end]
    raw = Curve(x, y, style + 1, "band", ".")
    if weight <= 0:
        return [Curve(x, y, style, "band", letter, named=not alone)]
    line = Curve(x, smooth(y, weight), style, "line", letter, named=not alone)
    return [raw, line] if alone else [line]


def _marks_at(marks: Sequence[Mark], taken: Sequence[Taken], axis: Axis) -> list[MarkAt]:
    found = []
    for mark in marks:
        x = x_of_step(taken[0], mark.step, axis) if taken else None
        if x is not None:
            letter, rank = MARK_LETTERS.get(mark.kind, ("·", 0))
            found.append(MarkAt(x, letter, rank, MARK))
    return found


def x_of_step(taken: Taken, step: float, axis: Axis) -> float | None:
    """Where a step lies on an axis; None where the run does not say it."""
    if axis == "step":
        return float(step)
    x = taken.along(axis)
    if x is None or not len(x):
        return None
    return float(np.interp(step, taken.axes["step"], x))


def step_of_x(taken: Taken, x: float, axis: Axis) -> float | None:
    """The step of the row that is nearest to an x; None where there are no rows."""
    along = taken.along(axis)
    at = nearest(along, x) if along is not None else None
    return float(taken.axes["step"][at]) if at is not None else None


@dataclass(frozen=True)
class Reading:
    """A value under the cursor."""

    words: str
    text: str
    style: int


def position(taken: Taken, looking: Looking) -> tuple[str, float | None]:
    """Where the cursor stands in a run, in words (`step 4,000 · 16.4M tokens · 1 h 10 min`), and its step; without one, the newest."""
    axis = usable_axis([taken], looking.axis)
    along = taken.along(axis)
    if along is None or not len(along):
        return "", None
    at = nearest(along, looking.cursor) if looking.cursor is not None else len(along) - 1
    step = float(taken.axes["step"][at])
    parts = [f"step {step:,.0f}" if step.is_integer() else f"step {step:,.2f}"]
    if not math.isnan(tokens := taken.axes["tokens"][at]):
        parts.append(f"{short_count(tokens)} tokens")
    times = taken.along("time")
    if times is not None:
        parts.append(duration(times[at]))
    return " · ".join(parts), step


def readings(taken: Taken, looking: Looking, measures: Sequence[Measure]) -> list[Reading]:
    """The values of every series where the cursor is: the nearest one of each; of one measured now and then, with its step."""
    axis = usable_axis([taken], looking.axis)
    found: list[Reading] = []
    for measure in measures:
        for name, style in ((measure.raw, FIRST_CURVE), (measure.checks, CHECKS)):
            points = taken.points(name, axis) if name else None
            if points is None or not len(points[0]):
                continue
            x, y = points
            at = nearest(x, looking.cursor) if looking.cursor is not None else len(x) - 1
            assert at is not None
            words = ("validation" if measure.raw else measure.short) if name == measure.checks else measure.short
            text = measure.exact(float(y[at])) if math.isfinite(y[at]) else str(float(y[at]))
            if name == measure.raw and measure.id == "loss" and looking.smoothing > 0:
                text += f" (smooth {measure.exact(_smooth_at(y, at, looking.smoothing))})"
            if name == measure.checks:
                step = taken.axes["step"][taken.series[name].rows][at]  # type: ignore[index]
                text += f" at {step:,.0f}"
            found.append(Reading(words, text, style))
    return found


def compared(taken: Sequence[Taken], looking: Looking, measure: Measure) -> list[Reading]:
    """One measure of several runs where the cursor is; a run that does not reach that far says nothing."""
    axis = usable_axis(taken, looking.axis)
    found = []
    for place, one in enumerate(taken):
        parts = []
        for name in (measure.raw, measure.checks):
            points = one.points(name, axis) if name else None
            if points is None or not len(points[0]):
                continue
            x, y = points
            cursor = looking.cursor if looking.cursor is not None else float(x[-1])
            if cursor > x[-1] and name == measure.raw:
                continue
            at = nearest(x, cursor)
            value = float(y[at])  # type: ignore[index]
            if name == measure.raw and looking.smoothing > 0:
                value = _smooth_at(y, at, looking.smoothing)  # type: ignore[arg-type]
            parts.append(measure.exact(value) if math.isfinite(value) else str(value))
        found.append(Reading(LETTERS[place], " / ".join(parts) or "-", FIRST_CURVE + 2 * place))
    return found


def _smooth_at(y: np.ndarray, at: int, weight: float) -> float:
    memory = math.ceil(math.log(_NEGLIGIBLE) / math.log(weight))
    part = smooth(y[max(0, at + 1 - memory) : at + 1], weight)
    finite = part[np.isfinite(part)]
    return float(finite[-1]) if len(finite) else math.nan


def measure_named(name: str, measures: Sequence[Measure] = MEASURES) -> Measure:
    """The measure of that id, or the first."""
    return next((measure for measure in measures if measure.id == name), measures[0])
