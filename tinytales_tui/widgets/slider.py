"""A slider in one row: label, bar, and a number that can be typed as well. Made from an `engine.settings.Range`.

Left and right step, with shift ten steps; home and end go to the limits; digits type a number, enter takes it, escape leaves it;
`r` or a double click resets; the mouse drags and its wheel steps.
"""

from __future__ import annotations

import math

from rich.segment import Segment
from textual import events
from textual.binding import Binding
from textual.message import Message

from engine.settings import Range
from tinytales_tui.widgets.number_row import NumberRow

VALUE_WIDTH = 5


class ParamSlider(NumberRow):
    """A bounded number; `whole` ones are ints."""

    BINDINGS = [
        Binding("left", "step(-1)", "Less", show=False, id="slider.less"),
        Binding("right", "step(1)", "More", show=False, id="slider.more"),
        Binding("shift+left", "step(-10)", "Much less", show=False, id="slider.much_less"),
        Binding("shift+right", "step(10)", "Much more", show=False, id="slider.much_more"),
        Binding("home", "limit(0)", "Least", show=False, id="slider.least"),
        Binding("end", "limit(1)", "Most", show=False, id="slider.most"),
    ]
    DIGITS = "0123456789.,"

    class Changed(Message):
        """A person (or a reset) gave the slider another value."""

        def __init__(self, slider: ParamSlider, value: float) -> None:
            self.slider = slider
            self.value = value
            super().__init__()

        @property
        def control(self) -> ParamSlider:
            return self.slider

    def __init__(self, name: str, range: Range, default: float, *, id: str | None = None) -> None:
        super().__init__(range.label, id=id)
        self.field = name
        """Name of the setting."""
        self.range = range
        self.whole = isinstance(default, int)
        self.default = default
        self.value: float = default
        self.help = range.help

    def set_value(self, value: float, *, tell: bool = False) -> None:
        """Show `value`, brought into range; `tell` posts `Changed` if it is another one."""
        value = self._valid(value)
        if value == self.value:
            return
        self.value = value
        self.refresh()
        if tell:
            self.post_message(self.Changed(self, value))

    def commit(self, digits: str) -> None:
        try:
            number = float(digits.replace(",", "."))
        except ValueError:
            return
        self.set_value(number, tell=True)

    def reset(self) -> None:
        self.set_value(self.default, tell=True)
        self.refresh()

    def action_step(self, steps: int) -> None:
        self._step(steps)

    def action_limit(self, high: int) -> None:
        self.set_value(self.range.high if high else self.range.low, tell=True)

    def _step(self, steps: int) -> None:
        """Go along the grid of steps; a typed value in between goes to the nearest grid point that way."""
        position = (self.value - self.range.low) / self.range.step if not self.whole else self.value / self.range.step
        base = math.floor(position + 1e-6) if steps > 0 else math.ceil(position - 1e-6)
        grid = (base + steps) * self.range.step
        self.set_value(grid if self.whole else self.range.low + grid, tell=True)

    def _valid(self, value: float) -> float:
        value = min(max(value, self.range.low), self.range.high)
        return round(value) if self.whole else round(value, 4)

    # The bar. Where the range is very wide, small values get more room (square root), as they are the ones that are used.

    @property
    def _curved(self) -> bool:
        return self.range.high - self.range.low > 1000

    def _share(self) -> float:
        share = (self.value - self.range.low) / (self.range.high - self.range.low)
        return math.sqrt(share) if self._curved else share

    def _bar_width(self, width: int) -> int:
        return max(width - VALUE_WIDTH - 1, 0)

    def segments(self, width: int) -> list[Segment]:
        bar = self._bar_width(width)
        value = str(self.value) if self.whole else f"{self.value:.2f}"
        if bar < 4:
            return [self.value_segment(value, width)]
        knob = round(self._share() * (bar - 1))
        filled, mark, rest = ("=", "|", "-") if self.ascii else ("━", "●", "─")
        return [
            Segment(filled * knob, self.style("filled")),
            Segment(mark, self.style("filled")),
            Segment(rest * (bar - 1 - knob), self.style("rest")),
            self.value_segment(value, width - bar),
        ]

    # The mouse

    def on_mouse_down(self, event: events.MouseDown) -> None:
        if event.button == 1 and self._drag_to(event.x):
            self.capture_mouse()
            event.stop()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        if self.app.mouse_captured is self:
            self._drag_to(event.x, anywhere=True)
            event.stop()

    def on_mouse_up(self, event: events.MouseUp) -> None:
        if self.app.mouse_captured is self:
            self.release_mouse()
            event.stop()

    def on_click(self, event: events.Click) -> None:
        if event.chain == 2:
            self.action_reset()
            event.stop()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self._step(1)
        event.stop()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self._step(-1)
        event.stop()

    def _drag_to(self, x: int, *, anywhere: bool = False) -> bool:
        bar = self._bar_width(self.size.width - self.label_width)
        place = x - self.label_width
        if bar < 4 or not (anywhere or 0 <= place < bar):
            return False
        share = min(max(place / (bar - 1), 0.0), 1.0)
        if self._curved:
            share *= share
        value = self.range.low + share * (self.range.high - self.range.low)
        self.typed = None
        self.set_value(round(value / self.range.step) * self.range.step, tell=True)
        return True
