"""A grid of small charts, one a measure; as many beside one another as the width allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual.app import ComposeResult
from textual.containers import VerticalScroll

from tinytales_tui.plot.figure import Figure
from tinytales_tui.train.charts.chart_view import ChartView
from tinytales_tui.train.charts.measures import Measure

LEAST_ROWS = 8
MOST = 30


def columns_for(width: int) -> int:
    """Charts beside one another: 1 under 60 columns, 2 from 60, 3 from 120, 4 from 160."""
    return 1 if width < 60 else 2 if width < 120 else 3 if width < 160 else 4


class ChartGrid(VerticalScroll, can_focus=False):
    """`show(...)` with a figure for each measure."""

    DEFAULT_CSS = """
    ChartGrid {
        height: 1fr;
        layout: grid;
        grid-gutter: 0 1;
        scrollbar-size-vertical: 1;
    }
    """

    def compose(self) -> ComposeResult:
        self._charts: list[ChartView] = []
        self._shape: tuple[int, int, int] | None = None
        return []

    async def show(
        self, measures: Sequence[Measure], chosen: str, figure: Callable[[Measure], Figure], title: Callable[[Measure], str]
    ) -> None:
        """Draw these measures; the chosen one's title is set off."""
        measures = measures[:MOST]
        while len(self._charts) < len(measures):
            chart = ChartView(titled=True)
            self._charts.append(chart)
            await self.mount(chart)
        while len(self._charts) > len(measures):
            await self._charts.pop().remove()
        self._arrange(len(measures))
        for chart, measure in zip(self._charts, measures, strict=True):
            chart.measure = measure.id
            chart.show(figure(measure), measure.write, title(measure), measure.id == chosen)

    def _arrange(self, count: int) -> None:
        beside = min(columns_for(self.size.width), max(1, count))
        rows = -(-count // beside)
        high = max(LEAST_ROWS, self.size.height // max(1, rows))
        if (beside, rows, high) != self._shape:
            self._shape = beside, rows, high
            self.styles.grid_size_columns = beside
            self.styles.grid_size_rows = rows
            self.styles.grid_rows = str(high)
