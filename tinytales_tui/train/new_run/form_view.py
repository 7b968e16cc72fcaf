"""The list of fields with one field to type in, which stands on whichever line is typed in.

It turns keys into another `RunForm` and says so; what is right or wrong the form knows itself.
"""

from __future__ import annotations

import asyncio

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Container
from textual.message import Message
from textual.suggester import Suggester
from textual.widget import Widget
from textual.widgets import Input

from tinytales_tui.train.new_run.completing import complete
from tinytales_tui.train.new_run.form_lines import NOTE_WIDTH, NOTES_FROM, VALUE_AT, FormLines
from tinytales_tui.train.new_run.run_form import Field, Heading, RunForm, rows

_TEXTS = ("text", "texts")


class _Completion(Suggester):
    """What the present field may go on with; folders are read in a thread."""

    def __init__(self) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self.key = ""

    async def get_suggestion(self, value: str) -> str | None:
        return await asyncio.to_thread(complete, self.key, value)


class Editor(Input):
    """The field to type in. Keys that belong to the list are handed on to it."""

    def __init__(self) -> None:
        self.completion = _Completion()
        super().__init__(compact=True, suggester=self.completion)
        self.free_text = False
        """Whether a slash is a letter here."""

    async def on_key(self, event: events.Key) -> None:
        if event.character == "/" and not self.free_text:
            event.stop()
            event.prevent_default()
            await self.run_action("screen.find")


class FormView(Container):
    """All fields of a form, one of them the present one."""

    BINDINGS = [
        Binding("up", "go(-1)", "Line above", show=False, id="new_run.up", tooltip="Go to the field above"),
        Binding("down", "go(1)", "Line below", show=False, id="new_run.down", tooltip="Go to the field below"),
        Binding("tab", "go(1, True)", "Next", show=False, id="new_run.next", tooltip="Go to the next field"),
        Binding("shift+tab", "go(-1, True)", "Back", show=False, id="new_run.back", tooltip="Go to the field before"),
        Binding("pageup", "go_page(-1)", "Up a page", show=False, id="new_run.page_up", tooltip="Go a page up"),
        Binding("pagedown", "go_page(1)", "Down a page", show=False, id="new_run.page_down", tooltip="Go a page down"),
        Binding("left", "step(-1)", "Before", show=False, id="new_run.before", tooltip="The choice before; fold a group"),
        Binding("right,space", "step(1)", "Other", show=False, id="new_run.other", tooltip="The next choice; unfold a group"),
        Binding("enter", "enter", "Next", show=False, id="new_run.enter", tooltip="Go to the next field; fold or unfold a group"),
        Binding("slash", "screen.find", "Find", show=False, id="new_run.slash", tooltip="Find a setting"),
    ]
    DEFAULT_CSS = """
    FormView {
        layers: base over;
        height: 1fr;
        overflow: hidden;
        & Editor { layer: over; display: none; width: 20; }
    }
    """

    class Changed(Message):
        """A person changed the form."""

        def __init__(self, form: RunForm) -> None:
            self.form = form
            super().__init__()

    class Moved(Message):
        """Another line is the present one."""

    def __init__(self, *, cursor_blink: bool, id: str) -> None:
        super().__init__(id=id)
        self.form: RunForm | None = None
        self.lines = FormLines()
        self.editor = Editor()
        self.editor.cursor_blink = cursor_blink
        self._rows: list[Field | Heading] = []
        self._at = 0
        self._opened: frozenset[str] = frozenset()
        self._wanted = ""

    def compose(self) -> ComposeResult:
        yield self.lines
        yield self.editor

    def on_mount(self) -> None:
        self.watch(self.lines, "scroll_y", self._place_editor, init=False)

    @property
    def row(self) -> Field | Heading | None:
        """The present line."""
        return self._rows[self._at] if self._at < len(self._rows) else None

    # What is shown

    def show(self, form: RunForm) -> None:
        """Show a form, with the same line marked as before."""
        self.form = form
        self._lay_out(self._key())

    def go_to(self, key: str) -> None:
        """Mark a field and give it the keys, wherever it is folded away."""
        if self.form is not None:
            if self._line_of(key) is None:
                self._wanted = ""
                self._opened |= {self.form.by_key[key].group}
            self._lay_out(key)
            self.focus()

    def find(self, wanted: str) -> None:
        """Show only fields with these words in name or help; all of them for none."""
        self._wanted = wanted
        self._lay_out(self._key())

    def focus(self, scroll_visible: bool = True) -> FormView:
        (self.editor if self.editor.display else self.lines).focus(scroll_visible)
        return self

    def _key(self) -> str:
        row = self.row
        return row.key if isinstance(row, Field) else row.group if row else ""

    def _line_of(self, key: str) -> int | None:
        names = [row.key if isinstance(row, Field) else row.group for row in self._rows]
        return names.index(key) if key in names else None

    def _lay_out(self, key: str) -> None:
        if self.form is None:
            return
        self._rows = rows(self.form, self._opened, self._wanted)
        self._at = self._line_of(key) or 0
        self._show_row()

    def _draw(self) -> None:
        if self.form is not None:
            self.lines.show(self.form, self._rows, self._at, self.lines.has_focus or self.editor.has_focus)

    def _show_row(self) -> None:
        """Bring the present line into view, with the editor on it where it is typed in."""
        row, form = self.row, self.form
        inside = self.lines.has_focus or self.editor.has_focus
        if isinstance(row, Field) and row.typed and form is not None:
            self.editor.completion.key = row.key
            self.editor.free_text = row.kind in _TEXTS
            self.editor.select_on_focus = not self.editor.free_text
            self.editor.placeholder = form.placeholder(row.key)
            with self.editor.prevent(Input.Changed):
                self.editor.value = form.text(row.key)
            self.editor.cursor_position = len(self.editor.value)
            if not self.editor.free_text:
                self.editor.select_all()
            self.editor.display = True
            if inside:
                self.editor.focus(scroll_visible=False)
        else:
            if self.editor.has_focus:
                self.lines.focus(scroll_visible=False)
            self.editor.display = False
        self._draw()
        self._place_editor()
        self.post_message(self.Moved())

    def _place_editor(self) -> None:
        width = self.lines.size.width
        row = self.row
        noted = isinstance(row, Field) and self.form is not None and row.key in self.form.changed and width >= NOTES_FROM
        self.editor.styles.width = max(width - VALUE_AT + 1 - (NOTE_WIDTH if noted else 0), 4)
        self.editor.styles.offset = (VALUE_AT - 1, self._at - self.lines.scroll_offset.y)

    def on_resize(self) -> None:
        self.call_after_refresh(self._after_resize)

    def _after_resize(self) -> None:
        self.lines.bring_into_view()
        self._place_editor()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        if self.lines.has_focus and self.editor.display:
            self.editor.focus(scroll_visible=False)
        self._draw()

    def on_descendant_blur(self) -> None:
        self._draw()

    # Keys

    def action_go(self, steps: int, leave: bool = False) -> None:
        target = self._at + steps
        if 0 <= target < len(self._rows):
            self._at = target
            self._show_row()
        elif leave or target < 0:
            self._leave(steps)

    def action_go_page(self, direction: int) -> None:
        page = max(self.lines.size.height - 1, 1)
        self._at = min(max(self._at + direction * page, 0), max(len(self._rows) - 1, 0))
        self._show_row()

    def action_enter(self) -> None:
        if isinstance(self.row, Heading):
            self._fold(not self.row.open)
        else:
            self.action_go(1, leave=True)

    def action_step(self, steps: int) -> None:
        if isinstance(self.row, Heading):
            self._fold(steps > 0)
        elif isinstance(self.row, Field) and not self.row.typed and self.form is not None:
            self._change(self.form.stepped(self.row.key, steps))

    def on_key(self, event: events.Key) -> None:
        """A letter goes to the next choice that begins with it."""
        row = self.row
        letter = event.character
        if not (self.lines.has_focus and isinstance(row, Field) and self.form is not None and letter and letter.isalnum()):
            return
        choices = row.choices or ("off", "on")
        value = self.form.text(row.key)
        place = choices.index(value) + 1 if value in choices else 0
        found = next((choice for choice in (*choices[place:], *choices[:place]) if choice.startswith(letter)), None)
        if found:
            event.stop()
            self._change(self.form.with_text(row.key, found))

    def put_back(self) -> None:
        """The recipe's own value in the present field."""
        if isinstance(self.row, Field) and self.row.key != "recipe" and self.form is not None:
            self._change(self.form.with_text(self.row.key, ""))
            self._show_row()

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        if isinstance(self.row, Field) and self.form is not None and self.editor.display:
            self._change(self.form.with_text(self.row.key, event.value))

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_go(1, leave=True)

    @on(FormLines.Clicked)
    def _clicked(self, event: FormLines.Clicked) -> None:
        event.stop()
        again = event.line == self._at
        self._at = event.line
        self._show_row()
        self.focus()
        if isinstance(self.row, Heading):
            self._fold(not self.row.open)
        elif again:
            self.action_step(1)

    def _change(self, form: RunForm) -> None:
        self.form = form
        self._rows = rows(form, self._opened, self._wanted)
        self._draw()
        self._place_editor()
        self.post_message(self.Changed(form))

    def _fold(self, open: bool) -> None:
        row = self.row
        if isinstance(row, Heading):
            self._opened = self._opened | {row.group} if open else self._opened - {row.group}
            self._lay_out(row.group)
            self.lines.bring_into_view(row.count if open else 0)

    def _leave(self, direction: int) -> None:
        """On to the widget before or after this one."""
        chain: list[Widget] = self.screen.focus_chain
        inside = [at for at, widget in enumerate(chain) if self in widget.ancestors]
        if inside:
            target = inside[-1] + 1 if direction > 0 else inside[0] - 1
            chain[target % len(chain)].focus()
