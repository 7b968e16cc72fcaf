"""The Library pane's screen: the list of stories, a preview, the line that searches. What the keys do lies in `noting` and `using`.

Everything that is shown comes from `shelf`, on threads; one look at a time, and of those that are asked for meanwhile only the last.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Container
from textual.screen import Screen
from textual.widgets import Footer, Input, Static

from engine.errors import TinyTalesError
from tinytales_tui import paths
from tinytales_tui.library.finding import ORDERS
from tinytales_tui.library.pane import telling
from tinytales_tui.library.pane.asking import ORDER_WORDS, Asked, places, with_tag
from tinytales_tui.library.pane.list import StoryList
from tinytales_tui.library.pane.noting import IN_THE_TRASH, NOTING_BINDINGS, OUTSIDE_THE_TRASH, NotingKeys
from tinytales_tui.library.pane.preview import Preview
from tinytales_tui.library.pane.shelf import Found, Shelf
from tinytales_tui.library.pane.using import USING_BINDINGS, UsingKeys
from tinytales_tui.library.pane.words import empty_page, not_kept, note_of
from tinytales_tui.library.store import Library
from tinytales_tui.library.story import Listed
from tinytales_tui.text import one_line
from tinytales_tui.widgets.lines import Lines
from tinytales_tui.widgets.top_bar import TopBar

if TYPE_CHECKING:
    from tinytales_tui.app import TinyTalesApp

T = TypeVar("T")
POLL, POLL_SLOWLY = 1.0, 3.0
"""Seconds between two looks for what others have changed; the second on a slow line."""
_SETTLE = 0.05
"""Seconds that the cursor rests on a story before it is read."""


class LibraryScreen(NotingKeys, UsingKeys, Screen[None]):
    """Where stories are found again."""

    app: TinyTalesApp
    CSS_PATH = "library.tcss"
    TITLE = "Library"
    AUTO_FOCUS = ""
    FIELD_HELP = (
        "In this field",
        [
            ("dragon wood", "Stories with both words, in any branch"),
            ('"a dark wood"', "Stories with the words in this order"),
            ("tag:bedtime", "Stories with the tag"),
            ("enter", "To what was found"),
            ("esc", "Show all stories again"),
        ],
    )
    BINDINGS = [
        *USING_BINDINGS[:1],
        Binding("slash", "search", "Search", key_display="/", id="library.search", tooltip="Search as you type; Esc leaves it"),
        *USING_BINDINGS[1:2],
        *NOTING_BINDINGS,
        *USING_BINDINGS[2:],
        Binding("s", "order", "Order", show=False, id="library.order", tooltip="Order the list by another column"),
        Binding("F", "favourites", "Favourites", show=False, id="library.favourites", tooltip="Only favourites, or all again"),
        Binding("number_sign", "pick_tag", "A tag", show=False, key_display="#", id="library.tag", tooltip="Only what has a tag"),
        Binding("T", "show_trash", "The trash", show=False, id="library.show_trash", tooltip="Show the trash, or leave it"),
        Binding("J", "preview(1)", "Preview down", show=False, id="library.preview_down", tooltip="Scroll the preview down"),
        Binding("K", "preview(-1)", "Preview up", show=False, id="library.preview_up", tooltip="Scroll the preview up"),
        Binding("down", "to_list", "To the list", show=False, id="library.to_list", tooltip="From the search to what was found"),
        Binding("escape", "back", "Back", show=False, id="library.back", tooltip="Leave the search, marks, favourites, the trash"),
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.shelf = Shelf(paths.library_file())
        self.asked = Asked()
        self.found: Found | None = None
        """What the list shows; None until there was a first look."""
        self.trouble = ""
        """Why the library cannot be looked at, in one sentence."""
        self._put_away = []
        self._wanted = self._looking = False
        self._go_to = ""
        self._previewed: tuple[Listed, str] | None = None

    @property
    def HELP_NOTES(self) -> list[tuple[str, list[tuple[str, str]]]]:
        """Signs before a name, as they are drawn here."""
        mark, heart = ("x", "f") if self.app.ascii else ("●", "♥")
        return [("Signs", [(mark, "marked: what is done next is done to all of them"), (heart, "a favourite")])]

    def compose(self) -> ComposeResult:
        yield TopBar(self.app.pane_names, "library", help_from=130)
        yield Lines(1, id="state")
        yield Static("", id="notice", markup=False)
        yield Input(placeholder='words, "a phrase", tag:bedtime; Enter keeps it, Esc shows all', compact=True, id="search")
        with Container(id="stage"):
            yield StoryList(self.app.ascii, id="stories")
            yield Preview(id="preview")
            yield Static("", id="empty", markup=False)
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self.list = self.query_one("#stories", StoryList)
        self.preview = self.query_one("#preview", Preview)
        self.search_line = self.query_one("#search", Input)
        self.search_line.cursor_blink = False
        self.search_line.display = False
        self.list.note = "Opening the library…"
        self.list.focus()
        self.set_interval(POLL_SLOWLY if self.app.low_bandwidth else POLL, self._poll)
        self.look()

    async def on_unmount(self) -> None:
        await asyncio.to_thread(self.shelf.close)

    def on_screen_resume(self) -> None:
        self.look()

    # Looking

    async def in_thread(self, work: Callable[[Library], T]) -> T:
        """What `work` makes of the open library (TinyTalesError)."""
        return await asyncio.to_thread(self.shelf.do, work)

    async def of_library(self, work: Callable[[Library], T]) -> tuple[bool, T | None]:
        """The same with whether it could be done; where it could not, that is said."""
        try:
            return True, await self.in_thread(work)
        except TinyTalesError as error:
            self.app.say(str(error), "error")
            self.look()
            return False, None

    def look(self, go_to: str = "") -> None:
        """Show the list as it is asked for and as it is now, as soon as that is known; `go_to`: with the cursor on this story."""
        self._wanted, self._go_to = True, go_to or self._go_to
        if not self._looking:
            self._looking = True
            self.run_worker(self._look(), group="looking")

    async def _look(self) -> None:
        try:
            while self._wanted:
                self._wanted = False
                try:
                    found = await asyncio.to_thread(self.shelf.look, self.asked, self.list.in_sight)
                except TinyTalesError as error:
                    self.trouble = str(error)
                    self._draw()
                else:
                    self.trouble = ""
                    self._show(found)
        finally:
            self._looking = False

    def _show(self, found: Found) -> None:
        other = self.found is None or self.found.asked != found.asked
        self.found = found
        # What is on the page may have grown although its line is as it was.
        self._previewed = None
        self.list.note = note_of(found)
        self.list.show_stories(found.ids, found.lines, found.asked.order, top=other)
        if self._go_to:
            self.list.go_to(self._go_to)
            self._go_to = ""
        self._draw()

    async def _poll(self) -> None:
        if not self.is_current or self._looking:
            return
        try:
            if self.trouble or await asyncio.to_thread(self.shelf.changed):
                self.look()
        except TinyTalesError:
            self.look()  # says why

    def on_story_list_missing(self, event: StoryList.Missing) -> None:
        async def read() -> None:
            found = self.found
            try:
                lines = await asyncio.to_thread(self.shelf.lines, event.ids, self.asked.words)
            except TinyTalesError:
                self.look()
                return
            if self.found is found:  # else they may tell of another search
                self.list.put(lines)
                self._draw()

        self.run_worker(read(), group="lines", exclusive=True)

    # Drawing

    def _draw(self) -> None:
        self._draw_state()
        found = self.found
        words = self.trouble and f"{self.trouble}\n\nThis page looks again by itself, so it is enough to put that right."
        words = words or (empty_page(found, self.app.ui.keep_stories) if found is not None else "")
        empty = self.query_one("#empty", Static)
        if self.has_class("-empty") != bool(words):
            self.set_class(bool(words), "-empty")
            if self.focused is not self.search_line:
                self.set_focus(None if words else self.list)
        empty.update(words)
        self.refresh_bindings()
        self._draw_preview()

    def _draw_state(self) -> None:
        notice = [self.shelf.notice, "The library can only be read here: nothing can be changed." if self.shelf.readonly else ""]
        notice += [not_kept()] if not self.app.ui.keep_stories and self.found is not None and self.found.total else []
        said = self.query_one("#notice", Static)
        said.update(" ".join(filter(None, notice)))
        said.display = any(notice)
        state, found, asked = self.query_one("#state", Lines), self.found, self.asked
        width = max(1, state.size.width - 2)
        line = Text()
        if found is not None and not self.trouble:
            all_of_them = found.in_trash if found.asked.trash else found.total
            count = (
                f"{len(found.ids):,} of {telling.stories(all_of_them)}" if found.asked.narrowed else telling.stories(all_of_them)
            )
            line.append("Trash: " if found.asked.trash else "", state.tone("warning"))
            line.append(count, state.tone("strong"))
        marked, hidden = len(self.list.marked), sum(id not in self.list for id in self.list.marked)
        kept = [f"{marked} marked{f', {hidden} of them not listed' if hidden else ''}"] if marked else []
        kept += ["only favourites"] if asked.favourites else []
        kept += [f"search: {one_line(asked.search, 24)}"] if asked.search.strip() and not self.search_line.display else []
        kept += [ORDER_WORDS[asked.order]]
        while kept and line.cell_len + len(" · ".join(kept)) + 2 > width:
            kept.pop()
        remarks = " · ".join(kept)
        line.append(" " * max(1, width - line.cell_len - len(remarks)) + remarks, state.tone("muted"))
        state.show([line])

    def _draw_preview(self) -> None:
        if self.has_class("-narrow") or self.has_class("-empty"):
            return
        line = self.list.line_of(self.list.highlighted or "")
        if line is None:
            if self.list.highlighted is None:
                self._previewed = None
                self.preview.show(())
            return
        wanted = (line, self.asked.words)
        if wanted != self._previewed:
            self._previewed = wanted
            self.run_worker(self._read(line, self.asked.words), group="preview", exclusive=True)

    async def _read(self, line: Listed, words: str) -> None:
        if self.preview.of not in ("", line.id):
            await asyncio.sleep(_SETTLE)
        try:
            story = await asyncio.to_thread(self.shelf.get, line.id)
        except TinyTalesError:  # it has just gone; the next look finds that
            return
        text = story.text
        about = telling.about(line, story, not words or bool(places(text, words)))
        self.preview.show(about, text, words, of=line.id)

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw)

    def on_table_moved(self, event: StoryList.Moved) -> None:
        self._draw_preview()

    def on_table_opened(self, event: StoryList.Opened) -> None:
        self.action_open()

    def on_story_list_marked(self) -> None:
        self._draw_state()

    # Searching and narrowing

    def _ask(self, **changes: object) -> None:
        self.asked = dataclasses.replace(self.asked, **changes)  # type: ignore[arg-type]
        self.look()

    def action_search(self) -> None:
        self.search_line.value = self.asked.search
        self.search_line.display = True
        self.set_focus(self.search_line)  # at once: the next key is already meant for it

    def on_input_changed(self, event: Input.Changed) -> None:
        if self.search_line.display and event.value != self.asked.search:
            self._ask(search=event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.action_to_list()

    def action_to_list(self) -> None:
        if not self.asked.search.strip():
            self.search_line.display = False
        self.set_focus(self.list)

    def narrow_to(self, tag: str | None) -> None:
        """Only the stories with this tag; empty: whatever tags they have."""
        if tag is not None:
            search = with_tag(self.asked.search, tag)
            self.search_line.value = search
            self.search_line.display = bool(search)
            self._ask(search=search)

    def action_back(self) -> None:
        if self.search_line.display or self.asked.search:
            self.search_line.display = False
            self.search_line.value = ""
            self.set_focus(self.list)
            self._ask(search="")
        elif self.list.marked:
            self.list.unmark()
        elif self.asked.favourites:
            self._ask(favourites=False)
        elif self.asked.trash:
            self.action_show_trash()

    def action_order(self) -> None:
        self._ask(order=ORDERS[(ORDERS.index(self.asked.order) + 1) % len(ORDERS)])

    def action_favourites(self) -> None:
        self._ask(favourites=not self.asked.favourites)

    def action_show_trash(self) -> None:
        self.list.unmark()
        self._ask(trash=not self.asked.trash)

    def action_preview(self, lines: int) -> None:
        self.preview.action_scroll_lines(3 * lines)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in OUTSIDE_THE_TRASH:
            return not self.asked.trash
        return self.asked.trash if action in IN_THE_TRASH else True
