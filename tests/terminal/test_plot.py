"""Charts as text: scales, dots, gaps, marks and cursor, in braille and in ASCII."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinytales_tui.plot.canvas import Canvas, bridge, line_mask
from tinytales_tui.plot.figure import CLIPPED, CURSOR, FIRST_CURVE, MARK, Curve, Drawing, Figure, MarkAt, draw, time_label
from tinytales_tui.plot.scale import Scale, labels, ticks, time_ticks, value_label, y_scale

NUMBERS = st.floats(-1e12, 1e12).map(lambda value: value if abs(value) > 1e-9 else 0.0)


def styled(drawing: Drawing, style: int) -> set[tuple[int, int]]:
    """(row, column) of the cells of a style."""
    found = set()
    for y, row in enumerate(drawing.rows):
        x = 0
        for text, kind in row:
            if kind == style:
                found |= {(y, x + at) for at in range(len(text))}
            x += len(text)
    return found


def curve(y: list[float], style: int = FIRST_CURVE, form: str = "line", letter: str = "*") -> Curve:
    return Curve(np.arange(len(y), dtype=float), np.array(y, dtype=float), style, form, letter)  # type: ignore[arg-type]


@given(NUMBERS, NUMBERS, st.booleans(), st.integers(1, 8))
@settings(max_examples=300, deadline=None)
def test_a_scale_holds_its_values_and_has_few_ticks_inside(a: float, b: float, log: bool, most: int) -> None:
    low, high = min(a, b), max(a, b)
    scale = y_scale(low, high, log)
    near = 1e-8 * (high - low) + 1e-9 * abs(high)
    assert scale.low <= low + near
    assert scale.high >= high - near
    at = ticks(scale, most)
    assert 1 <= len(at) <= max(most, 1)
    assert at == sorted(at)
    assert all(len(value_label(value)) <= 8 for value in at)


def test_ticks_are_round() -> None:
    assert ticks(Scale(0, 10), 5) == [0, 2.5, 5, 7.5, 10] or ticks(Scale(0, 10), 5) == [0, 5, 10]
    assert ticks(Scale(1, 1000, log=True), 4) == [1, 10, 100, 1000]
    assert time_ticks(Scale(0, 7200), 5) == [0, 1800, 3600, 5400, 7200]
    assert labels([0.0, 0.0005, 0.001]) == ["0", "0.0005", "0.0010"]
    assert [value_label(value) for value in (0, 12_345, 3e-5, 2.5, -7e20)] == ["0", "12.3k", "3e-5", "2.5", "-7e20"]
    assert [time_label(value) for value in (0, 45, 90, 5400, 90_000)] == ["0", "45s", "1m30", "1h30", "1d1h"]


def test_a_line_has_no_holes_and_ends_where_it_should() -> None:
    rows = np.array([9.0, 0.0, 9.0, 4.0])
    mask = line_mask(rows, 10)
    for column in range(3):
        here, after = np.flatnonzero(mask[:, column]), np.flatnonzero(mask[:, column + 1])
        assert here.max() >= after.min() - 1
        assert after.max() >= here.min() - 1
        assert (np.diff(here) == 1).all()
    assert mask[9, 0] and mask[0, 1] and mask[4, 3]


def test_gaps_are_bridged_but_for_what_is_no_number() -> None:
    rows = np.array([np.nan, 2, np.nan, 4, np.nan, np.nan, 7])
    broken = np.array([False, False, False, False, True, False, False])
    np.testing.assert_array_equal(bridge(rows, np.zeros(7, dtype=bool))[1:], [2, 3, 4, 5, 6, 7])
    np.testing.assert_array_equal(bridge(rows, broken), [np.nan, 2, 3, 4, np.nan, np.nan, 7])


def test_braille_dots_are_where_they_belong() -> None:
    canvas = Canvas(1, 1, ascii=False)
    for row in range(4):
        for column in range(2):
            mask = np.zeros((4, 2), dtype=bool)
            mask[row, column] = True
            canvas.paint(mask, 9, "*")
            number = (1, 2, 3, 7)[row] if column == 0 else (4, 5, 6, 8)[row]  # as braille numbers its dots
            assert canvas.row(0) == [(chr(0x2800 + (1 << (number - 1))), 9)]


@pytest.mark.parametrize("ascii", [False, True])
@pytest.mark.parametrize("size", [(12, 4), (40, 10), (100, 30)])
def test_every_row_is_as_wide_as_asked(ascii: bool, size: tuple[int, int]) -> None:
    figure = Figure(
        [curve([3, 2, math.nan, 1, 5]), curve([1, 2, 3], FIRST_CURVE + 2, "points", "o")], 0, 4, marks=[MarkAt(2, "c")], cursor=1
    )
    drawing = draw(figure, *size, ascii)
    assert len(drawing.rows) == size[1]
    assert {sum(len(text) for text, _ in row) for row in drawing.rows} == {size[0]}
    assert not ascii or all(line.replace("▲", "").replace("×", "").replace("▼", "").isascii() for line in drawing.lines())


@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), max_size=50),
    st.booleans(),
    st.booleans(),
    st.integers(1, 60),
    st.integers(1, 20),
)
@settings(max_examples=200, deadline=None)
def test_any_values_are_drawn(values: list[float], log: bool, trim: bool, width: int, height: int) -> None:
    figure = Figure([curve(values, form="band"), curve(values)], 0, max(1, len(values)), log=log, trim=trim, marks=[], cursor=0.5)
    assert all(sum(len(text) for text, _ in row) == width for row in draw(figure, width, height, False).rows)


def test_a_spike_reaches_the_top_and_a_gap_is_marked() -> None:
    values = [1.0] * 20_000
    values[7_000] = 9.0
    values[15_000] = math.nan
    drawing = draw(Figure([curve(values, FIRST_CURVE + 1, "band")], 0, 20_000), 87, 22, False)
    top = {x for y, x in styled(drawing, FIRST_CURVE + 1) if y <= 2}
    assert top == {drawing.left + 7_000 * drawing.columns // 20_000}
    assert {x for _, x in styled(drawing, CLIPPED)} == {drawing.left + 15_000 * drawing.columns // 20_000}


def test_trimming_leaves_an_arrow_where_the_spike_is() -> None:
    values = [1.0 + at % 2 for at in range(1000)]
    values[500] = 1000.0
    drawing = draw(Figure([curve(values, FIRST_CURVE + 1, "band")], 0, 1000, trim=True), 80, 20, False)
    arrows = styled(drawing, CLIPPED)
    assert len(arrows) == 1
    assert next(iter(arrows))[0] == 0
    assert any("▲" in line for line in drawing.lines())


def test_marks_and_cursor_stand_at_their_x() -> None:
    marks = [MarkAt(10, "c", 1), MarkAt(50, "s", 1), MarkAt(50.1, "!", 9), MarkAt(-5, "x"), MarkAt(500, "x")]
    drawing = draw(Figure([curve([1.0] * 101)], 0, 100, marks=marks, cursor=50), 110, 12, False)
    row = "".join(text for text, _ in drawing.rows[-3])
    assert row[drawing.left :].rstrip().replace(" ", "") == "c!"
    place = row.index("!")
    assert drawing.x_at(place) == pytest.approx(50, abs=1)
    assert drawing.rows[0] and (0, place) in styled(drawing, CURSOR)
    assert "▲" in drawing.lines()[-2]
    assert styled(drawing, MARK) == {(9, row.index("c"))}


def test_a_line_lies_over_its_band_and_two_runs_keep_their_styles() -> None:
    band, line = curve([1, 5] * 50, FIRST_CURVE + 1, "band"), curve([3.0] * 100, FIRST_CURVE)
    drawing = draw(Figure([band, line], 0, 99), 60, 15, False)
    assert styled(drawing, FIRST_CURVE)
    assert styled(drawing, FIRST_CURVE + 1)
    middle = {y for y, _ in styled(drawing, FIRST_CURVE)}
    assert len(middle) == 1
