"""The one field of the Train pane: it narrows the list of runs, or the legend of a chart with several. A part of the pane's screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.widgets import Input

from tinytales_tui.train.runs.list import RunsList

if TYPE_CHECKING:
    from tinytales_tui.train.screen import TrainScreen


class Filtering:
    """What typing into the field does."""

    _legend_words: str

    def on_runs_list_filter_wanted(self: TrainScreen, event: RunsList.FilterWanted) -> None:
        self._open_filter("runs", self.run_list.words, "show only runs whose name matches; Enter keeps it, Esc shows all")

    def action_legend(self: TrainScreen) -> None:
        if not self.run_list.marked:
            self.app.say("Mark runs in the list with the space bar; they are drawn together, and can be chosen here by name.")
            return
        self._open_filter("legend", self._legend_words, "draw only those marked runs whose name matches; Esc draws all")

    def _open_filter(self: TrainScreen, purpose: str, words: str, hint: str) -> None:
        self.filter.border_title = purpose
        self.filter.placeholder = hint
        self.filter.value = words
        self.filter.display = True
        self.filter.focus()

    def _close_filter(self: TrainScreen, clear: bool) -> None:
        if clear:
            self.filter.value = ""
            self._filter("")
        self.filter.display = False
        if self.view == "runs":
            self.run_list.focus()
        else:
            self.set_focus(None)

    def _filter(self: TrainScreen, words: str) -> None:
        if self.filter.border_title == "legend":
            self._legend_words = words.strip()
            self._follow_drawn()
            self.draw()
        else:
            self.run_list.set_filter(words)

    def on_input_changed(self: TrainScreen, event: Input.Changed) -> None:
        if event.input is self.filter and self.filter.display:
            self._filter(event.value)

    def on_input_submitted(self: TrainScreen, event: Input.Submitted) -> None:
        if event.input is self.filter:
            self._close_filter(clear=False)
