"""Axes: round numbers to put on them, and how those are written. Linear, logarithmic, and time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tinytales_tui.figures import short_count

_TIME_STEPS = (
    1,
    2,
    5,
    10,
    15,
    30,
    60,
    120,
    300,
    600,
    900,
    1800,
    3600,
    7200,
    14_400,
    21_600,
    43_200,
    86_400,
    172_800,
    345_600,
    864_000,
)


@dataclass(frozen=True)
class Scale:
    """A range of values and how a value becomes a share of it."""

    low: float
    high: float
    log: bool = False

    def share(self, values: np.ndarray) -> np.ndarray:
        """0 at `low` to 1 at `high`, beyond that outside; NaN for what a logarithm does not take."""
        if self.high <= self.low:
            return np.where(np.isfinite(values), 0.5, np.nan)
        if not self.log:
            return (values - self.low) / (self.high - self.low)
        with np.errstate(invalid="ignore", divide="ignore"):
            logs = np.where(values > 0, np.log(values), np.nan)
        return (logs - math.log(self.low)) / (math.log(self.high) - math.log(self.low))

    def value(self, share: float) -> float:
        """The value at a share of the range."""
        if self.log:
            return math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        return self.low + share * (self.high - self.low)


def y_scale(low: float, high: float, log: bool) -> Scale:
    """A scale that holds these values and ends at round numbers, so that it seldom moves while a curve grows."""
    if log and low > 0:
        return Scale(_round_log(low, down=True), _round_log(high, down=False), True)
    if high <= low:
        room = abs(low) * 0.1 or 1.0
        return Scale(low - room, high + room)
    step = _step((high - low) / 8)
    return Scale(math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step)


def ticks(scale: Scale, most: int) -> list[float]:
    """At most `most` round values inside a scale, ascending; at least one where a scale has any room."""
    if most < 1 or scale.high <= scale.low:
        return [scale.low]
    if scale.log and (found := _log_ticks(scale, most)):
        return found
    step = _step((scale.high - scale.low) / most)
    while (found := _multiples(scale, step)) and len(found) > most:
        step = _step(step * 1.01)
    return found or [scale.low]


def time_ticks(scale: Scale, most: int) -> list[float]:
    """Like `ticks`, in seconds that are round as durations."""
    steps = iter(_TIME_STEPS)
    step = float(next(steps))
    while len(_multiples(scale, step)) > max(1, most):
        step = float(next(steps, 0)) or step * 2
    return _multiples(scale, step) or [scale.low]


def value_label(value: float) -> str:
    """A value of an axis in at most seven characters."""
    size = abs(value)
    if not math.isfinite(value) or size == 0:
        return "0" if size == 0 else str(value)
    if size >= 10_000:
        return short_count(value) if size < 1e12 else f"{value:.0e}".replace("e+", "e")
    if size < 0.001:
        digits, _, power = f"{value:.1e}".partition("e")
        return f"{digits.removesuffix('.0')}e{int(power)}"
    return f"{value:.4g}"


def labels(values: list[float], write: Callable[[float], str] = value_label) -> list[str]:
    """Labels that tell the values apart: those of a linear axis get the same number of decimals."""
    largest = max(map(abs, values), default=0.0)
    if write is value_label and 0.0005 <= largest < 10_000:
        for decimals in range(7):
            if all(abs(round(value, decimals) - value) <= 1e-3 * abs(value) for value in values):
                return [f"{value:.{decimals}f}" if value else "0" for value in values]
    return [write(value) for value in values]


def _step(least: float) -> float:
    """The smallest of 1, 2, 2.5, 5 times a power of ten that is not under `least`."""
    if least <= 0 or not math.isfinite(least):
        return 1.0
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10, 20) if factor * power >= least * (1 - 1e-9))


def _multiples(scale: Scale, step: float) -> list[float]:
    first, last = math.ceil(scale.low / step - 1e-9), math.floor(scale.high / step + 1e-9)
    if last - first > 1000:
        return [0.0] * 1001
    return [number * step for number in range(first, last + 1)]


def _log_ticks(scale: Scale, most: int) -> list[float]:
    """Powers of ten, or 1, 2, 5 of each, or finer; few enough, and at least two."""
    first, last = math.floor(math.log10(scale.low)), math.ceil(math.log10(scale.high))
    best: list[float] = []
    for factors in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7), tuple(n / 10 for n in range(10, 100, 2))):
        found = [f * 10.0**power for power in range(first, last + 1) for f in factors]
        found = [value for value in found if scale.low * (1 - 1e-9) <= value <= scale.high * (1 + 1e-9)]
        if len(found) > most:
            break
        best = found
    if len(best) > 1:
        return best
    return []


def _round_log(value: float, down: bool) -> float:
    """To two digits, the second one even."""
    power = 10.0 ** (math.floor(math.log10(value)) - 1)
    digits = value / power / 2
    return max((math.floor(digits + 1e-9) if down else math.ceil(digits - 1e-9)) * 2 * power, 5e-324)
