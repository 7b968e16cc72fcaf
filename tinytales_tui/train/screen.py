"""The Train pane's screen: the list of runs, and of the opened one its curves, stories, log and machine.

Everything that is shown comes from feeds, which a thread keeps up to date (`engine.watching.follower`); this file decides what is
shown where, and draws at most once a second by itself, and at once after a key.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Container, Horizontal, Vertical
from textual.fuzzy import Matcher
from textual.screen import Screen
from textual.widgets import Footer, Input

from engine.watching.feed import Feed
from engine.watching.follower import BEHIND, CLOSE, Follower
from engine.watching.marks import Mark
from engine.watching.verdict import evidence_of, judge
from tinytales_tui import paths
from tinytales_tui.train.alerts.alerting import Alerting
from tinytales_tui.train.byte_rate import ByteRate
from tinytales_tui.train.charts import charting
from tinytales_tui.train.charts.chart_view import ChartView
from tinytales_tui.train.charts.charting import MARK_WORDS
from tinytales_tui.train.charts.grid import ChartGrid
from tinytales_tui.train.charts.keys import CHART_BINDINGS, LookingKeys
from tinytales_tui.train.charts.measures import MOST_OVERLAID, Looking, Measure, measures_of
from tinytales_tui.train.drawing import CHART_VIEWS, Drawing
from tinytales_tui.train.filtering import Filtering
from tinytales_tui.train.header import VIEWS
from tinytales_tui.train.log.view import LogView
from tinytales_tui.train.machine.health import Health
from tinytales_tui.train.machine.view import MachineView
from tinytales_tui.train.runs.list import RunsList
from tinytales_tui.train.runs.rows import BADGES, SORT_WORDS
from tinytales_tui.train.steer.keys import STEERING_BINDINGS, SteeringKeys
from tinytales_tui.train.stories.view import StoriesView
from tinytales_tui.widgets.lines import Lines
from tinytales_tui.widgets.top_bar import TopBar

if TYPE_CHECKING:
    from tinytales_tui.app import TinyTalesApp

DRAW_EVERY, DRAW_EVERY_SLOWLY = 1.0, 4.0
"""Seconds between two drawings of what came in by itself; the second on a slow line."""
_CHART_ACTIONS = {binding.action.partition("(")[0] for binding in CHART_BINDINGS}


class TrainScreen(Drawing, LookingKeys, SteeringKeys, Filtering, Screen[None]):
    """Where runs are watched and steered."""

    app: TinyTalesApp
    CSS_PATH = ["train.tcss", "steer/dialogs.tcss"]
    TITLE = "Train"
    HELP_GROUPS = {"chart": "On the curves"}
    HELP_NOTES = [
        ("Under the curve", [(letter, words) for letter, words in MARK_WORDS]),
        ("Before a run's name", [(badge, state) for state, badge in BADGES.items()]),
    ]
    AUTO_FOCUS = ""
    BINDINGS = [
        *(Binding(str(number), f"view('{name}')", words, show=False, id=f"train.view_{name}", tooltip=f"Show: {words}")
          for number, (name, words) in enumerate(VIEWS, 1)),
        *STEERING_BINDINGS,
        *CHART_BINDINGS,
        Binding("escape", "back", "Back", show=False, id="train.back", tooltip="Close the filter; from a view back to the curve"),
        Binding("l", "legend", "Legend", show=False, id="train.legend", tooltip="Choose by name which of the marked runs are drawn"),
        Binding("slash", "find_run", "Find", key_display="/", show=False, id="train.find", tooltip="Find a run by its name"),
        Binding("question_mark", "why", "Why?", key_display="?", show=False, id="train.why", tooltip="Why the verdict says so"),
        Binding("A", "alerts", "Alerts", show=False, id="train.alerts", tooltip="Which alerts there are, and how they are given"),
        Binding("B", "rate", "Bytes", show=False, id="train.rate", tooltip="Show how many bytes a second the screen takes"),
        Binding("N", "side", "List", show=False, id="train.side", tooltip="Show or hide the list beside the charts"),
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.readonly = self.app.options.readonly
        self.view = "runs"
        self.looking = Looking()
        self.measures: list[Measure] = measures_of([])
        self.marks: Sequence[Mark] = ()
        self.open_key = ""
        self._taken: list[charting.Taken] = []
        self._chosen_by_hand = False
        self._view_chosen = False
        self._wanted = ""
        self._legend_words = ""
        self.rate: ByteRate | None = None
        """Counts what is written to the terminal, while somebody wants to know."""
        self._sat = (), []
        self._beside = False
        self._with_story = True
        self._drawn_at = 0.0
        self._told = False
        self._unsettled = True
        self._cancel = threading.Event()

    def compose(self) -> ComposeResult:
        yield TopBar(self.app.pane_names, "train", help_from=130)
        yield Lines(1, id="views")
        yield Input(placeholder="filter", compact=True, id="filter")
        with Horizontal(id="train-body"):
            with Vertical(id="side"):
                yield RunsList(id="runs")
                yield Lines(2, id="details")
            with Vertical(id="run"):
                yield Lines(1, id="standing")
                yield Lines(1, id="verdict")
                yield Lines(1, id="legend")
                with Container(id="stage"):
                    with Container(id="curve-view"):
                        yield ChartView(id="chart")
                        yield StoriesView(id="beside-story")
                    yield ChartGrid(id="grid-view")
                    with Vertical(id="stories-view"):
                        yield ChartView(titled=True, id="slim")
                        yield StoriesView(id="stories")
                    yield LogView(id="log-view")
                    yield MachineView(id="machine-view")
                yield Lines(2, id="readout")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self.run_list = self.query_one("#runs", RunsList)
        self.chart = self.query_one("#chart", ChartView)
        self.slim = self.query_one("#slim", ChartView)
        self.grid = self.query_one("#grid-view", ChartGrid)
        self.beside_story = self.query_one("#beside-story", StoriesView)
        self.stories = self.query_one("#stories", StoriesView)
        self.log_view = self.query_one("#log-view", LogView)
        self.filter = self.query_one("#filter", Input)
        self.filter.cursor_blink = False
        self.filter.display = False
        self.alerting = Alerting(self.app)
        self.health = Health(self.query_one("#machine-view", MachineView))
        target = self.app.options.watch
        self.follower = Follower(paths.runs_folder(), self._on_change, target.feeds if target else ())
        if target and target.feeds:
            self._open(target.feeds[0].key, by_hand=True)
        self.follower.start()
        self.set_interval(0.1, self._tick)
        self.set_interval(2.0, self._sample_health)
        self._show_view()

    def on_unmount(self) -> None:
        self._cancel.set()
        self.follower.close()
        self.health.close()

    def on_screen_suspend(self) -> None:
        self.follower.set_interval(BEHIND)
        self.log_view.active = False

    def on_screen_resume(self) -> None:
        self.follower.set_interval(BEHIND if self.app.low_bandwidth else CLOSE)
        self.log_view.active = self.view == "log"
        self._drawn_at = 0.0

    # What the thread tells, and when it is drawn

    def _on_change(self) -> None:
        self._told = True  # from the follower's thread: only a note, which the next tick finds

    def _tick(self) -> None:
        now = time.monotonic()
        every = DRAW_EVERY_SLOWLY if self.app.low_bandwidth else DRAW_EVERY
        if self._told and self._unsettled:
            every = 0.0  # what a person waits for is shown as soon as it is there
        if not self.follower.listed or now - self._drawn_at < every:
            return
        self._told = False
        self._drawn_at = now
        self.alerting.see(self.follower.feeds)
        if self.is_current:
            self._choose_open()
            self.draw()
            self._unsettled = self.opened is None or self.opened.loading is not None

    @property
    def opened(self) -> Feed | None:
        """The run that is shown; None while there is none."""
        return next((feed for feed in self.follower.feeds if feed.key == self.open_key), None)

    @property
    def drawn(self) -> list[Feed]:
        """The runs whose curves are drawn together: the opened one, and those that are marked and in the legend."""
        opened = self.opened
        by_key = {feed.key: feed for feed in self.follower.feeds}
        others = [by_key[key] for key in self.run_list.marked if key in by_key and key != self.open_key]
        if self._legend_words:
            matcher = Matcher(self._legend_words)
            others = [feed for feed in others if matcher.match(feed.name) > 0]
        return ([opened] if opened is not None else []) + others[: MOST_OVERLAID - 1]

    @property
    def measure(self) -> Measure:
        """What the big chart shows."""
        return charting.measure_named(self.looking.measure, self.measures)

    @property
    def chart_columns(self) -> int:
        """Cells that the chart with the cursor is wide."""
        return (self.slim if self.view == "stories" else self.chart).columns

    def _choose_open(self) -> None:
        """Open what was asked for once it is there; else, until a person chooses, the newest run at work, or the newest of all."""
        feeds = self.follower.feeds
        if self._wanted and any(feed.key == self._wanted for feed in feeds):
            self._open(self._wanted, by_hand=True)
            self._wanted = ""
        if self.opened is not None and (self._chosen_by_hand or self.opened.status.alive):
            return
        live = next((feed for feed in feeds if feed.status.alive), None)
        best = live or (feeds[0] if feeds and self.opened is None else None)
        if best is not None and best.key != self.open_key:
            self._open(best.key, by_hand=False)

    def open_when_there(self, path: Path) -> None:
        """Open the run in this folder as soon as the follower has seen it."""
        self._wanted = str(path)
        self.follower.look_now()

    def _open(self, key: str, by_hand: bool) -> None:
        if key != self.open_key:
            self.open_key = key
            self.looking = self.looking.change(span=None, recent=1.0, cursor=None)
        self._chosen_by_hand = self._chosen_by_hand or by_hand
        if self.view == "runs" and (by_hand or not self._view_chosen):
            self.view = "curve"
            self._show_view()
        self._follow_drawn()

    def _follow_drawn(self) -> None:
        self.follower.set_open(feed.key for feed in self.drawn)

    # Views and the list

    def action_view(self, name: str) -> None:
        if name != "runs" and self.opened is None:
            self.app.say("There is no run to show; ctrl+n starts one.", "warning")
            return
        self._view_chosen = True
        self.view = name
        self._show_view()
        self.draw()

    def _show_view(self) -> None:
        for name, _ in VIEWS:
            self.set_class(name == self.view, f"-view-{name}")
        self.log_view.active = self.view == "log"
        match self.view:
            case "runs":
                self.run_list.focus()
            case "log":
                self.log_view.focus()
            case _:
                self.set_focus(None)
        self.refresh_bindings()
        self.call_after_refresh(self.draw)

    def action_back(self) -> None:
        if self.filter.display:
            self._close_filter(clear=True)
        elif self.view == "runs" and self.run_list.words:
            self.run_list.set_filter("")
            self.draw()
        elif self.view == "runs" and self.run_list.marked:
            self.run_list.unmark()
        elif self.view != "curve" and self.opened is not None:
            self.action_view("curve")
        elif self.run_list.marked:
            self.run_list.unmark()
        else:
            self.set_focus(None)

    def action_rate(self) -> None:
        if self.rate is not None:
            self.rate.stop()
        self.rate = ByteRate(self.app) if self.rate is None else None
        self.draw()

    def action_side(self) -> None:
        if not self.has_class("-wide"):
            self.app.say("The list stands beside the charts from 110 columns on; 1 shows it here.")
        self.toggle_class("-no-side")

    def action_beside(self) -> None:
        self._beside = not self._beside
        if self._beside and self.view == "grid":
            self.view = "stories"
            self._show_view()
        self.draw()

    def action_prompt(self, steps: int) -> None:
        (self.stories if self.view == "stories" else self.beside_story).next_prompt(steps)
        self.draw()

    def action_story(self) -> None:
        self._with_story = not self._with_story
        self.draw()

    def action_find_run(self) -> None:
        self.action_view("runs")
        self.run_list.action_filter()

    def action_why(self) -> None:
        from tinytales_tui.train.verdict_dialog import VerdictDialog

        if self.opened is not None:
            self.app.push_screen(VerdictDialog(judge(evidence_of(self.opened, time.time()))))

    def action_alerts(self) -> None:
        from tinytales_tui.train.alerts.dialog import AlertsDialog

        self.app.push_screen(AlertsDialog())

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in _CHART_ACTIONS:
            return self.view in CHART_VIEWS
        return True

    def on_runs_list_opened(self, event: RunsList.Opened) -> None:
        self._open(event.key, by_hand=True)
        self.draw()

    def on_runs_list_moved(self, event: RunsList.Moved) -> None:
        self._chosen_by_hand = self._view_chosen = True  # nothing is opened under the hands of whoever is at the list
        self.draw()

    def on_runs_list_marked(self, event: RunsList.Marked) -> None:
        self._follow_drawn()
        self.draw()

    def on_runs_list_sort_changed(self, event: RunsList.SortChanged) -> None:
        self.app.say(f"Ordered by {SORT_WORDS[self.run_list.sort]}")

    def on_resize(self) -> None:
        self.call_after_refresh(self.draw)

    async def _sample_health(self) -> None:
        if self.is_current:
            await self.health.sample(self.opened)
            if self.view == "machine":
                self.health.show()
