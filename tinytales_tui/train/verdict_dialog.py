"""Why the verdict says what it says: the rule that applied, and all rules in their order."""

from __future__ import annotations

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from engine.watching.verdict import RULES, Verdict
from tinytales_tui.text import one_line


class VerdictDialog(ModalScreen[None]):
    """Closes on escape, enter, q or the question mark."""

    BINDINGS = [Binding("escape,enter,q,question_mark", "dismiss(None)", "Close", id="verdict.close", tooltip="Close")]
    DEFAULT_CSS = """
    VerdictDialog {
        & .dialog { width: 90; }
        & #verdict-rules { height: auto; max-height: 70vh; scrollbar-size-vertical: 1; }
    }
    """

    def __init__(self, said: Verdict) -> None:
        super().__init__()
        self._said = said

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static("Why this verdict", classes="dialog-title")
            with VerticalScroll(id="verdict-rules"):
                yield Static(self._text())
            yield Static(Text("Esc closes this"), classes="help-foot")

    def _text(self) -> Text:
        text = Text(one_line(self._said.words, 400) + "\n\n")
        for rule in RULES:
            if rule.name == self._said.rule:
                text.append(f"{rule.name} ({rule.level}): {rule.when}\n\n", "bold")
        text.append("The first of these rules that applies speaks:\n\n", "italic")
        for rule in RULES:
            text.append(f"{rule.name}", "bold")
            text.append(f" ({rule.level})  {rule.when}\n")
        return text

    def on_mount(self) -> None:
        self.query_one("#verdict-rules").focus()
