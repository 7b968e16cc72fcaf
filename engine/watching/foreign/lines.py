"""Logs of rows with named columns: JSON lines and CSV (tabs, semicolons and bars as well), followed while they grow.

Columns are recognised by their usual names or chosen. A CSV header in the middle of the file starts the columns anew. Knows nothing of
runs and of screens.
"""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.growing_files import JsonLines
from engine.watching.feed import SLICE
from engine.watching.foreign.base import LineFeed
from engine.watching.foreign.names import FIGURES, Naming, converter, listed, moment, no_figures, number
from engine.watching.foreign.steps import Row

DELIMITERS = (",", "\t", ";", "|")
_MOST_LAYOUTS = 2000
_MOST_NAMES = 1000
COUNTED = "Nothing in it counts the steps; its lines are counted instead."
TIME_AS_LOGGED = "time_logged"
"""A time that is no moment: seconds since the start, or for a step."""


class _Layout:
    """What is done to rows of the same names: new names, and conversions of texts into numbers."""

    def __init__(self, sample: Row, naming: Naming) -> None:
        names = naming.line_names(list(sample))
        values = list(sample.values())
        names = [
            TIME_AS_LOGGED if ours == "time" and moment(value) is None else ours
            for ours, value in zip(names, values, strict=True)
        ]
        self.kept = [at for at, ours in enumerate(names) if ours != "total_steps"]
        self.names = [names[at] for at in self.kept]
        self.total = next((theirs for theirs, ours in zip(sample, names, strict=True) if ours == "total_steps"), None)
        self.conversions: list[tuple[str, Callable[[Any], Any]]] = [
            (names[at], convert) for at in self.kept if (convert := converter(names[at], values[at]))
        ]
        self.same = list(sample) == names and not self.conversions
        self.figure = not FIGURES.isdisjoint(names)
        meanings = [found[0] for theirs in sample if (found := naming.ranked(theirs))]
        self.step = "step" in meanings
        """Whether there is a counter of steps, and not an epoch in its place."""
        self.epoch = "step" in names and not self.step

    def apply(self, row: Row) -> Row:
        """The row under our names."""
        if self.same:
            return row
        values = list(row.values())
        new = {ours: values[at] for ours, at in zip(self.names, self.kept, strict=True)}
        for ours, convert in self.conversions:
            if (value := convert(new[ours])) is not None or ours == "time":
                new[ours] = value
        return new


class JsonFeed(LineFeed):
    """One JSON object a line."""

    kind = "JSON lines"

    def _open(self, path: Path) -> JsonLines:
        return JsonLines(path)

    def _new(self) -> tuple[list[Row], bool]:
        return self._file.new_rows(SLICE)

    def _begin_again(self) -> None:
        super()._begin_again()
        self._layouts: dict[tuple[bool, tuple[str, ...]], _Layout] = {}
        self._names: dict[str, None] = {}
        self._figure_seen = self._step_seen = False
        self._counted = 0
        self._last: Any = None

    def _problem(self) -> str:
        if self._names and not self._figure_seen:
            return no_figures(self.name, list(self._names))
        said = [_lines(self._file.damaged, "is no JSON object", "are no JSON objects")] if self._file.damaged else []
        if missing := self._naming.missing(self._names) if self._names else []:
            said.append(f"It has no column called {' or '.join(missing)} so far.")
        return " ".join(said + [COUNTED] * bool(self._counted))

    def _rows_of_rest(self, rest: bytes) -> list[Row]:
        row = json_object(rest)
        return self._rows([row]) if row and self._step_seen else []

    def _rows(self, lines: list[Row], flattened: bool = False) -> list[Row]:
        result: list[Row] = []
        for names, group in itertools.groupby(lines, key=tuple):
            alike = list(group)
            if not flattened and any(type(value) is dict for value in alike[0].values()):
                result.extend(self._rows([flat(row) for row in alike], flattened=True))
                continue
            layout = self._layouts.get((flattened, names)) or self._new_layout(flattened, names, alike)
            if layout is None:
                continue
            self._figure_seen = self._figure_seen or layout.figure
            self._step_seen = self._step_seen or layout.step
            if layout.total is not None:
                self._see_total(alike[-1][layout.total])
            if not layout.same:
                alike = [layout.apply(row) for row in alike]
            result.extend(self._with_steps(alike, layout))
        return result

    def _with_steps(self, rows: list[Row], layout: _Layout) -> list[Row]:
        """Rows that say no step stand at the step before them, or are counted where none ever says one."""
        if layout.step:
            self._last = rows[-1]["step"]
        elif self._step_seen:
            return [{**row, "step": self._last} for row in rows] if layout.figure else []
        elif not layout.epoch:
            if not layout.figure or self.columns.step:
                return []
            rows = [{**row, "step": self._counted + at} for at, row in enumerate(rows, 1)]
            self._counted += len(rows)
        return rows

    def _new_layout(self, flattened: bool, names: tuple[str, ...], alike: list[Row]) -> _Layout | None:
        if len(self._layouts) >= _MOST_LAYOUTS or len(names) > _MOST_NAMES:
            return None
        # A value that is null at first tells less than a number: the fullest of the first rows decides.
        fullest = max(alike[:20], key=lambda row: sum(value is not None for value in row.values()))
        layout = self._layouts[flattened, names] = _Layout(fullest, self._naming)
        if len(self._names) < _MOST_NAMES:
            self._names.update(dict.fromkeys(names))
        return layout

    def _see_total(self, value: Any) -> None:
        total = number(value) if isinstance(value, str) else value
        if type(total) in (int, float) and 0 < total < 2**63:
            self.total_steps = int(total)


class CsvFeed(LineFeed):
    """Columns with a header; the delimiter is told from it."""

    kind = "CSV"

    def _new(self) -> tuple[list[bytes], bool]:
        return self._file.new_lines(SLICE // 4)  # short lines: a slice is no longer than one of JSON lines

    def _begin_again(self) -> None:
        super()._begin_again()
        self._header: list[str] | None = None
        self._ours: list[str] = []
        self._delimiter = ","
        self._odd = self._counted = 0
        self._figure_seen = False

    def _problem(self) -> str:
        if self._header is None:
            return ""
        if missing := self._naming.missing(self._header):
            return f"{self.name} has no column called {' or '.join(missing)}; its columns are {listed(self._header)}."
        if not self._figure_seen:
            return no_figures(self.name, self._header)
        said = [_lines(self._odd, "does not fit its columns", "do not fit its columns")] if self._odd else []
        return " ".join(said + [COUNTED] * bool(self._counted))

    def _rows_of_rest(self, rest: bytes) -> list[Row]:
        if self._header is None or self._counted:
            return []
        odd = self._odd
        rows = self._rows([rest])
        self._odd = odd
        return rows

    def _rows(self, lines: list[bytes]) -> list[Row]:
        texts = [
            text for line in lines if (text := line.decode("utf-8", "replace").strip("\r\0\ufeff")).strip() and text[0] != "#"
        ]
        result: list[Row] = []
        if texts and self._header is None:
            self._set_header(*header_of(texts))
        fields = self._split(texts)
        # Rows of the right width and with a number first are read column by column, several times as fast as one by one.
        for whole, group in itertools.groupby(fields, key=self._is_whole):
            part = list(group)
            if whole:
                result.extend(self._numbers(part))
                continue
            for row in part:
                if is_header(row):
                    if row != self._header:
                        self._set_header(row, self._delimiter)
                elif len(row) == len(self._ours):
                    result.extend(self._numbers([row]))
                else:
                    self._odd += 1
        return result

    def _is_whole(self, row: list[str]) -> bool:
        return len(row) == len(self._ours) and (row[0][:1].isdigit() or not is_header(row))

    def _set_header(self, header: list[str], delimiter: str) -> None:
        self._header, self._delimiter = header, delimiter
        self._naming = Naming(self.columns)
        self._ours = self._naming.line_names(header)
        self._figure_seen = not FIGURES.isdisjoint(self._ours)

    def _split(self, texts: list[str]) -> list[list[str]]:
        """The fields of each line; a quote that is never closed ends with its line."""
        if not any('"' in text for text in texts):
            return [[field.strip() for field in text.split(self._delimiter)] for text in texts]
        return [split_line(text, self._delimiter) for text in texts]

    def _numbers(self, fields: list[list[str]]) -> list[Row]:
        columns: dict[str, list[float | None]] = {}
        for name, texts in zip(self._ours, zip(*fields, strict=True), strict=True):
            columns[name] = self._column(texts)
            if name == "time":
                moments = [moment(text) for text in texts]
                if any(at is not None for at in moments):
                    columns[name] = moments
                else:
                    columns[TIME_AS_LOGGED] = columns.pop(name)
        if (totals := columns.pop("total_steps", None)) and totals[-1] and 0 < totals[-1] < 2**63:
            self.total_steps = int(totals[-1])
        if "step" not in columns:
            if not self._figure_seen:
                return []
            columns["step"] = list(range(self._counted + 1, self._counted + len(fields) + 1))
            self._counted += len(fields)
        names = list(columns)
        return [dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)]

    def _column(self, texts: tuple[str, ...]) -> list[float | None]:
        try:
            return [float(text) if text else None for text in texts]
        except ValueError:
            if self._delimiter == ";":
                texts = tuple(text.replace(",", ".") for text in texts)
            return [number(text) for text in texts]


def flat(row: Row, before: str = "", depth: int = 4) -> Row:
    """Objects within objects as names with a slash: `{"train": {"loss": 1}}` is `train/loss`; what lies deeper is left out."""
    result: Row = {}
    for name, value in row.items():
        if type(value) is not dict:
            result[before + name] = value
        elif depth:
            result.update(flat(value, f"{before}{name}/", depth - 1))
    return result


def json_object(line: bytes) -> Row | None:
    """The object that a line of JSON is; None for all else."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if type(found) is dict else None


def split_line(text: str, delimiter: str) -> list[str]:
    """The fields of one line, quotes taken off."""
    try:
        return [field.strip() for field in next(csv.reader([text], delimiter=delimiter, skipinitialspace=True), [])]
    except (csv.Error, StopIteration):
        return [field.strip() for field in text.split(delimiter)]


def is_header(fields: list[str]) -> bool:
    """Whether these fields are names: at least two, and no number among them."""
    if len(fields) < 2 or number(fields[0]) is not None:
        return False
    return all(field and number(field) is None for field in fields) and len({*fields}) > 1


def header_of(texts: list[str]) -> tuple[list[str], str]:
    """The names of the columns (`1`, `2`, … where the first line is no header) and the delimiter."""
    delimiter = max(DELIMITERS, key=lambda mark: (len(split_line(texts[0], mark)), -DELIMITERS.index(mark)))
    first = split_line(texts[0], delimiter)
    if len({*first}) == len(first) and (
        is_header(first) or (len(first) > 1 and all(number(field) is None for field in first[:2]))
    ):
        return [field or str(at) for at, field in enumerate(first, 1)], delimiter
    return [str(at) for at in range(1, len(first) + 1)], delimiter


def _lines(count: int, one: str, more: str) -> str:
    return f"One line of it {one} and is left out." if count == 1 else f"{count:,} lines of it {more} and are left out."
