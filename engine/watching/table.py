"""The figures of a run as columns: a row a step, one column for each thing that was measured. Grows at its end, in bounded memory.

Values are kept as float32 (seven digits, 4 bytes), the three axes as float64. Columns that have a value in every row need no index,
so a million steps of five figures take 44 MB. Knows no files; `engine.watching.feed` fills it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np

from engine.run_status import NOT_FINITE, NUMBERS

AXES = ("step", "tokens", "time")
"""What a value may be drawn along; `time` is Unix seconds."""
LARGEST_STEP = 2.0**63
MOST_COLUMNS = 500
"""Names beyond this many are passed over: a file that has more holds something other than figures of training."""


@dataclass(frozen=True)
class Series:
    """One column: the values, NaN and infinities among them, and the rows of the table that they stand in."""

    name: str
    rows: slice | np.ndarray
    """Ascending; indexes into the table's axes."""
    values: np.ndarray
    """float32, of shape (points,)."""

    def __len__(self) -> int:
        return len(self.values)

    @property
    def last(self) -> float | None:
        return float(self.values[-1]) if len(self.values) else None


class MetricsTable:
    """Rows in ascending order of their steps; a step that comes again takes the place of the later rows, as when a run went back.

    Lines of one step share a row (training figures and a validation). Arrays that were handed out stay valid as they are: growing
    leaves them alone, and cutting back only rewrites what lies behind the cut.
    """

    def __init__(self) -> None:
        self._axes = {name: _Buffer(np.float64) for name in AXES}
        self._columns: dict[str, _Column] = {}
        self.passed_over = 0
        """Lines without a usable step."""

    def __len__(self) -> int:
        return len(self._axes["step"])

    @property
    def names(self) -> list[str]:
        """Names of the columns, in the order in which they first came."""
        return list(self._columns)

    def axis(self, name: str) -> np.ndarray:
        """float64 of shape (rows,); NaN where a line did not say it."""
        return self._axes[name].view()

    def series(self, name: str) -> Series | None:
        """A column; None where nothing of that name was measured."""
        column = self._columns.get(name)
        return Series(name, column.rows(), column.values.view()) if column is not None and len(column.values) else None

    def clear(self) -> None:
        self.__init__()  # type: ignore[misc]

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take in lines (name to number) in the order in which they were written.

        A line needs a number `step`; other values than numbers (the words nan, inf and -inf are numbers too) are left out.
        """
        steps = [row.get("step") for row in rows]
        if not NUMBERS.issuperset(map(type, steps)):
            kept = [(step, row) for step, row in zip(map(_number, steps), rows, strict=True) if step is not None]
            self.passed_over += len(rows) - len(kept)
            steps, rows = [step for step, _ in kept], [row for _, row in kept]
        try:
            at = np.array(steps, dtype=np.float64)
        except OverflowError:
            at = np.array([_number(step) or 0.0 for step in steps])
        usable = np.abs(at) < LARGEST_STEP  # false for NaN too
        if not usable.all():
            self.passed_over += int((~usable).sum())
            rows = [row for row, good in zip(rows, usable, strict=True) if good]
            at = at[usable]
        falls = np.flatnonzero(at[1:] < at[:-1]) + 1
        for start, end in zip([0, *falls], [*falls, len(at)], strict=True):
            if end > start:
                self._add_rising(at[start:end], rows[start:end])

    def _add_rising(self, steps: np.ndarray, rows: Sequence[Mapping[str, Any]]) -> None:
        known = self._axes["step"].view()
        if len(known) and steps[0] < known[-1]:
            self._cut(int(np.searchsorted(known, steps[0])))
        count = len(self)
        new = np.ones(len(steps), dtype=bool)
        new[1:] = steps[1:] != steps[:-1]
        if count and steps[0] == self._axes["step"].view()[-1]:
            new[0] = False
        places = count - 1 + np.cumsum(new)
        self._axes["step"].extend(steps[new])
        first = np.flatnonzero(new)
        for name in ("tokens", "time"):
            self._axes[name].extend(np.full(len(first), np.nan))
        for name, (where, values) in _columns(rows).items():
            if name == "step":
                continue
            at = places[where]
            if name in AXES:
                # The first line of a step says when it was, so that a late validation does not move it.
                # What is not finite is no place on an axis.
                axis = self._axes[name].view()
                open_ = np.isnan(axis[at]) & np.isfinite(values)
                axis[at[open_][::-1]] = values[open_][::-1]
                continue
            column = self._columns.get(name)
            if column is None:
                if len(self._columns) >= MOST_COLUMNS:
                    continue
                column = self._columns[name] = _Column()
            column.extend(at, values)

    def _cut(self, count: int) -> None:
        for axis in self._axes.values():
            axis.cut(count)
        for column in self._columns.values():
            column.cut(count)


class _Buffer:
    """An array that grows at its end by an eighth at a time: little is lost to room that is not used yet."""

    def __init__(self, dtype: Any) -> None:
        self._data = np.empty(256, dtype=dtype)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def view(self) -> np.ndarray:
        return self._data[: self._count]

    def extend(self, values: np.ndarray) -> None:
        end = self._count + len(values)
        if end > len(self._data):
            grown = np.empty(max(end, len(self._data) + len(self._data) // 8), dtype=self._data.dtype)
            grown[: self._count] = self._data[: self._count]
            self._data = grown
        self._data[self._count : end] = values
        self._count = end

    def cut(self, count: int) -> None:
        """Forget what lies behind; arrays handed out before keep it."""
        if count < self._count:
            self._data = self._data[:count].copy()
            self._count = count


class _Column:
    """Values and their rows; the rows are not stored while they follow one another without a gap."""

    def __init__(self) -> None:
        self.values = _Buffer(np.float32)
        self._first = 0
        self._rows: _Buffer | None = None

    def rows(self) -> slice | np.ndarray:
        return slice(self._first, self._first + len(self.values)) if self._rows is None else self._rows.view()

    def extend(self, places: np.ndarray, values: np.ndarray) -> None:
        """Add values at these rows (ascending; of several for one row the last counts)."""
        last = np.ones(len(places), dtype=bool)
        last[:-1] = places[1:] != places[:-1]
        places = places[last]
        with np.errstate(over="ignore"):
            values = values[last].astype(np.float32)
        count = len(self.values)
        if count and places[0] <= self._last_row():
            self.cut(int(places[0]))
            count = len(self.values)
        if not count:
            self._first, self._rows = int(places[0]), None
        gapless = places[-1] - places[0] == len(places) - 1 and (not count or places[0] == self._last_row() + 1)
        if self._rows is None and not gapless:
            self._rows = _Buffer(np.int32)
            self._rows.extend(np.arange(self._first, self._first + count))
        if self._rows is not None:
            self._rows.extend(places)
        self.values.extend(values)

    def cut(self, row: int) -> None:
        """Forget the values of this row and later ones."""
        kept = max(0, row - self._first) if self._rows is None else int(np.searchsorted(self._rows.view(), row))
        self.values.cut(kept)
        if self._rows is not None:
            self._rows.cut(kept)

    def _last_row(self) -> int:
        return self._first + len(self.values) - 1 if self._rows is None else int(self._rows.view()[-1])


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By name: in which of the lines it stands, ascending, and the numbers there (float64).

    Lines with the same names are turned at once, which is several times as fast as one by one.
    """
    kinds: dict[tuple[str, ...], list[int]] = {}
    for place, row in enumerate(rows):
        kinds.setdefault(tuple(row), []).append(place)
    parts: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for names, places in kinds.items():
        alike = rows if len(places) == len(rows) else [rows[place] for place in places]
        where = np.array(places)
        values = zip(*map(itemgetter(*names), alike), strict=True) if len(names) > 1 else [[row[names[0]] for row in alike]]
        for name, column in zip(names, values, strict=True):
            if (part := _numbers(where, column)) is not None:
                parts.setdefault(name, []).append(part)
    found = {}
    for name, several in parts.items():
        where, numbers = several[0]
        if len(several) > 1:
            where, numbers = (np.concatenate([part[at] for part in several]) for at in (0, 1))
            order = np.argsort(where, kind="stable")
            where, numbers = where[order], numbers[order]
        found[name] = where, numbers
    return found


def _numbers(where: np.ndarray, column: Sequence[Any]) -> tuple[np.ndarray, np.ndarray] | None:
    if NUMBERS.issuperset(map(type, column)):
        try:
            return where, np.array(column, dtype=np.float64)
        except OverflowError:
            pass
    kept = [(at, number) for at, number in zip(where, map(_number, column), strict=True) if number is not None]
    return (np.array([at for at, _ in kept]), np.array([number for _, number in kept])) if kept else None


def _number(value: Any) -> float | None:
    """A number of JSON as a float, the names of those that are not finite too; None for all else."""
    if type(value) is str:
        return NOT_FINITE.get(value.lower())
    if type(value) not in NUMBERS:
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
