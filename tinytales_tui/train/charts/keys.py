"""The keys of the charts: cursor, zoom, axes, smoothing, jumping between marks. A part of the pane's screen, in a file of its own.

It turns keys into another `Looking`; the screen then draws.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.binding import Binding

from engine.watching.marks import KINDS, next_mark, previous_mark
from tinytales_tui.plot.scale import Scale
from tinytales_tui.train.charts.chart_view import ChartView
from tinytales_tui.train.charts.charting import Taken, extent, step_of_x, usable_axis, x_of_step
from tinytales_tui.train.charts.measures import AXES, AXIS_WORDS, Looking, Measure

if TYPE_CHECKING:
    from tinytales_tui.train.screen import TrainScreen


def _binding(key: str, action: str, words: str, tooltip: str, name: str, sign: str | None = None, show: bool = False) -> Binding:
    return Binding(key, action, words, show=show, key_display=sign, id=f"chart.{name}", tooltip=tooltip)


CHART_BINDINGS = [
    _binding("left", "cursor(-1)", "Back", "Move the cursor along the curve", "left"),
    _binding("right", "cursor(1)", "On", "Move the cursor along the curve", "right"),
    _binding("shift+left,H", "cursor(-10)", "Ten back", "Ten columns at once", "far_left"),
    _binding("shift+right,L", "cursor(10)", "Ten on", "Ten columns at once", "far_right"),
    _binding("comma", "jump(-1)", "Mark before", "To the mark before: checkpoint, sample, warning, best …", "mark_before", ","),
    _binding("full_stop", "jump(1)", "Next mark", "To the next mark", "mark_after", "."),
    _binding(
        "exclamation_mark", "jump(1, True)", "Next warning", "To the next warning, after the last to the first", "warning", "!"
    ),
    _binding("plus,equals_sign", "zoom(0.5)", "Closer", "Closer, around the cursor", "closer", "+"),
    _binding("minus", "zoom(2.0)", "Wider", "Wider", "wider", "-"),
    _binding("less_than_sign", "pan(-0.25)", "Pan back", "Move what is shown, back", "pan_left", "<"),
    _binding("greater_than_sign", "pan(0.25)", "Pan on", "Move what is shown, on", "pan_right", ">"),
    _binding("right_square_bracket", "recent(0.5)", "Recent half", "Only the recent half, and again", "less", "]"),
    _binding("left_square_bracket", "recent(2.0)", "More", "Twice as much of the recent part", "more", "["),
    _binding("f", "follow", "Follow", "The whole run, with the cursor at the newest step", "follow", show=True),
    _binding("y", "log", "Log", "Logarithmic or linear scale", "log"),
    _binding("a", "axis", "Along", "Along steps, tokens, or time", "axis"),
    _binding("m", "smooth(1)", "Smooth", "Smooth more", "smoother"),
    _binding("M", "smooth(-1)", "Rougher", "Smooth less", "rougher"),
    _binding("i", "trim", "Cut", "Cut off the few highest and lowest values; arrows show where they are", "trim"),
    _binding("v", "measure(1)", "Next", "Another measure in the big chart", "next", show=True),
    _binding("V", "measure(-1)", "Chart before", "The measure before", "previous"),
    _binding("b", "beside", "Beside", "The first and the newest story beside the one at the cursor", "beside"),
    _binding("o", "prompt(1)", "Prompt", "The stories of another prompt", "prompt"),
    _binding("T", "story", "Story", "Show or hide the story beside the curve", "story"),
]


class LookingKeys:
    """What the chart keys do."""

    looking: Looking
    measures: list[Measure]
    _taken: list[Taken]

    def _look(self: TrainScreen, looking: Looking) -> None:
        if looking != self.looking:
            self.looking = looking
            self.draw()

    def _extent(self: TrainScreen) -> tuple[float, float]:
        return extent(self._taken, usable_axis(self._taken, self.looking.axis))

    def action_cursor(self: TrainScreen, cells: int) -> None:
        first, last = self._extent()
        low, high = self.looking.range(first, last)
        newest = extent(self._taken, usable_axis(self._taken, self.looking.axis), snap=False)[1]
        at = self.looking.cursor if self.looking.cursor is not None else newest
        at = at + cells * (high - low) / max(1, self.chart_columns)
        self.point(min(newest, max(first, at)))

    def point(self: TrainScreen, x: float) -> None:
        """Put the cursor there."""
        self._look(self.looking.change(cursor=x).showing(x, *self._extent()))

    def action_jump(self: TrainScreen, way: int, warnings: bool = False) -> None:
        if not self._taken:
            return
        axis = usable_axis(self._taken, self.looking.axis)
        kinds = ("warning",) if warnings else KINDS
        at = step_of_x(self._taken[0], self.looking.cursor, axis) if self.looking.cursor is not None else None
        marks = self.marks
        if at is None:
            at = -1.0 if warnings or way > 0 else float("inf")
        mark = next_mark(marks, at, kinds) if way > 0 else previous_mark(marks, at, kinds)
        if mark is None and warnings:
            mark = next_mark(marks, -1.0, kinds)
        if mark is None:
            self.app.say("There is no warning." if warnings else f"There is no mark {'after' if way > 0 else 'before'} this.")
            return
        x = x_of_step(self._taken[0], mark.step, axis)
        if x is not None:
            self.point(x)

    def action_zoom(self: TrainScreen, factor: float) -> None:
        self._look(self.looking.zoomed(factor, *self._extent()))

    def action_pan(self: TrainScreen, share: float) -> None:
        self._look(self.looking.panned(share, *self._extent()))

    def action_recent(self: TrainScreen, factor: float) -> None:
        recent = min(1.0, max(2.0**-12, self.looking.recent * factor)) if self.looking.span is None else self.looking.recent
        self._look(self.looking.change(recent=recent, span=None))

    def action_follow(self: TrainScreen) -> None:
        self._look(self.looking.change(span=None, recent=1.0, cursor=None))

    def action_log(self: TrainScreen) -> None:
        log = self.measure.log if self.looking.log is None else self.looking.log
        self._look(self.looking.change(log=not log))

    def action_axis(self: TrainScreen) -> None:
        if not self._taken:
            return
        first = self._taken[0]
        before = usable_axis(self._taken, self.looking.axis)
        after = AXES[(AXES.index(self.looking.axis) + 1) % len(AXES)]
        while first.along(after) is None:
            self.app.say(f"This run does not say its {AXIS_WORDS[after]}.")
            after = AXES[(AXES.index(after) + 1) % len(AXES)]
        cursor = self.looking.cursor
        if cursor is not None and (step := step_of_x(first, cursor, before)) is not None:
            cursor = x_of_step(first, step, after)
        self._look(self.looking.change(axis=after, span=None, cursor=cursor))

    def action_smooth(self: TrainScreen, steps: int) -> None:
        self._look(self.looking.smoother(steps))

    def action_trim(self: TrainScreen) -> None:
        self._look(self.looking.change(trim=not self.looking.trim))

    def action_measure(self: TrainScreen, steps: int) -> None:
        ids = [measure.id for measure in self.measures]
        at = ids.index(self.looking.measure) if self.looking.measure in ids else 0
        self._look(self.looking.change(measure=ids[(at + steps) % len(ids)], log=None))

    # What the mouse asks for

    def on_chart_view_pointed(self: TrainScreen, event: ChartView.Pointed) -> None:
        if event.chart.measure and event.chart.measure != self.looking.measure:
            self.looking = self.looking.change(measure=event.chart.measure, log=None)
        first, _ = self._extent()
        newest = extent(self._taken, usable_axis(self._taken, self.looking.axis), snap=False)[1]
        self.point(min(newest, max(first, event.x)))

    def on_chart_view_zoomed(self: TrainScreen, event: ChartView.Zoomed) -> None:
        first, last = self._extent()
        low, high = self.looking.range(first, last)
        around = Scale(low, high)
        share = (event.x - low) / (high - low) if high > low else 0.5
        middle = around.value(min(1.0, max(0.0, share)))
        kept = self.looking.cursor
        zoomed = self.looking.change(cursor=middle, span=(low, high)).zoomed(event.factor, first, last)
        self._look(zoomed.change(cursor=kept))

    def on_chart_view_dragged(self: TrainScreen, event: ChartView.Dragged) -> None:
        self._look(self.looking.panned(event.share, *self._extent()))
