"""Numbers as a person reads them, and plain tables: durations, sizes, columns that fit the terminal. Knows no Textual and no Rich."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tinytales_tui.text import one_line


def duration(seconds: float) -> str:
    """Two units at most: `45 s`, `12 min`, `3 h 05 min`, `2 d 4 h`."""
    left = max(0, round(seconds))
    if left < 600:
        return f"{left} s" if left < 60 else f"{left // 60} min {left % 60:02} s" if left % 60 else f"{left // 60} min"
    left = round(left / 60)
    if left < 60:
        return f"{left} min"
    if left < 2880:
        return f"{left // 60} h {left % 60:02} min" if left % 60 else f"{left // 60} h"
    return f"{left // 1440} d {left % 1440 // 60} h"


def short_duration(seconds: float) -> str:
    """At most four characters, for a table: `45s`, `75m`, `3.2h`, `17h`, `4.1d`."""
    seconds = max(0.0, seconds)
    for limit, divisor, unit in ((59.5, 1, "s"), (99.5 * 60, 60, "m"), (9.95 * 3600, 3600, "h"), (47.5 * 3600, 3600, "h")):
        if seconds < limit:
            return f"{seconds / divisor:.{int(unit == 'h' and seconds < 9.95 * 3600)}f}{unit}"
    return f"{seconds / 86_400:.{int(seconds < 9.95 * 86_400)}f}d"


def size(count: float) -> str:
    """Bytes with a decimal unit: `512 bytes`, `45.2 MB`."""
    if count < 1000:
        return f"{count:,.0f} bytes"
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if count < 999.95:
            return f"{count:.1f} {unit}"
    return f"{count / 1000:,.1f} TB"


def short_count(count: float) -> str:
    """At most five characters: `812`, `12.3k`, `1.4M`."""
    if not math.isfinite(count):
        return str(count)
    for limit, divisor, unit in (
        (999.5, 1, ""),
        (99_950, 1e3, "k"),
        (999_500, 1e3, "k"),
        (99.95e6, 1e6, "M"),
        (999.5e6, 1e6, "M"),
    ):
        if abs(count) < limit:
            return f"{count / divisor:.{0 if not unit or abs(count) >= 99.95 * divisor else 1}f}{unit}"
    return f"{count / 1e9:.1f}G"


def bar(share: float | None, width: int) -> str:
    """A bar of `width` cells; blank where nothing is known."""
    if share is None:
        return " " * width
    full = round(min(1.0, max(0.0, share)) * width)
    return "━" * full + "·" * (width - full)


def counted(count: int, word: str) -> str:
    """`1 file`, `6 files`."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> list[str]:
    """Lines of a table; the columns with the numbers in `left` stand flush left, all others right."""
    cells = [list(headers), *([one_line(cell, 500) for cell in row] for row in rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(headers))]
    return [
        "  ".join(
            f"{cell:<{width}}" if at in left else f"{cell:>{width}}"
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def fitting_table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], width: int, left: Sequence[int] = (0,), spare: Sequence[int] = ()
) -> list[str]:
    """`table` in at most `width` columns where that can be: the columns in `spare` are left out, in that order, until it fits."""
    kept = list(range(len(headers)))
    while True:
        lines = table(
            [headers[at] for at in kept],
            [[row[at] for at in kept] for row in rows],
            [kept.index(at) for at in left if at in kept],
        )
        dropped = next((at for at in spare if at in kept), None)
        if dropped is None or max(map(len, lines)) <= width:
            return lines
        kept.remove(dropped)


def facts(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Lines of names and values, the values flush."""
    width = max((len(name) for name, _ in pairs), default=0)
    return [f"{name:<{width}}  {one_line(value, 500)}" for name, value in pairs]
