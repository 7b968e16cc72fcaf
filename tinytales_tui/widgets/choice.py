"""One of a few, in one row: all of them side by side where they fit, else the chosen one between arrows."""

from __future__ import annotations

from collections.abc import Sequence

from rich.segment import Segment
from textual import events
from textual.binding import Binding
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget


class Choice(Widget, can_focus=True):
    """Left and right (or space, or a click) choose; the values are plain strings."""

    BINDINGS = [
        Binding("left", "move(-1)", "Previous", show=False, id="choice.previous"),
        Binding("right,space", "move(1)", "Next", show=False, id="choice.next"),
        Binding("up", "app.focus_previous", "To the row above", show=False, id="choice.up"),
        Binding("down", "app.focus_next", "To the row below", show=False, id="choice.down"),
    ]
    COMPONENT_CLASSES = {"choice--label", "choice--chosen", "choice--other"}
    DEFAULT_CSS = """
    Choice {
        height: 1;
        width: 1fr;
        & .choice--label { color: $text-muted; }
        & .choice--chosen { color: $foreground; }
        & .choice--other { color: $text-muted; }
        &:focus {
            background: $primary 18%;
            & .choice--label { color: $foreground; text-style: bold; }
            & .choice--chosen { color: $text-accent; text-style: bold; }
        }
        &:disabled { & .choice--chosen { color: $text-disabled; } }
    }
    """

    class Changed(Message):
        """A person chose another value."""

        def __init__(self, choice: Choice, value: str) -> None:
            self.choice = choice
            self.value = value
            super().__init__()

        @property
        def control(self) -> Choice:
            return self.choice

    def __init__(
        self,
        label: str,
        options: Sequence[tuple[str, str]],
        value: str,
        *,
        help: str = "",
        label_width: int = 14,
        id: str | None = None,
    ) -> None:
        super().__init__(id=id)
        self.label = label
        self.options = list(options)
        """(value, words on the screen)."""
        self.value = value
        self.help = help
        self.space_for_label = label_width
        self._places: list[tuple[int, int, str]] = []

    def set_value(self, value: str, *, tell: bool = False) -> None:
        """Show another value; `tell` posts `Changed`."""
        if value == self.value:
            return
        self.value = value
        self.refresh()
        if tell:
            self.post_message(self.Changed(self, value))

    def action_move(self, steps: int) -> None:
        values = [value for value, _ in self.options]
        place = values.index(self.value) if self.value in values else 0
        self.set_value(values[(place + steps) % len(values)], tell=True)

    def on_click(self, event: events.Click) -> None:
        for start, end, value in self._places:
            if start <= event.x < end:
                self.set_value(value, tell=True)
                break
        else:
            if not self._places and event.x >= self._label_columns:
                self.action_move(-1 if event.x == self._label_columns else 1)
        event.stop()

    @property
    def ascii(self) -> bool:
        return bool(getattr(self.app, "ascii", False))

    @property
    def _label_columns(self) -> int:
        return 2 + self.space_for_label + 1

    def render_line(self, y: int) -> Strip:
        base = self.rich_style
        if y:
            return Strip.blank(self.size.width, base)
        mark = (">" if self.ascii else "▸") if self.has_focus else " "
        label = f"{mark} {self.label[: self.space_for_label]:<{self.space_for_label}} "
        parts = [Segment(label, self.get_component_rich_style("choice--label"))]
        room = self.size.width - len(label)
        return Strip(parts + self._option_segments(room, len(label))).crop_extend(0, self.size.width, base)

    def _option_segments(self, room: int, start: int) -> list[Segment]:
        chosen = self.get_component_rich_style("choice--chosen")
        other = self.get_component_rich_style("choice--other")
        self._places = []
        on, off = ("(*) ", "( ) ") if self.ascii else ("● ", "○ ")
        if sum(len(words) + len(on) + 2 for _, words in self.options) - 2 <= room:
            segments = []
            for value, words in self.options:
                is_it = value == self.value
                text = (on if is_it else off) + words
                segments.append(Segment(text, chosen if is_it else other))
                segments.append(Segment("  ", other))
                self._places.append((start, start + len(text), value))
                start += len(text) + 2
            return segments
        words = dict(self.options).get(self.value, self.value)
        left, right = ("<", ">") if self.ascii else ("‹", "›")
        return [Segment(f"{left} ", other), Segment(words[: max(room - 4, 0)], chosen), Segment(f" {right}", other)]
