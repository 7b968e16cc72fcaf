"""What every one-row number has in common: it can be focused, typed into, committed, reverted and reset.

The rows that build on it (`ParamSlider`, `SeedRow`) say how a value looks and what typed digits mean.
"""

from __future__ import annotations

from rich.segment import Segment
from textual import events
from textual.binding import Binding
from textual.strip import Strip
from textual.widget import Widget

LABEL_WIDTH = 14
"""Columns that labels share, so that what stands behind them lines up."""


class NumberRow(Widget, can_focus=True):
    """One row: a mark where the focus is, a label, whatever the number's kind draws, and the number."""

    BINDINGS = [
        Binding("r", "reset", "Reset to the default", show=False, id="number.reset"),
        Binding("up", "app.focus_previous", "To the row above", show=False, id="number.up"),
        Binding("down", "app.focus_next", "To the row below", show=False, id="number.down"),
    ]
    COMPONENT_CLASSES = {
        "number-row--label",
        "number-row--value",
        "number-row--typing",
        "number-row--filled",
        "number-row--rest",
        "number-row--note",
    }
    DEFAULT_CSS = """
    NumberRow {
        height: 1;
        width: 1fr;
        & .number-row--label { color: $text-muted; }
        & .number-row--value { color: $foreground; }
        & .number-row--typing { color: $foreground; text-style: underline; }
        & .number-row--filled { color: $primary; }
        & .number-row--rest { color: $foreground 25%; }
        & .number-row--note { color: $text-muted; }
        &:focus {
            background: $primary 18%;
            & .number-row--label { color: $foreground; text-style: bold; }
            & .number-row--value { color: $foreground; text-style: bold; }
            & .number-row--filled { color: $accent; }
        }
    }
    """
    DIGITS = "0123456789"
    """Keys that begin or go on with typing a number."""
    LONGEST = 19

    def __init__(self, label: str, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.label = label
        self.typed: str | None = None
        """The digits typed so far; None while nothing is being typed."""

    # What a kind of number fills in

    def commit(self, digits: str) -> None:
        """Take what was typed, as near as the number's range allows."""

    def reset(self) -> None:
        """Go back to the default."""

    def segments(self, width: int) -> list[Segment]:
        """What stands behind the label, in `width` columns."""
        return []

    # Typing

    def on_key(self, event: events.Key) -> None:
        if self.typed is None:
            if event.character and event.character in self.DIGITS:
                self._type(event.character, event)
            return
        if event.key == "enter":
            self._finish(event)
        elif event.key == "escape":
            self.typed = None
            self._took(event)
        elif event.key == "backspace":
            self.typed = self.typed[:-1]
            self._took(event)
        elif event.character and event.character in self.DIGITS:
            self._type(self.typed + event.character, event)
        elif event.key in ("left", "right", "home", "end", "shift+left", "shift+right", "r"):
            self._took(event)  # half a number is not stepped from
        else:
            self._finish(None)  # tab, a pane's key: take what was typed and let the key do its work

    def on_blur(self, event: events.Blur) -> None:
        self._finish(None)

    def _type(self, digits: str, event: events.Key) -> None:
        if len(digits) <= self.LONGEST:
            self.typed = digits
        self._took(event)

    def _finish(self, event: events.Key | None) -> None:
        digits, self.typed = self.typed, None
        if digits:
            self.commit(digits)
        if event:
            self._took(event)
        self.refresh()

    def _took(self, event: events.Key) -> None:
        event.stop()
        event.prevent_default()
        self.refresh()

    def action_reset(self) -> None:
        self.typed = None
        self.reset()

    # Drawing

    @property
    def ascii(self) -> bool:
        """Whether only ASCII may be drawn."""
        return bool(getattr(self.app, "ascii", False))

    @property
    def label_width(self) -> int:
        """Columns of mark and label."""
        return 2 + LABEL_WIDTH + 1

    def style(self, part: str):
        return self.get_component_rich_style(f"number-row--{part}")

    def value_segment(self, value: str, width: int) -> Segment:
        """The number at the right edge of `width` columns, or what is being typed with a cursor behind it."""
        if self.typed is None:
            return Segment(value.rjust(width), self.style("value"))
        cursor = "_" if self.ascii else "▏"
        return Segment((self.typed + cursor)[-width:].rjust(width), self.style("typing"))

    def render_line(self, y: int) -> Strip:
        base = self.rich_style
        if y:
            return Strip.blank(self.size.width, base)
        mark = (">" if self.ascii else "▸") if self.has_focus else " "
        label = f"{mark} {self.label[:LABEL_WIDTH]:<{LABEL_WIDTH}} "
        parts = [Segment(label, self.style("label")), *self.segments(max(self.size.width - len(label), 0))]
        return Strip(parts).crop_extend(0, self.size.width, base)
