"""What may come next, as bars: for each of the likeliest tokens what the model gives it, and what the settings leave of that.

Only shows; what the chances are is worked out by the engine, with the code that draws.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from textual.strip import Strip
from textual.widget import Widget

from engine.protocol import Chance, Prospect
from tinytales_tui.text import same_length

LABEL = 12
PERCENT = 7


def token_label(text: str, *, ends: bool = False, ascii: bool = False) -> str:
    """A token as a person can read it: blanks and line ends are visible."""
    if ends:
        return "(the end)"
    blank, line = ("_", "\\n") if ascii else ("·", "↵")
    return same_length(text).replace(" ", blank).replace("\n", line) or "(part)"


def percent(probability: float) -> str:
    """`34.1%`, or `<0.1%`."""
    return "  <0.1%" if 0 < probability < 0.0005 else f"{100 * probability:6.1f}%"


class ChanceBars(Widget):
    """As many rows as there is room for; the row at `cursor`, if any, is marked, and all have the digit that chooses them."""

    COMPONENT_CLASSES = {"chance-bars--label", "chance-bars--bar", "chance-bars--cut", "chance-bars--note", "chance-bars--cursor"}
    DEFAULT_CSS = """
    ChanceBars {
        height: 12;
        & .chance-bars--label { color: $foreground; }
        & .chance-bars--bar { color: $primary; }
        & .chance-bars--cut { color: $text-muted; }
        & .chance-bars--note { color: $text-muted; }
        & .chance-bars--cursor { background: $primary 30%; color: $foreground; text-style: bold; }
        &:nocolor .chance-bars--cursor { text-style: reverse; }
    }
    """

    def __init__(self, *, chooses: bool = False, id: str | None = None) -> None:
        super().__init__(id=id)
        self.chooses = chooses
        """Rows have digits, and one of them a cursor."""
        self.cursor = 0
        self.prospect: Prospect | None = None
        self._drawn: int | None = None
        self._words = ""

    def show(self, prospect: Prospect | None, words: str = "", drawn: int | None = None) -> None:
        """These chances, or, where there are none, words that say why; `drawn`: the token that stands there."""
        if (prospect, words, drawn) != (self.prospect, self._words, self._drawn):
            self.prospect, self._words, self._drawn = prospect, words, drawn
            self.cursor = min(self.cursor, max(len(self.chances) - 1, 0))
            self.refresh()

    @property
    def chances(self) -> Sequence[Chance]:
        return self.prospect.chances if self.prospect is not None else ()

    def move(self, step: int) -> None:
        """The cursor goes up or down."""
        self.cursor = min(max(self.cursor + step, 0), max(len(self.chances) - 1, 0))
        self.refresh()

    @property
    def ascii(self) -> bool:
        return bool(getattr(self.app, "ascii", False))

    def render_line(self, y: int) -> Strip:
        base = self.rich_style
        width = self.size.width
        if self.prospect is None:
            lines = textwrap.wrap(self._words, max(width - 1, 8))
            note = self.get_component_rich_style("chance-bars--note")
            return Strip([Segment(lines[y] if y < len(lines) else "", note)]).crop_extend(0, width, base)
        if y >= len(self.chances):
            return Strip.blank(width, base)
        return Strip(self._row(y, self.chances[y], width)).crop_extend(0, width, base)

    def _row(self, index: int, chance: Chance, width: int) -> list[Segment]:
        label, cut = (self.get_component_rich_style(f"chance-bars--{name}") for name in ("label", "cut"))
        bar = self.get_component_rich_style("chance-bars--bar")
        marked = self.chooses and index == self.cursor
        if marked:
            label = cut = bar = self.get_component_rich_style("chance-bars--cursor")
        head = f"{(index + 1) % 10} " if self.chooses and index < 10 else "  " if self.chooses else ""
        stands = (">" if self.ascii else "▸") if chance.token == self._drawn else " "
        words = set_cell_size(token_label(chance.text, ends=chance.ends, ascii=self.ascii), LABEL)
        room = max(width - cell_len(head) - 1 - LABEL - 1 - PERCENT, 0)
        probability = math.exp(min(chance.logprob, 0.0))
        top = max(max(math.exp(min(one.logprob, 0.0)), one.share) for one in self.chances) or 1.0
        full, light = ("#", "-") if self.ascii else ("█", "░")
        own, kept = (round(room * value / top) for value in (probability, chance.share))
        shown = full * kept + light * max(own - kept, 0)
        cut_by = "T = 0" if chance.cut == "temperature" else chance.cut
        note = cut_by.rjust(PERCENT)[:PERCENT] if cut_by else percent(chance.share)
        return [
            Segment(head + stands, label),
            Segment(words + " ", cut if chance.cut else label),
            Segment(shown[:kept], bar),
            Segment(shown[kept:].ljust(max(room - kept, 0)), cut),
            Segment(note, cut if chance.cut else label),
        ]
