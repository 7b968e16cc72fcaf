"""The Train pane, driven with keys: runs found and opened, curves, cursor, marks, stories, comparing, and what may go wrong."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from made_runs import live_trainer, make_run, write_lines, write_status

from tinytales_tui import paths

STORIES = {20: "A cat sat there.", 60: "A cat ran to the hill.", 100: "A cat found its home."}


def long_run(folder: Path, name: str = "mine", spike: int | None = None, **how: Any) -> Path:
    """A finished run of 100 steps with a line a step, a validation every 20, a checkpoint, samples, and perhaps a jump of the loss."""
    path = make_run(folder, name, state="finished", step=100, **how)
    begun = time.time() - 1800
    rows: list[dict[str, Any]] = []
    for step in range(1, 101):
        row = {"step": step, "tokens": step * 1000, "time": begun + step * 10}
        loss = 9.0 if step == spike else 4.0 - step / 50
        rows.append(row | {"train_loss": loss, "lr": 1e-3, "grad_norm": 1.0, "tokens_per_s": 500.0, "memory_bytes": 10**9})
        if step % 20 == 0:
            rows.append(row | {"val_loss": 4.1 - step / 50, "val_bits_per_byte": 1.5 - step / 200})
    write_lines(path / "metrics.jsonl", rows)
    events = [
        {"event": "started", "step": 0, "time": begun},
        {"event": "checkpoint", "step": 50, "time": begun + 500, "folder": "checkpoints/step-000050"},
        *([{"event": "warning", "kind": "spike", "step": spike, "time": begun, "message": "The loss jumped."}] if spike else []),
        {"event": "finished", "step": 100, "time": begun + 1000},
    ]
    write_lines(path / "events.jsonl", events)
    samples = [
        {"step": step, "time": begun, "prompt": "happy: a cat", "story": story, "seed": 1} for step, story in STORIES.items()
    ]
    write_lines(path / "samples.jsonl", samples + [dict(row, prompt="Once", story=f" at {row['step']}") for row in samples])
    return path


@pytest.fixture
def runs(home: Path) -> Path:
    return paths.runs_folder()


@pytest.fixture
def opened(make_app: Callable, until: Callable, screen_text: Callable) -> Callable:
    """`async with opened(size, **options) as (pilot, text)`: the app with its Train pane open and drawn."""

    @contextlib.asynccontextmanager
    async def start(size: tuple[int, int] = (100, 30), **options: Any) -> AsyncIterator[tuple[Any, Callable[[], str]]]:
        app = make_app(pane="train", **options)
        async with app.run_test(size=size) as pilot:
            screen = app.screen
            await until(
                pilot, lambda: screen.follower.listed and all(f.summary and f.loading is None for f in screen.follower.feeds)
            )
            screen._tick()
            await until(pilot, lambda: not screen.follower.feeds or screen.opened is not None)
            if screen.opened is not None:
                await until(pilot, lambda: screen.opened.table is not None and len(screen.opened.table))
                screen.draw()
            await pilot.pause()
            yield pilot, lambda: "\n".join(screen_text(app))

    return start


async def press(pilot: Any, *keys: str) -> None:
    for key in keys:
        await pilot.press(key)
    await pilot.pause()


async def test_without_runs_it_says_how_to_get_one(opened: Callable) -> None:
    async with opened() as (pilot, text):
        assert "No runs yet" in text()
        await press(pilot, "2")
        assert "no run to show" in str([toast.message for toast in pilot.app._notifications])


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (160, 45), (60, 20), (40, 12)])
async def test_every_view_is_drawn_at_every_size(runs: Path, opened: Callable, size: tuple[int, int]) -> None:
    long_run(runs)
    make_run(runs, "other")
    async with opened(size) as (pilot, text):
        for number, word in zip("123456", ("Runs", "Curve", "Grid", "Stories", "Log", "Machine"), strict=True):
            await press(pilot, number)
            await pilot.pause()
            assert "mine" in text()
            assert f"[{number} {word}" in text() or size[0] < 60


async def test_the_newest_run_is_opened_by_itself_and_a_live_one_first(runs: Path, opened: Callable) -> None:
    old = long_run(runs, "old")
    make_run(runs, "new")
    with live_trainer(old):
        async with opened() as (pilot, text):
            assert pilot.app.screen.opened.name == "old"
            assert "running" in text()
            assert pilot.app.screen.view == "curve"


async def test_the_curve_its_verdict_and_the_values_under_the_cursor(runs: Path, opened: Callable) -> None:
    long_run(runs)
    async with opened((120, 30)) as (pilot, text):
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


async def test_jumping_between_marks_and_to_warnings(runs: Path, opened: Callable) -> None:
    long_run(runs, spike=77)
    async with opened((120, 30)) as (pilot, text):
        await press(pilot, "exclamation_mark")
        assert "step 77 " in text()
        assert "jumped" in text()
        assert "loss 9.0000" in text()
        await press(pilot, "comma", "comma")
        assert "step 50 " in text()
        await press(pilot, "full_stop")
        assert "step 60 " in text()  # the samples


async def test_the_story_follows_the_cursor_and_stands_beside_the_first(runs: Path, opened: Callable) -> None:
    long_run(runs)
    async with opened((120, 30)) as (pilot, text):
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


async def test_axes_scale_smoothing_zoom_and_windows(runs: Path, opened: Callable) -> None:
    long_run(runs)
    async with opened((120, 30)) as (pilot, text):
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


async def test_marked_runs_are_drawn_together_with_a_legend_that_can_be_narrowed(runs: Path, opened: Callable) -> None:
    for number in range(8):
        long_run(runs, f"run-{number}")
    async with opened((120, 30)) as (pilot, text):
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


async def test_the_list_is_filtered_ordered_and_shows_two_runs_of_one_name(runs: Path, opened: Callable, tmp_path: Path) -> None:
    for name, step in (("alpha", 20), ("beta", 60), ("gamma", 40)):
        make_run(runs, name, step=step)
    async with opened((110, 24)) as (pilot, _text):
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


async def test_two_runs_of_one_name_are_told_apart(runs: Path, opened: Callable, tmp_path: Path) -> None:
    from engine.watching.feed import RunFeed
    from tinytales_tui.options import WatchTarget

    make_run(runs, "mine", step=20)
    there = make_run(tmp_path / "elsewhere", "mine", step=60)
    async with opened((120, 24), watch=WatchTarget((RunFeed(there, full=True),))) as (pilot, text):
        assert pilot.app.screen.opened.path == there
        await press(pilot, "1")
        assert "elsewhere" in text()
        assert len(pilot.app.screen.run_list.shown) == 2


async def test_a_run_that_vanishes_and_one_that_comes(runs: Path, opened: Callable, until: Callable) -> None:
    gone = long_run(runs, "gone")
    async with opened() as (pilot, _text):
        screen = pilot.app.screen
        shutil.rmtree(gone)
        screen.follower.look_now()
        await until(pilot, lambda: not screen.follower.feeds)
        screen.draw()
        await pilot.pause()
        long_run(runs, "fresh")
        screen.follower.look_now()
        await until(pilot, lambda: screen.opened is not None and screen.opened.name == "fresh")


async def test_a_stale_run_looks_stale(runs: Path, opened: Callable) -> None:
    path = long_run(runs)
    write_status(path, state="running", step=50, heartbeat=time.time() - 720, pid=2**22 - 7)
    async with opened((120, 30)) as (_pilot, text):
        assert "stale 12m" in text()
        assert "no sign of life" in text()


async def test_new_lines_appear_and_a_nan_leaves_a_gap(runs: Path, opened: Callable, until: Callable) -> None:
    path = long_run(runs)
    async with opened((120, 30)) as (pilot, text):
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


async def test_control_codes_from_a_run_are_shown_as_text(runs: Path, opened: Callable) -> None:
    path = long_run(runs)
    evil = "\x1b[31mred [bold]x[/bold] \x07"
    write_lines(path / "samples.jsonl", [{"step": 20, "prompt": evil, "story": evil}])
    write_lines(path / "events.jsonl", [{"event": "warning", "kind": "spike", "step": 100, "message": evil, "time": 1.0}])
    async with opened((120, 30)) as (_pilot, text):
        assert "\x1b" not in text()
        assert "\x07" not in text()
        assert "[bold]x[/bold]" in text()


async def test_ascii_draws_with_ascii_alone(runs: Path, opened: Callable) -> None:
    long_run(runs, spike=30)
    async with opened((120, 30), ascii=True) as (pilot, _text):
        for number in "123456":
            await press(pilot, number)
            strips = pilot.app.screen._compositor.render_strips()
            for strip in strips:
                for filter in pilot.app._plain:
                    strip = strip.apply_filter(filter, pilot.app.screen.background_colors[1])
                assert strip.text.isascii()


async def test_read_only_switches_every_action_off(runs: Path, opened: Callable) -> None:
    path = long_run(runs)
    before = sorted(path.rglob("*"))
    async with opened(readonly=True) as (pilot, _text):
        for key in ("x", "p", "u", "c", "t", "D", "ctrl+n", "e"):
            await press(pilot, key)
            assert len(pilot.app.screen_stack) == 1
        said = " ".join(toast.message for toast in pilot.app._notifications)
        assert said.count("read-only") >= 1
        assert sorted(path.rglob("*")) == before


async def test_a_live_run_is_stopped_from_the_pane_after_a_question(runs: Path, opened: Callable, until: Callable) -> None:
    path = long_run(runs)
    with live_trainer(path):
        async with opened() as (pilot, _text):
            await press(pilot, "x")
            await until(pilot, lambda: len(pilot.app.screen_stack) == 2)
            await press(pilot, "n")
            assert len(pilot.app.screen_stack) == 1
            assert pilot.app.screen.opened.status.alive
            await press(pilot, "x")
            await until(pilot, lambda: len(pilot.app.screen_stack) == 2)
            await press(pilot, "y")
            await until(pilot, lambda: pilot.app.screen.opened.status.state == "stopped")


async def test_quitting_leaves_the_trainer_alone(runs: Path, make_app: Callable, until: Callable) -> None:
    path = long_run(runs)
    with live_trainer(path) as process:
        app = make_app(pane="train")
        async with app.run_test() as pilot:
            await until(pilot, lambda: app.screen.opened is not None)
            await pilot.press("ctrl+q")
        assert process.poll() is None
        assert not list((path / "requests").iterdir())


async def test_the_log_stays_where_it_is_read_while_the_pane_redraws(runs: Path, opened: Callable) -> None:
    path = long_run(runs)
    (path / "output.log").write_text("".join(f"line {number}\n" for number in range(1000)))
    async with opened((100, 30)) as (pilot, text):
        await press(pilot, "5")
        await pilot.pause(0.5)
        await press(pilot, "home")
        await pilot.pause(0.3)
        assert "line 0" in text()
        for _ in range(3):
            pilot.app.screen.draw()
            await pilot.pause(0.1)
        assert "line 0" in text()
        assert "line 999" not in text()


async def test_a_new_run_is_not_opened_under_the_hands_of_a_person(runs: Path, opened: Callable, until: Callable) -> None:
    long_run(runs, "old")
    async with opened() as (pilot, _text):
        screen = pilot.app.screen
        await press(pilot, "1", "down")
        fresh = long_run(runs, "brandnew")
        with live_trainer(fresh):
            screen.follower.look_now()
            await until(pilot, lambda: any(feed.name == "brandnew" and feed.status.alive for feed in screen.follower.feeds))
            screen._choose_open()
            assert screen.view == "runs"
            assert screen.opened.name == "old"


async def test_nothing_is_done_to_a_marked_run_that_the_filter_hides(runs: Path, opened: Callable) -> None:
    for name in ("alpha", "beta"):
        make_run(runs, name)
    async with opened() as (pilot, _text):
        screen = pilot.app.screen
        await press(pilot, "1", "s", "home", "space", "slash", *"beta", "enter")
        assert screen.run_list.marked == [str(runs / "alpha")]
        assert [feed.name for feed in screen.targets()] == ["beta"]


async def test_a_run_that_ends_while_the_question_stands_is_not_deleted_with_the_others(
    runs: Path, opened: Callable, until: Callable
) -> None:
    long_run(runs, "ended")
    kept = long_run(runs, "kept")
    with live_trainer(kept):
        async with opened() as (pilot, text):
            screen = pilot.app.screen
            await until(pilot, lambda: any(feed.status.alive for feed in screen.follower.feeds))
            await press(pilot, "1", "home", "space", "space", "D")
            await until(pilot, lambda: len(pilot.app.screen_stack) == 2)
            assert "stays as it is" in text()
            write_status(kept, state="finished")
            await press(pilot, "y")
            await until(pilot, lambda: not (runs / "ended").exists())
            await until(pilot, lambda: not any(worker.group == "steering" for worker in pilot.app.workers))
            assert kept.is_dir()


async def test_odd_things_in_the_files_of_a_run_end_nothing(runs: Path, opened: Callable, until: Callable) -> None:
    path = long_run(runs)
    config = json.loads((path / "config.json").read_text())
    config["settings"] |= {"decay_start": "late", "schedule": "cosine", "sample_every": "often"}
    (path / "config.json").write_text(json.dumps(config))
    with open(path / "metrics.jsonl", "a") as file:
        file.write('{"step": 1' + "0" * 400 + ', "time": 5, "train_loss": 1}\n')
        file.write('{"step": 101, "time": Infinity, "tokens": 1e999, "train_loss": 1, "\\u001b]0;pwned\\u001b\\\\x": 3}\n')
    with open(path / "events.jsonl", "a") as file:
        file.write('{"event": "checkpoint", "step": 1' + "0" * 400 + ', "time": Infinity}\n{"event": "sample", "step": "x"}\n')
    with open(path / "samples.jsonl", "a") as file:
        file.write('{"step": 1' + "0" * 400 + ', "prompt": 5, "story": "x"}\n')
    async with opened((120, 40)) as (pilot, text):
        for key in ("1", "2", "a", "a", "a", "3", "4", "2", "v", "v", "v", "v", "v", "v", "comma", "full_stop"):
            await press(pilot, key)
        assert "step 1" in text()
        assert "pwned" in text()
        assert not any("\x1b]0" in segment.text for strip in pilot.app.screen._compositor.render_strips() for segment in strip)
        assert pilot.app.screen.follower._thread.is_alive()
