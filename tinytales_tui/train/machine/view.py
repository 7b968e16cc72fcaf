"""How the machine is doing, in a few rows: a name, a small curve of the last half hour, and the present figure.

`health_lines` and `one_line_health` make the text and are pure; `MachineView` puts it on the screen and draws again only the rows that
changed. What is measured, and when, is not decided here.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from rich.segment import Segment
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

from engine.watching.machine import GpuSample, History, MachineSample, shown_gpus
from tinytales_tui.figures import size
from tinytales_tui.text import one_line

Line = tuple[tuple[str, str], ...]
"""(text, role) pieces of a row on the screen; the roles: label, curve, value, warning."""
BLOCKS = "▁▂▃▄▅▆▇█"
PLAIN = ".:-=#"
"""The same in ASCII, the lowest first."""
_LABEL = 14
_TWO_COLUMNS = 100
"""Columns of the screen from which two figures stand side by side."""
_GROUPS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 60, 90, 150, 300, 450)
"""How many samples may share a column of a curve: few steps, so that the whole curve seldom changes at once."""
_LEAST_DISK_SHARE, _MOST_MEMORY_SHARE = 0.05, 0.95
_SPARING = 5
"""With low bandwidth, draw after so many samples."""


@dataclass(frozen=True)
class _Row:
    label: str
    series: str
    low: float
    high: float
    forms: tuple[str, ...]
    """The present figure, the longest way to say it first."""
    warn: bool = False
    peaks: bool = False
    """Whether a column of the curve shows the highest of its samples, for what comes in bursts; else their mean."""


def health_lines(
    history: History, sample: MachineSample | None, forecast: str | None, width: int, *, height: int = 0, ascii: bool = False
) -> list[Line]:
    """The rows for a screen of `width` columns; the curves are two rows tall where `height` rows are enough for that."""
    width = max(width, 1)
    if sample is None:
        return [((one_line("Looking at the machine...", width), "label"),)]
    notes: list[Line] = []
    if sample.host:
        words = f"This run is trained on {one_line(sample.host, 60)}; from here only its disk can be seen."
        notes = [((line, "label"),) for line in textwrap.wrap(words, width)]
    rows = _rows(history, sample, "C" if ascii else "°C")
    said = [((line, "warning"),) for line in textwrap.wrap("! " + one_line(forecast, 200), width)] if forecast else []
    across = 2 if width >= _TWO_COLUMNS and len(rows) > 1 else 1
    each = (width - 3 * (across - 1)) // across
    down = -(-len(rows) // across)
    tall = 2 if 2 * down + len(notes) + len(said) <= height else 1
    drawn = [_draw(row, history, each, tall, ascii) for row in rows]
    lines: list[Line] = []
    for first in range(down):
        for level in range(tall):
            line = drawn[first][level]
            if across == 2 and first + down < len(rows):
                line = (*line, ("   ", "label"), *drawn[first + down][level])
            lines.append(line)
    return [*notes, *lines, *said]


def one_line_health(sample: MachineSample | None, width: int) -> str:
    """`CPU 93 % · memory 4.1 of 24.0 GB · disk 310 GB free · GPU 87 %`; parts are left out where it would not fit."""
    if sample is None:
        return ""
    parts = {
        "host": f"on {one_line(sample.host, 30)}" if sample.host else "",
        "cpu": f"CPU {sample.cpu:.0f} %" if sample.cpu is not None else "",
        "memory": f"memory {_of(sample.memory_used, sample.memory_total)}" if sample.memory_total else "",
        "disk": f"disk {_short_size(sample.disk_free)} free" if sample.disk_free is not None else "",
        "gpu": f"GPU {sample.gpu_utilisation:.0f} %" if sample.gpu_utilisation is not None else "",
    }
    for spare in (None, "memory", "host", "disk", "cpu"):
        parts.pop(spare or "", None)
        words = " · ".join(filter(None, parts.values()))
        if len(words) <= width:
            return words
    return one_line(words, width)


def sparkline(values: Sequence[float], width: int, low: float, high: float, *, tall: int = 1, ascii: bool = False) -> list[str]:
    """A curve of single letters, `width` wide and `tall` rows high, the newest at the right; blank for what is not known (NaN)."""
    steps = PLAIN if ascii else BLOCKS
    top = len(steps) * tall - 1
    span = high - low
    levels = [
        -1 if value != value else min(top, max(0, round((value - low) / span * top) if span > 0 else 0))
        for value in values[max(0, len(values) - width) :]
    ]
    rows = []
    for row in reversed(range(tall)):
        base = row * len(steps)
        rows.append(
            "".join(" " if level < base else steps[min(level - base, len(steps) - 1)] for level in levels).rjust(max(width, 0))
        )
    return rows


def grouped(values: Sequence[float], count: int, columns: int, *, peaks: bool = False) -> list[float]:
    """The means (or the peaks) of groups of neighbours, so that at most `columns` are left; a group of unknowns is NaN.

    `count` is the number of values there ever were: groups are cut by it, so that a value stays in its group as others come.
    """
    first = count - len(values)
    group = next((g for g in _GROUPS if len(values) / g + 1 <= columns), max(1, len(values)))
    found = []
    at = 0
    while at < len(values):
        end = at + group - (first + at) % group
        part = values[at:end]
        if peaks or math.isnan(sum(part)):
            part = [value for value in part if value == value]
        found.append(math.nan if not len(part) else max(part) if peaks else sum(part) / len(part))
        at = end
    return found


class MachineView(Widget):
    """The rows of `health_lines`; give it a height for curves of two rows, else it is as high as its rows."""

    COMPONENT_CLASSES = {"machine--label", "machine--curve", "machine--value", "machine--warning"}
    DEFAULT_CSS = """
    MachineView {
        width: 1fr;
        height: auto;
        & .machine--label { color: $text-muted; }
        & .machine--curve { color: $primary; }
        & .machine--value { color: $foreground; }
        & .machine--warning { color: $text-warning; text-style: bold; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._history = History()
        self._sample: MachineSample | None = None
        self._forecast: str | None = None
        self._lines: list[Line] = []
        self._made_for: tuple[int, int] | None = None
        self._drawn_at = 0

    def show(self, history: History, sample: MachineSample | None, forecast: str | None = None) -> None:
        """Show these. With low bandwidth only every fifth sample is drawn, unless there is something new to say."""
        news = (history is not self._history, sample is None, forecast, sample and sample.host)
        before = (False, self._sample is None, self._forecast, self._sample and self._sample.host)
        sparing = bool(getattr(self.app, "low_bandwidth", False))
        if sparing and news == before and 0 <= history.count - self._drawn_at < _SPARING:
            return
        self._history, self._sample, self._forecast, self._drawn_at = history, sample, forecast, history.count
        old = self._lines
        self._make(self.size.width, self.size.height)
        if len(old) != len(self._lines):
            self.refresh(layout=True)
            return
        changed = [Region(0, y, self.size.width, 1) for y, line in enumerate(self._lines) if line != old[y]]
        if changed:
            self.refresh(*changed)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        ascii = bool(getattr(self.app, "ascii", False))
        return len(health_lines(self._history, self._sample, self._forecast, width, ascii=ascii))

    def render_line(self, y: int) -> Strip:
        width, base = self.size.width, self.rich_style
        if self._made_for != (width, self.size.height):
            self._make(width, self.size.height)
        if y >= len(self._lines):
            return Strip.blank(width, base)
        parts = [Segment(text, self.get_component_rich_style(f"machine--{role}")) for text, role in self._lines[y]]
        return Strip(parts).crop_extend(0, width, base)

    def _make(self, width: int, height: int) -> None:
        ascii = bool(getattr(self.app, "ascii", False))
        self._made_for = (width, height)
        self._lines = health_lines(self._history, self._sample, self._forecast, width, height=height, ascii=ascii)


def _rows(history: History, sample: MachineSample, degrees: str) -> list[_Row]:
    rows: list[_Row] = []
    if sample.host is None:
        rows += _processor_rows(history, sample)
    if sample.disk_free is not None and sample.disk_total:
        rows.append(_disk_row(history, sample, sample.disk_free, sample.disk_total))
    if sample.disk_write_rate is not None:
        written, read = size(sample.disk_write_rate), size(sample.disk_read_rate or 0)
        forms = (f"{written}/s · reads {read}/s", f"{written}/s")
        high = max(1e6, _highest(history, "disk_write"))
        label = "writes (all)" if sample.all_disks else "disk writes"
        rows.append(_Row(label, "disk_write", 0, high, forms, peaks=True))
    gpus = shown_gpus(sample)
    for gpu in gpus:
        rows += _gpu_rows(gpu, f"GPU {gpu.index}" if len(sample.gpus) > 1 else "GPU", degrees)
    return rows


def _processor_rows(history: History, sample: MachineSample) -> list[_Row]:
    rows: list[_Row] = []
    cores = sample.cores or 1
    if sample.cpu is not None:
        load = f" · load {sample.load:.1f}" if sample.load is not None else ""
        rows.append(_Row("CPU", "cpu", 0, 100, (f"{sample.cpu:.0f} %{load}", f"{sample.cpu:.0f} %")))
    known = sample.trainer or len(history.series("trainer_memory"))
    if known:
        used = "not running" if not sample.trainer else "-"
        if sample.trainer_cpu is not None:
            used = f"{sample.trainer_cpu / 100:.1f} of {cores} cores"
        rows.append(_Row("trainer CPU", "trainer_cpu", 0, 100 * cores, (used, used.removesuffix(" cores"))))
    if sample.memory_used is not None and sample.memory_total:
        full = sample.memory_used > _MOST_MEMORY_SHARE * sample.memory_total
        forms = (_of(sample.memory_used, sample.memory_total),)
        rows.append(_Row("memory", "memory", 0, sample.memory_total, forms, full))
    if known:
        held = size(sample.trainer_memory) if sample.trainer_memory else "not running" if not sample.trainer else "-"
        high = sample.memory_total or _highest(history, "trainer_memory")
        rows.append(_Row("trainer memory", "trainer_memory", 0, high, (held,)))
    return rows


def _disk_row(history: History, sample: MachineSample, free: int, total: int) -> _Row:
    forms = (_of(free, total), _short_size(free))
    return _Row("disk free", "disk_free", 0, total, forms, free < _LEAST_DISK_SHARE * total)


def _gpu_rows(gpu: GpuSample, label: str, degrees: str) -> list[_Row]:
    used = f"{gpu.utilisation:.0f} %" if gpu.utilisation is not None else ""
    warmth = f"{gpu.temperature:.0f} {degrees}" if gpu.temperature is not None else ""
    power = f"{gpu.power:.0f} W" if gpu.power is not None else ""
    forms = [" · ".join(filter(None, parts)) for parts in ((used, warmth, power), (used, warmth), (used or warmth or power,))]
    rows = [_Row(label, f"gpu{gpu.index}", 0, 100, tuple(forms))] if forms[0] else []
    if gpu.memory_used is not None and gpu.memory_total:
        held = (_of(gpu.memory_used, gpu.memory_total),)
        rows.append(_Row(f"{label} memory", f"gpu{gpu.index}_memory", 0, gpu.memory_total, held))
    return rows


def _draw(row: _Row, history: History, width: int, tall: int, ascii: bool) -> list[Line]:
    """The row's lines, each `width` wide; the name and the figure stand in the last."""
    room = 16 if width < 56 else 26
    figure = next((form for form in row.forms if len(form) + 2 * row.warn <= room), row.forms[-1])
    figure = ("! " if row.warn else "") + figure
    columns = max(0, width - _LABEL - room - 2)
    columns = columns if columns >= 4 else 0
    values = grouped(history.series(row.series), history.count, columns, peaks=row.peaks) if columns else []
    curve = sparkline(values, columns, row.low, row.high, tall=tall, ascii=ascii)
    lines: list[Line] = []
    for level, part in enumerate(curve):
        last = level == len(curve) - 1
        label, shown = (row.label, figure) if last else ("", "")
        value = (f" {shown:<{room}}", "warning" if row.warn else "value")
        lines.append(((f"{label:<{_LABEL}} ", "label"), (part, "curve"), value))
    return lines


def _highest(history: History, name: str) -> float:
    return max((value for value in history.series(name) if value == value), default=0.0)


def _of(used: int | None, total: int | None) -> str:
    """`4.1 of 24.0 GB`: both in the unit of the larger, but `310 GB of 1.0 TB`."""
    unit = _short_size(total or 0).rpartition(" ")[2]
    if unit == "TB" and (used or 0) < 1e12:
        return f"{_short_size(used or 0)} of {_short_size(total or 0)}"
    part = (used or 0) / {"kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}.get(unit, 1.0)
    return f"{part:.{0 if part >= 99.95 else 1}f} of {_short_size(total or 0)}"


def _short_size(count: float) -> str:
    """A size without a decimal from a hundred on: `310 GB`."""
    words = size(count)
    number, _, unit = words.partition(" ")
    return f"{float(number.replace(',', '')):.0f} {unit}" if len(number) > 4 else words
