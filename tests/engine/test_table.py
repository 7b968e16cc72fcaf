"""The columns that a run's metrics become: against a plain list of rows, and at the edges."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.watching.table import MOST_COLUMNS, MetricsTable


def points(table: MetricsTable, name: str) -> list[tuple[float, float]]:
    series = table.series(name)
    return [] if series is None else list(zip(table.axis("step")[series.rows].tolist(), series.values.tolist(), strict=True))


def plainly(lines: list[dict[str, Any]], name: str) -> list[tuple[float, float]]:
    """What the table should hold of one series, told line by line: going back forgets later steps, a second value replaces the first."""
    kept: list[tuple[float, float]] = []
    known: list[float] = []
    for line in lines:
        step = line["step"]
        if known and step < known[-1]:
            known = [one for one in known if one < step]
            kept = [point for point in kept if point[0] < step]
        known.append(step)
        if name in line:
            kept = [point for point in kept if point[0] != step] + [(step, float(np.float32(line[name])))]
    return kept


def test_lines_of_one_step_share_a_row_and_series_know_their_rows() -> None:
    table = MetricsTable()
    table.add(
        [{"step": 1, "time": 5.0, "tokens": 10, "train_loss": 3.0}, {"step": 2, "time": 6.0, "tokens": 20, "train_loss": 2.5}]
    )
    table.add([{"step": 2, "time": 9.0, "val_loss": 2.7}, {"step": 3, "time": 10.0, "tokens": 30, "train_loss": 2.25}])
    assert len(table) == 3
    assert table.names == ["train_loss", "val_loss"]
    assert points(table, "train_loss") == [(1, 3.0), (2, 2.5), (3, 2.25)]
    assert table.series("train_loss").rows == slice(0, 3)  # type: ignore[union-attr]
    assert points(table, "val_loss") == [(2, pytest.approx(2.7))]
    assert table.axis("time").tolist() == [5.0, 6.0, 10.0]  # the first line of a step says when it was
    assert table.axis("tokens").tolist() == [10, 20, 30]
    assert table.series("lr") is None


def test_going_back_takes_the_place_of_later_steps_and_old_arrays_stay() -> None:
    table = MetricsTable()
    table.add([{"step": step, "train_loss": float(step)} for step in range(1, 1001)])
    before = table.series("train_loss")
    steps = table.axis("step")
    table.add([{"step": step, "train_loss": -float(step)} for step in range(500, 600)])
    assert len(table) == 599
    assert points(table, "train_loss")[498:501] == [(499, 499.0), (500, -500.0), (501, -501.0)]
    assert before is not None
    assert before.values.tolist() == steps.tolist() == [float(step) for step in range(1, 1001)]


def test_what_is_no_number_is_left_out() -> None:
    table = MetricsTable()
    table.add(
        [
            {"step": 1, "train_loss": "nan", "note": "hello", "flag": True, "list": [1], "big": 10**400},
            {"step": "2", "train_loss": 1.0},
            {"train_loss": 1.0},
            {"step": math.nan, "train_loss": 1.0},
            {"step": 10**400, "train_loss": 1.0},
            {"step": True, "train_loss": 1.0},
            {"step": 3, "train_loss": "-inf", "big": 2},
        ]
    )
    assert table.names == ["train_loss", "big"]
    assert table.passed_over == 5
    assert math.isnan(points(table, "train_loss")[0][1])
    assert points(table, "train_loss")[1] == (3, -math.inf)
    assert points(table, "big") == [(1, math.inf), (3, 2)]


def test_a_file_of_ever_new_names_does_not_fill_the_memory() -> None:
    table = MetricsTable()
    table.add([{"step": number, f"name {number}": 1.0} for number in range(3 * MOST_COLUMNS)])
    assert len(table.names) == MOST_COLUMNS
    assert len(table) == 3 * MOST_COLUMNS


LINES = st.lists(
    st.fixed_dictionaries(
        {"step": st.integers(0, 12)},
        optional={"train_loss": st.floats(width=32, allow_nan=False), "val_loss": st.floats(width=32, allow_nan=False)},
    ),
    max_size=40,
)


@given(LINES, st.integers(1, 7))
@settings(max_examples=300, deadline=None)
def test_equals_the_plain_telling_however_it_is_cut(lines: list[dict[str, Any]], size: int) -> None:
    table = MetricsTable()
    for start in range(0, len(lines), size):
        table.add(lines[start : start + size])
    for name in ("train_loss", "val_loss"):
        assert points(table, name) == plainly(lines, name)
    steps = table.axis("step")
    assert (np.diff(steps) > 0).all()
