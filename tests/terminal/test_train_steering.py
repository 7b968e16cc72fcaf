"""Runs steered from the Train pane, and what may befall them while somebody looks: nothing is lost, and nothing ends the app."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from made_runs import live_trainer, make_run, write_lines, write_status
from train_runs import long_run, press


async def test_a_run_that_vanishes_and_one_that_comes(runs: Path, train_pane: Callable, until: Callable) -> None:
    gone = long_run(runs, "gone")
    async with train_pane() as (pilot, _text):
        screen = pilot.app.screen
        shutil.rmtree(gone)
        screen.follower.look_now()
        await until(pilot, lambda: not screen.follower.feeds)
        screen.draw()
        await pilot.pause()
        long_run(runs, "fresh")
        screen.follower.look_now()
        await until(pilot, lambda: screen.opened is not None and screen.opened.name == "fresh")


async def test_a_stale_run_looks_stale(runs: Path, train_pane: Callable) -> None:
    path = long_run(runs)
    write_status(path, state="running", step=50, heartbeat=time.time() - 720, pid=2**22 - 7)
    async with train_pane((120, 30)) as (_pilot, text):
        assert "stale 12m" in text()
        assert "no sign of life" in text()


async def test_control_codes_from_a_run_are_shown_as_text(runs: Path, train_pane: Callable) -> None:
    path = long_run(runs)
    evil = "\x1b[31mred [bold]x[/bold] \x07"
    write_lines(path / "samples.jsonl", [{"step": 20, "prompt": evil, "story": evil}])
    write_lines(path / "events.jsonl", [{"event": "warning", "kind": "spike", "step": 100, "message": evil, "time": 1.0}])
    async with train_pane((120, 30)) as (_pilot, text):
        assert "\x1b" not in text()
        assert "\x07" not in text()
        assert "[bold]x[/bold]" in text()


async def test_read_only_switches_every_action_off(runs: Path, train_pane: Callable) -> None:
    path = long_run(runs)
    before = sorted(path.rglob("*"))
    async with train_pane(readonly=True) as (pilot, _text):
        for key in ("x", "p", "u", "c", "t", "D", "ctrl+n", "e"):
            await press(pilot, key)
            assert len(pilot.app.screen_stack) == 1
        said = " ".join(toast.message for toast in pilot.app._notifications)
        assert said.count("read-only") >= 1
        assert sorted(path.rglob("*")) == before


async def test_a_live_run_is_stopped_from_the_pane_after_a_question(runs: Path, train_pane: Callable, until: Callable) -> None:
    path = long_run(runs)
    with live_trainer(path):
        async with train_pane() as (pilot, _text):
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


async def test_the_log_stays_where_it_is_read_while_the_pane_redraws(runs: Path, train_pane: Callable) -> None:
    path = long_run(runs)
    (path / "output.log").write_text("".join(f"line {number}\n" for number in range(1000)))
    async with train_pane((100, 30)) as (pilot, text):
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


async def test_a_new_run_is_not_opened_under_the_hands_of_a_person(runs: Path, train_pane: Callable, until: Callable) -> None:
    long_run(runs, "old")
    async with train_pane() as (pilot, _text):
        screen = pilot.app.screen
        await press(pilot, "1", "down")
        fresh = long_run(runs, "brandnew")
        with live_trainer(fresh):
            screen.follower.look_now()
            await until(pilot, lambda: any(feed.name == "brandnew" and feed.status.alive for feed in screen.follower.feeds))
            screen._choose_open()
            assert screen.view == "runs"
            assert screen.opened.name == "old"


async def test_nothing_is_done_to_a_marked_run_that_the_filter_hides(runs: Path, train_pane: Callable) -> None:
    for name in ("alpha", "beta"):
        make_run(runs, name)
    async with train_pane() as (pilot, _text):
        screen = pilot.app.screen
        await press(pilot, "1", "s", "home", "space", "slash", *"beta", "enter")
        assert screen.run_list.marked == [str(runs / "alpha")]
        assert [feed.name for feed in screen.targets()] == ["beta"]


async def test_a_run_that_ends_while_the_question_stands_is_not_deleted_with_the_others(
    runs: Path, train_pane: Callable, until: Callable
) -> None:
    long_run(runs, "ended")
    kept = long_run(runs, "kept")
    with live_trainer(kept):
        async with train_pane() as (pilot, text):
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


async def test_odd_things_in_the_files_of_a_run_end_nothing(runs: Path, train_pane: Callable, until: Callable) -> None:
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
    async with train_pane((120, 40)) as (pilot, text):
        for key in ("1", "2", "a", "a", "a", "3", "4", "2", "v", "v", "v", "v", "v", "v", "comma", "full_stop"):
            await press(pilot, key)
        assert "step 1" in text()
        assert "pwned" in text()
        assert not any("\x1b]0" in segment.text for strip in pilot.app.screen._compositor.render_strips() for segment in strip)
        assert pilot.app.screen.follower._thread.is_alive()


async def test_whoever_only_watches_starts_no_engine(runs: Path, train_pane: Callable, until: Callable) -> None:
    long_run(runs)
    async with train_pane() as (pilot, _text):
        await pilot.pause(0.5)
        assert pilot.app.engine.pid is None
        await press(pilot, "f2")
        await until(pilot, lambda: pilot.app.engine.pid is not None)


async def test_escape_takes_the_marks_away_in_the_list(runs: Path, train_pane: Callable) -> None:
    for name in ("alpha", "beta"):
        make_run(runs, name)
    async with train_pane() as (pilot, _text):
        screen = pilot.app.screen
        await press(pilot, "1", "home", "space", "space", "w")
        assert "press Esc" in str([toast.message for toast in pilot.app._notifications])
        await press(pilot, "escape")
        assert (screen.run_list.marked, screen.view) == ([], "runs")


async def test_bytes_are_counted_only_while_somebody_wants_to_know(runs: Path, train_pane: Callable) -> None:
    long_run(runs)
    async with train_pane() as (pilot, _text):
        driver = pilot.app._driver
        await press(pilot, "B")
        assert "write" in vars(driver)
        await press(pilot, "B")
        assert "write" not in vars(driver)
