"""The log on the screen, driven by keys and the mouse, while a file is being written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.filter import LineFilter
from textual.widgets import Input

from tinytales_tui.train.log.pager import Page
from tinytales_tui.train.log.status import bar_words
from tinytales_tui.train.log.view import NO_LOG, LogView
from tinytales_tui.widgets.plain_filters import AsciiFilter


class Logs(App[None]):
    def __init__(self, path: Path | None, *, ascii: bool = False, low_bandwidth: bool = False) -> None:
        self.path, self.ascii, self.low_bandwidth = path, ascii, low_bandwidth
        self.copied: list[str] = []
        super().__init__()

    def compose(self) -> ComposeResult:
        yield LogView(id="log")

    def on_mount(self) -> None:
        self.view.show_file(self.path)
        self.view.focus()

    @property
    def view(self) -> LogView:
        return self.query_one("#log", LogView)

    def get_line_filters(self) -> list[LineFilter]:
        return [*super().get_line_filters(), *([AsciiFilter()] if self.ascii else [])]

    def copy_to_clipboard(self, text: str) -> None:
        self.copied.append(text)


def numbered(path: Path, count: int, start: int = 0, mode: str = "w") -> Path:
    with path.open(mode) as file:
        file.writelines(f"line {index}\n" for index in range(start, start + count))
    return path


def first_words(lines: list[str]) -> list[str]:
    """The text of the rows, without the marks and the bar at the edges, and without the line below."""
    return [line[2:-1].rstrip() for line in lines[:-1]]


async def test_the_end_is_followed_while_the_file_grows(tmp_path: Path, until, screen_text) -> None:
    path = numbered(tmp_path / "output.log", 500)
    app = Logs(path)
    async with app.run_test(size=(60, 12)) as pilot:
        await until(pilot, lambda: "500 lines" in screen_text(app)[-1])
        assert first_words(screen_text(app))[-1] == "line 499"
        assert "following" in screen_text(app)[-1]
        numbered(path, 3, 500, "a")
        await until(pilot, lambda: "line 502" in screen_text(app)[-2])


async def test_scrolling_up_holds_the_text_still(tmp_path: Path, until, screen_text) -> None:
    path = numbered(tmp_path / "output.log", 100)
    app = Logs(path)
    async with app.run_test(size=(60, 12)) as pilot:
        await until(pilot, lambda: "line 99" in screen_text(app)[-2])
        await pilot.press("up")
        await until(pilot, lambda: "line 98" in screen_text(app)[-2])
        before = first_words(screen_text(app))
        numbered(path, 37, 100, "a")
        await until(pilot, lambda: "▼ 37 new lines (end)" in screen_text(app)[-1])
        assert first_words(screen_text(app)) == before
        await pilot.press("pageup", "pageup")
        await until(pilot, lambda: "line 68" in screen_text(app)[0])
        await pilot.press("home")
        await until(pilot, lambda: "line 1 of 137" in screen_text(app)[-1])
        await pilot.press("pagedown", "down")
        await until(pilot, lambda: "line 12 of 137" in screen_text(app)[-1])
        await pilot.press("end")
        await until(pilot, lambda: "line 136" in screen_text(app)[-2])
        assert "following" in screen_text(app)[-1]


async def test_searching_with_the_keys(tmp_path: Path, until, screen_text) -> None:
    path = tmp_path / "output.log"
    path.write_text("".join(f"line {i} {'needle' if i % 40 == 5 else 'hay'}\n" for i in range(200)))
    app = Logs(path)
    async with app.run_test(size=(80, 12)) as pilot:
        await until(pilot, lambda: "line 199" in screen_text(app)[-2])
        await pilot.press("slash", *"NEEDLE", "enter")
        await until(pilot, lambda: "5 of 5" in screen_text(app)[-1])
        assert any(line.startswith(" ▸line 165 needle") for line in screen_text(app))
        await pilot.press("enter")
        await until(pilot, lambda: "1 of 5" in screen_text(app)[-1])
        await pilot.press("n")  # a letter in the field
        assert app.query_one(Input).value == "NEEDLEn"
        await pilot.press("escape", "n")
        await until(pilot, lambda: "2 of 5" in screen_text(app)[-1])
        await pilot.press("N", "y")
        await until(pilot, lambda: app.copied)
        assert app.copied == ["line 5 needle"]
        await pilot.press("escape")
        await until(pilot, lambda: "of 5" not in screen_text(app)[-1])
        assert not app.view.check_action("leave_search", ())
        await pilot.press("slash", *"/(/", "enter")
        await until(pilot, lambda: app._notifications)
        assert "regular expression" in next(iter(app._notifications)).message


async def test_wrapping_filtering_and_looking_right(tmp_path: Path, until, screen_text) -> None:
    path = tmp_path / "output.log"
    path.write_text("".join(f"INFO {i}\n" for i in range(50)) + "ERROR " + "abcdefghij" * 10 + "END\n" + "WARNING low\n")
    app = Logs(path)
    async with app.run_test(size=(60, 12)) as pilot:
        await until(pilot, lambda: "WARNING low" in screen_text(app)[-2])
        assert screen_text(app)[-3].startswith("E ERROR abc")
        assert screen_text(app)[-3].rstrip(" │█").endswith("›")
        await pilot.press(*["right"] * 7)
        await until(pilot, lambda: "END" in screen_text(app)[-3])
        assert screen_text(app)[-3].startswith("E‹")
        await pilot.press("W")
        await until(pilot, lambda: "wrapped" in screen_text(app)[-1])
        assert screen_text(app)[-4].startswith("E ERROR abc")
        assert "END" in screen_text(app)[-3]
        await pilot.press("v")
        await until(pilot, lambda: "INFO" not in "".join(screen_text(app)) and "WARNING" in "".join(screen_text(app)))
        await pilot.press("v")
        await until(pilot, lambda: "WARNING" not in "".join(screen_text(app)))
        assert "│ errors" in screen_text(app)[-1]
        await pilot.press("v", "end")
        await until(pilot, lambda: "INFO 49" in "".join(screen_text(app)))


async def test_nothing_in_a_log_reaches_the_terminal_unseen(tmp_path: Path, until, screen_text) -> None:
    path = tmp_path / "output.log"
    path.write_bytes(b"\x1b[31mred\x1b[0m [bold]x[/] \x1b]0;title\x07 \xc2\x9b2J \xe2\x80\xae tail\r\n")
    app = Logs(path)
    async with app.run_test(size=(60, 8)) as pilot:
        await until(pilot, lambda: "red" in screen_text(app)[0])
        assert screen_text(app)[0].startswith("  red [bold]x[/] ␛]0;title␇ ␛[2J  tail")
        await pilot.press("c")
        await until(pilot, lambda: "␛[31mred␛[0m" in screen_text(app)[0])


async def test_ascii_shows_the_same_in_ascii(tmp_path: Path, until, screen_text) -> None:
    path = tmp_path / "output.log"
    path.write_bytes(b"fine\n" * 30 + "ERROR \x1b]x caf\u00e9\n".encode())
    app = Logs(path, ascii=True)
    async with app.run_test(size=(60, 8)) as pilot:
        await until(pilot, lambda: app.view.page.rows)
        shown = app.view._canvas.render_line(6)
        assert "ERROR ^[]x" in shown.text
        filtered = AsciiFilter().apply(list(shown), app.view.background_colors[1])
        text = "".join(segment.text for segment in filtered)
        assert text.isascii()
        assert text.startswith("E ERROR ^[]x cafe")


async def test_a_missing_file_an_empty_one_and_one_that_begins_again(tmp_path: Path, until, screen_text) -> None:
    path = tmp_path / "output.log"
    app = Logs(None)
    async with app.run_test(size=(80, 12)) as pilot:
        await until(pilot, lambda: NO_LOG[:40] in "".join(screen_text(app)))
        await pilot.press("up", "y", "v", "slash", "a", "enter", "escape")
        app.view.show_file(path)
        await until(pilot, lambda: "no log yet" in "".join(screen_text(app)))
        path.touch()
        await until(pilot, lambda: "still empty" in "".join(screen_text(app)))
        numbered(path, 40)
        await until(pilot, lambda: "line 39" in screen_text(app)[-2])
        os.truncate(path, 0)
        numbered(path, 2)
        await until(pilot, lambda: "(the log begins again)" in screen_text(app)[0])
        assert first_words(screen_text(app))[:3] == ["(the log begins again)", "line 0", "line 1"]
        app.view.show_file(tmp_path)
        await until(pilot, lambda: "cannot be read" in "".join(screen_text(app)))


async def test_a_line_of_ten_megabytes(tmp_path: Path, until, screen_text) -> None:
    path = tmp_path / "output.log"
    path.write_bytes(b"first\n" + b"x" * 10_000_000)
    app = Logs(path)
    async with app.run_test(size=(80, 12)) as pilot:
        await until(pilot, lambda: "9,934,464 more bytes" in "".join(screen_text(app)))
        assert screen_text(app)[0].startswith("  first")
        await pilot.press("right")
        await until(pilot, lambda: screen_text(app)[1].startswith(" ‹xxx"))
        assert "9,934,464 more bytes›" in screen_text(app)[1]
        await pilot.press("w")
        await until(pilot, lambda: "wrapped" in screen_text(app)[-1])
        assert "9,934,464 more bytes" in "".join(screen_text(app))
        await pilot.press("home")
        await until(pilot, lambda: screen_text(app)[0].startswith("  first"))
        with path.open("ab") as file:
            file.write(b"\nlast\n")
        await pilot.press("end")
        await until(pilot, lambda: "last" in screen_text(app)[-2])


async def test_what_is_out_of_sight_is_not_read(tmp_path: Path, until, screen_text) -> None:
    path = numbered(tmp_path / "output.log", 50)
    app = Logs(path)
    async with app.run_test(size=(60, 12)) as pilot:
        view = app.view
        await until(pilot, lambda: "50 lines" in screen_text(app)[-1])
        view.active = False
        assert not view._timer._active.is_set()
        await pilot.pause()
        assert not view._commands
        numbered(path, 1, 50, "a")
        view.active = True
        await until(pilot, lambda: "line 50" in screen_text(app)[-2])
        view.display = False
        await until(pilot, lambda: not view._timer._active.is_set())
        view.display = True
        numbered(path, 1, 51, "a")
        await until(pilot, lambda: "line 51" in screen_text(app)[-2])


async def test_the_wheel_the_bar_and_a_selection(tmp_path: Path, until, screen_text) -> None:
    path = numbered(tmp_path / "output.log", 1000)
    app = Logs(path)
    async with app.run_test(size=(60, 12)) as pilot:
        await until(pilot, lambda: "1,000 lines" in screen_text(app)[-1])
        canvas = app.view._canvas
        await pilot._post_mouse_events([events.MouseScrollUp], canvas, offset=(5, 5))
        await until(pilot, lambda: "line 996" in screen_text(app)[-2])
        await pilot.mouse_down(canvas, offset=(59, 5))
        await pilot.mouse_up(canvas, offset=(59, 5))
        await until(pilot, lambda: "line 50" in screen_text(app)[0] or "line 49" in screen_text(app)[0])
        await pilot.click(canvas, offset=(59, 10))
        await until(pilot, lambda: "following" in screen_text(app)[-1])
        await pilot.mouse_down(canvas, offset=(4, 2))
        await pilot.hover(canvas, offset=(8, 3))
        await pilot.mouse_up(canvas, offset=(8, 3))
        await until(pilot, lambda: not app.view.page.following)
        await pilot.press("y")
        await until(pilot, lambda: app.copied)
        assert app.copied[0].splitlines() == ["ne 991", "line 99"]
        app.screen.clear_selection()
        await pilot.press("y")
        await until(pilot, lambda: len(app.copied) == 2)
        assert app.copied[1].splitlines() == [f"line {index}" for index in range(989, 1000)]


async def test_a_slow_line_is_asked_rarely_and_moves_by_half_pages(tmp_path: Path, until, screen_text) -> None:
    app = Logs(numbered(tmp_path / "output.log", 100), low_bandwidth=True)
    async with app.run_test(size=(60, 12)) as pilot:
        await until(pilot, lambda: "line 99" in screen_text(app)[-2])
        assert app.view._timer._interval == 1.0
        await pilot.press("pageup")
        await until(pilot, lambda: "line 94" in screen_text(app)[-2])


async def test_escape_is_the_panes_when_there_is_no_search_to_leave(tmp_path: Path, until, screen_text) -> None:
    class Pane(Logs):
        BINDINGS = [Binding("escape", "leave", "Leave")]
        left = 0

        def action_leave(self) -> None:
            self.left += 1

    app = Pane(numbered(tmp_path / "output.log", 3))
    async with app.run_test(size=(60, 12)) as pilot:
        await until(pilot, lambda: "3 lines" in screen_text(app)[-1])
        await pilot.press("slash", "2", "enter")
        await until(pilot, lambda: "1 of 1" in screen_text(app)[-1])
        await pilot.press("escape")
        assert app.left == 0
        await pilot.press("escape")
        await until(pilot, lambda: "1 of 1" not in screen_text(app)[-1])
        await pilot.press("escape")
        assert app.left == 1


@pytest.mark.parametrize("size", [(60, 20), (40, 12), (12, 4), (3, 2), (1, 1)])
async def test_small_screens(tmp_path: Path, until, size: tuple[int, int]) -> None:
    path = tmp_path / "output.log"
    path.write_text("日本 ERROR " * 20 + "\n" + "plain\n" * 30)
    app = Logs(path)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.view.page.rows)
        await pilot.resize_terminal(*size)
        await pilot.press("home", "w", "down", "v", "v", "v", "slash", *"日", "enter", "escape", "n", "end", "W", "up")
        await until(pilot, lambda: not app.view._commands)
        for y in range(app.view._canvas.size.height):
            assert app.view._canvas.render_line(y).cell_length == app.view._canvas.size.width


def test_the_line_below_keeps_what_matters_most() -> None:
    page = Page(following=False, new_lines=1, number=7, total=1234, search="3 of 12", filter="errors", wrap=True)
    assert bar_words(page, "", 120) == " ▼ 1 new line (end) │ 3 of 12 │ errors │ line 7 of 1,234 │ wrapped"
    assert bar_words(page, "", 40) == " ▼ 1 new line (end) │ 3 of 12 │ errors"
    assert bar_words(page, "", 24) == " ▼ 1 new line (end)"
    still = Page(following=False, number=7, total=9, search="3 of 12")
    assert bar_words(still, "", 60) == " 3 of 12 │ standing still (end: follow) │ line 7 of 9"
    assert bar_words(Page(empty="There are no errors in the log.", filter="errors"), "", 60) == " errors"
    assert "counting" in bar_words(Page(total=None), "", 80)
