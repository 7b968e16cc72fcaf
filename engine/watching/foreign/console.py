"""Logs that programs print for people (nanoGPT, llm.c, Keras, the Hugging Face trainer and their like): any line with a step and a loss.

What a line means is told from its wording (`phrases`); here is what holds from line to line: the epoch, the step of a progress bar,
the order of the lines where nothing counts. Knows nothing of runs and of screens.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from engine.growing_files import LARGEST, GrowingFile
from engine.watching.feed import SLICE
from engine.watching.foreign.base import LineFeed
from engine.watching.foreign.lines import COUNTED
from engine.watching.foreign.names import Columns, Naming
from engine.watching.foreign.phrases import ESCAPE, NUMBER, Plan, plan_of, split_stamp, value
from engine.watching.foreign.steps import Row

_LONGEST = 4000
"""Characters of a line that are looked at; a progress bar drawn over itself is many lines."""
_MOST_PLANS = 5000
ESTIMATE = "train_loss_estimate"
"""A training loss that is measured beside the validation's, in a log that also gives the loss of each step."""


class DrawnLines(GrowingFile):
    """A file whose lines end in a carriage return too, as those of a progress bar do."""

    def _read(self, file: Any, most: int | None) -> bytes:
        file.seek(self._offset)
        data = _ended(file.read(-1 if most is None else most))
        while most is not None and len(data) <= LARGEST and b"\n" not in data and (more := file.read(most)):
            data += _ended(more)
        return data

    def _goes_on(self, file: Any, found: os.stat_result) -> bool:
        if found.st_ino != self._inode or found.st_size < self._offset:
            return False
        file.seek(self._offset - len(self._seam))
        return _ended(file.read(len(self._seam))) == self._seam


class ConsoleReader:
    """Lines in, rows out; keeps what holds from line to line."""

    def __init__(self, columns: Columns | None = None) -> None:
        self._naming = Naming(columns)
        self._plans: dict[tuple[str, ...], Plan] = {}
        self.total_steps: int | None = None
        self.counted = 0
        """Training losses that came without any step."""
        self._last: float | None = None
        self._time: float | None = None
        self._epoch: float | None = None
        self._epochs: float | None = None
        self._first_epoch: float | None = None
        self._bar_total = 0.0
        self._plain_seen = self._counts = False

    def rows(self, lines: list[bytes]) -> list[Row]:
        """The rows of these lines; lines without a figure of training are passed over."""
        return [row for line in lines if (row := self._row(line)) is not None]

    def _row(self, line: bytes) -> Row | None:
        text = line[:_LONGEST].decode("utf-8", "replace")
        if "\x1b" in text:
            text = ESCAPE.sub("", text)
        if "\b" in text:
            text = text.rsplit("\b", 1)[1] or text.replace("\b", "")
        text, at = split_stamp(text)
        if at is not None:
            self._time = at
        parts = NUMBER.split(text)
        if len(parts) < 3:
            return None
        words = tuple(parts[::2])
        plan = self._plans.get(words)
        if plan is None:
            if len(self._plans) >= _MOST_PLANS:
                self._plans.clear()
            plan = self._plans[words] = plan_of(words, self._naming)
        if plan.empty:
            return None
        return self._read(plan, parts[1::2], at)

    def _read(self, plan: Plan, numbers: list[str], at: float | None) -> Row | None:
        epoch = numbers[plan.epoch] if plan.epoch is not None else ""
        if epoch and "." not in epoch and not plan.printed:
            self._see_epoch(value(epoch), value(numbers[plan.epochs]) if plan.epochs is not None else None)
        step = self._step(plan, numbers)
        if not plan.figures and (not plan.known or self._last is None or (step is None and not plan.indented)):
            if step is not None and plan.total is not None:
                self._last = step  # the figures of this step come in lines of their own
            return None
        row: Row = {ours: value(numbers[place]) * factor for place, ours, factor in plan.values}
        if "train_runtime" in row:
            return None  # the sum of a whole training, which says nothing of its last step
        if plan.estimate and self._plain_seen:
            row[ESTIMATE] = row.pop("train_loss")
        self._plain_seen = self._plain_seen or plan.plain
        if step is None and (step := self._step_of_order(plan, numbers)) is None:
            return None
        self._last = step
        row["step"] = int(step) if abs(step) < 2**63 and step.is_integer() else step
        if at is not None or (plan.indented and self._time is not None):
            row["time"] = self._time  # of the line itself, or of the one that it belongs to
        if epoch or self._epoch is not None:
            row["epoch"] = value(epoch) if epoch else self._epoch
        return row

    def _step(self, plan: Plan, numbers: list[str]) -> float | None:
        if plan.step is None:
            return None
        step = value(numbers[plan.step])
        total = value(numbers[plan.total]) if plan.total is not None else None
        if plan.bar and total is not None and self._epoch is None:
            # Of several bars, the longest is that of the training; one of a validation stands at the step before it.
            if total < self._bar_total:
                return self._last if plan.figures else None
            self._bar_total = total
            self._see_total(total)
            if not plan.figures:  # a bar beside a log: what is printed next stands at its step
                self._last, self._counts = step, True
                return None
        elif not plan.figures and plan.counter:
            return None
        elif plan.counter and total and self._epoch is not None and self._first_epoch is not None:
            # A counter within the epoch: the epochs before it count too.
            step += (self._epoch - min(1.0, self._first_epoch)) * total
            if self._epochs:
                self._see_total(total * self._epochs)
        elif total is not None and not (self._epochs and self._epochs > 1):
            self._see_total(total)
        self._counts = True
        return step

    def _step_of_order(self, plan: Plan, numbers: list[str]) -> float | None:
        """The step of a line that says none: that of the lines before, a whole epoch, or its place among its like."""
        if self._counts or not plan.figures:
            return self._last
        if (
            plan.epoch is not None
            and self._epoch is not None
            and not (plan.printed or self.counted or "." in numbers[plan.epoch])
        ):
            if self._epochs:
                self._see_total(self._epochs)
            return self._epoch
        if "train_loss" in plan.figures:
            self.counted += 1
        return float(self.counted) if self.counted else None

    def _see_epoch(self, epoch: float, epochs: float | None) -> None:
        self._epoch = epoch
        self._epochs = epochs or self._epochs
        if self._first_epoch is None:
            self._first_epoch = epoch

    def _see_total(self, total: float) -> None:
        if 0 < total < 2**63:
            self.total_steps = int(total)


class ConsoleFeed(LineFeed):
    """A console log, followed."""

    kind = "console log"

    def __init__(self, path: Path, columns: Columns | None = None, name: str = "") -> None:
        super().__init__(path, columns, name)
        self.log = path

    def _open(self, path: Path) -> DrawnLines:
        return DrawnLines(path)

    def _new(self) -> tuple[list[bytes], bool]:
        return self._file.new_lines(SLICE // 8)

    def _begin_again(self) -> None:
        super()._begin_again()
        self._reader = ConsoleReader(self.columns)

    def _rows(self, lines: list[bytes]) -> list[Row]:
        rows = self._reader.rows(lines)
        self.total_steps = self._reader.total_steps
        return rows

    def _rows_of_rest(self, rest: bytes) -> list[Row]:
        return [] if self._reader.counted else self._rows([rest])

    def _problem(self) -> str:
        if not len(self.table) and self._bytes:
            return f"No line of {self.name} says a step and a loss yet, such as: step 100 | loss 2.31."
        return COUNTED if self._reader.counted else ""


def _ended(data: bytes) -> bytes:
    return data.replace(b"\r", b"\n")
