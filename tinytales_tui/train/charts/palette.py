"""The colours of the curves: six that people with any kind of colour vision tell apart (Okabe and Ito 2008), one set for each ground.

Each has a faint twin for raw values behind a smoothed line. Where there is no colour, faint is dim, and letters name the runs.
"""

from __future__ import annotations

from rich.style import Style
from textual.color import Color

from tinytales_tui.plot.canvas import BLANK
from tinytales_tui.plot.figure import AXIS, CLIPPED, CURSOR, FIRST_CURVE, MARK
from tinytales_tui.train.charts.charting import CHECKS

ON_DARK = ("#E69F00", "#56B4E9", "#2FC19A", "#CC79A7", "#F0E442", "#E8743B")
ON_LIGHT = ("#B36B00", "#0072B2", "#00755A", "#A8447F", "#7A7100", "#B84300")
CHECKS_ON_DARK, CHECKS_ON_LIGHT = "#56B4E9", "#0072B2"
_FAINT = 0.62
"""How far a raw curve is mixed with the ground behind it."""


def styles(dark: bool, ground: Color, muted: Style, strong: Style, error: Style, plain: bool) -> dict[int, Style]:
    """A style for each number that a drawing uses; `plain`: there are no colours."""

    def made(color: str, **more: bool) -> Style:
        return Style(color=color, bgcolor=ground.hex6, **more)

    bold = Style(bold=True)
    found = {BLANK: muted, AXIS: muted, CURSOR: strong + bold, MARK: strong, CLIPPED: error + bold}
    for place, color in enumerate(ON_DARK if dark else ON_LIGHT):
        found[FIRST_CURVE + 2 * place] = made(color, bold=plain)
        found[FIRST_CURVE + 2 * place + 1] = made(Color.parse(color).blend(ground, _FAINT).hex6, dim=plain)
    found[CHECKS] = made(CHECKS_ON_DARK if dark else CHECKS_ON_LIGHT, bold=plain)
    return found


def curve_styles(dark: bool) -> list[Style]:
    """The colours of the runs, first to last, as the front of text."""
    return [Style(color=color) for color in (ON_DARK if dark else ON_LIGHT)]
