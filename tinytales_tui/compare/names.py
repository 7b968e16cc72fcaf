"""One line with the names of all columns, shown where not all are in sight: which are, and which the keys are for."""

from __future__ import annotations

from collections.abc import Sequence

from rich.segment import Segment
from textual import events
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from tinytales_tui.text import one_line


class Names(Widget):
    """A click on a name asks for its column."""

    COMPONENT_CLASSES = {"names--chosen", "names--seen", "names--hidden"}
    DEFAULT_CSS = """
    Names {
        height: 1;
        & .names--chosen { color: $text-accent; text-style: bold; }
        & .names--seen { color: $foreground; }
        & .names--hidden { color: $text-muted; }
        &:nocolor .names--chosen { text-style: bold underline; }
        &:nocolor .names--hidden { text-style: dim; }
    }
    """

    class Wanted(Message):
        """A person clicked a name."""

        def __init__(self, place: int) -> None:
            self.place = place
            super().__init__()

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._shown: tuple[tuple[str, ...], int, tuple[int, ...]] = ((), 0, ())
        self._ends: list[int] = []

    def show(self, names: Sequence[str], chosen: int, in_sight: Sequence[int]) -> None:
        shown = tuple(names), chosen, tuple(in_sight)
        if shown != self._shown:
            self._shown = shown
            self.refresh()

    def render_line(self, y: int) -> Strip:
        base = self.rich_style
        names, chosen, in_sight = self._shown
        if y or not names:
            return Strip.blank(self.size.width, base)
        room = max(6, (self.size.width - 1) // len(names) - 5)
        parts, end = [Segment(" ", base)], 1
        self._ends = []
        for place, name in enumerate(names):
            kind = "chosen" if place == chosen else "seen" if place in in_sight else "hidden"
            left, right = ("[", "]") if place in in_sight else (" ", " ")
            words = f"{left}{place + 1} {one_line(name, room)}{right}"
            parts += [Segment(words, base + self.get_component_rich_style(f"names--{kind}")), Segment(" ", base)]
            end += len(words) + 1
            self._ends.append(end)
        return Strip(parts).crop_extend(0, self.size.width, base)

    def on_click(self, event: events.Click) -> None:
        event.stop()
        place = next((place for place, end in enumerate(self._ends) if event.x < end), None)
        if place is not None:
            self.post_message(self.Wanted(place))
