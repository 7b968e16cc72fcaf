"""A curve drawn with characters: a line of braille dots, or of plain ASCII, with its axes. Knows no Textual; it only makes text."""

from __future__ import annotations

import math
from collections.abc import Sequence

Points = Sequence[tuple[float, float]]
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""Braille bits of the left and the right column of a cell, from the top."""


def draw_curve(points: Points, marks: Points, width: int, height: int, unicode: bool, label: str) -> list[str]:
    """Lines of text, at most `width` wide, `height` of them the curve.

    `points` is drawn as a line, `marks` as single `o`. Values that are not finite are left out. Where the largest value is over three
    times the smallest, the scale is logarithmic and says so. No lines where there are fewer than two points.
    """
    points, marks = _usable(points), _usable(marks)
    if len({x for x, _ in points}) < 2:
        return []
    values = [y for _, y in points] + [y for _, y in marks]
    low, high = min(values), max(values)
    logarithmic = low > 0 and high / low > 3
    top, bottom = _number(high), _number(low)
    gutter = max(len(top), len(bottom))
    columns = max(10, width - gutter - 2)
    first, last = points[0][0], max(points[-1][0], max((x for x, _ in marks), default=0.0))

    def up(y: float) -> float:
        """0 at the bottom to 1 at the top."""
        if high == low:
            return 0.5
        return math.log(y / low) / math.log(high / low) if logarithmic else (y - low) / (high - low)

    def along(x: float) -> float:
        return (x - first) / (last - first)

    across, down = (2, 4) if unicode else (1, 1)
    dots = _line([(along(x), up(y)) for x, y in points], columns * across, height * down)
    rows = [[" "] * columns for _ in range(height)]
    for x, y in dots:
        cell = rows[y // down][x // across]
        if unicode:
            bits = 0 if cell == " " else ord(cell) - 0x2800
            rows[y // down][x // across] = chr(0x2800 + (bits | _DOTS[x % 2][y % 4]))
        else:
            rows[y][x] = "*"
    for x, y in marks:
        rows[round((1 - up(y)) * (height - 1))][round(along(x) * (columns - 1))] = "o"
    side, corner, line = ("│", "└", "─") if unicode else ("|", "+", "-")
    lines = [f"{'':>{gutter}} {side}{''.join(row).rstrip()}".rstrip() for row in rows]
    lines[0] = f"{top:>{gutter}}" + lines[0][gutter:]
    lines[-1] = f"{bottom:>{gutter}}" + lines[-1][gutter:]
    ends = f"{first:,.0f}", f"{last:,.0f}"
    legend = f"{label}{' (logarithmic)' if logarithmic else ''}{', o: validation' if marks else ''}"
    if len(legend) + len(ends[0]) + len(ends[1]) + 4 > columns:
        legend = ""
    middle = f"{legend:^{columns - len(ends[0]) - len(ends[1])}}"
    return [*lines, f"{'':>{gutter}} {corner}{line * columns}", f"{'':>{gutter}}  {ends[0]}{middle}{ends[1]}"]


def _usable(points: Points) -> list[tuple[float, float]]:
    return sorted((x, y) for x, y in points if math.isfinite(x) and math.isfinite(y))


def _line(points: list[tuple[float, float]], columns: int, rows: int) -> set[tuple[int, int]]:
    """Dots (column, row from the top) of a line through the mean of the points in each column."""
    sums: dict[int, tuple[float, int]] = {}
    for x, y in points:
        column = min(columns - 1, int(x * columns))
        total, count = sums.get(column, (0.0, 0))
        sums[column] = total + y, count + 1
    means = [(column, total / count) for column, (total, count) in sorted(sums.items())]
    dots: set[tuple[int, int]] = set()
    before: tuple[int, int] | None = None
    for column, mean in means:
        here = column, round((1 - mean) * (rows - 1))
        steps = max(abs(here[0] - before[0]), abs(here[1] - before[1])) if before else 0
        for at in range(steps + 1):
            share = at / steps if steps else 1.0
            x0, y0 = before or here
            dots.add((round(x0 + (here[0] - x0) * share), round(y0 + (here[1] - y0) * share)))
        before = here
    return dots


def _number(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 1000 else f"{value:.3g}"
