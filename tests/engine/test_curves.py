"""Smoothing and gathering of curves, against plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.watching.curves import gather, nearest, smooth

VALUES = st.lists(st.floats(-1e6, 1e6) | st.sampled_from([math.nan, math.inf, -math.inf]), max_size=200)


def plain_smooth(values: list[float], weight: float) -> list[float]:
    last, seen, result = 0.0, 0, []
    for value in values:
        if not math.isfinite(value):
            result.append(math.nan)
            continue
        last, seen = last * weight + (1 - weight) * value, seen + 1
        result.append(last / (1 - weight**seen))
    return result


@given(VALUES, st.sampled_from([0.0, 0.1, 0.5, 0.9, 0.99, 0.999]))
@settings(max_examples=200, deadline=None)
def test_the_moving_average_equals_the_loop(values: list[float], weight: float) -> None:
    np.testing.assert_allclose(smooth(np.array(values), weight), plain_smooth(values, weight), rtol=1e-6, atol=1e-3)


def test_a_long_average_equals_the_loop() -> None:
    values = np.random.default_rng(0).normal(size=5000)
    np.testing.assert_allclose(smooth(values, 0.995), plain_smooth(values.tolist(), 0.995), rtol=1e-9, atol=1e-9)


@given(VALUES, st.integers(1, 40), st.floats(-20, 220), st.floats(0, 250))
@settings(max_examples=200, deadline=None)
def test_columns_hold_the_extremes_and_the_mean_of_their_points(
    values: list[float], count: int, first: float, room: float
) -> None:
    x, y = np.arange(len(values), dtype=float), np.array(values, dtype=float)
    found = gather(x, y, first, first + room, count)
    edges = np.linspace(first, first + room, count + 1)
    place = np.clip(np.searchsorted(edges, x, "right") - 1, 0, count - 1) if room > 0 else np.full(len(x), count // 2)
    inside = (x >= first) & (x <= first + room)
    for column in range(count):
        part = y[inside & (place == column)]
        finite = part[np.isfinite(part)]
        assert bool(found.broken[column]) == bool(len(finite) < len(part))
        if len(finite):
            assert found.low[column] == finite.min()
            assert found.high[column] == finite.max()
            assert found.mean[column] == pytest.approx(finite.mean(), rel=1e-6, abs=1e-6)
        else:
            assert np.isnan([found.low[column], found.high[column], found.mean[column]]).all()


def test_one_spike_among_a_million_points_keeps_its_height() -> None:
    y = np.ones(1_000_000, dtype=np.float32)
    y[123_456] = 99
    found = gather(np.arange(len(y), dtype=float), y, 0, len(y), 160)
    assert np.nanmax(found.high) == 99
    assert int(np.nanargmax(found.high)) == 123_456 * 160 // 1_000_000


def test_the_nearest_point() -> None:
    x = np.array([1.0, 2.0, 4.0])
    assert [nearest(x, at) for at in (-5, 1.4, 1.6, 3.1, 99)] == [0, 0, 1, 2, 2]
    assert nearest(x[:0], 1) is None
