"""F1: the keys of where the person is, in plain words. Made from the bindings themselves, so it cannot fall behind them."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.dom import DOMNode
from textual.screen import ModalScreen, Screen
from textual.widgets import Input, Static

from tinytales_tui.widgets.choice import Choice
from tinytales_tui.widgets.seed_row import SeedRow
from tinytales_tui.widgets.slider import ParamSlider
from tinytales_tui.widgets.story_view import StoryView

TYPED = [("0-9 .", "Type a number"), ("enter", "Take the typed number"), ("esc", "Leave it as it was")]
MOUSE = "The mouse works too: click a field or a choice, drag a slider or turn the wheel over it, double-click it to reset."
WORDS: dict[type, tuple[str, list[tuple[str, str]]]] = {
    ParamSlider: ("On this slider", TYPED),
    SeedRow: ("On the seed", TYPED),
    Choice: ("On this choice", []),
    Input: ("In this field", [("tab", "Go to the next field"), ("ctrl+u", "Clear it")]),
    StoryView: (
        "On the page",
        [("up  down", "Scroll a line"), ("home  end", "Go to the beginning or to the end")],
    ),
}
Section = tuple[str, list[tuple[str, str]]]


class HelpScreen(ModalScreen[None]):
    """Closes on escape, F1, enter or q."""

    BINDINGS = [Binding("escape,f1,enter,q", "dismiss(None)", "Close", id="help.close")]

    def __init__(self, sections: list[Section]) -> None:
        super().__init__()
        self._sections = sections

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog", id="help"):
            with VerticalScroll(id="help-keys"):
                for title, keys in self._sections:
                    yield Static(Text(title), classes="help-title")
                    table = Table.grid(padding=(0, 2), expand=True)
                    table.add_column(width=21, no_wrap=True)
                    table.add_column(ratio=1)
                    for key, words in keys:
                        table.add_row(Text(key, style="bold"), Text(words))
                    yield Static(table)
                yield Static(Text(MOUSE), classes="help-note")
            yield Static(Text("Esc closes this"), classes="help-foot")

    def on_mount(self) -> None:
        self.query_one("#help-keys").focus()


def sections_for(screen: Screen, pane: str) -> list[Section]:
    """The keys that count where the focus is, then the pane's, then those that work everywhere.

    A widget may have `KEYS_HELP` (a title, and keys that are no bindings; `KEYS_HELP_IS_ALL`: its bindings are among them); a screen
    `FIELD_HELP` (the same for its text fields), `HELP_TITLE`, `HELP_NOTES` (sections that are no keys), `HELP_GROUPS` (a title by the
    first part of its bindings' ids).
    """
    here: list[tuple[str, str]] = []
    on_pane: list[tuple[str, str]] = []
    everywhere: list[tuple[str, str]] = [("tab  shift+tab", "Go to the next field, or the one before")]
    focused = screen.focused
    title = ""
    if focused is not None:
        for kind, (words, keys) in WORDS.items():
            if isinstance(focused, kind):
                title, here = words, list(keys)
        if isinstance(focused, Input):
            title, here = getattr(screen, "FIELD_HELP", (title, here))
        title, here = getattr(focused, "KEYS_HELP", (title, here))
        here = list(here)
    groups: dict[str, list[tuple[str, str]]] = {words: [] for words in getattr(screen, "HELP_GROUPS", {}).values()}
    for node, group in _own_bindings(screen):
        if getattr(node, "KEYS_HELP_IS_ALL", False):
            continue
        for keys, words, id in group:
            part = getattr(screen, "HELP_GROUPS", {}).get(id.partition(".")[0]) if node is screen else None
            goes_to = groups[part] if part else on_pane if node is screen else everywhere if node is screen.app else here
            if words not in (known for _, known in goes_to):
                goes_to.append((keys, words))
    sections = [(title or "Here", here)] if here else []
    main = getattr(screen, "HELP_TITLE", f"On the {pane} pane")
    notes = getattr(screen, "HELP_NOTES", [])
    return [
        *sections,
        (main, on_pane),
        *((words, keys) for words, keys in groups.items() if keys),
        *notes,
        ("Everywhere", everywhere),
    ]


def _own_bindings(screen: Screen) -> list[tuple[DOMNode, list[tuple[str, str, str]]]]:
    """Bindings with an id (ours have one) of the focused widget, its parents, the screen and the app: (keys, words, id)."""
    chain: list[DOMNode] = list(screen.focused.ancestors_with_self) if screen.focused else [screen, screen.app]
    out = []
    for node in chain:
        group: dict[str, tuple[list[str], str, str]] = {}
        for bindings in node._bindings.key_to_bindings.values():
            for binding in bindings:
                if binding.id:
                    words = binding.tooltip or binding.description
                    keys, _, _ = group.setdefault(words, ([], words, binding.id))
                    key = _SPOKEN.get(binding.key, binding.key_display or binding.key)
                    if key not in keys:
                        keys.append(key)
        out.append((node, [("  ".join(keys), words, id) for keys, words, id in group.values()]))
    return out


_SPOKEN = {
    "escape": "esc", "pageup": "pgup", "pagedown": "pgdn", "comma": ",", "full_stop": ".", "slash": "/", "exclamation_mark": "!",
    "plus": "+", "equals_sign": "=", "minus": "-", "less_than_sign": "<", "greater_than_sign": ">", "left_square_bracket": "[",
    "right_square_bracket": "]", "question_mark": "?", "upper_n": "N", "upper_w": "W",
}  # fmt: skip
"""Keys by what stands on them."""
