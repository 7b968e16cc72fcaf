"""What the Train pane draws: which text and which curves go where. A part of the pane's screen, in a file of its own.

Nothing is worked out here that a widget or a pure function could work out; nothing that looks as before is sent to the terminal again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

from engine.watching.feed import Feed
from engine.watching.marks import Mark, marks_of
from engine.watching.verdict import evidence_of, judge
from tinytales_tui.text import one_line
from tinytales_tui.train import header
from tinytales_tui.train.charts import charting
from tinytales_tui.train.charts.measures import Looking, Measure, measures_of
from tinytales_tui.train.charts.palette import curve_styles
from tinytales_tui.train.stories.scrubbing import Sitting, sittings
from tinytales_tui.train.stories.view import StoriesView
from tinytales_tui.widgets.lines import Lines

if TYPE_CHECKING:
    from tinytales_tui.train.screen import TrainScreen

LEAST_FOR_BOTH = 13
"""Rows under which a chart with a story below it would be too low."""
CHART_VIEWS = ("curve", "grid", "stories")
"""Views in which curves are drawn."""


class Drawing:
    """`draw()` shows everything as it is now."""

    looking: Looking
    measures: list[Measure]
    marks: Sequence[Mark]
    _taken: list[charting.Taken]
    _beside: bool
    _sat: tuple[Sequence[dict[str, Any]], list[Sitting]]
    _with_story: bool
    _legend_words: str

    def draw(self: TrainScreen) -> None:
        """Show everything as it is now; what looks as before is not sent to the terminal again."""
        feed = self.opened
        self.run_list.note = (
            self.follower.trouble or "No runs yet. ctrl+n starts one; so does: tinytales-tui train --data storybook"
        )
        self.run_list.show(self.follower.feeds, self.open_key)
        self.set_class(len(self.follower.feeds) < 2, "-alone")
        if self.view == "runs":
            self._draw_views()
            self._draw_details()
            return
        self._taken = [taken for one in self.drawn if (taken := charting.take(one)) is not None]
        names = dict.fromkeys(name for taken in self._taken for name in taken.names())
        self.measures = measures_of(names)
        self.marks = marks_of(feed) if feed is not None else ()
        self._draw_views()
        self._draw_lines(feed)
        match self.view:
            case "curve":
                self.chart.measure = self.measure.id
                self.chart.show(
                    charting.figure(self.measure, self._taken, self.looking, self.marks, gutter=5), self.measure.write
                )
                self._draw_stories(feed, self.beside_story)
            case "grid":
                self.run_worker(self._draw_grid(), group="grid", exclusive=True)
            case "stories":
                self.slim.measure = self.measure.id
                figure = charting.figure(self.measure, self._taken, self.looking, self.marks, gutter=5)
                self.slim.show(figure, self.measure.write, self.measure.title)
                self._draw_stories(feed, self.stories)
            case "log":
                self.log_view.show_file(feed.log if feed is not None else None)
            case "machine":
                self.health.show()

    async def _draw_grid(self: TrainScreen) -> None:
        def title(measure: Measure) -> str:
            found = charting.readings(self._taken[0], self.looking.change(smoothing=0.0), [measure]) if self._taken else []
            return f"{measure.title}  {found[0].text}" if found else measure.title

        await self.grid.show(
            self.measures, self.looking.measure, lambda m: charting.figure(m, self._taken, self.looking.change(log=None)), title
        )

    def _draw_views(self: TrainScreen) -> None:
        views = self.query_one("#views", Lines)
        if not self.run_list.marked:
            self._legend_words = ""
        how = header.views_line(
            self.view, self.looking, self.measure, self._remarks(),
            max(1, views.size.width - 2), views.tone("strong"), views.tone("muted"),
        )  # fmt: skip
        views.show([how])

    def _draw_details(self: TrainScreen) -> None:
        details = self.query_one("#details", Lines)
        highlighted = self.run_list.highlighted
        width = max(1, details.size.width - 2)
        details.show(header.details(highlighted, width, details.tone("muted")) if highlighted is not None else [])

    def _draw_lines(self: TrainScreen, feed: Feed | None) -> None:
        if feed is None:
            for name in ("standing", "verdict", "readout"):
                self.query_one(f"#{name}", Lines).show([])
            return
        standing, verdict = self.query_one("#standing", Lines), self.query_one("#verdict", Lines)
        said = judge(evidence_of(feed, time.time()))
        standing.show([header.standing(feed, max(1, standing.size.width - 2), standing.tone("strong"))])
        words = one_line(said.words, 400) + (f"  ({one_line(feed.trouble, 200)})" if feed.trouble else "")
        verdict.show([Text(words, verdict.tone(said.level))])
        self._draw_legend()
        self._draw_readout()

    def _remarks(self: TrainScreen) -> list[str]:
        """What is worth saying beside the names of the views."""
        words = [f"only {one_line(self.run_list.words, 16)} (Esc: all)"] if self.run_list.words and self.view == "runs" else []
        words += [f"{len(self.run_list.marked)} marked"] if self.run_list.marked else []
        return words + ([self.rate.words()] if self.rate else [])

    def _draw_legend(self: TrainScreen) -> None:
        legend = self.query_one("#legend", Lines)
        shown = [taken.feed for taken in self._taken]  # those, and in the order, that the chart has its letters from
        several = len(self.run_list.marked) > 0 and len(shown) + bool(self._legend_words) > 1
        legend.display = several and self.view in CHART_VIEWS
        if several:
            colours = curve_styles(self.app.current_theme.dark)
            parts = [
                Text.assemble((f"{charting.LETTERS[at]} ", colours[at]), one_line(feed.name, 24)) for at, feed in enumerate(shown)
            ]
            line = Text("   ").join(parts)
            if self._legend_words:
                line.append(f"   (marked ones like: {one_line(self._legend_words, 20)})", legend.tone("muted"))
            legend.show([line])

    def _draw_readout(self: TrainScreen) -> None:
        readout = self.query_one("#readout", Lines)
        readout.display = self.view in CHART_VIEWS
        if not readout.display or not self._taken:
            readout.show([])
            return
        where, step = charting.position(self._taken[0], self.looking)
        if not where:
            readout.show([])
            return
        here = " · ".join(one_line(mark.words, 60) for mark in self.marks if step is not None and mark.step == step)
        width = max(1, readout.size.width - 2)
        if self.looking.cursor is None:
            where = f"newest: {where}"
            here = here or self.health.words(width - len(where) - 2)
        ordered = [self.measure, *(measure for measure in self.measures if measure.id != self.measure.id)]
        found = charting.readings(self._taken[0], self.looking, ordered)
        if len(self._taken) > 1:
            found = charting.compared(self._taken, self.looking, self.measure)
        readout.show(header.readout(where, here, found, width, readout.tone("muted"), self.chart.palette))

    def _draw_stories(self: TrainScreen, feed: Feed | None, view: StoriesView) -> None:
        samples = feed.samples if feed is not None else ()
        if self._sat[0] is not samples:  # a list of samples is replaced when there are more
            self._sat = samples, sittings(samples)
        found = self._sat[1]
        if view is self.beside_story:
            room = self.has_class("-wide") or self.query_one("#stage").size.height >= LEAST_FOR_BOTH
            view.display = bool(found) and self._with_story and room
            if not view.display:
                return
        step = None
        if self.looking.cursor is not None and self._taken:
            step = charting.step_of_x(self._taken[0], self.looking.cursor, charting.usable_axis(self._taken, self.looking.axis))
        every = feed.settings.get("sample_every") if feed is not None else None
        note = f"It writes its first stories at step {every:,}." if isinstance(every, int) and every else "There are no stories."
        view.show(found, step, self._beside or view is self.stories, note)
