"""The Hugging Face trainer's `trainer_state.json`, written anew with every checkpoint; or the newest one in the trainer's output folder.

It is read again when it changed, and left as it was while it is half written. Knows nothing of other logs and of screens.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from engine.growing_files import open_plain
from engine.watching.foreign.base import ForeignFeed
from engine.watching.foreign.lines import flat
from engine.watching.foreign.names import FIGURES, Columns, Naming, no_figures
from engine.watching.foreign.steps import Row, StepCount

STATE = "trainer_state.json"
LARGEST = 1 << 28
"""Bytes; a larger file is not read."""
_LOOK_EVERY = 1.0
"""Seconds between two looks through the folder."""
_HALF_WRITTEN = 5.0
"""Seconds that a file may stay unreadable before it is said."""
_SHOWN = (
    "max_steps", "num_train_epochs", "train_batch_size", "logging_steps", "eval_steps", "save_steps", "best_metric", "best_global_step",
    "best_model_checkpoint",
)  # fmt: skip


class TrainerStateFeed(ForeignFeed):
    """One `trainer_state.json`, or a folder of checkpoints that each have one: the newest, also when a newer one comes."""

    kind = "Hugging Face"

    def __init__(self, path: Path, columns: Columns | None = None, name: str = "") -> None:
        self._states: Sequence[tuple[float, Path]] = ()
        self._seen: tuple[Path, int, int, int] | None = None
        self._look_due = 0.0
        self._damaged = self._too_large = False
        self._keys: list[str] = []
        super().__init__(path, columns, name)

    def _files(self) -> Sequence[Path]:
        if not self.path.is_dir():
            return (self.path,)
        if time.monotonic() >= self._look_due:
            self._look_due = time.monotonic() + _LOOK_EVERY
            self._states = states_in(self.path)
        return [path for _, path in self._states[-1:]]

    def _read(self) -> bool:
        files = self._files()
        if not files:
            return False
        try:
            with open_plain(files[0]) as file:
                found = os.fstat(file.fileno())
                now = files[0], found.st_ino, found.st_size, found.st_mtime_ns
                if now == self._seen:
                    return False
                self._too_large = found.st_size > LARGEST
                data = b"" if self._too_large else file.read(LARGEST)
        except OSError:  # it is being replaced; what was read still holds
            return False
        state = _parsed(data)
        if state is None and not self._too_large and time.time() - found.st_mtime < _HALF_WRITTEN:
            return False  # half written: it is read at the next look
        self._seen = now
        self._damaged = state is None and not self._too_large
        if state is not None:
            self._take_state(state)
        return False

    def _take_state(self, state: dict[str, Any]) -> None:
        self._naming, self._steps = Naming(self.columns), StepCount()
        total = state.get("max_steps")
        self.total_steps = total if type(total) is int and 0 < total < 2**63 else None
        self.settings = {key: state[key] for key in _SHOWN if type(state.get(key)) in (int, float, str)}
        history = state["log_history"]
        rows = [flat(row) for row in history if type(row) is dict and "train_runtime" not in row]
        self._keys = list(dict.fromkeys(key for row in rows for key in row))[:1000]
        self._take_anew([self._renamed(row) for row in rows])

    def _renamed(self, row: Row) -> Row:
        return dict(zip(self._naming.line_names(list(row)), row.values(), strict=True))

    def _problem(self) -> str:
        if self._too_large:
            return f"{self.name} is larger than {LARGEST >> 20} MB and is not read."
        if self._damaged:
            return f"{self.name} cannot be read as the state of a Hugging Face trainer."
        if self._keys and FIGURES.isdisjoint(self.table.names):
            return no_figures(self.name, self._keys)
        return ""

    def _pace(self) -> float | None:
        """Seconds a step, between the last two checkpoints of the folder."""
        steps = [
            (at, int(match[1])) for at, path in self._states if (match := re.search(r"checkpoint-(\d{1,12})$", path.parent.name))
        ]
        if len(steps) > 1 and steps[-1][1] > steps[-2][1] and steps[-1][0] > steps[-2][0]:
            self._line_gap = steps[-1][0] - steps[-2][0]
            return self._line_gap / (steps[-1][1] - steps[-2][1])
        return None


def states_in(folder: Path) -> list[tuple[float, Path]]:
    """The states in a trainer's output folder with the times they were written at, the newest last."""
    found: list[tuple[float, Path]] = []
    try:
        with os.scandir(folder) as entries:
            places = [folder] + [
                folder / entry.name for entry in entries if entry.name.startswith("checkpoint-") and entry.is_dir()
            ]
    except OSError:
        return []
    for place in places:
        try:
            found.append(((place / STATE).stat().st_mtime, place / STATE))
        except OSError:
            continue
    # Of two of one moment, the one of the later step is newer.
    return sorted(found, key=lambda state: (state[0], int("".join(re.findall(r"\d+$", state[1].parent.name))[:12] or 0)))


def _parsed(data: bytes) -> dict[str, Any] | None:
    try:
        state = msgspec.json.decode(data)
    except (ValueError, RecursionError):
        try:
            state = json.loads(data)  # which knows NaN
        except (ValueError, RecursionError):
            return None
    return state if type(state) is dict and type(state.get("log_history")) is list else None
