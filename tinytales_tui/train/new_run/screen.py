"""The screen that starts a run from a form: it ties the fields, the estimate and the starting together.

What stands in the form lies in `run_form`, what may be started is said by `run_plan`, as for the command. It closes with the name of the
run that it started, or None.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rich.style import Style
from rich.text import Text
from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Static

from engine.errors import TinyTalesError, UsageError
from tinytales_tui import paths
from tinytales_tui.run_plan import Part, RunRequest, planned_settings, start_run
from tinytales_tui.text import one_line
from tinytales_tui.train.new_run.completing import NAMES as COMPLETED
from tinytales_tui.train.new_run.completing import prepared_data
from tinytales_tui.train.new_run.estimate_panel import EstimatePanel
from tinytales_tui.train.new_run.estimating import Estimate, Line, Stopped, lines, look_at_machine
from tinytales_tui.train.new_run.form_view import FormView
from tinytales_tui.train.new_run.run_form import RECIPE, Field, Heading, RunForm, command, estimate_command, read_recipes

if TYPE_CHECKING:
    from tinytales_tui.app import TinyTalesApp


class NewRunScreen(ModalScreen[str | None]):
    """Closes with the name of the started run, or None."""

    app: TinyTalesApp
    CSS_PATH = "new_run.tcss"
    AUTO_FOCUS = ""
    HELP_TITLE = "In the form"
    FIELD_HELP = (
        "In this field",
        [("enter  tab", "Go to the next field"), ("right", "Take what is suggested"), ("ctrl+u", "Clear it")],
    )
    VERTICAL_BREAKPOINTS = [(0, "-short"), (18, "-tall")]
    BINDINGS = [
        Binding("ctrl+s", "start", "Start", id="new_run.start", tooltip="Start the run in the background"),
        Binding("ctrl+t", "estimate", "Estimate", id="new_run.estimate", tooltip="Measure what the run would take"),
        Binding("ctrl+r", "put_back", "Recipe's value", id="new_run.put_back", tooltip="Put the recipe's own value back"),
        Binding("f6", "find", "Find", id="new_run.find", tooltip="Find a setting by its name or its help (/ does too)"),
        Binding("f5", "copy", "Copy command", id="new_run.copy", tooltip="Copy the command line that does the same"),
        Binding("escape", "leave", "Close", id="new_run.close", tooltip="End the estimate, clear the search, or close"),
    ]

    class _Said(Message):
        """A line of the estimate's child process; a later one makes an earlier one needless."""

        def __init__(self, estimate: Estimate, line: str) -> None:
            self.estimate, self.line = estimate, line
            super().__init__()

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, NewRunScreen._Said)

    def __init__(self, recipe: str = "default", data: Sequence[str] = ()) -> None:
        super().__init__()
        self._recipe, self._data = recipe, list(data)
        self.form: RunForm | None = None
        self._first: RunForm | None = None
        self.estimate: Estimate | None = None
        """The measurement that is going on."""
        self._prepared: list[str] = []
        self._measured: list[str] | None = None
        """The command line of the figures that are shown."""
        self._starting = False
        self._asked_to_leave = False
        self._notice = ""
        self._notice_at: Field | Heading | None = None
        """The line that the notice is about."""

    def compose(self) -> ComposeResult:
        blink = not self.app.low_bandwidth
        with Vertical(id="new-run"):
            with Horizontal(id="new-run-top"):
                yield Label("Start a run", classes="new-run-title")
                search = Input(placeholder="/ or F6 finds a setting by name or help", compact=True, id="new-run-find")
                search.cursor_blink = blink
                yield search
            with Vertical(id="new-run-body"):
                yield FormView(cursor_blink=blink, id="new-run-form")
                yield EstimatePanel(id="new-run-estimate")
            yield Static("", id="new-run-info", markup=False)
            yield Static("", id="new-run-command", markup=False)
            with Horizontal(id="new-run-buttons"):
                yield Button("Start ctrl+s", id="start", compact=True)
                yield Button("Estimate ctrl+t", id="measure", compact=True)
                yield Button("Close esc", id="close", compact=True)
                yield Static("F5 copies the command", id="new-run-hint", markup=False)

    def on_mount(self) -> None:
        self.view = self.query_one("#new-run-form", FormView)
        self.panel = self.query_one("#new-run-estimate", EstimatePanel)
        self.view.focus()
        self.run_worker(self._open(), group="opening")

    def on_unmount(self) -> None:
        self._end_estimate()

    async def _open(self) -> None:
        recipes, self._prepared = await asyncio.gather(
            asyncio.to_thread(read_recipes, self._recipe), asyncio.to_thread(prepared_data)
        )
        typed = {"data": shlex.join(self._data)} if self._data else {}
        self.form = self._first = RunForm(recipes, self._recipe, typed)
        self.view.show(self.form)
        self.view.go_to(RECIPE if self._data else "data")
        self._draw()

    # The form

    @on(FormView.Changed)
    def _form_changed(self, event: FormView.Changed) -> None:
        event.stop()
        self.form = event.form
        self._notice = ""
        self._asked_to_leave = False
        same = self._measured is not None and self._estimate_command() == self._measured
        if self.estimate is not None and not same:
            self._end_estimate()
            self.panel.ended()
        self.panel.settings_changed(same)
        self._draw()

    @on(FormView.Moved)
    def _moved(self, event: FormView.Moved) -> None:
        event.stop()
        if self.view.row != self._notice_at:  # what was said was about another field
            self._notice, self._asked_to_leave = "", False
        self._draw()

    def _draw(self) -> None:
        """The sentence on the present field, and the command line."""
        if self.form is None:
            return
        self.query_one("#new-run-info", Static).update(self._info(self.form))
        request = self._request()
        words = shlex.join(command(request)) if request else "a quotation mark is not closed"
        self.query_one("#new-run-command", Static).update(Text(f"$ {one_line(words, 2000)}", overflow="fold"))

    def _info(self, form: RunForm) -> Text:
        row = self.view.row
        problem = form.problems.get(row.key, "") if isinstance(row, Field) else ""
        text = Text(overflow="fold")
        trouble = self._notice or problem
        if trouble:
            text.append(f"! {one_line(trouble, 500)}\n", style=self._trouble_style())
        if not isinstance(row, Field):
            text.append("Enter unfolds the group, and folds it again." if row else "No setting has these words.")
            return text
        text.append(self._help(form, row))
        if row.key in form.changed and (own := form.recipe_text(row.key)):
            text.append(f" The recipe has {one_line(own, 60)}; ctrl+r puts it back.")
        if not trouble and (others := [key for key in form.problems if key != row.key]):
            text.append(f" ({form.by_key[others[0]].label} is not right yet.)")
        return text

    def _help(self, form: RunForm, row: Field) -> str:
        if row.key == RECIPE:
            return f"{one_line(form.base.about, 400)} Left and right choose."
        words = row.help
        if row.key == "data" and self._prepared:
            words += f" Prepared here: {one_line(', '.join(self._prepared), 60)}."
        return f"{words} The right arrow takes what is suggested." if row.key in COMPLETED else words

    def _trouble_style(self) -> Style:
        return self.panel.get_component_rich_style("estimate--problem", partial=True)

    @on(Input.Changed, "#new-run-find")
    def _find(self, event: Input.Changed) -> None:
        event.stop()
        self.view.find(event.value)
        self._draw()

    @on(Input.Submitted, "#new-run-find")
    def _found(self, event: Input.Submitted) -> None:
        event.stop()
        self.view.focus()

    def key_down(self, event: events.Key) -> None:
        if self.query_one("#new-run-find").has_focus:
            event.stop()  # or the key would take a step in the form as well
            self.view.focus()

    def action_find(self) -> None:
        self.query_one("#new-run-find").focus()

    def action_put_back(self) -> None:
        self.view.put_back()

    def action_copy(self) -> None:
        if request := self._request():
            self.app.copy_to_clipboard(shlex.join(command(request)))

    def _request(self) -> RunRequest | None:
        """What the form asks for, or None where it cannot be read."""
        try:
            return self.form.request() if self.form else None
        except UsageError:
            return None

    def _ready(self) -> RunRequest | None:
        """What the form asks for, if nothing can be seen to be wrong with it; else goes to where it is wrong."""
        if self.form is None or self._starting:
            return None
        for key, sentence in self.form.problems.items():
            self._refuse(key, sentence)
            return None
        return self._request()

    def _refuse(self, key: str, sentence: str) -> None:
        """Say in place why it cannot be started, with the keys on that field."""
        self._clear_search()
        self.view.go_to(key)
        self._notice, self._notice_at = sentence, self.view.row
        self._draw()

    async def _looked_at(self, work: Callable[..., Any], request: RunRequest) -> Any:
        """`work(request, looking_at)` in a thread; None where it was refused, which is then said."""
        part: list[Part] = ["settings"]
        try:
            return await asyncio.to_thread(work, request, part.append)
        except (TinyTalesError, OSError) as error:
            sentence = str(error) if isinstance(error, TinyTalesError) else f"That cannot be read: {paths.reason(error)}."
            if self.form is not None:
                self._refuse(self.form.field_named_in(sentence) if part[-1] == "settings" else part[-1], sentence)
            return None

    # Starting

    def action_start(self) -> None:
        if request := self._ready():
            self._end_estimate()
            self.panel.ended()
            self._starting = True
            self._busy("Starting the run ...")
            self.run_worker(self._start(request), group="starting")

    async def _start(self, request: RunRequest) -> None:
        folder = await self._looked_at(start_run, request)
        self._starting = False
        self._busy("")
        if folder is not None:
            self.dismiss(folder.name)

    def _busy(self, words: str) -> None:
        self.query_one("#new-run-hint", Static).update(words or "F5 copies the command")

    # The estimate

    def action_estimate(self) -> None:
        if self.estimate is None and (request := self._ready()):
            self._notice = ""
            self._measured = estimate_command(request)
            self.estimate = estimate = Estimate(self._measured, lambda line: self.post_message(self._Said(estimate, line)))
            self.panel.progress("looking at the data ...")
            self.run_worker(self._measure(estimate, request), group="estimate")

    async def _measure(self, estimate: Estimate, request: RunRequest) -> None:
        shown: list[Line] = []
        trouble = ""
        try:
            settings = await self._looked_at(planned_settings, request)
            if settings is not None and self.estimate is estimate:
                figures = await asyncio.to_thread(estimate.measure)
                machine = await asyncio.to_thread(look_at_machine, paths.runs_folder())
                shown = lines(figures, machine, settings.keep_every)
        except Stopped:
            pass
        except TinyTalesError as error:
            trouble = str(error)
        if self.estimate is not estimate:
            return  # it was ended, or there is a later one
        self.estimate = None
        if shown:
            self.panel.result(shown)
            self.panel.settings_changed(self._estimate_command() == self._measured)
        elif trouble:
            self.panel.failed(trouble)
        else:
            self.panel.ended()

    def on_new_run_screen__said(self, message: _Said) -> None:
        if message.estimate is self.estimate:
            self.panel.progress(message.line)

    def _end_estimate(self) -> None:
        if self.estimate is not None:
            self.estimate.stop()
            self.estimate = None

    def _estimate_command(self) -> list[str]:
        request = self._request()
        return estimate_command(request) if request else []

    # Leaving

    def action_leave(self) -> None:
        if self._starting:
            return
        if self.estimate is not None:
            self._end_estimate()
            self.panel.ended()
        elif self.query_one("#new-run-find", Input).value:
            self._clear_search()
            self.view.focus()
        elif self.form is not None and self.form != self._first and not self._asked_to_leave:
            self._asked_to_leave = True
            self._notice, self._notice_at = "Press esc again to leave without starting.", self.view.row
            self._draw()
        else:
            self.dismiss(None)

    def _clear_search(self) -> None:
        self.query_one("#new-run-find", Input).value = ""
        self.view.find("")

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        event.stop()
        {"start": self.action_start, "measure": self.action_estimate}.get(event.button.id or "", self.action_leave)()
