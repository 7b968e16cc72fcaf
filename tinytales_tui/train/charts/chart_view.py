"""A chart on the screen. It draws the figure it is given, sends to the terminal only what changed, and tells what the mouse asks for."""

from __future__ import annotations

from collections.abc import Callable

from rich.cells import get_character_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from tinytales_tui.plot.figure import AXIS, Drawing, Figure, draw
from tinytales_tui.plot.scale import value_label
from tinytales_tui.text import one_line
from tinytales_tui.train.charts.palette import styles

WHEEL = 0.8
"""One notch of the wheel shows this share of what was shown."""


class ChartView(Widget):
    """`show(figure)`; with a title it takes the first row for it."""

    COMPONENT_CLASSES = {"chart--axis", "chart--strong", "chart--broken", "chart--title", "chart--chosen"}
    DEFAULT_CSS = """
    ChartView {
        height: 1fr;
        & .chart--axis { color: $text-muted; }
        & .chart--strong { color: $foreground; }
        & .chart--broken { color: $text-error; }
        & .chart--title { color: $text-muted; }
        & .chart--chosen { color: $primary; text-style: bold; }
    }
    """

    class Pointed(Message):
        """A click or a drag at some x."""

        def __init__(self, chart: ChartView, x: float) -> None:
            self.chart, self.x = chart, x
            super().__init__()

    class Zoomed(Message):
        """The wheel turned over some x."""

        def __init__(self, chart: ChartView, factor: float, x: float) -> None:
            self.chart, self.factor, self.x = chart, factor, x
            super().__init__()

    class Dragged(Message):
        """Dragged with a key held, or with the right button: by a share of what is shown."""

        def __init__(self, chart: ChartView, share: float) -> None:
            self.chart, self.share = chart, share
            super().__init__()

    def __init__(self, titled: bool = False, id: str | None = None) -> None:
        super().__init__(id=id)
        self.measure = ""
        """Which measure it shows, for whoever looks after several."""
        self.drawing: Drawing | None = None
        self._titled = titled
        self._title, self._chosen = "", False
        self._figure: Figure | None = None
        self._write: Callable[[float], str] = value_label
        self._rows: list[Strip] = []
        self._styles: dict[int, Style] = {}
        self._looks: object = None
        self._held: int | None = None

    @property
    def ascii(self) -> bool:
        return bool(getattr(self.app, "ascii", False))

    @property
    def columns(self) -> int:
        """Cells that the plot is wide, as last drawn."""
        return self.drawing.columns if self.drawing else max(1, self.size.width - 8)

    def show(self, figure: Figure, write: Callable[[float], str] = value_label, title: str = "", chosen: bool = False) -> None:
        """Draw this from now on; rows, and parts of rows, that look as before are not sent again."""
        self._figure, self._write, self._title, self._chosen = figure, write, title, chosen
        self._draw()

    def _draw(self) -> None:
        width, height = self.size
        if self._figure is None or not width or not height:
            return
        before, self._rows = self._rows, self._strips(self._figure, width, height)
        if len(before) != len(self._rows):
            self.refresh()
            return
        changed = [
            Region(start, y, end - start, 1)
            for y, (old, new) in enumerate(zip(before, self._rows, strict=True))
            for start, end in [_difference(old, new)]
            if end > start
        ]
        if changed:
            self.refresh(*changed)

    def _strips(self, figure: Figure, width: int, height: int) -> list[Strip]:
        palette = self.palette
        head = []
        if self._titled:
            style = self.get_component_rich_style("chart--chosen" if self._chosen else "chart--title")
            mark = "▸" if self._chosen else " "
            head = [Strip([Segment(f"{mark} {one_line(self._title, width - 2)}", style)]).adjust_cell_length(width, palette[0])]
        self.drawing = draw(figure, width, height - len(head), self.ascii, self._write)
        if not any(len(curve.x) for curve in figure.curves):
            rows = [Strip.blank(width, palette[0])] * max(0, height - len(head))
            if rows:
                note = Segment("no figures yet".center(width)[:width], palette[AXIS])
                rows[len(rows) // 2] = Strip([note]).adjust_cell_length(width, palette[0])
            return head + rows
        return head + [
            Strip([Segment(text, palette.get(style, palette[0])) for text, style in row], width) for row in self.drawing.rows
        ]

    @property
    def palette(self) -> dict[int, Style]:
        """A style for each number that a drawing uses."""
        looks = self.app.current_theme.name, self.app.no_color, self.background_colors
        if looks != self._looks:
            self._looks = looks
            _, ground = self.background_colors
            dark = self.app.current_theme.dark
            muted, strong, error = (self.get_component_rich_style(f"chart--{name}") for name in ("axis", "strong", "broken"))
            self._styles = styles(dark, ground, muted, strong, error, self.app.no_color)
        return self._styles

    def render_line(self, y: int) -> Strip:
        if y < len(self._rows):
            return self._rows[y]
        return Strip.blank(self.size.width, self.rich_style)

    def on_resize(self) -> None:
        self._rows = []
        self._draw()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        if self.is_mounted and self._figure is not None:
            self._rows = []
            self._draw()

    # The mouse

    def _x(self, event: events.MouseEvent) -> float | None:
        if self.drawing is None or self.drawing.columns < 2 or event.x < self.drawing.left:
            return None
        return self.drawing.x_at(event.x)

    def on_mouse_down(self, event: events.MouseDown) -> None:
        self._held = event.x
        self.capture_mouse()
        self._point(event)

    def on_mouse_up(self, event: events.MouseUp) -> None:
        self._held = None
        self.release_mouse()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        if self._held is None:
            return
        if event.button == 3 or event.shift or event.ctrl:
            moved = self._held - event.x
            self._held = event.x
            if moved:
                self.post_message(self.Dragged(self, moved / self.columns))
        else:
            self._point(event)

    def _point(self, event: events.MouseEvent) -> None:
        if event.button != 3 and not event.shift and not event.ctrl and (x := self._x(event)) is not None:
            self.post_message(self.Pointed(self, x))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self._wheel(event, WHEEL)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self._wheel(event, 1 / WHEEL)

    def _wheel(self, event: events.MouseEvent, factor: float) -> None:
        if (x := self._x(event)) is not None:
            event.stop()
            self.post_message(self.Zoomed(self, factor, x))


def _difference(old: Strip, new: Strip) -> tuple[int, int]:
    """The columns between which two rows differ; (0, 0) where they are alike."""
    if old == new:
        return 0, 0
    before, after = _cells(old), _cells(new)
    if len(before) != len(after):
        return 0, max(len(before), len(after))
    unlike = [at for at, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
    return (unlike[0], unlike[-1] + 1) if unlike else (0, 0)


def _cells(strip: Strip) -> list[tuple[str, Style | None]]:
    # A wide letter of a title takes two cells.
    return [
        cell
        for segment in strip
        for letter in segment.text
        for cell in [(letter, segment.style)] * get_character_cell_size(letter)
    ]
