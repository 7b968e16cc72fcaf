"""What can be said of a noisy curve: whether it rises, falls or jumped, by the means of windows and their standard errors. Pure.

Neighbouring losses are taken for independent, which a training loss nearly is; so an "error" here is a lower bound, and three or four
of them are asked for. Also the few words in which such figures are told. Knows no runs and no rules.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from engine.training.watchdog import SPIKE_DEVIATIONS, SPIKE_SHARE, WINDOW
from engine.watching.evidence import Curve

RISE_ERRORS, RISE_SHARE = 4.0, 0.10
"""By how many standard errors, and by what share, a mean must lie above an earlier one for the loss to have risen."""
BLOCK_SMALLEST, BLOCK_LARGEST, BLOCKS = 10, 100, 20
OVERFIT_COUNT, OVERFIT_SHARE, OVERFIT_ERRORS = 3, 0.005, 3.0
"""Validations, and by what share of the best and how many standard errors their mean must lie above it for it to be overfitting."""
TREND_POINTS, TREND_ERRORS = (500, 2000, 4000), 3.0
SPIKE_RECENT = 200
"""How many of the last figures are searched for a jump."""
SPIKE_AFTER = 5
"""Figures after a jump from which it is told whether the loss has come back."""


@dataclass(frozen=True)
class Rise:
    """The loss lies clearly above an earlier low, in means of blocks."""

    low: float
    low_step: int
    peak: float
    peak_step: int
    now: float
    recovering: bool
    """Whether it is coming down again."""


@dataclass(frozen=True)
class Spike:
    """One loss far above those before it."""

    step: int
    value: float
    sigmas: float
    recovered: bool | None
    """None: too few figures since to tell."""


@dataclass(frozen=True)
class Trend:
    """A clear change between the two halves of the last stretch."""

    share: float
    """Change / mean of the first half; negative where it falls."""
    span: int
    """Steps of the stretch that was looked at."""

    @property
    def per_thousand(self) -> float:
        """The change a thousand steps, as a share; the halves' middles lie half the stretch apart."""
        return self.share * 1000 / max(1.0, self.span / 2)


def rise(curve: Curve) -> Rise | None:
    """Whether the last two blocks lie over 10 % and 4 standard errors above the lowest block before them."""
    curve = curve.finite()
    size = min(BLOCK_LARGEST, max(BLOCK_SMALLEST, len(curve) // BLOCKS))
    count = len(curve) // size
    if count < 3:
        return None
    blocks = curve.values[-size * count :].reshape(count, size)
    ends = curve.steps[-size * count :].reshape(count, size)[:, -1]
    means = blocks.mean(axis=1)
    with np.errstate(over="ignore", invalid="ignore"):
        errors = blocks.std(axis=1) / math.sqrt(size)
    low = int(np.argmin(means[:-2]))
    higher = means[-2:] - means[low]
    clear = (higher > RISE_ERRORS * np.hypot(errors[-2:], errors[low])).all()
    apart = blocks[-2:].min() > blocks[low].max()  # where a loss explodes, the errors explode with it
    if not (clear or apart) or not (higher > RISE_SHARE * abs(means[low])).all():
        return None
    top = low + int(np.argmax(means[low:]))
    falls = means[-1] < means[-2] - 2 * math.hypot(errors[-1], errors[-2])
    back = means[top] - means[-1] > 0.5 * (means[top] - means[low])
    return Rise(float(means[low]), int(ends[low]), float(means[top]), int(ends[top]), float(means[-1]), bool(falls or back))


def spike(curve: Curve) -> Spike | None:
    """The highest jump among the last 200 figures: 6 standard deviations and 15 % above the mean of up to 100 before it."""
    curve = curve.finite()
    values = curve.values[-SPIKE_RECENT - WINDOW :]
    steps = curve.steps[-len(values) :] if len(values) else curve.steps
    least = WINDOW // 2
    if len(values) <= least:
        return None
    sums = np.concatenate(([0.0], np.cumsum(values)))
    shifted = values - values.mean()  # squares of what is left lose no digits
    ones, squares = np.concatenate(([0.0], np.cumsum(shifted))), np.concatenate(([0.0], np.cumsum(shifted**2)))
    at = np.arange(max(least, len(values) - SPIKE_RECENT), len(values))
    start = np.maximum(0, at - WINDOW)
    count = at - start
    means = (sums[at] - sums[start]) / count
    spread = np.sqrt(np.maximum(0.0, (squares[at] - squares[start]) / count - ((ones[at] - ones[start]) / count) ** 2))
    spread = np.maximum(spread, 1e-3 * np.abs(means) + 1e-12)
    sigmas = (values[at] - means) / spread
    sigmas[values[at] - means <= SPIKE_SHARE * np.abs(means)] = 0.0
    best = int(np.argmax(sigmas))
    if sigmas[best] <= SPIKE_DEVIATIONS:
        return None
    place = int(at[best])
    after = values[place + 1 :][-10:]
    recovered = bool(after.mean() <= means[best] + 2 * spread[best]) if len(after) >= SPIKE_AFTER else None
    return Spike(int(steps[place]), float(values[place]), float(min(sigmas[best], 1000.0)), recovered)


def trend(curve: Curve) -> Trend | None:
    """How the loss changes from the first half to the second of the shortest stretch that tells: the last 500, 2,000 or 4,000 figures.

    None where each change lies within 3 standard errors, or there are under 20 figures.
    """
    curve = curve.finite()
    for count in TREND_POINTS:
        values, steps = curve.values[-count:], curve.steps[-count:]
        if len(values) < 20:
            return None
        half = len(values) // 2
        first, second = values[:half], values[half:]
        before = float(first.mean())
        with np.errstate(over="ignore", invalid="ignore"):
            change = float(second.mean()) - before
            error = math.hypot(first.std() / math.sqrt(len(first)), second.std() / math.sqrt(len(second)))
        if abs(change) > TREND_ERRORS * error and before:
            return Trend(change / abs(before), int(steps[-1] - steps[0]))
        if count >= len(curve):
            break
    return None


def fell_since(curve: Curve, step: int) -> bool:
    """Whether the mean of the last figures lies clearly (2 standard errors) under that of as many up to `step`."""
    curve = curve.finite()
    place = int(np.searchsorted(curve.steps, step, "right"))
    size = min(WINDOW, len(curve) - place, max(place, BLOCK_SMALLEST))
    if size < 2:
        return False
    then = curve.values[max(0, place - size) : max(place, size)]
    now = curve.values[-size:]
    error = math.hypot(then.std() / math.sqrt(len(then)), now.std() / math.sqrt(len(now)))
    return bool(now.mean() < then.mean() - 2 * error)


def overfits_since(train: Curve, val: Curve) -> int | None:
    """The step of the best validation, where validation has risen ever since and the training loss fell."""
    val = val.finite()
    if len(val) <= OVERFIT_COUNT:
        return None
    low = int(np.argmin(val.values))
    last = val.values[low + 1 :][-OVERFIT_COUNT:]
    best = float(val.values[low])
    if len(last) < OVERFIT_COUNT or best <= 0:
        return None
    # The lowest of many noisy values is low by chance: it is its neighbourhood that must have been left behind.
    around = float(val.values[max(0, low - 1) : low + 2].mean())
    errors = _scatter(val.values[-20:]) * math.sqrt(2 / OVERFIT_COUNT)
    clear = last.mean() > best * (1 + OVERFIT_SHARE) and last.mean() > around + OVERFIT_ERRORS * errors
    rises = last.min() > best and clear and last[-1] > last[0]
    step = int(val.steps[low])
    return step if rises and fell_since(train, step) else None


def _scatter(values: np.ndarray) -> float:
    """Standard deviation of values about a smooth curve, by their third differences; 0 where there are too few to tell."""
    bends = np.diff(values, 3)
    # The median, so that a bend of the curve itself does not count; 0.6745 makes it a standard deviation, sqrt(20) that of one value.
    return float(np.median(np.abs(bends))) / 0.6745 / math.sqrt(20) if len(bends) >= 4 else 0.0


def figure(value: float) -> str:
    """A loss or a norm as it is told: three digits after the point, or three in all where it is very small or large."""
    return f"{value:.3f}" if value == 0 or 0.01 <= abs(value) < 1000 else f"{value:.3g}"


def plural(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def spoken(seconds: float) -> str:
    """A time in one unit, or two of the large ones: `0.3 s`, `45 s`, `12 min`, `3 h 05 min`, `4 d 2 h`; never negative."""
    seconds = max(0.0, seconds)
    if seconds < 9.95:
        return f"{seconds:.1f} s" if seconds >= 0.05 or not seconds else f"{seconds:.2g} s"
    if seconds < 119.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    if minutes < 2880:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"
