"""Curves made ready for drawing: smoothed, and gathered into the columns of a screen. Pure functions on arrays; knows no screen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


def smooth(values: np.ndarray, weight: float) -> np.ndarray:
    """Exponential moving average, float64 of the same shape: each value keeps `weight` (0 to below 1) of what came before.

    Corrected for its start, as in TensorBoard: the first value stands for itself. Values that are not finite are passed over (NaN in the
    result) and do not count. Worked out by doubling (Hillis and Steele 1986): a few passes over the array in place of a step a value.
    """
    values = np.asarray(values, dtype=np.float64)
    if weight <= 0 or not len(values):
        return np.where(np.isfinite(values), values, np.nan)
    good = np.isfinite(values)
    if not good.all():
        result = np.full(len(values), np.nan)
        result[good] = smooth(values[good], weight)
        return result
    mean = values * (1 - weight)
    reach, factor = 1, weight
    while reach < len(mean) and factor > 1e-9:
        mean[reach:] += factor * mean[:-reach]  # the right side is made whole before it is added
        reach, factor = reach * 2, factor * factor
    return mean / -np.expm1(np.arange(1, len(mean) + 1) * np.log(weight))


@dataclass(frozen=True)
class Columns:
    """A curve gathered into equal parts of the x axis; arrays of shape (columns,)."""

    low: np.ndarray
    """Smallest finite value; NaN where there is none."""
    high: np.ndarray
    mean: np.ndarray
    broken: np.ndarray
    """bool: a value in it is not finite."""


def gather(x: np.ndarray, y: np.ndarray, first: float, last: float, count: int) -> Columns:
    """The points with `first` <= x <= `last` in `count` columns. A single spike keeps its height however many points share its column.

    `x` ascends.
    """
    empty = np.full(count, np.nan)
    start, end = np.searchsorted(x, first, "left"), np.searchsorted(x, last, "right")
    if end <= start or not last >= first:
        return Columns(empty, empty, empty, np.zeros(count, dtype=bool))
    x, y = x[start:end], y[start:end]
    if last == first:
        at = np.zeros(count + 1, dtype=np.intp)
        at[count // 2 + 1 :] = len(x)
    else:
        at = np.searchsorted(x, np.linspace(first, last, count + 1)[:-1], "left")
        at = np.append(at, len(x))
    used = at[1:] > at[:-1]
    starts = at[:-1][used]
    finite = np.isfinite(y)
    whole = bool(finite.all())
    clean = y if whole else np.where(finite, y, np.nan)
    low, high, mean = empty.copy(), empty.copy(), empty.copy()
    broken = np.zeros(count, dtype=bool)
    low[used], high[used] = np.fmin.reduceat(clean, starts), np.fmax.reduceat(clean, starts)
    numbers = np.diff(np.append(starts, len(y)))
    if whole:
        mean[used] = np.add.reduceat(y, starts, dtype=np.float64) / numbers
    else:
        there = np.add.reduceat(finite, starts, dtype=np.float64)
        broken[used] = there < numbers
        with np.errstate(invalid="ignore", divide="ignore"):
            mean[used] = np.add.reduceat(np.where(finite, y, 0), starts, dtype=np.float64) / there
    return Columns(low, high, mean, broken)


def nearest(x: np.ndarray, at: float) -> int | None:
    """Index of the point whose x is nearest; None where there is no point."""
    if not len(x):
        return None
    place = int(np.searchsorted(x, at))
    if place == 0:
        return 0
    if place == len(x) or at - x[place - 1] <= x[place] - at:
        return place - 1
    return place
