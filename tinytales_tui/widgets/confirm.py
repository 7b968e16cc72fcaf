"""The dialog that asks before something cannot be undone: what would happen, one button that does it, and Cancel, which has the focus.

It shows what it is given as plain text and answers True or False; what is done then is not its business.
"""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Button, Input, Static

from tinytales_tui.text import one_line, safe_text

LOW = [(0, "-low"), (16, "-high")]
"""Lines of the screen below which dialogs do without empty ones."""


def leave_room(part: Widget) -> None:
    """Give a part of a dialog that scrolls the lines that the others leave.

    A box that sizes itself by its contents asks for all the lines of what scrolls in it, and would push its buttons out of the screen.
    """
    dialog = part.parent
    if isinstance(dialog, Widget) and part.is_attached:
        others = [child for child in dialog.children if child is not part and child.display]
        taken = dialog.gutter.height + sum(child.outer_size.height + child.styles.margin.height for child in others)
        part.styles.height = max(1, min(part.virtual_size.height, part.screen.size.height - taken))


class ConfirmDialog(ModalScreen[bool]):
    """True where a person agreed. With `typed`, that has to be typed before the button works."""

    DEFAULT_CSS = """
    ConfirmDialog {
        #said {
            height: auto;
            scrollbar-size-vertical: 1;
        }
        .said {
            height: auto;
        }
        #typed-row {
            height: auto;
            margin-top: 1;
        }
        #typed {
            width: 1fr;
        }
        #keys {
            width: 1fr;
            height: 1;
            color: $text-muted;
        }
        &.-narrow #keys {
            display: none;
        }
    }
    """
    AUTO_FOCUS = "#typed, #cancel"
    BINDINGS = [
        Binding("y", "yes", "Yes", id="confirm.yes", tooltip="Do it"),
        Binding("n,escape", "no", "Cancel", id="confirm.no", tooltip="Leave everything as it is"),
        Binding("left", "app.focus_previous", show=False, id="confirm.left", tooltip="To the button before"),
        Binding("right", "app.focus_next", show=False, id="confirm.right", tooltip="To the next button"),
        Binding("up", "scroll_said(-1)", show=False, id="confirm.up", tooltip="Scroll up"),
        Binding("down", "scroll_said(1)", show=False, id="confirm.down", tooltip="Scroll down"),
    ]

    def __init__(self, title: str, sentences: Sequence[str], verb: str, *, typed: str | None = None) -> None:
        super().__init__()
        self._title = one_line(title, 200)
        self._sentences = [safe_text(sentence) for sentence in sentences]
        self._verb = one_line(verb, 40)
        self._typed = typed

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(self._title, classes="dialog-title", markup=False)
            with VerticalScroll(id="said", can_focus=False):
                for sentence in self._sentences:
                    yield Static(sentence, classes="said", markup=False)
            if self._typed is not None:
                with Vertical(id="typed-row"):
                    yield Static(f"Type {self._typed} to go on:", markup=False)
                    yield Input(id="typed", compact=True)
            with Horizontal(classes="dialog-buttons"):
                yield Static("" if self._typed is not None else "y yes · n no", id="keys", markup=False)
                yield Button(self._verb, id="do", compact=True, disabled=self._typed is not None)
                yield Button("Cancel", id="cancel", compact=True)

    def on_mount(self) -> None:
        for field in self.query(Input):
            field.cursor_blink = False

    def on_resize(self, event: events.Resize) -> None:
        self.query_one("#said").styles.height = "auto"
        self.call_after_refresh(lambda: leave_room(self.query_one("#said")))

    @property
    def _agreed(self) -> bool:
        return self._typed is None or self.query_one("#typed", Input).value.strip() == self._typed

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.query_one("#do", Button).disabled = not self._agreed

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if self._agreed:
            self.dismiss(True)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        event.stop()
        self.dismiss(event.button.id == "do" and self._agreed)

    def action_yes(self) -> None:
        if self._typed is None:
            self.dismiss(True)

    def action_no(self) -> None:
        self.dismiss(False)

    def action_scroll_said(self, lines: int) -> None:
        self.query_one("#said").scroll_relative(y=lines, animate=False)
