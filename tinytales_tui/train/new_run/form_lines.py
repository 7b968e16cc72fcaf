"""The lines of the form, drawn rather than built of widgets: some sixty fields cost one widget, and one repaint over a slow line.

It shows what `FormView` gives it and tells it which line was clicked. It knows neither recipes nor limits.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tinytales_tui.text import one_line
from tinytales_tui.train.new_run.run_form import Field, Heading, RunForm

VALUE_AT = 25
"""Column at which values begin."""
NOTE_WIDTH = 22
"""Columns that the recipe's own value takes behind a changed one."""
NOTES_FROM = 56
"""Columns from which there is room for that."""


class FormLines(ScrollView, can_focus=True, inherit_bindings=False):
    """The lines, with the present one marked."""

    COMPONENT_CLASSES = {
        "form--label",
        "form--value",
        "form--chosen",
        "form--other",
        "form--changed",
        "form--problem",
        "form--heading",
        "form--here",
    }
    DEFAULT_CSS = """
    FormLines {
        height: 1fr;
        overflow-x: hidden;
        overflow-y: auto;
        scrollbar-size-vertical: 1;
        & .form--label { color: $text-muted; }
        & .form--value { color: $foreground; }
        & .form--chosen { color: $text-accent; text-style: bold; }
        & .form--other { color: $text-muted; }
        & .form--changed { color: $foreground; text-style: bold; }
        & .form--problem { color: $text-error; text-style: bold; }
        & .form--heading { color: $primary; text-style: bold; }
        & .form--here { color: $foreground; background: $primary 18%; text-style: bold; }
    }
    """

    class Clicked(Message):
        """A person clicked a line."""

        def __init__(self, line: int) -> None:
            self.line = line
            super().__init__()

    def __init__(self) -> None:
        super().__init__()
        self._form: RunForm | None = None
        self._rows: Sequence[Field | Heading] = ()
        self.here = 0
        """The line that is marked."""
        self.active = False
        """Whether keys go to that line."""

    def show(self, form: RunForm, rows: Sequence[Field | Heading], here: int, active: bool) -> None:
        """Draw the form as it is now, scrolled so that the line `here` is seen."""
        moved = here != self.here or len(rows) != len(self._rows)
        self._form, self._rows, self.here, self.active = form, rows, here, active
        self.virtual_size = Size(0, len(rows))
        if moved:
            self.bring_into_view()
        self.refresh()

    def bring_into_view(self, below: int = 0) -> None:
        """Scroll to the present line, with as many as fit of the `below` lines under it."""
        lines = min(1 + below, max(self.size.height, 1))
        self.scroll_to_region(Region(0, self.here, 1, lines), animate=False, force=True, immediate=True, x_axis=False)

    def on_click(self, event: events.Click) -> None:
        event.stop()
        line = event.y + self.scroll_offset.y
        if line < len(self._rows):
            self.post_message(self.Clicked(line))

    def render_line(self, y: int) -> Strip:
        base, width = self.rich_style, self.size.width
        at = y + self.scroll_offset.y
        if self._form is None or at >= len(self._rows):
            return Strip.blank(width, base)
        row, is_here = self._rows[at], at == self.here
        mark = "▸" if is_here and self.active else " "
        segments = self._heading(row, mark) if isinstance(row, Heading) else self._field(self._form, row, mark, width)
        strip = Strip(segments).crop_extend(0, width, base)
        return strip.apply_style(self.get_component_rich_style("form--here", partial=True)) if is_here else strip

    def _heading(self, row: Heading, mark: str) -> list[Segment]:
        changed = f", {row.changed} changed" if row.changed else ""
        words = f"{row.count} setting{'s' * (row.count != 1)}{changed}"
        return [
            Segment(f"{mark}{'-' if row.open else '+'} {row.group:<{VALUE_AT - 4}} ", self._style("heading")),
            Segment(words, self._style("other")),
        ]

    def _field(self, form: RunForm, row: Field, mark: str, width: int) -> list[Segment]:
        problem, changed = row.key in form.problems, row.key in form.changed
        flag = "!" if problem else "•" if changed else " "
        label = f"{mark}{flag} {row.label[: VALUE_AT - 4]:<{VALUE_AT - 4}} "
        room = width - len(label)
        note = ""
        if changed and width >= NOTES_FROM and (own := one_line(form.recipe_text(row.key), NOTE_WIDTH - 9)):
            note = f" recipe {own}"
            room -= NOTE_WIDTH
        style = "problem" if problem else "changed" if changed else "value"
        parts = [Segment(label, self._style("problem" if problem else "changed" if changed else "label"))]
        parts += self._choices(form, row, room) if row.choices or row.kind == "switch" else [self._text(form, row, room, style)]
        if note:
            gap = max(len(label) + room - sum(cell_len(part.text) for part in parts), 0)
            parts += [Segment(" " * gap), Segment(note, self._style("other"))]
        return parts

    def _text(self, form: RunForm, row: Field, room: int, style: str) -> Segment:
        text = one_line(form.text(row.key), 500)
        if not text:
            return Segment(set_cell_size(form.placeholder(row.key), max(room, 0)), self._style("other"))
        return Segment(text if cell_len(text) <= room else set_cell_size(text, max(room - 1, 0)) + "…", self._style(style))

    def _choices(self, form: RunForm, row: Field, room: int) -> list[Segment]:
        choices, value = row.choices or ("off", "on"), form.text(row.key)
        if sum(len(choice) + 4 for choice in choices) - 2 <= room:
            parts = []
            for choice in choices:
                is_it = choice == value
                parts.append(Segment(("● " if is_it else "○ ") + choice, self._style("chosen" if is_it else "other")))
                parts.append(Segment("  ", self._style("other")))
            return parts
        place = f"  {choices.index(value) + 1} of {len(choices)}" if value in choices else ""
        return [
            Segment("‹ ", self._style("other")),
            Segment(one_line(value, max(room - 4, 0)), self._style("chosen")),
            Segment(" ›" + place, self._style("other")),
        ]

    def _style(self, part: str):
        return self.get_component_rich_style(f"form--{part}", partial=True)
