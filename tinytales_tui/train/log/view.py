"""The log of a run on the screen: what it prints, followed as it grows, searched, filtered and copied.

`LogView` puts a page of rows above one line that says where the reader is. All reading is done by a `LogPager` in a thread, one
call at a time: keys are handed to it as they come, and between them it searches and counts in short slices. Nothing here computes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.widgets import Input, Static
from textual.worker import Worker

from tinytales_tui.train.log.canvas import BAR, GUTTER, LogCanvas
from tinytales_tui.train.log.pager import LogPager, Page
from tinytales_tui.train.log.status import bar_words

NO_LOG = "No log to show. Choose a run, and what it prints is shown here."
_POLL, _POLL_SLOW = 0.25, 1.0
"""Seconds between two looks at the file; the second over a slow line."""
_SLICE = 0.01
"""Seconds of searching or counting before the next key is listened to."""
_PAINT = 0.1
"""Seconds between two pictures of a search on its way."""
_SIDEWAYS = 8
Command = Callable[[LogPager], object]
"""Something to do with the log, in a thread. It answers False where nothing changed, or a function to call when it is painted."""


def _obey(pager: LogPager, commands: list[Command]) -> tuple[Page | None, list[Callable[[], None]]]:
    """Do all of it; the page as it is then, or None where nothing changed, and what to call."""
    answers = [command(pager) for command in commands]
    changed = any(answer is not False for answer in answers)
    return pager.page() if changed else None, [answer for answer in answers if callable(answer)]


class LogSearch(Input):
    """The field for what is searched for."""


class LogView(Vertical):
    """A log that is being written. Give it a file with `show_file`; set `active` to False while nobody can see it."""

    KEYS_HELP = (
        "In the search field",
        (
            ("enter", "Search, then the next match"),
            ("up  down", "Scroll the log"),
            ("esc", "Close the field; the matches stay marked"),
        ),
    )

    DEFAULT_CSS = """
    LogView {
        height: 1fr;
        & #log-strip { height: 1; background: $surface; }
        & #log-bar { width: 1fr; height: 1; color: $text-muted; }
        & #log-words { display: none; width: 40%; min-width: 16; max-width: 50; }
        &.-searching #log-words { display: block; }
        &:nocolor #log-strip { text-style: reverse; }
        &:nocolor.-searching #log-strip { text-style: none; }
    }
    """
    BINDINGS = [
        Binding("slash", "search", "Search", id="log.search", tooltip="Search the log: words, or a pattern written /like.this/"),
        Binding("n", "next_match(True)", "Next", show=False, id="log.next", tooltip="Go to the next match"),
        Binding("N", "next_match(False)", "Previous", show=False, id="log.previous", tooltip="Go to the match before"),
        Binding("v", "filter", "Filter", id="log.filter", tooltip="Show all lines, warnings and errors, or errors only"),
        Binding("W,w", "wrap", "Wrap", id="log.wrap", tooltip="Wrap long lines, or cut them"),
        Binding("y", "copy", "Copy", id="log.copy", tooltip="Copy what is selected, else the matched line, else the page"),
        Binding("c", "codes", "Colour codes", show=False, id="log.codes", tooltip="Show colour codes, or leave them out"),
        Binding("end,ctrl+end", "end", "Follow", id="log.end", tooltip="Go to the end and follow the log"),
        Binding("home,ctrl+home", "home", "Beginning", show=False, id="log.home", tooltip="Go to the beginning of the log"),
        Binding("up", "move(-1)", "Up", show=False, id="log.up", tooltip="Scroll a line; the log then stands still"),
        Binding("down", "move(1)", "Down", show=False, id="log.down", tooltip="Scroll a line"),
        Binding("pageup", "pages(-1)", "Page up", show=False, id="log.page_up", tooltip="Scroll a page"),
        Binding("pagedown", "pages(1)", "Page down", show=False, id="log.page_down", tooltip="Scroll a page"),
        Binding("left", f"sideways(-{_SIDEWAYS})", "Left", show=False, id="log.left", tooltip="Look left in long lines"),
        Binding("right", f"sideways({_SIDEWAYS})", "Right", show=False, id="log.right", tooltip="Look right in long lines"),
        Binding("escape", "leave_search", "Leave", show=False, id="log.leave", tooltip="Leave the search"),
    ]

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.path: Path | None = None
        self._active, self._hidden = True, False
        self._commands: list[Command] = []
        self._wake = asyncio.Event()
        self._worker: Worker[None] | None = None
        self._canvas = LogCanvas(id="log-lines")
        self._bar = Static(id="log-bar", markup=False)
        self._notice = ""
        """One sentence about what was just done; the next key takes it away."""
        self._words = ""

    def compose(self) -> ComposeResult:
        yield self._canvas
        with Horizontal(id="log-strip"):
            yield LogSearch(placeholder="words, or /pattern/", id="log-words", compact=True)
            yield self._bar

    def on_mount(self) -> None:
        self._timer = self.set_interval(_POLL_SLOW if self._slow else _POLL, self._look, pause=not self._awake)
        if self._worker is None:
            self.show_file(self.path)

    # What a pane calls

    def show_file(self, path: Path | None) -> None:
        """Show another log from its end on; None shows that there is none. The file need not exist yet. The same one again: nothing."""
        if path == self.path and self._worker is not None:
            return
        self.path = path
        if not self.is_attached:
            return
        if self._worker is not None:
            self._worker.cancel()
        self._commands, self._notice = [], ""
        self.remove_class("-searching")
        if path is None:
            self._worker = None
            self._show(Page(empty=NO_LOG))
            return
        pager = LogPager(path, ascii=getattr(self.app, "ascii", False))
        self._do(LogPager.poll)
        self._resize()
        self._worker = self.run_worker(self._serve(pager), group="log")

    @property
    def active(self) -> bool:
        """Whether the file is watched; set it to False while the view is out of sight, and nothing is read."""
        return self._active

    @active.setter
    def active(self, active: bool) -> None:
        self._active = active
        self._wake_or_rest()

    @property
    def page(self) -> Page:
        """What is painted now."""
        return self._canvas.page

    def focus(self, scroll_visible: bool = True) -> LogView:
        """Give the rows the keyboard."""
        self._canvas.focus(scroll_visible)
        return self

    # The thread that reads

    async def _serve(self, pager: LogPager) -> None:
        """Hand commands to the pager, a batch at a time, and let it work in between while there is something to find."""
        working, painted = True, 0.0
        while True:
            if not self._commands and not (working and self._awake):
                await self._wake.wait()
            self._wake.clear()
            commands, self._commands = self._commands, []
            if commands:
                page, after = await asyncio.to_thread(_obey, pager, commands)
                working |= page is not None
            elif working and self._awake:
                working, after = await asyncio.to_thread(pager.work, _SLICE), []
                due = not working or time.monotonic() - painted > (_POLL_SLOW if self._slow else _PAINT)
                page = await asyncio.to_thread(pager.page) if due else None
            else:
                continue
            if page is not None:
                painted = time.monotonic()
                self._show(page)
            for call in after:
                call()

    def _do(self, command: Command) -> None:
        self._commands.append(command)
        self._wake.set()

    def _look(self) -> None:
        if self._worker is not None and LogPager.poll not in self._commands:
            self._do(LogPager.poll)

    @property
    def _awake(self) -> bool:
        return self._active and not self._hidden

    @property
    def _slow(self) -> bool:
        return bool(getattr(self.app, "low_bandwidth", False))

    def _wake_or_rest(self) -> None:
        if not self.is_mounted:
            return
        if self._awake:
            self._timer.resume()
            self._look()
        else:
            self._timer.pause()
        self._wake.set()

    def on_show(self) -> None:
        self._hidden = False
        self._wake_or_rest()

    def on_hide(self) -> None:
        self._hidden = True
        self._wake_or_rest()

    # Painting

    def _show(self, page: Page) -> None:
        before = self.page.warning
        self._canvas.show(page)
        if page.warning and page.warning != before and not page.empty:
            self.notify(page.warning, severity="warning", timeout=10, markup=False)  # it is too long for the line below
        self._paint_bar()

    def _paint_bar(self) -> None:
        if self._bar.size.width:
            words = bar_words(self._canvas.page, self._notice, self._bar.size.width)
            if words != self._words:
                self._words = words
                self._bar.update(Text(words, no_wrap=True))

    def on_resize(self) -> None:
        self._resize()
        self.call_after_refresh(self._resize)

    def _resize(self) -> None:
        width, height = self._canvas.size.width - GUTTER - BAR, self._canvas.size.height
        if width > 0 and height > 0:
            self._do(lambda pager: pager.resize(width, height))
        self._paint_bar()

    # Keys and the mouse

    def action_move(self, rows: int) -> None:
        self._act(lambda pager: pager.move(rows))

    def action_pages(self, pages: int) -> None:
        part = 0.5 if self._slow else 1.0  # a scrolled page is sent whole, which a slow line feels
        self._act(lambda pager: pager.move_pages(pages * part))

    def action_sideways(self, columns: int) -> None:
        self._act(lambda pager: pager.sideways(columns))

    def action_home(self) -> None:
        self._act(LogPager.home)

    def action_end(self) -> None:
        self._act(LogPager.end)

    def action_wrap(self) -> None:
        self._act(LogPager.toggle_wrap)

    def action_codes(self) -> None:
        self._act(LogPager.toggle_codes)

    def action_filter(self) -> None:
        self._act(LogPager.next_filter)

    def action_next_match(self, down: bool) -> None:
        self._act(lambda pager: pager.next_match(down))

    def action_search(self) -> None:
        self.add_class("-searching")
        field = self.query_one(LogSearch)
        field.focus()
        field.select_all()
        self.call_after_refresh(self._paint_bar)

    def action_leave_search(self) -> None:
        """Close the field; once it is closed, forget what was searched for."""
        if self.has_class("-searching"):
            self.remove_class("-searching")
            self._canvas.focus()
            self.call_after_refresh(self._paint_bar)
        else:
            self._act(LogPager.clear_search)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "leave_search":  # else escape belongs to the pane
            return self.has_class("-searching") or bool(self.page.search)
        return True

    def action_copy(self) -> None:
        """Copy what is selected, else the matched line, else the page."""
        selected = self.screen.get_selected_text() if self._canvas.text_selection is not None else None
        if selected:
            self._copy("what is selected", selected)
            return

        def copy(pager: LogPager) -> Callable[[], None]:
            what, text = pager.copyable()
            return lambda: self._copy(what, text)

        self._act(copy)

    def _copy(self, what: str, text: str) -> None:
        if not text:
            return
        self._notice = f"copied {what}"
        self.app.copy_to_clipboard(text)
        self._paint_bar()

    def _act(self, command: Command) -> None:
        self._notice = ""
        if self._worker is not None:
            self._do(command)

    @on(Input.Submitted)
    def _search_for(self, event: Input.Submitted) -> None:
        event.stop()
        words = event.value
        self._act(lambda pager: pager.search(words))

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()

    def on_log_canvas_moved(self, event: LogCanvas.Moved) -> None:
        event.stop()
        self._act(lambda pager: pager.move(event.rows) if event.rows else pager.sideways(event.columns))

    def on_log_canvas_dragged(self, event: LogCanvas.Dragged) -> None:
        event.stop()
        self._act(lambda pager: pager.to_fraction(event.fraction))

    def on_log_canvas_selecting(self, event: LogCanvas.Selecting) -> None:
        event.stop()
        self._act(LogPager.freeze)
