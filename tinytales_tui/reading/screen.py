"""The reading view's screen: a whole story on nothing but paper, turned page by page.

What is stored is never changed here: tidying is another way to show it. The screen knows a name and a text, not where they come from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.screen import Screen
from textual.widgets import Static

from engine.errors import UsageError
from engine.postprocess import tidy
from tinytales_tui.reading import paging
from tinytales_tui.reading.page_view import PageView
from tinytales_tui.reading.speech import Speaker, words_of
from tinytales_tui.widgets.line_dialog import LineDialog

if TYPE_CHECKING:
    from tinytales_tui.app import TinyTalesApp

NO_SPEECH = "No command that reads aloud is set; A sets one, such as espeak-ng -s 140."
NOTHING = "There is nothing on this page yet."


class ReadingScreen(Screen[None]):
    """`facts`: a line below the title; `cut_off`: the story ended for its length, a loop or a stop, which tidying may close."""

    app: TinyTalesApp
    CSS_PATH = "reading.tcss"
    TITLE = "Reading"
    HELP_TITLE = "In the reading view"
    BINDINGS = [
        Binding("space,pagedown,right,j,down,enter", "turn(1)", "Next", id="reading.next", tooltip="To the next page"),
        Binding("pageup,left,b,k,up,backspace", "turn(-1)", "Back", id="reading.back", tooltip="To the page before"),
        Binding("home,g", "go(0)", "First", id="reading.first", tooltip="To the first page"),
        Binding("end,G", "go(-1)", "Last", id="reading.last", tooltip="To the last page"),
        Binding("d", "shade", "Dark, light", id="reading.shade", tooltip="Dark or light, for this view alone; it is remembered"),
        Binding("t", "tidy", "Tidy", id="reading.tidy", tooltip="Tidied up or as it was written; what is stored stays as it is"),
        Binding("a", "aloud", "Aloud", id="reading.aloud", tooltip="Read this page aloud, or stop it"),
        Binding("A", "set_speech", "Voice", id="reading.voice", tooltip="Say which command reads aloud"),
        Binding("c", "copy", "Copy", id="reading.copy", tooltip="Copy the whole story as it is shown here"),
        Binding("escape,q", "leave", "Leave", id="reading.leave", tooltip="Back to where you came from"),
    ]

    def __init__(self, name: str, text: str, *, facts: str = "", cut_off: bool = False) -> None:
        super().__init__()
        self._heading, self._facts = name, facts
        self._as_stored = paging.readable(text)
        self._cut_off = cut_off
        self._shown = self._as_stored
        self._words = paging.count_words(self._shown)
        self._place = 0
        """The letter that stays in sight when the pages are laid anew."""
        self._pages: list[paging.Page] = []
        self._number = 0
        self._speaker = Speaker()
        self.tidied = False

    def compose(self) -> ComposeResult:
        yield PageView(id="reading-page")
        yield Static("", id="reading-foot", markup=False)

    def on_mount(self) -> None:
        self._page = self.query_one(PageView)
        self._foot = self.query_one("#reading-foot", Static)
        self._show_shade()

    async def on_unmount(self) -> None:
        await self._speaker.stop()

    # Pages

    @property
    def page_number(self) -> int:
        """Of the page that is shown, from 1 on."""
        return self._number + 1

    @property
    def page_count(self) -> int:
        return len(self._pages)

    def on_resize(self, event: events.Resize) -> None:
        self.call_after_refresh(self._lay)

    def _lay(self) -> None:
        """Lay the pages for the present size; the place stays in sight."""
        view = self._page
        if not view.size:
            return
        title = [("title", line) for line in paging.wrapped(self._heading, view.column)]
        facts = [("facts", line) for line in paging.wrapped(self._facts, view.column)]
        head = [*title, *facts, ("text", "")]
        if len(head) > view.rows // 2:  # a low screen: the story has the first claim to it
            head = [*title[: max(1, view.rows // 3)], ("text", "")] if view.rows >= 4 else []
        self._head = head
        text = self._shown or NOTHING
        self._pages = paging.pages(text, view.column, view.rows, view.rows - len(head))
        self._number = paging.page_of(self._pages, self._place)
        self._show_page()

    def _show_page(self) -> None:
        lines = [("text", line) for line in self._pages[self._number].lines]
        self._page.show([*(self._head if self._number == 0 else ()), *lines])
        self._show_foot()

    def _show_foot(self) -> None:
        marks = ["tidied"] if self.tidied else []
        marks += ["reading aloud, a stops it"] if self._speaker.speaking else []
        self._foot.update(paging.foot(self.page_number, self.page_count, self._words, marks, self._foot.size.width))

    async def action_turn(self, pages: int) -> None:
        await self.action_go(min(max(self._number + pages, 0), max(self.page_count - 1, 0)))

    async def action_go(self, number: int) -> None:
        """To a page, from 0 on; -1 is the last."""
        if not self._pages:
            return
        number %= self.page_count
        if number != self._number:
            self._number = number
            self._place = self._pages[number].start
            await self._speaker.stop()  # what it reads is no longer what is seen
            self._show_page()

    async def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        await self.action_turn(1)

    async def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        await self.action_turn(-1)

    # How it is shown

    @property
    def dark(self) -> bool:
        """Whether the page is dark now."""
        chosen = self.app.ui.reading_dark
        return self.app.current_theme.dark if chosen is None else chosen

    def _show_shade(self) -> None:
        chosen = self.app.ui.reading_dark
        self.set_class(chosen is True, "-reading-dark")
        self.set_class(chosen is False, "-reading-light")

    def action_shade(self) -> None:
        if self.app.no_color:
            self.app.say("Without colours there is no dark and no light page.")
            return
        self.app.change_settings(reading_dark=not self.dark)
        self._show_shade()

    def action_tidy(self) -> None:
        before = self._shown
        self.tidied = not self.tidied
        self._shown = tidy(self._as_stored, self._cut_off) if self.tidied else self._as_stored
        self._words = paging.count_words(self._shown)
        self._place = paging.same_place(before, self._place, self._shown)
        self._lay()

    def action_copy(self) -> None:
        self.app.copy_to_clipboard(self._shown)

    async def action_leave(self) -> None:
        self.dismiss(None)

    # Reading aloud

    async def action_aloud(self) -> None:
        if self._speaker.speaking:
            await self._speaker.stop()
            self._show_foot()
        elif not self.app.ui.speech_command.strip():
            self.app.say(NO_SPEECH, "warning")
        elif self._pages and self._shown:
            # The lines of a paragraph as one, so that no voice pauses where a line happens to end.
            paragraphs = "\n".join(self._pages[self._number].lines).split("\n\n")
            text = "\n\n".join(paragraph.replace("\n", " ") for paragraph in paragraphs) + "\n"
            self.run_worker(self._speak(self.app.ui.speech_command, text), group="speech")

    async def _speak(self, command: str, text: str) -> None:
        try:
            await self._speaker.speak(command, text, self._show_foot)
        except UsageError as error:
            self.app.say(f"{error} A sets another command.", "error")
        if self.is_mounted:
            self._show_foot()

    def action_set_speech(self) -> None:
        async def take(line: str) -> str:
            if line.strip():
                words_of(line)
            return line.strip()

        def keep(command: str | None) -> None:
            if command is not None:
                self.app.change_settings(speech_command=command)
                self.app.say("The key a reads a page aloud with it." if command else "Nothing reads aloud any more.")

        about = "It gets the text of a page on its standard input. Nothing typed here goes through a shell; empty: none."
        value = self.app.ui.speech_command
        dialog = LineDialog("Which command reads aloud?", about, "Command", take, value=value, hint="espeak-ng -s 140")
        self.app.push_screen(dialog, keep)
