"""Whether a run will fill its disk: from how its folder has grown, measured, not from what its settings promise.

A trainer removes old checkpoints while it writes new ones, so a folder that goes up and down usually does not grow at all. Only what
was never given back counts, and only where it went on growing. Reads no file; knows no torch and no screen.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

from engine.run_status import real
from engine.run_view import CheckpointInfo

Growth = Sequence[tuple[float, float]]
"""(unix time in seconds, bytes), in the order in which they were measured."""
LEAST_SPAN = 600.0
"""Seconds that must have been seen before anything is said."""
FARTHEST = 30 * 86_400.0
"""Seconds; a disk that lasts longer than that is no news."""
_LEAST_POINTS = 4
_SETTLES = 120.0
"""Seconds (or a tenth of what was seen) after which what came is taken to stay."""
_NEWEST = 2
"""Checkpoints that a trainer keeps whatever comes, and removes later."""


def forecast(free_bytes: float | None, growth: Growth, *, ends_in: float | None = None) -> str | None:
    """One sentence that says when the disk is full; None where it does not fill, lasts a month, or too little was seen.

    `ends_in` are the seconds that the run still needs: nothing is said where it ends before the disk is full. For `free_bytes` and
    `growth` see `seconds_until_full`.
    """
    if free_bytes is not None and free_bytes <= 0:
        return "The disk is full."
    left = seconds_until_full(free_bytes, growth)
    if left is None or left > FARTHEST or (ends_in is not None and ends_in < left):
        return None
    return f"The disk is full in about {_about(left)} at this rate of checkpoints."


def seconds_until_full(free_bytes: float | None, growth: Growth) -> float | None:
    """Seconds until `free_bytes` are used up at the pace of `growth`; None where it does not grow or too little was seen.

    Backward jumps of the clock cut off what lies before them, long gaps (a pause, a suspended machine, a forward jump) count as one
    usual interval, and what was there before the last time that the folder was at its smallest (somebody deleted checkpoints) no
    longer counts.
    """
    if free_bytes is None or not math.isfinite(free_bytes):
        return None
    pace = _bytes_a_second(_steady(growth))
    return max(0.0, free_bytes) / pace if pace > 0 else None


def checkpoint_growth(checkpoints: Sequence[CheckpointInfo], events: Sequence[dict[str, Any]]) -> list[tuple[float, float]]:
    """The growth that the checkpoints of a run tell: when each of those that stay was written, and the bytes of all up to it.

    So that something can be said as soon as a run is opened. The best one and the newest two, which will be replaced, do not count.
    """
    written: dict[str, float] = {}
    for event in events:
        at, folder = real(event.get("time")), event.get("folder")
        if event.get("event") == "checkpoint" and at is not None and isinstance(folder, str):
            written[folder.replace("\\", "/").rpartition("/")[2]] = at
    stepped = sorted((c for c in checkpoints if not c.best and c.step is not None), key=lambda c: c.step or 0)
    found: list[tuple[float, float]] = []
    total = 0.0
    for checkpoint in stepped[:-_NEWEST]:
        if checkpoint.name in written:
            total += checkpoint.bytes
            found.append((written[checkpoint.name], total))
    return found


class DiskWatch:
    """Follows how one run's folder grows, from sizes that others measure. Reads nothing itself, so it never blocks."""

    def __init__(self, every: float = 30.0, kept: int = 400) -> None:
        self.measured: list[tuple[float, float]] = []
        """(unix time, bytes of the folder), the oldest first."""
        self._every = every
        self._kept = max(8, kept)
        self._told: list[tuple[float, float]] = []

    def note(
        self, at: float, size_bytes: float, checkpoints: Sequence[CheckpointInfo] = (), events: Sequence[dict[str, Any]] = ()
    ) -> None:
        """Keep a measurement of the folder, with its checkpoints and the run's events; call it as often as you like.

        One that is too near to the last, and a size of nothing (not measured yet), is passed over. When there are many, every other one
        goes and the next ones come half as often.
        """
        if size_bytes <= 0 or (self.measured and 0 <= at - self.measured[-1][0] < self._every):
            return
        self.measured.append((at, size_bytes))
        self._told = checkpoint_growth(checkpoints, events)
        if len(self.measured) > self._kept:
            self.measured = self.measured[::2]
            self._every *= 2

    def forecast(self, free_bytes: float | None, *, ends_in: float | None = None) -> str | None:
        """`forecast` from what was measured, or from the checkpoints where those go back further and say something.

        For a run that is not at work there is nothing to foresee: do not ask.
        """
        if self._told and self.measured and self._told[0][0] < self.measured[0][0]:
            said = forecast(free_bytes, self._told, ends_in=ends_in)
            if said or len(self._told) >= _LEAST_POINTS:
                return said
        return forecast(free_bytes, self.measured, ends_in=ends_in)


def _steady(growth: Growth) -> list[tuple[float, float]]:
    """Growth on a clock that only runs forward and has no gaps, from the last time that the folder was at its smallest."""
    points = [(at, size) for at, size in growth if math.isfinite(at) and math.isfinite(size) and size >= 0]
    back = [place for place in range(1, len(points)) if points[place][0] < points[place - 1][0]]
    points = points[back[-1] :] if back else points
    if len(points) < 2:
        return points
    gaps = [later[0] - earlier[0] for earlier, later in itertools.pairwise(points)]
    usual = sorted(gaps)[len(gaps) // 2]
    clock, steady = 0.0, [(0.0, points[0][1])]
    for gap, (_, size) in zip(gaps, points[1:], strict=True):
        clock += gap if gap <= 10 * usual else usual
        steady.append((clock, size))
    smallest = min(size for _, size in steady)
    start = max(place for place, (_, size) in enumerate(steady) if size == smallest)
    return [(at - steady[start][0], size) for at, size in steady[start:]]


def _bytes_a_second(points: list[tuple[float, float]]) -> float:
    """The pace of what was never given back; 0 where it is not known to go on growing."""
    if len(points) < _LEAST_POINTS or points[-1][0] < LEAST_SPAN:
        return 0.0
    lasting = list(_lowest_later(size for _, size in reversed(points)))[::-1]
    # The newest measurements may have caught a checkpoint before an older one was removed: what they add has yet to last.
    settled = points[-1][0] - max(_SETTLES, points[-1][0] / 10)
    end = _last(points, settled)
    middle = _last(points, points[end][0] / 2)
    early, late = lasting[middle] - lasting[0], lasting[end] - lasting[middle]
    if early <= 0 or late <= 0:
        return 0.0  # what grew once (data that were prepared, the first checkpoints) need not go on
    alike = max(early, late) <= 3 * min(early, late)
    return (early + late) / points[end][0] if alike else late / (points[end][0] - points[middle][0])


def _last(points: list[tuple[float, float]], limit: float) -> int:
    """The place of the last point that is not later than this; the first point is at 0."""
    return max(place for place, (at, _) in enumerate(points) if at <= max(0.0, limit))


def _lowest_later(sizes: Iterable[float]) -> Iterable[float]:
    lowest = math.inf
    for size in sizes:
        lowest = min(lowest, size)
        yield lowest


def _about(seconds: float) -> str:
    if seconds < 90:
        return "a minute"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 48 * 3600 else f"{seconds / 86_400:.0f} days"
