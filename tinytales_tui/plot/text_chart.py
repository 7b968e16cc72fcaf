"""A small chart of a loss as plain text, for commands that print: the curve of a figure, without colours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tinytales_tui.plot.figure import FIRST_CURVE, Curve, Figure, draw

Points = Sequence[tuple[float, float]]
LOG_FROM = 3.0
"""The scale is logarithmic where the largest value is that many times the smallest."""


def text_chart(points: Points, checks: Points, width: int, height: int, unicode: bool, label: str) -> list[str]:
    """Lines of text, at most `width` wide: `height` of them the curve, then the axis and, where there is room, the label.

    `points` is drawn as a line through the mean of each column, `checks` as single `o`. Values that are not finite leave a gap. No lines
    where there are fewer than two points.
    """
    curve, checked = _curve(points, FIRST_CURVE, "*"), _curve(checks, FIRST_CURVE + 2, "o")
    finite = np.concatenate([one.y[np.isfinite(one.y)] for one in (curve, checked)])
    steps = curve.x[np.isfinite(curve.y)]
    if len(np.unique(steps)) < 2:
        return []
    log = bool(finite.min() > 0 and finite.max() / finite.min() > LOG_FROM)
    last = max(float(steps[-1]), float(checked.x[-1]) if len(checked.x) else 0.0)
    figure = Figure([curve, checked], float(steps[0]), last, log=log)
    drawing = draw(figure, max(12, width), max(3, height + 2), not unicode)
    legend = f"{label}{' (logarithmic)' if log else ''}{', o: validation' if len(checked.x) else ''}"
    room = drawing.columns
    return [*drawing.lines(), *([f"{'':{drawing.left}}{legend:^{room}}".rstrip()] if len(legend) <= room else [])]


def _curve(points: Points, style: int, letter: str) -> Curve:
    found = np.array(sorted(points, key=lambda point: point[0]), dtype=np.float64).reshape(-1, 2)
    found = found[np.isfinite(found[:, 0])]
    return Curve(found[:, 0], found[:, 1], style, "line" if letter == "*" else "dots", letter)
