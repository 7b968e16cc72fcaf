"""Marks that are read off the curves themselves: where a loss was no number, jumped, stood still, or rose while training went on.

A trainer of ours tells of most of it in its events; logs of other programs do not, so for those the same rules are asked of the whole
curve. Pure functions on arrays. Knows no files and no screen.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from engine.training.watchdog import RISES, SPIKE_DEVIATIONS, SPIKE_SHARE, WINDOW
from engine.watching.rules import PLATEAU_COUNT, PLATEAU_SHARE

Found = tuple[int, str, str]
"""Step, words, and the kind of warning."""
MOST = 100
"""Marks of one kind, the first ones: a curve with more is odd all over."""


def not_numbers(steps: np.ndarray, values: np.ndarray) -> list[Found]:
    """The first step of each stretch in which values are not finite."""
    broken = ~np.isfinite(values)
    begins = np.flatnonzero(broken & ~np.concatenate([[False], broken[:-1]])) if len(values) else np.empty(0, dtype=int)
    return [(int(steps[at]), "the loss is no number", "nan") for at in begins[:MOST]]


def jumps(steps: np.ndarray, values: np.ndarray) -> list[Found]:
    """Where a loss lies over 6 standard deviations, and over 15 %, above the mean of the 100 before it; near ones are one."""
    good = np.isfinite(values)
    steps, values = steps[good], values[good].astype(np.float64)
    if len(values) <= WINDOW:
        return []
    sums = np.concatenate([[0.0], np.cumsum(values - values[0])])
    squares = np.concatenate([[0.0], np.cumsum((values - values[0]) ** 2)])
    mean = (sums[WINDOW:-1] - sums[: -WINDOW - 1]) / WINDOW
    spread = np.sqrt(np.maximum(0.0, (squares[WINDOW:-1] - squares[: -WINDOW - 1]) / WINDOW - mean * mean))
    mean += values[0]
    loss = values[WINDOW:]
    high = np.flatnonzero((loss > mean + SPIKE_DEVIATIONS * spread) & (loss > mean + SPIKE_SHARE * np.abs(mean)))
    found: list[Found] = []
    last = -WINDOW
    for at in high:
        if at - last >= WINDOW // 2 and len(found) < MOST:
            found.append((int(steps[WINDOW + at]), f"the loss jumped to {loss[at]:.4g} from about {mean[at]:.4g}", "spike"))
        last = at
    return found


def still(steps: np.ndarray, values: np.ndarray) -> list[Found]:
    """The beginning of each stretch of six validations or more that moved under 0.1 %."""
    good = np.isfinite(values)
    steps, values = steps[good], values[good].astype(np.float64)
    found: list[Found] = []
    at = 0
    while at + PLATEAU_COUNT <= len(values) and len(found) < MOST:
        part = values[at : at + PLATEAU_COUNT]
        middle = abs(float(part.mean()))
        if not middle or (part.max() - part.min()) / middle >= PLATEAU_SHARE:
            at += 1
            continue
        found.append((int(steps[at]), "validation stands still from here", "plateau"))
        away = np.flatnonzero(np.abs(values[at:] - part.mean()) / middle >= PLATEAU_SHARE)
        at = at + int(away[0]) if len(away) else len(values)
    return found


def rises(steps: np.ndarray, values: np.ndarray) -> list[Found]:
    """Where validation begins to rise three times in a row."""
    good = np.isfinite(values)
    steps, values = steps[good], values[good]
    up = np.concatenate([[False], values[1:] > values[:-1]]) if len(values) else np.empty(0, dtype=bool)
    found: list[Found] = []
    run = 0
    for at, rose in enumerate(up):
        run = run + 1 if rose else 0
        if run == RISES and len(found) < MOST:
            found.append((int(steps[at - RISES]), "validation rises from here", "overfitting"))
    return found


def beside(found: Iterable[Found], told: Iterable[tuple[int, str]], near: int) -> list[Found]:
    """Without those of which an event of the same kind tells within `near` steps."""
    told = list(told)
    return [one for one in found if not any(kind == one[2] and abs(step - one[0]) <= near for step, kind in told)]
