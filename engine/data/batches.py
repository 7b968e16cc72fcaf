"""From planned rows to tensors: what one process feeds to the network in one step (see `engine.data.plan` for the plan).

Rows are padded on the right with the end token; a padded position, and a prompt that is not learnt, has no loss. A row with several
stories carries positions that start again with each story, and a mask that lets none see another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engine.data.plan import Step, padded
from engine.data.shards import Split
from engine.training.objective import IGNORED


@dataclass(frozen=True)
class Batch:
    """One forward pass."""

    inputs: Tensor
    """(B, T) int64."""
    targets: Tensor
    """(B, T) int64, `IGNORED` where there is no loss."""
    stories: Tensor | None = None
    """(B, T) int64: number of the story within its row, where a row has several."""
    positions: Tensor | None = None
    """(B, T) int64: position within its story, where a row has several."""

    def to(self, device: torch.device) -> Batch:
        if device.type == "cpu":
            return self
        pinned = device.type == "cuda"
        parts = (part if part is None or not pinned else part.pin_memory() for part in self._parts())
        return Batch(*(None if part is None else part.to(device, non_blocking=pinned) for part in parts))  # type: ignore[arg-type]

    def mask(self) -> Tensor | None:
        """(B, 1, T, T) booleans: a position sees itself and what stands before it in its own story. None: plain causal."""
        if self.stories is None:
            return None
        length = self.inputs.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=self.inputs.device).tril()
        return ((self.stories[:, :, None] == self.stories[:, None, :]) & causal)[:, None]

    def _parts(self) -> tuple[Tensor | None, ...]:
        return self.inputs, self.targets, self.stories, self.positions


def step_batches(
    split: Split, step: Step, end: int, context: int, micro_tokens: int, rank: int = 0, processes: int = 1
) -> Iterator[Batch]:
    """The batches of one process: its share of the step's rows, at most `micro_tokens` cells (or one row) at a time.

    A process without a row gets one batch without a target, since all processes must take part in a step.
    """
    own = step.rows[rank::processes]
    if not own:
        yield Batch(torch.full((1, 1), end), torch.full((1, 1), IGNORED))
        return
    group: list[np.ndarray] = []
    width = 0
    for row in own:
        size = _width(row, context)
        if group and (len(group) + 1) * max(width, size) > micro_tokens:
            yield collate(split, group, end, width)
            group, width = [], 0
        group.append(row)
        width = max(width, size)
    yield collate(split, group, end, width)


def _width(row: np.ndarray, context: int) -> int:
    return int(padded(int(row["length"].sum()), context))


def collate(split: Split, rows: Sequence[np.ndarray], end: int, width: int) -> Batch:
    """Rows of segments as one batch of the given width."""
    inputs = np.full((len(rows), width), end, np.int64)
    targets = np.full((len(rows), width), IGNORED, np.int64)
    several = max(len(row) for row in rows) > 1
    stories = np.full((len(rows), width), -1, np.int64) if several else None
    positions = np.zeros((len(rows), width), np.int64) if several else None
    for at, row in enumerate(rows):
        begin = 0
        for number, segment in enumerate(row):
            ids = _ids(split, segment, end)
            stop, silent = begin + int(segment["length"]), int(segment["silent"])
            inputs[at, begin:stop] = ids[:-1]
            targets[at, begin + silent : stop] = ids[1 + silent :]
            if stories is not None and positions is not None:
                stories[at, begin:stop] = number
                positions[at, begin:stop] = np.arange(stop - begin)
            begin = stop
    parts = (inputs, targets, stories, positions)
    return Batch(*(None if part is None else torch.from_numpy(part) for part in parts))  # type: ignore[arg-type]


def _ids(split: Split, segment: np.ndarray, end: int) -> np.ndarray:
    """The segment's inputs and, one later, its last target."""
    start, length = int(segment["start"]), int(segment["length"])
    if segment["story"] < 0:
        return split.window(start, length + 1)
    prompt, story = split.parts(int(segment["story"]))
    edge = np.array([end], story.dtype)
    whole = np.concatenate((edge, prompt, story, edge)) if segment["prompted"] else np.concatenate((edge, story, edge))
    return whole[start : start + length + 1]
