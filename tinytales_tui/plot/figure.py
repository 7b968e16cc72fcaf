"""A chart as text: curves over a common x axis, with ticks, a row of marks, and a cursor. Made anew from arrays at every redraw.

A redraw costs a few passes over the visible points and then only as much as there are columns. The styles are small numbers; what
colour they have is the business of whoever shows the text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from engine.watching.curves import Columns, gather
from tinytales_tui.plot.canvas import BLANK, Canvas, band_mask, bridge, line_mask
from tinytales_tui.plot.scale import Scale, labels, ticks, time_ticks, value_label, y_scale

AXIS, CURSOR, MARK, CLIPPED = 1, 2, 3, 4
"""Styles besides BLANK and those of the curves."""
FIRST_CURVE = 8
"""Styles from here on are for curves: FIRST_CURVE + 2 * n, and one more for its faint twin."""


@dataclass(frozen=True)
class Curve:
    """Points in ascending order of x."""

    x: np.ndarray
    y: np.ndarray
    style: int
    form: Literal["line", "band", "points", "dots"] = "line"
    """How it is drawn.

    line: through the mean of each column; band: from its smallest to its largest value; points: a line with dots at its values, as many
    as there is room for; dots: only its letter at each value.
    """
    letter: str = "*"
    """Draws it in ASCII, and marks its last point where `named`."""
    named: bool = False


@dataclass(frozen=True)
class MarkAt:
    """A letter under the plot at some x; of several in one column the one with the highest rank is shown."""

    x: float
    letter: str
    rank: int = 0
    style: int = MARK


@dataclass(frozen=True)
class Figure:
    """What to draw."""

    curves: Sequence[Curve]
    first: float
    """The x range."""
    last: float
    log: bool = False
    marks: Sequence[MarkAt] | None = None
    """None leaves out their row."""
    cursor: float | None = None
    time: bool = False
    """x counts seconds."""
    y_range: tuple[float, float] | None = None
    """None: all that is visible."""
    trim: bool = False
    """Let the y range ignore the highest and lowest values of few columns; arrows show where they are."""
    gutter: int = 0
    """Least width of the y labels, so that charts above one another line up."""


@dataclass(frozen=True)
class Drawing:
    """The text of a chart, and where things are in it."""

    rows: list[list[tuple[str, int]]]
    """Pieces (text, style) of each row; together as wide as was asked."""
    left: int
    """Column of the first cell of the plot."""
    columns: int
    """Cells of the plot."""
    first: float = 0.0
    last: float = 1.0
    curves: list[Columns] = field(default_factory=list)

    def x_at(self, column: int) -> float:
        """The x in the middle of a column of the whole chart."""
        return self.first + (column - self.left + 0.5) / max(1, self.columns) * (self.last - self.first)

    def lines(self) -> list[str]:
        """Plain text."""
        return ["".join(text for text, _ in row).rstrip() for row in self.rows]


def draw(figure: Figure, width: int, height: int, ascii: bool, write_y: Callable[[float], str] = value_label) -> Drawing:
    """The figure in `width` x `height` cells, axes counted; smaller than 12 x 3 is only blank."""
    plot_rows = height - 2 - (figure.marks is not None)
    if width < 12 or plot_rows < 1:
        return Drawing([[(" " * width, BLANK)]] * max(0, height), 0, max(1, width), figure.first, figure.last)
    # How wide the plot is depends on the labels, which depend on the values in it; a first guess at the width is near enough for them.
    rough = [gather(curve.x, curve.y, figure.first, figure.last, max(1, width - 8)) for curve in figure.curves]
    scale = _scale(figure, rough)
    at_y = ticks(scale, max(1, min(6, plot_rows // 2)))
    texts = labels(at_y, write_y)
    left = max(figure.gutter, max(map(len, texts), default=0)) + 2
    columns = width - left
    canvas = Canvas(columns, plot_rows, ascii)
    across, _ = canvas.dots
    gathered = [gather(curve.x, curve.y, figure.first, figure.last, across) for curve in figure.curves]
    for curve, found in zip(figure.curves, gathered, strict=True):
        _paint(canvas, curve, found, scale)
    _show_clipped(canvas, gathered, scale)
    place = _places(figure, columns)
    cursor = place(figure.cursor) if figure.cursor is not None else None
    if cursor is not None:
        canvas.rule(cursor, "|" if ascii else "│", CURSOR)
    rows = _with_y_labels(canvas, scale, at_y, texts, left, ascii)
    if figure.marks is not None:
        rows.append(_marks_row(figure.marks, place, left, columns, cursor))
    rows += _x_axis(figure, left, columns, ascii, cursor)
    return Drawing(rows, left, columns, figure.first, figure.last, gathered)


def _scale(figure: Figure, found: Sequence[Columns]) -> Scale:
    if figure.y_range is not None:
        return y_scale(*figure.y_range, figure.log)
    low = np.concatenate([columns.low for columns in found]) if found else np.empty(0)
    high = np.concatenate([columns.high for columns in found]) if found else np.empty(0)
    low, high = low[~np.isnan(low)], high[~np.isnan(high)]
    if figure.log:
        low = low[low > 0]
        high = high[high > 0]
    if not len(low) or not len(high):
        return Scale(0.1, 1.0, True) if figure.log else Scale(0.0, 1.0)
    if figure.trim and len(high) >= 8:
        bottom, top = float(np.quantile(low, 0.05)), float(np.quantile(high, 0.95))
        room = top - bottom  # only what lies that far beyond nearly all others is cut off
        return y_scale(max(float(low.min()), bottom - room), min(float(high.max()), top + room), figure.log)
    return y_scale(float(low.min()), float(high.max()), figure.log)


def _paint(canvas: Canvas, curve: Curve, found: Columns, scale: Scale) -> None:
    _, height = canvas.dots

    def row(values: np.ndarray) -> np.ndarray:
        return (1 - scale.share(values)) * (height - 1)

    if curve.form == "band":
        top, bottom = row(found.high), row(found.low)
        middle = line_mask(bridge((top + bottom) / 2, found.broken), height)
        canvas.paint(band_mask(top, bottom, height) | middle, curve.style, curve.letter)
        return
    means = row(found.mean)
    if curve.form == "dots":
        for column in np.flatnonzero(~np.isnan(means)):
            canvas.put(int(column) // canvas.across, _cell(canvas, means[column]), curve.letter, curve.style)
        return
    canvas.paint(line_mask(bridge(means, found.broken), height), curve.style, curve.letter)
    at = np.flatnonzero(~np.isnan(means))
    if curve.form == "points":
        for column in at[:: max(1, 3 * len(at) // canvas.width)]:  # as many as leave the line to be seen
            canvas.put(
                int(column) // canvas.across, _cell(canvas, means[column]), curve.letter if canvas.ascii else "●", curve.style
            )
    if curve.named and len(at):
        column = int(at[-1])
        canvas.put(column // canvas.across, _cell(canvas, means[column]), curve.letter, curve.style)


def _cell(canvas: Canvas, row: float) -> int:
    """The row of cells that holds a row of dots; what lies outside is put at the rim."""
    return min(canvas.height - 1, max(0, int((row + 0.5) // canvas.down)))


def _show_clipped(canvas: Canvas, found: Sequence[Columns], scale: Scale) -> None:
    """Arrows where values lie above or below what is drawn, and crosses where a value is no number."""
    for columns in found:
        above, below = columns.high > scale.high * (1 + 1e-9 * math.copysign(1, scale.high)), columns.low < scale.low - 1e-12
        for mask, row, letter in ((above, 0, "▲"), (below, canvas.height - 1, "▼"), (columns.broken, canvas.height - 1, "×")):
            for column in np.unique(np.flatnonzero(mask) // canvas.across):
                canvas.put(int(column), row, letter, CLIPPED)


def _places(figure: Figure, columns: int) -> Callable[[float], int | None]:
    room = figure.last - figure.first

    def place(x: float) -> int | None:
        if not figure.first <= x <= figure.last:
            return None
        return min(columns - 1, int((x - figure.first) / room * columns)) if room > 0 else columns // 2

    return place


def _with_y_labels(
    canvas: Canvas, scale: Scale, at: Sequence[float], texts: Sequence[str], left: int, ascii: bool
) -> list[list[tuple[str, int]]]:
    shares = scale.share(np.array(at, dtype=np.float64))
    names: dict[int, str] = {}
    for share, text in zip(shares, texts, strict=True):
        if 0 <= share <= 1:
            names.setdefault(round((1 - float(share)) * (canvas.height - 1)), text)
    side, tick = ("|", "+") if ascii else ("│", "┤")
    return [
        [(f"{names.get(row, ''):>{left - 1}}{tick if row in names else side}", AXIS), *canvas.row(row)]
        for row in range(canvas.height)
    ]


def _marks_row(
    marks: Sequence[MarkAt], place: Callable[[float], int | None], left: int, columns: int, cursor: int | None
) -> list[tuple[str, int]]:
    shown: dict[int, MarkAt] = {}
    for mark in marks:
        column = place(mark.x)
        if column is not None and (column not in shown or mark.rank >= shown[column].rank):
            shown[column] = mark
    row: list[tuple[str, int]] = [(" " * left, BLANK)]
    end = 0
    for column in sorted(shown):
        if column > end:
            row.append((" " * (column - end), BLANK))
        row.append((shown[column].letter, CURSOR if column == cursor else shown[column].style))
        end = column + 1
    row.append((" " * (columns - end), BLANK))
    return row


def _x_axis(figure: Figure, left: int, columns: int, ascii: bool, cursor: int | None) -> list[list[tuple[str, int]]]:
    scale = Scale(figure.first, figure.last)
    write = time_label if figure.time else value_label
    at = (time_ticks if figure.time else ticks)(scale, max(1, columns // 12))
    texts = labels(at, write)
    line = ["-" if ascii else "─"] * columns
    words = [" "] * columns
    place = _places(figure, columns)
    free = 0
    for value, text in zip(at, texts, strict=True):
        column = place(value)
        if column is None:
            continue
        line[column] = "+" if ascii else "┴"
        start = max(0, min(columns - len(text), column - len(text) // 2))
        if start >= free:
            words[start : start + len(text)] = text
            free = start + len(text) + 1
    if cursor is not None:
        line[cursor] = "^" if ascii else "▲"
    corner = "+" if ascii else "└"
    return [
        [(f"{corner:>{left}}" + "".join(line), AXIS)],
        [(" " * left + "".join(words)[:columns], AXIS)],
    ]


def time_label(seconds: float) -> str:
    """A duration on an axis: `0`, `45s`, `30m`, `2h`, `1h30`, `3d`, `1d6h`."""
    left = round(abs(seconds))
    sign = "-" if seconds < 0 and left else ""
    if left < 60:
        return f"{sign}{left}s" if left else "0"
    if left < 3600:
        return f"{sign}{left // 60}m" + (f"{left % 60:02}" if left % 60 else "")
    if left < 86_400:
        return f"{sign}{left // 3600}h" + (f"{left % 3600 // 60:02}" if left % 3600 // 60 else "")
    return f"{sign}{left // 86_400}d" + (f"{left % 86_400 // 3600}h" if left % 86_400 // 3600 else "")
