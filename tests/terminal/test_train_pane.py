"""The Train pane, driven with keys and mouse: runs found and opened, curves, cursor, marks, stories, comparing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from made_runs import live_trainer, make_run
from textual import events
from train_runs import STORIES, long_run, press


async def test_without_runs_it_says_how_to_get_one(train_pane: Callable) -> None:
    async with train_pane() as (pilot, text):
        assert "No runs yet" in text()
        await press(pilot, "2")
        assert "no run to show" in str([toast.message for toast in pilot.app._notifications])


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (160, 45), (60, 20), (40, 12)])
async def test_every_view_is_drawn_at_every_size(runs: Path, train_pane: Callable, size: tuple[int, int]) -> None:
    long_run(runs)
    make_run(runs, "other")
    async with train_pane(size) as (pilot, text):
        for number, word in zip("123456", ("Runs", "Curve", "Grid", "Stories", "Log", "Machine"), strict=True):
            await press(pilot, number)
            await pilot.pause()
            assert "mine" in text()
            assert f"[{number} {word}" in text() or size[0] < 60


async def test_the_newest_run_is_opened_by_itself_and_a_live_one_first(runs: Path, train_pane: Callable) -> None:
    old = long_run(runs, "old")
    make_run(runs, "new")
    with live_trainer(old):
        async with train_pane() as (pilot, text):
            assert pilot.app.screen.opened.name == "old"
            assert "running" in text()
            assert pilot.app.screen.view == "curve"


async def test_the_curve_its_verdict_and_the_values_under_the_cursor(runs: Path, train_pane: Callable) -> None:
    long_run(runs)
    async with train_pane((120, 30)) as (pilot, text):
        shown = text()
        assert "finished: best 1.000 bits a byte at step 100" in shown
        assert "newest: step 100 · 100k tokens" in shown
        assert "loss 2.0000" in shown
        assert "validation 2.1000 at 100" in shown
        assert any("⠀" <= letter <= "⣿" for letter in shown)
        await press(pilot, "left")
        assert "newest" not in text()
        before = pilot.app.screen.looking.cursor
        assert before is not None
        assert before < 100
        await press(pilot, "shift+left")
        assert pilot.app.screen.looking.cursor < before
        await press(pilot, "f")
        assert "newest: step 100" in text()


async def test_jumping_between_marks_and_to_warnings(runs: Path, train_pane: Callable) -> None:
    long_run(runs, spike=77)
    async with train_pane((120, 30)) as (pilot, text):
        await press(pilot, "exclamation_mark")
        assert "step 77 " in text()
        assert "jumped" in text()
        assert "loss 9.0000" in text()
        await press(pilot, "comma", "comma")
        assert "step 50 " in text()
        await press(pilot, "full_stop")
        assert "step 60 " in text()  # the samples


async def test_the_story_follows_the_cursor_and_stands_beside_the_first(runs: Path, train_pane: Callable) -> None:
    long_run(runs)
    async with train_pane((120, 30)) as (pilot, text):
        assert STORIES[100] in text()
        for _ in range(60):
            if STORIES[60] in text():
                break
            await press(pilot, "left")
        assert 60 <= pilot.app.screen.looking.cursor < 100
        assert STORIES[60] in text()
        assert STORIES[100] not in text()
        await press(pilot, "4")
        await pilot.pause()
        for story in STORIES.values():  # first, here, now
            assert story in text()
        await press(pilot, "o")
        assert "Once at 60" in text()
        await press(pilot, "2", "T")
        assert "Once at 60" not in text()


async def test_axes_scale_smoothing_zoom_and_windows(runs: Path, train_pane: Callable) -> None:
    long_run(runs)
    async with train_pane((120, 30)) as (pilot, text):
        screen = pilot.app.screen
        assert "log · smooth 0.9" in text()
        await press(pilot, "y", "m", "m")
        assert "log ·" not in text()
        assert "smooth 0.98" in text()
        await press(pilot, "a")
        assert "by tokens" in text()
        await press(pilot, "a")
        assert "by time since its start" in text()
        assert "10m" in text()
        await press(pilot, "a", "right_square_bracket")
        assert screen.looking.range(*screen._extent())[0] == pytest.approx(51, abs=2)
        await press(pilot, "plus", "plus")
        assert screen.looking.range(*screen._extent())[0] == pytest.approx(88, abs=2)
        await press(pilot, "less_than_sign")
        _, high = screen.looking.range(*screen._extent())
        assert high < 100
        await press(pilot, "f", "v")
        assert screen.measure.id == "bits"
        await press(pilot, "V", "V", "i")
        assert "outliers cut" in text()


async def test_marked_runs_are_drawn_together_with_a_legend_that_can_be_narrowed(runs: Path, train_pane: Callable) -> None:
    for number in range(8):
        long_run(runs, f"run-{number}")
    async with train_pane((120, 30)) as (pilot, text):
        screen = pilot.app.screen
        await press(pilot, "1", *["space"] * 8, "2")
        assert len(screen.drawn) == 6
        assert "a run-" in text()
        assert "f run-" in text()
        assert len(screen._taken) >= 1
        await press(pilot, "l", "7", "enter")
        assert {feed.name for feed in screen.drawn} == {screen.opened.name, "run-7"}
        assert "(marked ones like: 7)" in text()
        await press(pilot, "l", "escape")
        assert len(screen.drawn) == 6
        await press(pilot, "escape")
        assert len(screen.drawn) == 1


async def test_the_list_is_filtered_ordered_and_shows_two_runs_of_one_name(
    runs: Path, train_pane: Callable, tmp_path: Path
) -> None:
    for name, step in (("alpha", 20), ("beta", 60), ("gamma", 40)):
        make_run(runs, name, step=step)
    async with train_pane((110, 24)) as (pilot, _text):
        screen = pilot.app.screen
        await press(pilot, "1", "s")
        assert [feed.name for feed in screen.run_list.shown] == ["alpha", "beta", "gamma"]
        await press(pilot, "s", "s")
        assert [feed.name for feed in screen.run_list.shown] == ["beta", "gamma", "alpha"]  # by loss
        await press(pilot, "slash", *"gam", "enter")
        assert [feed.name for feed in screen.run_list.shown] == ["gamma"]
        await press(pilot, "enter")
        assert screen.opened.name == "gamma"
        await press(pilot, "1", "slash", "escape")
        assert len(screen.run_list.shown) == 3


async def test_two_runs_of_one_name_are_told_apart(runs: Path, train_pane: Callable, tmp_path: Path) -> None:
    from engine.watching.feed import RunFeed
    from tinytales_tui.options import WatchTarget

    make_run(runs, "mine", step=20)
    there = make_run(tmp_path / "elsewhere", "mine", step=60)
    async with train_pane((120, 24), watch=WatchTarget((RunFeed(there, full=True),))) as (pilot, text):
        assert pilot.app.screen.opened.path == there
        await press(pilot, "1")
        assert "elsewhere" in text()
        assert len(pilot.app.screen.run_list.shown) == 2


async def test_new_lines_appear_and_a_nan_leaves_a_gap(runs: Path, train_pane: Callable, until: Callable) -> None:
    path = long_run(runs)
    async with train_pane((120, 30)) as (pilot, text):
        screen = pilot.app.screen
        with open(path / "metrics.jsonl", "a") as file:
            for step in range(101, 141):
                loss = "nan" if 110 < step < 120 else 2.0
                file.write(json.dumps({"step": step, "tokens": step, "time": time.time(), "train_loss": loss}) + "\n")
        await until(pilot, lambda: len(screen.opened.table) == 140)
        screen.draw()
        await pilot.pause()
        assert "newest: step 140" in text()
        assert "×" in text()


async def test_ascii_draws_with_ascii_alone(runs: Path, train_pane: Callable) -> None:
    long_run(runs, spike=30)
    async with train_pane((120, 30), ascii=True) as (pilot, _text):
        for number in "123456":
            await press(pilot, number)
            strips = pilot.app.screen._compositor.render_strips()
            for strip in strips:
                for filter in pilot.app._plain:
                    strip = strip.apply_filter(filter, pilot.app.screen.background_colors[1])
                assert strip.text.isascii()


async def test_the_mouse_points_zooms_and_pans(runs: Path, train_pane: Callable) -> None:
    long_run(runs)
    async with train_pane((120, 30)) as (pilot, _text):
        screen = pilot.app.screen
        chart = screen.chart
        middle = chart.drawing.left + chart.drawing.columns // 2
        await pilot.click(chart, offset=(middle, 5))
        await pilot.pause()
        assert screen.looking.cursor == pytest.approx(50, abs=3)
        x = chart.region.x + middle
        y = chart.region.y + 5
        wheel = {
            "delta_x": 0,
            "delta_y": 0,
            "button": 0,
            "shift": False,
            "meta": False,
            "ctrl": False,
            "screen_x": x,
            "screen_y": y,
        }
        for _ in range(4):
            chart.post_message(events.MouseScrollUp(chart, middle, 5, **wheel))
        await pilot.pause()
        low, high = screen.looking.range(*screen._extent())
        assert high - low == pytest.approx(99 * 0.8**4, rel=0.1)
        assert low < 50 < high
        await pilot.mouse_down(chart, offset=(middle, 5), shift=True)
        chart.post_message(events.MouseMove(chart, middle + 10, 5, **{**wheel, "button": 1, "shift": True}))
        await pilot.mouse_up(chart, offset=(middle + 10, 5))
        await pilot.pause()
        assert screen.looking.range(*screen._extent())[0] < low
        await press(pilot, "f")
        assert screen.looking.range(*screen._extent())[0] == 1


async def test_the_rule_behind_the_verdict_the_byte_rate_and_the_details_of_a_run(runs: Path, train_pane: Callable) -> None:
    long_run(runs)
    async with train_pane((80, 24)) as (pilot, text):
        await press(pilot, "question_mark")
        assert "Why this verdict" in text()
        assert "finished (good)" in text()
        await press(pilot, "escape", "B", "1")
        assert "kB/s" in text()
        for words in ("started", "bits/byte 1.000", "loss 2.000", "size", "100 %"):
            assert words in text()
        await press(pilot, "B")
        assert "kB/s" not in text()


async def test_help_names_the_keys_the_marks_and_the_states(runs: Path, train_pane: Callable) -> None:
    long_run(runs)
    async with train_pane((120, 45)) as (pilot, _text):
        from tinytales_tui.widgets.help_screen import sections_for

        sections = dict(sections_for(pilot.app.screen, "Train"))
        assert {"On the Train pane", "On the curves", "Under the curve", "Before a run's name", "Everywhere"} <= sections.keys()
        assert ("★", "the best validation") in sections["Under the curve"]
        assert any(keys == "y" for keys, _ in sections["On the curves"])
        await press(pilot, "1")
        assert "In the list of runs" in dict(sections_for(pilot.app.screen, "Train"))
        await press(pilot, "5")
        assert "In the log" in dict(sections_for(pilot.app.screen, "Train"))
