"""The dialog that picks one of the tags there are, to list only what has it."""

from __future__ import annotations

from collections.abc import Mapping

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from tinytales_tui.library.pane.telling import stories
from tinytales_tui.text import one_line


class TagPicker(ModalScreen[str | None]):
    """Closes with a tag; with "" for all stories; with None if a person left it."""

    DEFAULT_CSS = """
    TagPicker {
        OptionList { height: auto; max-height: 14; border: none; background: $panel; padding: 0; }
    }
    """
    AUTO_FOCUS = "OptionList"
    BINDINGS = [Binding("escape", "dismiss(None)", "Cancel", id="tags.close", tooltip="Close; the list stays as it is")]

    def __init__(self, tags: Mapping[str, int]) -> None:
        super().__init__()
        self._tags = list(tags)
        self._counts = tags

    def compose(self) -> ComposeResult:
        options = [Option(Content("all stories"))]
        options += [Option(Content(f"{one_line(tag, 40)}  {stories(count)}")) for tag, count in self._counts.items()]
        with Vertical(classes="dialog"):
            yield Static("Only stories with the tag", classes="dialog-title", markup=False)
            yield OptionList(*options, compact=True)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.dismiss(self._tags[event.option_index - 1] if event.option_index else "")
