"""The Write pane's screen: it ties the fields, the page, the sliders and the engine together.

What the stories are lies in `desk`, what is kept in `keeper`; this file turns keys into requests and events into what is shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal
from textual.screen import Screen
from textual.widgets import Footer

from engine import protocol
from tinytales_tui import paths
from tinytales_tui.engine_client import ClientEvent, WorkerLost, Written
from tinytales_tui.library.records import record_of
from tinytales_tui.text import one_line
from tinytales_tui.widgets.story_view import StoryView
from tinytales_tui.widgets.top_bar import TopBar
from tinytales_tui.write.asking import Asked
from tinytales_tui.write.branching import BRANCHING_BINDINGS, NEEDS_A_STORY, NEEDS_A_TREE, Branching
from tinytales_tui.write.composer import Composer
from tinytales_tui.write.desk import Desk
from tinytales_tui.write.draft import heading
from tinytales_tui.write.elsewhere import ELSEWHERE_BINDINGS, Elsewhere
from tinytales_tui.write.hints import hints
from tinytales_tui.write.keeper import Keeper
from tinytales_tui.write.keeping import KEEPING_BINDINGS, Keeping
from tinytales_tui.write.looking import LOOKING_BINDINGS, Looking
from tinytales_tui.write.page.legend import Legend
from tinytales_tui.write.page.view import Page
from tinytales_tui.write.panel import SamplingPanel
from tinytales_tui.write.requests import ASKING_BINDINGS, Asking
from tinytales_tui.write.restore_bar import RestoreBar
from tinytales_tui.write.status import StatusLine, ended_words, facts
from tinytales_tui.write.steering.keys import LOOK_S, STEERING_BINDINGS, Steered

if TYPE_CHECKING:
    from tinytales_tui.app import TinyTalesApp


class WriteScreen(Asking, Branching, Looking, Elsewhere, Steered, Keeping, Screen[None]):
    """Where stories are written."""

    app: TinyTalesApp
    CSS_PATH = "write.tcss"
    TITLE = "Write"
    FIELD_HELP = (
        "In this field",
        [("enter", "Write the story"), ("tab", "Go to the next field"), ("esc", "Go to the page"), ("ctrl+u", "Clear it")],
    )
    AUTO_FOCUS = "#topic"
    VERTICAL_BREAKPOINTS = [(0, "-low"), (28, "-middle"), (38, "-high")]
    BINDINGS = [
        *ASKING_BINDINGS,
        *BRANCHING_BINDINGS,
        *LOOKING_BINDINGS,
        *ELSEWHERE_BINDINGS,
        *KEEPING_BINDINGS,
        *STEERING_BINDINGS,
        Binding("f8", "panel", "Sliders", id="write.panel", tooltip="Show or hide the sliders"),
        Binding("pageup", "scroll_page(-1)", "Up a page", show=False, id="write.page_up", tooltip="Scroll the page"),
        Binding("pagedown", "scroll_page(1)", "Down a page", show=False, id="write.page_down", tooltip="Scroll the page"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk()
        self.keeper = Keeper(paths.autosave_folder(), paths.library_file(), engine_is_here=not self.app.options.worker_command)
        self.checkpoint: protocol.CheckpointInfo | None = None
        self._loaded = False
        self._keys_shown: tuple[bool, ...] | None = None
        self._trouble = ""
        self._stopping = False
        self._filled = Asked()
        """What stood in the fields when they were last asked or filled."""
        self._asked: set[int] = set()
        """Ids of requests of this pane: others write with the engine too."""

    def compose(self) -> ComposeResult:
        saved = self.app.ui
        yield TopBar(self.app.pane_names, "write", help_from=116)
        yield RestoreBar(id="restore-bar")
        yield Composer(ending=saved.ending, cursor_blink=not self.app.low_bandwidth, id="composer")
        with Horizontal(id="desk"):
            yield Page(half_pages=self.app.low_bandwidth, id="page")
            yield SamplingPanel(saved, id="panel")
        yield Legend(page="#page", id="legend")
        yield StatusLine(id="status")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self.page = self.query_one("#page", Page)
        self.panel = self.query_one("#panel", SamplingPanel)
        self.composer = self.query_one("#composer", Composer)
        self.status = self.query_one("#status", StatusLine)
        self.set_class(not self.app.ui.panel, "-no-panel")
        self.app.engine_events.subscribe(self, self._on_engine)
        self.set_interval(2.0, self._keep)
        self.set_interval(LOOK_S, self._watch_story)
        self._refresh()
        self.call_after_refresh(self._offer_kept)
        # The engine's start costs this process next to nothing, but the first picture comes before everything.
        self.call_after_refresh(self.app.start_engine)

    def on_unmount(self) -> None:
        self.keeper.close()

    # What the engine says

    def _on_engine(self, batch: list[ClientEvent]) -> None:
        told = (Written, protocol.Started, protocol.Finished, protocol.Done)
        if all(isinstance(event, told) and event.id not in self._asked for event in batch):
            return  # what others write with the engine
        for event in batch:
            self._on_event(event)
        self._refresh()
        if self._watching is not None:
            self._watching()

    def _on_event(self, event: ClientEvent) -> None:
        desk = self.desk
        before = desk.front, desk.tree.current
        node = desk.on_event(event)
        match event:
            case Written() if node is not None:
                if node == desk.tree.current:
                    self.page.append_drawn(event.text, event.drawn)
            case protocol.Finished() if node is not None:
                if node == desk.tree.current:
                    self.page.append_drawn(event.text, ())
                self._stopping = self._stopping and desk.writing is not None
                if (desk.front, desk.tree.current) != before:  # stopped before its first word, it is gone
                    self._show_current()
            case protocol.Started() if node is not None:
                self.panel.show_seed(event.seed)
            case protocol.Started(id=number) if number in self._asked:
                self.run_worker(self.app.engine.cancel(number))  # it was stopped before it began
            case protocol.Loaded():
                self._on_checkpoint(event.checkpoint)
            case protocol.StepChanged():
                self.checkpoint = event.checkpoint
            case protocol.Failed() if event.id in self._asked or event.kind != "usage" or not self._loaded:
                self._trouble = event.message
                if desk.writing is not None and event.id == desk.writing.id:
                    desk.let_go(None, forget=True)
                    self._show_current()
            case WorkerLost():
                self._loaded = False
                self._trouble = event.message
                if desk.writing is not None and desk.writing.sent:  # a request that still waits goes to the next engine
                    desk.let_go(None, forget=True)
                    self._show_current()

    def _on_checkpoint(self, checkpoint: protocol.CheckpointInfo) -> None:
        again, first = self.checkpoint == checkpoint, self.checkpoint is None
        self.checkpoint = checkpoint
        self._loaded = True
        self._trouble = ""
        self.desk.on_checkpoint(checkpoint)
        self.query_one(TopBar).show_model(f"{one_line(checkpoint.name, 40)} · {one_line(checkpoint.device, 12)}")
        self.panel.recommend(checkpoint.sampling)
        self.composer.follow(checkpoint.prompt_style, first)
        for warning in () if again else checkpoint.warnings:
            self.app.say(warning, "warning")

    # What is shown

    def _show_current(self, cursor: int | None = None) -> None:
        record = self.desk.record
        runs = self.desk.tree.runs(self.desk.tree.current)
        self.page.show_runs(heading(record) if record is not None else "", runs, cursor)
        self._show_seed()
        self._refresh()

    def _show_again(self, cursor: int | None = None) -> None:
        """A story from before comes back with the fields that it was asked for with, unless a person is typing others."""
        begun = self.desk.begun_by
        if begun is not None and self.composer.kept() in (self._filled, Asked(ending=self.composer.ending_choice)):
            self._filled = Asked.of(record_of(self.desk.tree, begun.number))
            self.composer.fill(self._filled)
        self._show_current(cursor)

    def _show_seed(self) -> None:
        """The seed that the newest part was written with, unless a person wants one and the same."""
        node = self.desk.last_generated
        if node is not None and node.recipe is not None and node.recipe.seed is not None and not self.panel.seed_locked:
            self.panel.show_seed(node.recipe.seed)

    def _refresh(self) -> None:
        state, mood = self._state()
        self.status.show(state, mood, facts(self.checkpoint, self.desk, self.steering, self.standing))
        self.page.set_hints(hints(self.checkpoint, self._loaded, self._trouble))
        if self.page.marking != "none" and self.desk.writing is None:  # while it is written, that would cost more and more
            self._explain_marks()
        self._consider_next()
        keys = (self.desk.writing is not None, self.desk.record is not None, self.desk.can_undo, self.desk.can_redo)
        if keys != self._keys_shown:  # the footer is built anew each time, which is too much for every batch of tokens
            self._keys_shown = keys
            self.refresh_bindings()

    def _state(self) -> tuple[str, str]:
        writing, record = self.desk.writing, self.desk.record
        if writing is not None:
            if self._stopping:
                return "stopping", "busy"
            if not writing.started:
                return ("reading your words" if self._loaded else "waiting for the model"), "busy"
            if not self.desk.writes(self.desk.front, self.desk.tree.current):
                return "writing on another branch", "busy"
            return ("writing" if self.page.following else "writing below (F2, Ctrl+End)"), "busy"
        if self._trouble:
            return self._trouble, "trouble"
        if record is not None:
            return ended_words(self.desk), "state"
        return ("ready", "state") if self._loaded else ("loading the model", "busy")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        writing = self.desk.writing is not None
        if action == "stop":
            return writing
        if action in ("restore", "steer"):  # both are on F9: the bar says so while it is there
            return self.query_one(RestoreBar).display == (action == "restore")
        if action == "go_on":
            return self.desk.record is not None and not writing
        if action in ("save", "copy", "tokens", "read", *NEEDS_A_STORY):
            return self.desk.record is not None
        if action in ("retry", *NEEDS_A_TREE):
            return bool(self.desk.tree.nodes)
        return True

    def on_story_view_follow_changed(self, event: StoryView.FollowChanged) -> None:
        self._refresh()

    def on_composer_submitted(self, event: Composer.Submitted) -> None:
        self.action_write()

    def on_composer_changed(self, event: Composer.Changed) -> None:
        self._consider_next()
        choice = self.composer.ending_choice
        if choice != self.app.ui.ending:
            self.app.change_settings(ending=choice)

    def on_sampling_panel_changed(self, event: SamplingPanel.Changed) -> None:
        panel = self.panel
        self.app.change_settings(preset=panel.preset, sampling=panel.settings(), seed=panel.seed, seed_locked=panel.seed_locked)
        self._consider_next()

    def on_page_moved(self, event: Page.Moved) -> None:
        self._consider_next()

    # Moving about

    def action_leave(self) -> None:
        """Escape with nothing to stop: close what lies over the page, else go from a field to the page and back."""
        if self.has_class("-panel-over"):
            self.action_panel()
        elif self.has_class("-steer") and self.focused is not self.page:
            self._close_steering()
        elif self.focused is self.page:
            self.composer.focus_first()
        else:
            self.page.focus()

    def action_panel(self) -> None:
        if self.has_class("-steer"):
            self.remove_class("-steer")
            shown = self.has_class("-narrow") or self.app.ui.panel
            self.set_class(shown and self.has_class("-narrow"), "-panel-over")
        elif self.has_class("-narrow"):
            self.toggle_class("-panel-over")
            shown = self.has_class("-panel-over")
        else:
            shown = not self.app.ui.panel
            self.app.change_settings(panel=shown)
            self.set_class(not shown, "-no-panel")
        if shown:
            self.panel.query_one("#preset").focus()
        elif self.focused is None or self.panel in self.focused.ancestors:
            self.composer.focus_first()

    def action_scroll_page(self, pages: int) -> None:
        if pages < 0:
            self.page.scroll_page_up()
        else:
            self.page.scroll_page_down()
