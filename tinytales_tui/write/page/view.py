"""The page as a place to write: a cursor, typing, a selection; and words marked by their author or by their surprise.

It changes what it shows by itself, at once, and posts each change as `Edited`, in the order in which they came; what becomes of the
story is for whoever hears it. Offsets are those of the story's own text, to the letter.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import get_character_cell_size
from rich.style import Style
from textual import events
from textual.binding import Binding
from textual.message import Message
from textual.selection import Selection
from textual.strip import Strip

from tinytales_tui.library.runs import Run, text_of
from tinytales_tui.library.tree import Edit
from tinytales_tui.write.page import moves
from tinytales_tui.write.page.marked import MarkedView
from tinytales_tui.write.page.marks import Spans, kind_of, spans_of


class Page(MarkedView):
    """Everything that can be typed is text here; what the keys of the pane do is said by its own bindings."""

    BINDINGS = [
        Binding("left", "move('left')", "Left", show=False, id="page.left"),
        Binding("right", "move('right')", "Right", show=False, id="page.right"),
        Binding("up", "move('up')", "Up", show=False, id="page.up"),
        Binding("down", "move('down')", "Down", show=False, id="page.down"),
        Binding("ctrl+left", "move('word_left')", "A word left", show=False, id="page.word_left"),
        Binding("ctrl+right", "move('word_right')", "A word right", show=False, id="page.word_right"),
        Binding("home,ctrl+a", "move('line_start')", "To the beginning of the line", show=False, id="page.line_start"),
        Binding("end,ctrl+e", "move('line_end')", "To the end of the line", show=False, id="page.line_end"),
        Binding("ctrl+home", "move('start')", "To the beginning", show=False, id="page.start"),
        Binding("ctrl+end", "move('finish')", "To the end", show=False, id="page.end"),
        Binding("pageup", "move('page_up')", "A page up", show=False, id="page.page_up"),
        Binding("pagedown", "move('page_down')", "A page down", show=False, id="page.page_down"),
        Binding("shift+left", "move('left', True)", "Select left", show=False, id="page.select_left"),
        Binding("shift+right", "move('right', True)", "Select right", show=False, id="page.select_right"),
        Binding("shift+up", "move('up', True)", "Select up", show=False, id="page.select_up"),
        Binding("shift+down", "move('down', True)", "Select down", show=False, id="page.select_down"),
        Binding("ctrl+shift+left", "move('word_left', True)", "Select a word", show=False, id="page.select_word_left"),
        Binding("ctrl+shift+right", "move('word_right', True)", "Select a word", show=False, id="page.select_word_right"),
        Binding("shift+home", "move('line_start', True)", "Select to the line's beginning", show=False, id="page.select_home"),
        Binding("shift+end", "move('line_end', True)", "Select to the line's end", show=False, id="page.select_end"),
        Binding("enter", "type_line", "New line", show=False, id="page.enter"),
        Binding("backspace", "delete('left')", "Delete", show=False, id="page.backspace"),
        Binding("delete", "delete('right')", "Delete the next letter", show=False, id="page.delete"),
        Binding("ctrl+w,ctrl+backspace", "delete('word_left')", "Delete a word", show=False, id="page.delete_word"),
        Binding("ctrl+delete", "delete('word_right')", "Delete the next word", show=False, id="page.delete_next_word"),
    ]
    KEYS_HELP_IS_ALL = True
    KEYS_HELP = (
        "On the page",
        [
            ("any letter", "Type at the cursor; a story that is being written stops there"),
            ("arrows", "Move the cursor, with Shift to select, with Ctrl by words"),
            ("home  end", "To the line's beginning or end; once more: the text's"),
            ("backspace  ctrl+w", "Delete a letter, or a word"),
            ("esc", "Back to the fields"),
        ],
    )

    class Edited(Message):
        """The writer changed the text."""

        def __init__(self, page: Page, edit: Edit) -> None:
            self.page, self.edit = page, edit
            self.stamp = page.stamp
            """What was on the page then: `Page.stamp` is another once another text was put there."""
            super().__init__()

        @property
        def control(self) -> Page:
            return self.page

    class Moved(Message):
        """The cursor stands elsewhere."""

    def __init__(self, *, half_pages: bool = False, id: str | None = None) -> None:
        super().__init__(half_pages=half_pages, id=id)
        self.stamp = 0
        """Goes up whenever a text is put on the page."""
        self._cursor = 0
        self._anchor_of_selection: int | None = None
        self._column: int | None = None
        """Cell that up and down keep to."""

    # What a pane calls

    @property
    def cursor(self) -> int:
        """Where the next letter would go, in the story's text."""
        return self._lead + self._cursor

    @property
    def at_end(self) -> bool:
        return self._cursor >= len(self._page.text)

    @property
    def selected(self) -> tuple[int, int] | None:
        """The part of the story's text that is selected, by keys or by the mouse."""
        found = self._selection()
        return None if found is None else (found[0] + self._lead, found[1] + self._lead)

    @property
    def selected_text(self) -> str:
        found = self._selection()
        return self._page.text[found[0] : found[1]] if found else ""

    def show_runs(self, heading: str, runs: Sequence[Run], cursor: int | None = None) -> None:
        """Put a story on the page, the cursor at its end or at `cursor`."""
        self._anchor_of_selection, self._column = None, None
        self.stamp += 1
        self.show_marked(heading, text_of(runs), spans_of(runs, self.marking))
        self._cursor = len(self._page.text) if cursor is None else min(max(cursor - self._lead, 0), len(self._page.text))
        if not self.at_end:
            self._set_follow(False)
            self.call_after_refresh(self._show_cursor)

    def append_drawn(self, text: str, drawn: Sequence[tuple[int, int, float]]) -> None:
        """More text of the model, with its tokens as they are known."""
        if self.marking != "none":
            at = self._lead + len(self._page.text)
            for _, letters, logprob in drawn:
                at += letters
                self._spans.add(at, kind_of("model", logprob, self.marking))
        was_at_end = self.at_end
        self.append(text)
        if was_at_end:
            self._cursor = len(self._page.text)

    # Typing

    async def _on_key(self, event: events.Key) -> None:
        if event.is_printable and event.character:
            event.stop()
            event.prevent_default()
            self._put(event.character)

    def action_type_line(self) -> None:
        self._put("\n")

    async def _on_paste(self, event: events.Paste) -> None:
        event.stop()
        if event.text:
            self._put(event.text.replace("\r\n", "\n").replace("\r", "\n"))

    def action_delete(self, what: str) -> None:
        if self._selection() is not None:
            self._put("")
            return
        other = getattr(moves, what)(self._page.text, self._cursor)
        if other != self._cursor:
            self._change(min(other, self._cursor), max(other, self._cursor), "")

    def _put(self, text: str) -> None:
        start, end = self._selection() or (self._cursor, self._cursor)
        if text or end > start:
            self._change(start, end, text)

    def _change(self, start: int, end: int, text: str) -> None:
        """Replace a stretch of what is shown, and tell it."""
        edit = Edit(start + self._lead, end + self._lead, text)
        was_empty = self._empty
        self._spans = Spans()  # until whoever hears of the change tells the new ones
        first = self._page.replace(start, end, self.showable(text))
        self._cursor, self._anchor_of_selection, self._column = start + len(text), None, None
        self.screen.clear_selection()
        if was_empty or self._empty:
            self._resized()
        else:
            self._measure_height()
            self.refresh_lines(self._top + first, max(self.size.height, len(self._page.lines) - first + 2))
        self._set_follow(self.at_end)
        self._show_cursor()
        self.post_message(self.Edited(self, edit))

    # Moving

    def action_move(self, where: str, select: bool = False) -> None:
        page, at = self._page, self._cursor
        column = None
        match where:
            case "up" | "down" | "page_up" | "page_down":
                rows = (1 if where in ("up", "down") else max(self.size.height - 2, 1)) * (-1 if "up" in where else 1)
                column = moves.column_of(page, at) if self._column is None else self._column
                to = moves.at_place(page, moves.row_of(page, at) + rows, column)
            case "start" | "finish":
                to = 0 if where == "start" else len(page.text)
            case "line_start" | "line_end":
                to = getattr(moves, where)(page, at)
            case _:
                to = getattr(moves, where)(page.text, at)
        self._go_to(to, select)
        self._column = column

    def go_to(self, place: int) -> None:
        """Put the cursor at a place of the story's text."""
        self._go_to(min(max(place - self._lead, 0), len(self._page.text)), False)

    def go_to_end(self) -> None:
        self._go_to(len(self._page.text), False)
        super().go_to_end()

    def _go_to(self, to: int, select: bool) -> None:
        before = self._cursor
        if select and self._anchor_of_selection is None:
            self._anchor_of_selection = before
        elif not select:
            self._anchor_of_selection = None
            self.screen.clear_selection()
        self._cursor, self._column = to, None
        self._set_follow(self.at_end)
        self._show_cursor()
        self.refresh()
        self.post_message(self.Moved())

    def _show_cursor(self) -> None:
        """Scroll just as far as is needed."""
        if self._follow:
            self._go_to_end()
            return
        row = self._top + moves.row_of(self._page, self._cursor)
        top, height = round(self.scroll_y), max(self.scrollable_content_region.height, 1)
        aim = None
        if row < top:
            aim = 0 if row <= self._top else row
        elif row >= top + height:
            aim = row - height + 1
        if aim is not None:
            moving, self._moving = self._moving, True
            try:
                self.scroll_to(y=aim, animate=False, force=True)
            finally:
                self._moving = moving

    def on_click(self, event: events.Click) -> None:
        if event.chain > 1 or self.text_selection is not None:
            return
        row = event.y + self.scroll_offset.y - self._top
        self._go_to(moves.at_place(self._page, row, event.x - self.margin), event.shift)

    def on_focus(self, event: events.Focus) -> None:
        self.refresh()

    def on_blur(self, event: events.Blur) -> None:
        self.refresh()

    # Selecting

    def _selection(self) -> tuple[int, int] | None:
        if self._anchor_of_selection is not None and self._anchor_of_selection != self._cursor:
            return min(self._anchor_of_selection, self._cursor), max(self._anchor_of_selection, self._cursor)
        selection: Selection | None = self.text_selection
        if selection is None or self._empty:
            return None
        start = 0 if selection.start is None else self._offset_in_text(selection.start)
        end = len(self._page.text) if selection.end is None else self._offset_in_text(selection.end)
        return (start, end) if end > start else None

    # Drawing

    def render_line(self, y: int) -> Strip:
        strip = super().render_line(y)
        line = self.scroll_offset.y + y - self._top
        if not 0 <= line < max(len(self._page.lines), 1):
            return strip
        if self._anchor_of_selection is not None and (found := self._selection()) is not None:
            strip = self._painted_range(strip, line, *found, self._selection_style())
        if self.has_focus and not self._empty and line == moves.row_of(self._page, self._cursor):
            column = self.margin + moves.column_of(self._page, self._cursor)
            under = self._page.text[self._cursor : self._cursor + 1]
            width = max(get_character_cell_size(under), 1) if under and under != "\n" else 1
            strip = self._painted(strip, column, column + width, Style(reverse=True))
        return strip
