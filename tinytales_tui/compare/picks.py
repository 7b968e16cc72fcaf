"""A list of which some are picked: each picked row has the number of the column that it becomes, in the order of picking."""

from __future__ import annotations

from collections.abc import Sequence

from textual.binding import Binding
from textual.message import Message
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from tinytales_tui.text import one_line


class Picks(OptionList):
    """`show(rows, picked)`; Space or a click picks a row or lets it go, Enter is for the dialog."""

    KEYS_HELP = ("In this list", [("up  down", "Move"), ("enter", "Compare what is picked")])
    BINDINGS = [
        Binding("space", "pick", "Pick", id="picks.pick", tooltip="Pick this one, or let it go"),
        Binding("enter", "begin", "Compare", id="picks.begin", tooltip="Compare what is picked"),
    ]

    class Changed(Message):
        """Another row is picked, or one less."""

    class Begin(Message):
        """A person wants to go on with what is picked."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False, compact=True)
        self.picked: list[str] = []
        self._listed: list[tuple[str, str]] = []
        self._prompts: list[str] = []

    def show(self, rows: Sequence[tuple[str, str]], picked: Sequence[str] | None = None) -> None:
        """List these (value, words); `picked` None leaves what is picked as it is."""
        at = self._listed[self.highlighted][0] if self.highlighted is not None and self.highlighted < len(self._listed) else None
        self._listed = list(rows)
        if picked is not None:
            self.picked = list(picked)
        self.clear_options()
        self._prompts = [self._line(value, words) for value, words in self._listed]
        self.add_options([Option(line) for line in self._prompts])
        values = [value for value, _ in self._listed]
        if values:
            self.highlighted = values.index(at) if at in values else 0

    def _line(self, value: str, words: str) -> str:
        mark = str(self.picked.index(value) + 1) if value in self.picked else " "
        return f"[{mark}] {one_line(words, 120)}"

    def _draw(self) -> None:
        for place, (value, words) in enumerate(self._listed):
            line = self._line(value, words)
            if line != self._prompts[place]:
                self._prompts[place] = line
                self.replace_option_prompt_at_index(place, line)

    def action_pick(self) -> None:
        if self.highlighted is None or self.highlighted >= len(self._listed):
            return
        value = self._listed[self.highlighted][0]
        if value in self.picked:
            self.picked.remove(value)
        else:
            self.picked.append(value)
        self._draw()
        self.post_message(self.Changed())

    def action_begin(self) -> None:
        self.post_message(self.Begin())

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()  # a click: Enter has a meaning of its own
        self.action_pick()
