"""In what order and in which rows the stories are trained on: an epoch is planned from its number and the seed alone.

A story is read as `<end> prompt story <end>`, just as a model will write it: the first end token is what it starts from, the last one
what it must learn to write. Three layouts:

    packed    rows of `context` tokens, filled with whole stories by best fit; each story is a context of its own
    stories   one story a row, rows of like length together, so that padding stays near two per cent
    windows   the stories as one stream, cut into rows that begin anywhere: the plain pre-training of the field

Since a step is a list of rows that every process can plan for itself, any number of processes shares it out without a word, and a
run goes on from (epoch, index) alone. Knows no torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.data.shards import ENDINGS, MARKED, Split
from engine.errors import UsageError
from engine.training.settings import TrainSettings

SEGMENT = np.dtype([("story", "<i8"), ("start", "<i8"), ("length", "<i4"), ("silent", "<i4"), ("prompted", "?")])
"""A piece of a story: which one, from which of its inputs on, how many inputs, how many of its first targets have no loss, and whether
its prompt is read. In the windows layout `story` is -1 and `start` counts in the stream."""

MULTIPLE = 32
"""Row lengths are rounded up to a multiple of this: few different shapes, so that memory is used again and nothing is recompiled."""

SORTED_TOGETHER = 1024
"""Rows that are sorted by length together: few enough that an epoch stays random, enough that batches are even."""
EMPTY_EPOCHS = 10
"""After so many epochs without a story there is nothing to train on."""
PACKED_TOGETHER = 8192
"""Pieces that are packed together."""


@dataclass(frozen=True)
class Step:
    """The rows of one optimizer step, over all processes."""

    epoch: int
    index: int
    rows: list[np.ndarray]
    """Each an array of `SEGMENT`s, in the order in which they stand in the row."""

    @property
    def targets(self) -> int:
        """Positions with a loss in the whole step."""
        return int(sum(int((row["length"] - row["silent"]).sum()) for row in self.rows))

    def stories(self) -> list[int]:
        """The stories in it, for a person who has to look for a bad one; none for windows."""
        return sorted({int(story) for row in self.rows for story in row["story"] if story >= 0})


class Epoch:
    """The plan of one pass over a split; `len(epoch)` steps, `epoch.step(i)`."""

    def __init__(self, split: Split, settings: TrainSettings, context: int, number: int) -> None:
        self.number = number
        random = np.random.default_rng((settings.seed, number))
        self._segments, row_bounds, rows_of_step = _LAYOUTS[settings.layout](split, settings, context, random)
        self._row_bounds = row_bounds
        self._steps = rows_of_step

    def __len__(self) -> int:
        return len(self._steps)

    def step(self, index: int) -> Step:
        rows = [self._segments[self._row_bounds[r] : self._row_bounds[r + 1]] for r in self._steps[index]]
        return Step(self.number, index, rows)


Plan = tuple[np.ndarray, np.ndarray, list[np.ndarray]]
"""Segments; the first segment of each row, and one past the last; the rows of each step."""


def padded(length: Any, context: int) -> Any:
    """The width of a row of that many inputs."""
    return np.minimum(context, -(-length // MULTIPLE) * MULTIPLE)


def longer_than(split: Split, context: int) -> int:
    """How many stories do not fit into one row, their prompt counted."""
    rows = split.rows()
    return int((rows["prompt"].astype(np.int64) + rows["story"] + 1 > context).sum())


def draw_segments(split: Split, settings: TrainSettings, context: int, random: np.random.Generator) -> np.ndarray:
    """Every piece of every story of an epoch, in random order; marked stories as often as the settings say."""
    rows = split.rows()
    marked = (rows["marks"] & MARKED) > 0
    repeats = np.where(marked, settings.marked_repeats, 1)
    story = np.repeat(np.arange(len(rows), dtype=np.int64), repeats)
    story = story[random.permutation(len(story))]
    rows = rows[story]
    share = np.where(rows["ending"] == ENDINGS.index("sad"), settings.prompted_sad, settings.prompted_happy)
    share = np.where(marked[story], 1.0, share)
    prompted = (rows["prompt"] > 0) & (random.random(len(story)) < share)
    prompt = np.where(prompted, rows["prompt"], 0).astype(np.int64)
    inputs = prompt + rows["story"] + 1  # the end token before it; the one behind is only a target
    if settings.too_long == "drop":
        keep = inputs <= context
        story, prompted, prompt, inputs = story[keep], prompted[keep], prompt[keep], inputs[keep]
    pieces = np.ones_like(inputs) if settings.too_long == "cut" else -(-inputs // context)
    which = np.repeat(np.arange(len(story)), pieces)
    number = np.arange(len(which)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    segments = np.empty(len(which), SEGMENT)
    segments["story"], segments["start"], segments["prompted"] = story[which], number * context, prompted[which]
    segments["length"] = np.minimum(context, inputs[which] - number * context)
    silent = np.clip(prompt[which] - number * context, 0, segments["length"])
    segments["silent"] = silent if settings.loss_on == "story" else 0
    return segments


def _stories(split: Split, settings: TrainSettings, context: int, random: np.random.Generator) -> Plan:
    segments = draw_segments(split, settings, context, random)
    segments = segments[np.lexsort((segments["length"], np.arange(len(segments)) // SORTED_TOGETHER))]
    widths = padded(segments["length"], context).tolist()
    blocks = (np.arange(len(segments)) // SORTED_TOGETHER).tolist()
    steps: list[np.ndarray] = []
    begin = 0
    for at, (width, block) in enumerate(zip(widths, blocks, strict=True)):  # widths rise within a block
        if at > begin and ((at + 1 - begin) * width > settings.batch_tokens or block != blocks[at - 1]):
            steps.append(np.arange(begin, at))
            begin = at
    if len(segments):
        steps.append(np.arange(begin, len(segments)))
    return segments, np.arange(len(segments) + 1), [steps[i] for i in random.permutation(len(steps))]


def _packed(split: Split, settings: TrainSettings, context: int, random: np.random.Generator) -> Plan:
    segments = draw_segments(split, settings, context, random)
    order: list[int] = []
    sizes: list[int] = []
    for start in range(0, len(segments), PACKED_TOGETHER):
        for row in best_fit(segments["length"][start : start + PACKED_TOGETHER].tolist(), context):
            order.extend(start + piece for piece in row)
            sizes.append(len(row))
    bounds = np.concatenate(([0], np.cumsum(sizes, dtype=np.int64))).astype(np.int64)
    return segments[np.array(order, np.int64)], bounds, _cut(random.permutation(len(sizes)), settings.batch_tokens // context)


def _windows(split: Split, settings: TrainSettings, context: int, random: np.random.Generator) -> Plan:
    shift = int(random.integers(context)) if split.tokens > 2 * context else 0
    starts = np.arange(shift, max(shift + 1, split.tokens - 1), context, dtype=np.int64)
    starts = starts[random.permutation(len(starts))]
    segments = np.zeros(len(starts), SEGMENT)
    segments["story"], segments["start"] = -1, starts
    segments["length"] = np.minimum(context, split.tokens - 1 - starts)
    return segments, np.arange(len(starts) + 1), _cut(np.arange(len(starts)), settings.batch_tokens // context)


_LAYOUTS = {"stories": _stories, "packed": _packed, "windows": _windows}


def _cut(rows: np.ndarray, size: int) -> list[np.ndarray]:
    size = max(1, size)
    return [rows[at : at + size] for at in range(0, len(rows), size)]


def best_fit(lengths: list[int], capacity: int) -> list[list[int]]:
    """Bins of indices, each with a sum of lengths of at most `capacity`: longest first, each into the fullest bin that takes it."""
    bins: list[list[int]] = []
    with_room: list[list[int]] = [[] for _ in range(capacity + 1)]  # bins by the room they have left
    rooms = _Rooms()
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        length = lengths[index]
        room = rooms.least(length)
        if room is None:
            number, room = len(bins), capacity
            bins.append([])
        else:
            number = with_room[room].pop()
            if not with_room[room]:
                rooms.remove(room)
        bins[number].append(index)
        left = room - length
        if left:
            if not with_room[left]:
                rooms.add(left)
            with_room[left].append(number)
    return bins


class _Rooms:
    """The sizes of room that some bin has, as bits of one integer: the least one of at least `n` is a shift and a mask away."""

    def __init__(self) -> None:
        self._bits = 0

    def add(self, room: int) -> None:
        self._bits |= 1 << room

    def remove(self, room: int) -> None:
        self._bits &= ~(1 << room)

    def least(self, size: int) -> int | None:
        above = self._bits >> size
        return size + (above & -above).bit_length() - 1 if above else None


class Steps:
    """Steps without end, epoch after epoch, from a given place on."""

    def __init__(self, split: Split, settings: TrainSettings, context: int, epoch: int = 0, index: int = 0) -> None:
        self._split, self._settings, self._context = split, settings, context
        self.epoch, self.index = epoch, index
        """Where the next step stands: this is the whole cursor of a run."""
        self._plan: Epoch | None = None

    def __iter__(self) -> Iterator[Step]:
        return self

    def __next__(self) -> Step:
        plan = self._planned()
        empty = 0
        while self.index >= len(plan):
            self.epoch, self.index, empty = self.epoch + 1, 0, empty + 1
            plan = self._planned()
            if empty > EMPTY_EPOCHS:
                raise UsageError("No story is left to train on: each is longer than the context, and too-long says drop.")
        step = plan.step(self.index)
        self.index += 1
        return step

    def steps_in(self, epochs: float) -> int:
        """Steps that so many epochs take, by the length of the present one."""
        return max(1, round(epochs * len(self._planned())))

    def _planned(self) -> Epoch:
        if self._plan is None or self._plan.number != self.epoch:
            self._plan = Epoch(self._split, self._settings, self._context, self.epoch)
        return self._plan
