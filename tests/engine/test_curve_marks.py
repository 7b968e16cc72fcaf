"""Warnings read off the curves themselves."""

from __future__ import annotations

import math
import random
import time
from pathlib import Path

import numpy as np
from made_runs import make_run, write_lines

from engine.watching import curve_marks
from engine.watching.feed import RunFeed
from engine.watching.foreign.opening import open_feed
from engine.watching.marks import marks_of


def steps(count: int) -> np.ndarray:
    return np.arange(1, count + 1, dtype=float)


def noise(count: int, level: float = 2.0, spread: float = 0.1) -> np.ndarray:
    return np.random.default_rng(3).normal(level, spread, count)


def test_each_stretch_without_numbers_is_one_mark() -> None:
    values = noise(50)
    values[[5, 6, 7, 20, 49]] = [math.nan, math.inf, math.nan, math.nan, -math.inf]
    assert [step for step, _, _ in curve_marks.not_numbers(steps(50), values)] == [6, 21, 50]
    assert curve_marks.not_numbers(steps(0), steps(0)) == []


def test_a_jump_is_found_where_it_is_and_noise_is_none() -> None:
    values = noise(2000)
    assert curve_marks.jumps(steps(2000), values) == []
    values[1500:1510] += 3
    found = curve_marks.jumps(steps(2000), values)
    assert [(step, kind) for step, _, kind in found] == [(1501, "spike")]
    assert "jumped to 5" in found[0][1] or "jumped to 4.9" in found[0][1]
    assert curve_marks.jumps(steps(90), noise(90)) == []


def test_a_plateau_begins_where_validation_stops_moving() -> None:
    falling = np.linspace(3, 2, 10)
    flat = np.full(8, 2.0) + np.linspace(0, 1e-3, 8)
    values = np.concatenate([falling, flat, np.linspace(1.9, 1.5, 5)])
    assert [(step, kind) for step, _, kind in curve_marks.still(steps(23), values)] == [(10, "plateau")]
    assert curve_marks.still(steps(10), falling) == []


def test_validation_that_rises_three_times() -> None:
    values = np.array([3, 2, 2.1, 2.05, 1.9, 2.0, 2.1, 2.2, 2.3])
    assert [step for step, _, _ in curve_marks.rises(steps(9), values)] == [5]


def test_a_log_of_another_program_gets_its_warnings_from_its_curve(tmp_path: Path) -> None:
    random.seed(1)
    lines = [
        f"iter {step}: loss {(9.0 if step == 700 else 2 + random.gauss(0, 0.05)):.4f}, time 10.00ms, mfu 1.0%"
        for step in range(1000)
    ]
    (tmp_path / "log.txt").write_text("\n".join(lines) + "\n")
    feed = open_feed(tmp_path / "log.txt")
    while feed.poll():
        pass
    assert [(mark.step, mark.detail) for mark in marks_of(feed) if mark.kind == "warning"] == [(700, "spike")]


def test_a_warning_that_the_trainer_gave_is_not_told_twice(tmp_path: Path) -> None:
    path = make_run(tmp_path, step=40)
    rows = [{"step": step, "time": float(step), "train_loss": "nan" if step > 30 else 2.0} for step in range(1, 41)]
    write_lines(path / "metrics.jsonl", rows)
    feed = RunFeed(path, full=True)
    while feed.poll():
        pass
    assert [mark.step for mark in marks_of(feed) if mark.kind == "warning"] == [31]
    write_lines(
        path / "events.jsonl", [{"event": "warning", "kind": "nan", "step": 32, "time": time.time(), "message": "No number."}]
    )
    while feed.poll():
        pass
    assert [mark.words for mark in marks_of(feed) if mark.kind == "warning"] == ["No number."]
