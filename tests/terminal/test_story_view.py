"""The page: following, staying, resizing, selecting, and never obeying what it shows."""

from __future__ import annotations

from textual.app import App, ComposeResult
from textual.geometry import Offset
from textual.selection import Selection

from tinytales_tui.widgets.story_view import MEASURE, StoryView


class Page(App[None]):
    def __init__(self, half_pages: bool = False) -> None:
        super().__init__()
        self.half_pages = half_pages

    def compose(self) -> ComposeResult:
        yield StoryView(half_pages=self.half_pages, id="page")


def page_of(app: App) -> StoryView:
    return app.query_one("#page", StoryView)


async def test_text_grows_wraps_and_is_followed(screen_text) -> None:
    app = Page()
    async with app.run_test(size=(100, 10)) as pilot:
        view = page_of(app)
        view.show_story("a knight", "", "")
        for index in range(200):
            view.append(f" word{index}")
        await pilot.pause()
        lines = screen_text(app)
        assert "word199" in "".join(lines)
        assert view.following
        texts = [line.strip(" ▁▂▃▄▅▆▇█") for line in lines]
        assert max(map(len, texts)) <= MEASURE
        assert all(line.startswith(" " * 10) for line in lines)  # the page is centred
        assert view.text.startswith("word0 word1")


async def test_a_reader_who_scrolled_up_is_left_alone(screen_text) -> None:
    app = Page()
    async with app.run_test(size=(60, 10)) as pilot:
        view = page_of(app)
        view.focus()
        view.show_story("", "", "start " + "word " * 300)
        await pilot.pause()
        await pilot.press("home")
        await pilot.pause()
        assert not view.following
        before = screen_text(app)
        assert "start" in before[1]
        view.append("more " * 100)
        await pilot.pause()
        assert [line[:55] for line in screen_text(app)] == [line[:55] for line in before]
        await pilot.press("end")
        await pilot.pause()
        assert view.following
        view.append("the very last")
        await pilot.pause()
        assert "very last" in "".join(screen_text(app))


async def test_resizing_keeps_the_place(screen_text) -> None:
    app = Page()
    async with app.run_test(size=(100, 12)) as pilot:
        view = page_of(app)
        view.show_story("", "", " ".join(f"w{index}" for index in range(2000)))
        await pilot.pause()
        view.scroll_to(y=60, animate=False)
        await pilot.pause()
        first = screen_text(app)[0].split()[0]
        for size in ((50, 12), (30, 20), (100, 12)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
            assert any(first in line.split() for line in screen_text(app)[:3]), (size, first, screen_text(app)[:3])
        assert not view.following
        view.go_to_end()
        await pilot.resize_terminal(40, 8)
        await pilot.pause()
        assert "w1999" in "".join(screen_text(app))


async def test_half_pages_move_seldom() -> None:
    app = Page(half_pages=True)
    async with app.run_test(size=(60, 12)) as pilot:
        view = page_of(app)
        view.show_story("", "", "begin")
        places = set()
        for _ in range(60):
            view.append("some more words to fill a line with text and\n")
            await pilot.pause()
            places.add(view.scroll_offset.y)
            bottom = view.scroll_offset.y + view.size.height
            assert len(view._page.lines) + view._top <= bottom + 1
        assert len(places) <= 60 // 6 + 2


async def test_markup_and_escape_codes_are_shown_as_text(screen_text) -> None:
    app = Page()
    async with app.run_test(size=(80, 10)) as pilot:
        view = page_of(app)
        view.show_story("[red]topic[/] \x1b[31m", "[b]given\x1b]52;c;aGk=\a ", "one")
        view.append(" [bold]two[/bold] \x1b[2J\x9b31m\u202eeerht [/oops ]]")
        await pilot.pause()
        text = "\n".join(screen_text(app))
        assert "[red]topic[/]" in text
        assert "[bold]two[/bold] [2J31meerht [/oops ]]" in text
        for letter in "\x1b\x9b\x07\u202e":
            assert letter not in text
            assert letter not in view.text


async def test_the_given_words_look_different() -> None:
    app = Page()
    async with app.run_test(size=(80, 10)) as pilot:
        view = page_of(app)
        view.show_story("", "Once upon", " a time")
        await pilot.pause()
        given, written = [segment for segment in view.render_line(1) if segment.text.strip()]
        assert (given.text, written.text.rstrip()) == ("Once upon", " a time")
        assert given.style.color != written.style.color


async def test_a_selection_has_no_breaks_of_the_wrapping() -> None:
    app = Page()
    async with app.run_test(size=(40, 12)) as pilot:
        view = page_of(app)
        text = "one two three four five six seven eight nine ten eleven twelve\nnew paragraph"
        view.show_story("", "", text)
        await pilot.pause()
        assert view.get_selection(Selection(None, None)) == (text, "\n")
        assert view.get_selection(Selection(Offset(4, 1), Offset(3, 2)))[0] in text
        await pilot.mouse_down(view, offset=(2, 1))
        await pilot.hover(view, offset=(9, 2))
        await pilot.mouse_up(view, offset=(9, 2))
        assert app.screen.get_selected_text() in text


async def test_a_long_story_costs_no_more_at_its_end() -> None:
    app = Page()
    async with app.run_test(size=(100, 30)) as pilot:
        view = page_of(app)
        view.show_story("", "", "word " * 20_000)
        await pilot.pause()
        wrapped = []
        original = view._page._wrap_paragraph
        view._page._wrap_paragraph = lambda start, stop: (wrapped.append(stop - start), original(start, stop))
        for _ in range(50):
            view.append(" more")
        assert max(wrapped) < 200
        assert "more more" in view.text


async def test_an_empty_page_shows_its_hints(screen_text) -> None:
    app = Page()
    async with app.run_test(size=(60, 12)) as pilot:
        view = page_of(app)
        view.set_hints([("title", "Hello"), ("hint", "Type [something]")])
        await pilot.pause()
        text = "".join(screen_text(app))
        assert "Hello" in text
        assert "Type [something]" in text
        view.append("Once")
        await pilot.pause()
        assert "Hello" not in "".join(screen_text(app))
