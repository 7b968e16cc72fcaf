"""The comparison: choosing, columns that stream together, marks, facts, keeping one; two engines, failures, narrow and plain looks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from checkpoint_pane import Places, toasts
from textual.events import MouseScrollUp

from engine.settings import SamplingSettings
from tinytales_tui.compare.asking import CompareDialog
from tinytales_tui.compare.question import Kept, Question
from tinytales_tui.compare.screen import CompareScreen
from tinytales_tui.write.asking import Asked

pytest_plugins = ["checkpoint_fixtures"]


@pytest.fixture
def comparing(make_app: Callable, until: Callable, screen_text: Callable) -> Callable:
    """`async with comparing("--rate", "50", size=…) as (pilot, screen, text, kept)`: the dialog is open."""

    @contextlib.asynccontextmanager
    async def start(*switches: str, size: tuple[int, int] = (120, 40), asked: Asked | None = None, **options: object):
        app = make_app(*switches, **options)
        kept: list[Kept | None] = []
        async with app.run_test(size=size) as pilot:
            await until(pilot, lambda: app.screen.checkpoint)
            asked = asked or Asked("a lost dog", ending="happy")
            screen = CompareScreen(Question(asked, SamplingSettings(max_tokens=200), 7, app.screen.checkpoint))
            app.push_screen(screen, kept.append)
            await until(pilot, lambda: isinstance(app.screen, CompareDialog) and app.screen.is_mounted)
            yield pilot, screen, lambda: "\n".join(screen_text(app)), kept

    return start


def done(screen: CompareScreen) -> bool:
    return bool(screen.columns) and not screen.running.busy and bool(screen._word_marks)


async def test_endings_stream_together_are_marked_measured_and_one_is_kept(comparing, until) -> None:
    async with comparing("--tokens", "160", "--rate", "50") as (pilot, screen, text, kept):
        await pilot.press("tab", "down", "down", "space", "enter")
        growing: list[str] = []

        def seen() -> bool:
            if screen.columns and all(column.state == "writing" and column.text for column in screen.columns):
                growing.append(text())
            return bool(growing)

        await until(pilot, seen)
        assert "Writing 3 stories" in growing[0]
        assert [column.name for column in screen.columns] == ["happy ending", "sad ending", "no ending asked"]
        await until(pilot, lambda: done(screen))
        first, second, third = screen.columns
        assert first.generation.seed == second.generation.seed == 7 and first.text != second.text
        assert third.given == "a lost dog" and screen.views[2].story.text.startswith("a lost dog")
        assert {mark.kind for mark in screen.views[1].story.marks} <= {"same", "alone"} and screen.views[1].story.marks
        assert text().count("160 tokens") == 3 and text().count("tokens/s") == 3 and "as asked" in text()
        await pilot.press("d")
        assert not screen.views[1].story.marks and "marks off" in text()
        await pilot.press("d", "right", "right", "right", "left")
        assert screen.views[1].story.marks and screen.chosen == 2 and "Enter keeps no ending asked" in text()
        await pilot.press("question_mark")
        await until(pilot, lambda: "How the figures are measured" in text())
        await pilot.press("escape", "2")
        await until(pilot, lambda: kept)
        generation = kept[0].generation
        assert generation.request.ending == "sad" and generation.text == second.text and generation.stop_reason == "end of text"


async def test_stories_that_are_the_same_at_first_are_dim_until_they_part(comparing, until) -> None:
    async with comparing("--tokens", "200", "--rate", "25") as (pilot, screen, _text, kept):
        await pilot.press("right", "right", "enter")  # the scripted worker knows no temperatures
        await until(pilot, lambda: len(screen.columns) == 3 and screen.columns[2].text.count(" ") > 20)
        view = screen.views[1].story
        assert view.marks[0].start == 0 and view.marks[0].kind == "same" and view.marks[0].end >= len(view.text) - 12
        strips = [view.render_line(y) for y in range(3)]
        dim = view.get_component_rich_style("story-view--same").color
        assert any(segment.text.strip() and segment.style.color == dim for strip in strips for segment in strip)
        await pilot.press("enter")  # the first one, as far as it has come
        await until(pilot, lambda: kept)
        assert kept[0].generation.stop_reason == "cancelled" and kept[0].generation.text
        await until(pilot, lambda: pilot.app.engine._idle.is_set())


async def test_stopping_again_another_seed_and_something_else(comparing, until) -> None:
    async with comparing("--tokens", "400", "--rate", "30", size=(80, 24)) as (pilot, screen, text, kept):
        await pilot.press("enter")
        await until(pilot, lambda: screen.columns and all(column.text for column in screen.columns))
        await pilot.press("escape")
        await until(pilot, lambda: done(screen))
        assert [column.generation.stop_reason for column in screen.columns] == ["cancelled"] * 2 and "stopped" in text()
        before = screen.columns[0].text
        await pilot.press("s")
        await until(pilot, lambda: len(screen.columns[0].text) > len(before))
        assert screen.columns[0].text.startswith(before)
        await pilot.press("r")
        await until(pilot, lambda: screen.columns[0].generation.seed != 7 and screen.columns[0].text)
        assert f"seed {screen.columns[1].generation.request.sampling.seed}" in text()
        await pilot.press("escape", "n")
        await until(pilot, lambda: isinstance(pilot.app.screen, CompareDialog))
        await pilot.press("right", "tab", "end", "space", "enter")
        await until(pilot, lambda: len(screen.columns) == 4 and all(column.text for column in screen.columns))
        await pilot.press("escape")
        await until(pilot, lambda: done(screen))
        assert [view.display for view in screen.views] == [True, True, False, False] and "[1 conservative]" in text()
        await pilot.press("shift+tab")
        assert screen.chosen == 3 and [view.display for view in screen.views] == [False, False, True, True]
        assert "[4 recommended]" in text() and "▸ 4 recommended" in text()
        await pilot.resize_terminal(50, 16)
        await until(pilot, lambda: [view.display for view in screen.views] == [False, False, False, True])
        assert not screen.query_one("#column-4 #facts").display
        await pilot.press("f")
        assert screen.query_one("#column-4 #facts").display
        await pilot.press("escape")
        await until(pilot, lambda: kept == [None])


async def test_columns_scroll_together_or_apart(comparing, until) -> None:
    async with comparing("--tokens", "200", size=(80, 24)) as (pilot, screen, text, _kept):
        await pilot.press("enter")
        await until(pilot, lambda: done(screen))
        left, right = (view.story for view in screen.views[:2])
        assert left.max_scroll_y > 3 and left.scroll_y == left.max_scroll_y
        await pilot.press("home", "pagedown")
        assert left.scroll_y == right.scroll_y > 0 and not left.following
        await pilot.press("l", "home")
        assert left.scroll_y == 0 < right.scroll_y and "scrolling apart" in text()
        await pilot.press("l", "right")
        assert await pilot._post_mouse_events([MouseScrollUp], right, times=1)
        await until(pilot, lambda: left.scroll_y == right.scroll_y)


async def test_models_are_written_by_engines_of_their_own(comparing, until, places: Places) -> None:
    places.download("mia/tales")
    async with comparing("--tokens", "60") as (pilot, screen, text, kept):
        await pilot.press("left", "tab")
        await until(pilot, lambda: "mia/tales" in text() and "[1] tinytales" in text())
        await pilot.press("enter")
        await until(pilot, lambda: "at least two" in text())
        await pilot.press("down", "space", "enter")
        await until(pilot, lambda: done(screen))
        assert len(screen.running._clients) == 1 and screen.columns[0].checkpoint.name == "tiny-test"
        assert screen.columns[1].checkpoint.name == "mia/tales" and screen.columns[1].text == screen.columns[0].text
        client = next(iter(screen.running._clients.values()))
        await pilot.press("s")
        await until(pilot, lambda: done(screen) and screen.running.round == 2)
        assert next(iter(screen.running._clients.values())) is client
        await pilot.press("2")
        await until(pilot, lambda: kept and client.pid is None)
        assert kept[0].generation.checkpoint.name == "mia/tales"


async def test_a_model_that_cannot_be_opened_says_so_in_its_column(comparing, until, places: Places) -> None:
    from tinytales_tui.compare.columns import Model, Plan

    async with comparing("--tokens", "40", "--style", "plain") as (pilot, screen, text, kept):
        pilot.app.screen.dismiss(Plan("checkpoints", (), (Model(None, "the first"), Model("missing", "the lost one"))))
        await until(pilot, lambda: done(screen))
        assert screen.columns[1].state == "failed" and "There is no checkpoint at missing" in text()
        assert "the first takes no topic and no ending, so all go on from the same words: “a lost dog”" in text()
        await pilot.press("2")
        await until(pilot, lambda: "nothing in this column" in toasts(pilot))
        assert not kept


async def test_an_engine_that_dies_leaves_the_texts(comparing, until) -> None:
    async with comparing("--tokens", "90", "--rate", "50", "--die-after", "20") as (pilot, screen, _text, kept):
        await pilot.press("enter")
        await until(pilot, lambda: done(screen))
        assert all(column.text and column.message for column in screen.columns) and "stopped" in toasts(pilot)
        await pilot.press("1")
        await until(pilot, lambda: kept)
        assert kept[0].generation.text and kept[0].generation.stop_reason == "cancelled"


async def test_plain_looks_and_leaving_the_dialog(comparing, until) -> None:
    asked = Asked(opening="Once upon a time", ending="none")
    async with comparing("--tokens", "60", "--nasty", ascii=True, size=(80, 24), asked=asked) as (pilot, screen, text, kept):
        await until(pilot, lambda: "(*) Presets" in text() or "< Presets >" in text())
        await pilot.press("left")
        await until(pilot, lambda: "Without a topic" in text())
        await pilot.press("enter")
        assert isinstance(pilot.app.screen, CompareDialog)
        await pilot.press("right", "enter")
        await until(pilot, lambda: done(screen))
        assert text().isascii() and "> 1 conservative" in text() and "[bold]not markup" in text().replace("\n", "")
        assert "\x1b" not in screen.views[0].story.text
        await pilot.press("n")
        await until(pilot, lambda: isinstance(pilot.app.screen, CompareDialog))
        await pilot.press("escape")
        assert pilot.app.screen is screen
        await pilot.press("escape")
        await until(pilot, lambda: kept == [None])
    async with comparing() as (pilot, _screen, _text, kept):
        await pilot.press("escape")
        await until(pilot, lambda: kept == [None])
