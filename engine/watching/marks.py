"""Marks on a curve: the steps at which something happened, with a few words for each, and the way from one to the next.

Made from a run's events, and from its settings or its learning rate; worked out anew only when there are more of them. Knows no screen.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.run_status import finite, real, whole
from engine.training.schedule import WSD_DECAY
from engine.watching import curve_marks
from engine.watching.feed import Feed

KINDS = ("started", "resumed", "phase", "checkpoint", "best", "sample", "paused", "warning", "finished", "stopped", "failed")
"""In the order in which marks of one step stand."""
_WARNINGS = {
    "spike": "the loss jumped", "nan": "no number any more", "overfitting": "overfitting", "stalled": "no step for long",
    "disk": "the disk was nearly full", "damaged": "a damaged checkpoint was passed over",
}  # fmt: skip
_REDONE = ("checkpoint", "sample", "paused", "finished", "stopped")
"""What no longer holds for steps that a run did again."""
FALLING = ("cosine", "linear", "wsd")
"""Schedules that fall at their end."""
_NEAR = 20
"""Steps within which a warning out of an event and one read off the curve are the same."""
_NEARLY = 0.999
"""Share of its peak from which the learning rate counts as having reached it."""


@dataclass(frozen=True)
class Mark:
    """Something that happened at a step."""

    step: int
    kind: str
    """One of `KINDS`."""
    words: str
    """One line. May hold text out of files: make it safe before it is shown."""
    detail: str = ""
    """Of a warning: spike, nan, overfitting, plateau, stalled, disk, damaged, or a word out of the file.

    Of a phase: warm-up, decay, end.
    """


_known: weakref.WeakKeyDictionary[Feed, tuple[Any, list[Mark]]] = weakref.WeakKeyDictionary()


def marks_of(feed: Feed) -> list[Mark]:
    """The marks of a run, by step; several samples of one step are one. Do not change the list. Holds the feed's lock for a moment."""
    events, samples, settings, summary = feed.events, feed.samples, feed.settings, feed.summary
    with feed.lock:
        rates = feed.table.series("lr") if feed.table is not None and not settings else None
        count = len(rates) if rates is not None else 0
        last = int(feed.table.axis("step")[-1]) if feed.table is not None and len(feed.table) else feed.status.step
    best = (summary.best_step, summary.best_bits_per_byte, summary.best_val_loss) if summary else None
    phases = _phases_by_settings(settings, feed.status.total_steps, last or 0)
    rows = len(feed.table) if feed.table is not None else 0
    # What is read off the curve is looked for again when it is a good deal longer: it costs some milliseconds in a million points.
    told = (
        len(events),
        len(samples),
        count if count < 4000 else count // 200,
        best,
        phases,
        rows if rows < 4000 else rows // 200,
    )
    before = _known.get(feed)
    # The sequences themselves are compared, not only their lengths: a run that was begun anew may have as many events.
    if before is not None and before[0][0] == told and before[0][1] is events and before[0][2] is samples:
        return before[1]
    found = _from_events(events)
    found += _from_samples(found, samples)
    found += _from_curves(feed, found)
    if count:
        with feed.lock:
            phases = _phases_by_rate(feed)
    found += [Mark(step, "phase", words, detail) for step, words, detail in phases]
    if best and best[0] is not None:
        found.append(Mark(best[0], "best", _best_words(best[1], best[2])))
    found.sort(key=lambda mark: (mark.step, KINDS.index(mark.kind)))
    _known[feed] = (told, events, samples), found
    return found


def next_mark(marks: Sequence[Mark], step: float, kinds: Collection[str] = KINDS) -> Mark | None:
    """The first mark of these kinds after a step; None where there is none."""
    return next((mark for mark in marks if mark.step > step and mark.kind in kinds), None)


def previous_mark(marks: Sequence[Mark], step: float, kinds: Collection[str] = KINDS) -> Mark | None:
    """The last mark of these kinds before a step; None where there is none."""
    return next((mark for mark in reversed(marks) if mark.step < step and mark.kind in kinds), None)


def _from_events(events: Iterable[Mapping[str, Any]]) -> list[Mark]:
    """All marks that events make, one for what was said twice; samples of one step together."""
    kept: dict[tuple[int, str, str], Mark] = {}
    stories: dict[int, int] = {}
    for row in events:
        step, name = whole(row.get("step")), row.get("event")
        if step is None:
            continue
        if name in ("started", "resumed") and row.get("after") != "pause":
            kept = {key: mark for key, mark in kept.items() if mark.step <= step or mark.kind not in _REDONE}
            stories = {at: count for at, count in stories.items() if at <= step}
        if name == "sample":
            stories[step] = stories.get(step, 0) + 1
        elif mark := _mark(step, name, row):
            kept[step, mark.kind, mark.detail] = mark
    return [*kept.values(), *(Mark(step, "sample", _stories(count)) for step, count in stories.items())]


def _from_curves(feed: Feed, found: Sequence[Mark]) -> list[Mark]:
    """Warnings of which no event tells; of a run of our own only what the trainer does not look for."""
    with feed.lock:
        table = feed.table
        if table is None or not len(table):
            return []
        steps = table.axis("step")
        series = {name: table.series(name) for name in ("train_loss", "val_loss", "val_bits_per_byte")}
    curves = {name: (steps[one.rows], one.values) for name, one in series.items() if one is not None}
    train, val = curves.get("train_loss"), curves.get("val_bits_per_byte") or curves.get("val_loss")
    made = curve_marks.not_numbers(*train) if train else []
    made += (curve_marks.not_numbers(*val) + curve_marks.still(*val)) if val else []
    if feed.kind != "run":
        made += curve_marks.jumps(*train) if train else []
        made += curve_marks.rises(*val) if val else []
    told = [(mark.step, mark.detail) for mark in found if mark.kind == "warning"]
    made = curve_marks.beside(made, told, near=_NEAR)
    return [Mark(step, "warning", words, detail) for step, words, detail in dict.fromkeys(made)]


def _mark(step: int, name: Any, row: Mapping[str, Any]) -> Mark | None:
    said = row.get("message")
    said = " ".join(said.split()) if isinstance(said, str) else ""
    if name == "checkpoint":
        return None if row.get("best") is True else Mark(step, "checkpoint", "checkpoint")
    if name == "warning":
        kind = row.get("kind") if isinstance(row.get("kind"), str) else ""
        return Mark(step, "warning", said or _WARNINGS.get(kind, kind or "a warning"), kind)
    if name == "resumed":
        return Mark(step, "resumed", "went on after a pause" if row.get("after") == "pause" else "went on from a checkpoint")
    if name in ("started", "paused", "finished", "stopped", "failed"):
        return Mark(step, name, f"{name}: {said}" if said else name)
    return None


def _from_samples(found: Sequence[Mark], samples: Iterable[Mapping[str, Any]]) -> list[Mark]:
    """Marks for stories that no event tells of."""
    known = {mark.step for mark in found if mark.kind == "sample"}
    counts: dict[int, int] = {}
    for row in samples:
        step = whole(row.get("step"))
        if step is not None and step not in known:
            counts[step] = counts.get(step, 0) + 1
    return [Mark(step, "sample", _stories(count)) for step, count in counts.items()]


def _stories(count: int) -> str:
    return f"{count} sample stories" if count > 1 else "a sample story"


def _best_words(bits: float | None, loss: float | None) -> str:
    value = f": {bits:.3f} bits a byte" if bits is not None else f": {loss:.3f}" if loss is not None else ""
    return f"best validation{value}"


def _phases_by_settings(settings: Mapping[str, Any], total: int | None, last: int) -> tuple[tuple[int, str, str], ...]:
    """Where the schedule turns, as far as the run has come; see `engine.training.schedule` for the schedule itself."""
    found = []
    warm_up, total = whole(settings.get("warmup_steps")) or 0, total or whole(settings.get("steps")) or 0
    if warm_up:
        found.append((warm_up, "end of the learning rate's warm-up", "warm-up"))
    if total and settings.get("schedule") in FALLING:
        level = min(1.0, max(0.0, finite(real(settings.get("decay_start"))) or 0.0))
        level = max(level, WSD_DECAY) if settings.get("schedule") == "wsd" else level
        found.append((max(warm_up, int(level * total)), "the learning rate begins to fall", "decay"))
        found.append((total, "the learning rate is at its end", "end"))
    return tuple(phase for phase in found if phase[0] <= last)


def _phases_by_rate(feed: Feed) -> tuple[tuple[int, str, str], ...]:
    """The same from the learning rates themselves: where they first come to their peak, and where they last leave it."""
    series = feed.table.series("lr") if feed.table is not None else None
    if series is None or len(series) < 3:
        return ()
    peak = float(np.nanmax(np.where(np.isfinite(series.values), series.values, -math.inf)))
    if not peak > 0:
        return ()
    at_peak = np.flatnonzero(series.values >= _NEARLY * peak)
    steps = feed.table.axis("step")[series.rows] if feed.table is not None else np.empty(0)
    first, last = int(at_peak[0]), int(at_peak[-1])
    found = []
    if 0 < first < len(series) - 1:
        found.append((int(steps[first]), "end of the learning rate's warm-up", "warm-up"))
    if last < len(series) - 1:
        found.append((int(steps[last]), "the learning rate begins to fall", "decay"))
    return tuple(found)
