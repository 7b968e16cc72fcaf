"""The rows that show a machine's health: their words, their curves, how they fit, and what is drawn again."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.app import App, ComposeResult
from textual.geometry import Region

from engine.watching.machine import GpuSample, History, MachineSample
from tinytales_tui.train.machine.view import Line, MachineView, grouped, health_lines, one_line_health, sparkline
from tinytales_tui.widgets.plain_filters import AsciiFilter

GPU = GpuSample(0, "A GPU", 87.0, int(12e9), int(141e9), 61.0, 301.2, True)
FULL = "The disk is full in about 3 h at this rate of checkpoints."
NAMES = ["CPU", "trainer CPU", "memory", "trainer memory", "disk free", "disk writes"]


def sample(at: int = 0, **changes: object) -> MachineSample:
    values = {
        "cpu": 93.4,
        "cores": 8,
        "load": 7.25,
        "memory_used": int(4.1e9),
        "memory_total": int(24e9),
        "trainer": True,
        "trainer_cpu": 420.0,
        "trainer_memory": int(1.2e9),
        "disk_free": int(310e9),
        "disk_total": int(1000e9),
        "disk_read_rate": 3000.0,
        "disk_write_rate": 1.5e6,
    }
    return MachineSample(1e9 + 2 * at, **values | changes)


def history(*samples: MachineSample) -> History:
    found = History()
    for each in samples:
        found.add(each)
    return found


def text(lines: Sequence[Line]) -> list[str]:
    return ["".join(piece for piece, _ in line).rstrip() for line in lines]


def rows(each: MachineSample, width: int = 80, forecast: str | None = None, **more: object) -> list[str]:
    return text(health_lines(history(each), each, forecast, width, **more))


def test_each_figure_with_its_unit() -> None:
    lines = rows(sample(gpus=(GPU,)))
    assert [line.split("  ")[0] for line in lines] == [*NAMES, "GPU", "GPU memory"]
    for words, line in zip(
        (
            "93 % · load 7.2",
            "4.2 of 8 cores",
            "4.1 of 24.0 GB",
            "1.2 GB",
            "310 GB of 1.0 TB",
            "1.5 MB/s · reads 3.0 kB/s",
            "87 % · 61 °C · 301 W",
            "12.0 of 141 GB",
        ),
        lines,
        strict=True,
    ):
        assert line.endswith(words)
    few = rows(sample(disk_free=int(40e9)), width=40)
    assert few[4].endswith(" ! 40.0 GB") and len(few[4]) <= 40


def test_what_is_not_known_is_not_shown() -> None:
    assert text(health_lines(History(), None, FULL, 80)) == ["Looking at the machine..."]
    assert rows(MachineSample(1e9)) == []
    first = rows(sample(cpu=None, trainer_cpu=None, disk_write_rate=None))
    assert [line.split("  ")[0] for line in first] == ["trainer CPU", "memory", "trainer memory", "disk free"]
    assert first[0].endswith(" -")
    assert "trainer" not in " ".join(rows(sample(trainer=False, trainer_cpu=None, trainer_memory=None)))
    dim = GpuSample(0, "", None, None, None, None, None, False)
    assert not any("GPU" in line for line in rows(sample(gpus=(dim,))))
    assert rows(sample(all_disks=True))[5].startswith("writes (all)")


def test_a_trainer_that_is_gone() -> None:
    gone = sample(1, trainer=False, trainer_cpu=None, trainer_memory=None)
    lines = text(health_lines(history(sample(), gone), gone, None, 80))
    assert lines[1].endswith("not running") and lines[3].endswith("not running")


def test_a_run_on_another_host() -> None:
    away = MachineSample(1e9, host="far\x1b[31m-away", disk_free=int(2e9), disk_total=int(100e9))
    lines = rows(away, forecast=FULL)
    assert lines[0] == "This run is trained on far[31m-away; from here only its disk can be seen."
    assert lines[1].startswith("disk free") and lines[1].endswith("! 2.0 of 100 GB") and lines[2] == f"! {FULL}"
    assert one_line_health(away, 80) == "on far[31m-away · disk 2.0 GB free"


def test_trouble_is_marked_not_only_coloured() -> None:
    tight = sample(disk_free=int(40e9), memory_used=int(23.5e9))
    lines = health_lines(history(tight), tight, FULL, 80)
    marked = [line for line in lines if any(role == "warning" for _, role in line)]
    assert [line.split("  ")[0] for line in text(marked)] == ["memory", "disk free", f"! {FULL}"]
    assert all("! " in line for line in text(marked))


def test_the_gpus_of_this_run_are_shown_where_they_are_known() -> None:
    other = GpuSample(1, "A GPU", 5.0, None, None, None, None, False)
    assert [line[:6].strip() for line in rows(sample(gpus=(GPU, other)))[6:]] == ["GPU 0", "GPU 0"]
    unknown = GpuSample(0, "A GPU", 3.0, None, None, None, None, False)
    assert [line[:6].strip() for line in rows(sample(gpus=(unknown, other)))[6:]] == ["GPU 0", "GPU 1"]


@pytest.mark.parametrize("width", [1, 10, 30, 40, 55, 56, 80, 99, 100, 120, 160])
@pytest.mark.parametrize("height", [0, 8, 40])
@pytest.mark.parametrize("ascii", [False, True])
def test_it_fits(width: int, height: int, ascii: bool) -> None:
    busy = [sample(at, cpu=float(at % 100), gpus=(GPU,), disk_free=int(40e9)) for at in range(1000)]
    past = history(*busy)
    lines = health_lines(past, busy[-1], FULL, width, height=height, ascii=ascii)
    if width >= 40:
        assert all(len("".join(piece for piece, _ in line)) <= width for line in lines)
    if 40 <= width < 100:
        assert {line.split("  ")[0].split(" ! ")[0] for line in text(lines) if line.strip()} >= {*NAMES, "GPU", "GPU memory"}
    if width >= 100:
        assert "trainer CPU" in text(lines)[1 if height < 40 else 3] and "disk writes" in " ".join(text(lines))
    curves = "".join(piece for line in lines for piece, role in line if role == "curve")
    assert bool(curves.strip()) is (width >= 37)
    if ascii:
        assert "".join(text(lines)).replace("·", "").isascii()


def test_two_rows_where_there_is_room() -> None:
    each = sample()
    assert len(rows(each, height=11)) == 6 and len(rows(each, height=12)) == 12
    assert len(rows(each, height=12, forecast=FULL)) == 7 and len(rows(each, height=13, forecast=FULL)) == 13


def test_sparkline() -> None:
    assert sparkline([0, 50, 100], 3, 0, 100) == ["▁▅█"]
    assert sparkline([0, 25, 50, 75, 100], 5, 0, 100, ascii=True) == [".:-=#"]
    assert sparkline([math.nan, 100, -5, 500], 6, 0, 100) == ["   █▁█"]
    assert sparkline([0, 100, 45], 3, 0, 100, tall=2) == [" █ ", "▁██"]
    assert sparkline([1, 2, 3], 2, 0, 3) == ["▆█"]
    assert sparkline([5, 5], 2, 5, 5) == ["▁▁"] and sparkline([], 3, 0, 1) == ["   "] and sparkline([1], 0, 0, 1) == [""]


@given(st.lists(st.floats(0, 1) | st.just(math.nan), max_size=200), st.integers(0, 40), st.integers(1, 2), st.booleans())
def test_a_sparkline_is_as_large_as_asked(values: list[float], width: int, tall: int, ascii: bool) -> None:
    drawn = sparkline(values, width, 0, 1, tall=tall, ascii=ascii)
    assert [len(row) for row in drawn] == [width] * tall
    known = [value == value for value in values[max(0, len(values) - width) :]]
    assert [letter != " " for letter in drawn[-1]] == [False] * (width - len(known)) + known


def test_groups() -> None:
    assert grouped([1, 2, 3], 3, 10) == [1, 2, 3]
    assert grouped([1, 2, 3, 4, 5], 5, 4) == [1.5, 3.5, 5]
    assert grouped([1, 2, 3, 4, 5], 5, 4, peaks=True) == [2, 4, 5]
    assert grouped([2, 3, 4, 5, 6], 6, 4) == [2, 3.5, 5.5]  # a value stays with its neighbour when the oldest goes
    found = grouped([1, math.nan, math.nan, math.nan, 5], 5, 4)
    assert found[0] == 1 and math.isnan(found[1]) and found[2] == 5


@given(st.lists(st.floats(0, 1), min_size=1, max_size=950), st.integers(0, 5000), st.integers(2, 60), st.booleans())
def test_groups_fit(values: list[float], gone: int, columns: int, peaks: bool) -> None:
    found = grouped(values, len(values) + gone, columns, peaks=peaks)
    assert 1 <= len(found) <= columns and max(found) <= max(values) + 1e-9 and min(found) >= min(values) - 1e-9


def test_one_line() -> None:
    each = sample(gpus=(GPU,))
    assert one_line_health(each, 80) == "CPU 93 % · memory 4.1 of 24.0 GB · disk 310 GB free · GPU 87 %"
    assert one_line_health(each, 45) == "CPU 93 % · disk 310 GB free · GPU 87 %"
    assert one_line_health(each, 20) == "CPU 93 % · GPU 87 %"
    assert one_line_health(each, 9) == "GPU 87 %" and len(one_line_health(each, 4)) <= 4
    assert one_line_health(None, 80) == "" and one_line_health(MachineSample(1e9), 80) == ""


class Machines(App[None]):
    """One view, and a record of what is drawn again."""

    def __init__(self, ascii: bool = False, low_bandwidth: bool = False) -> None:
        super().__init__()
        self.ascii, self.low_bandwidth = ascii, low_bandwidth

    def compose(self) -> ComposeResult:
        yield Watched()

    def get_line_filters(self) -> list:
        return [*super().get_line_filters(), *([AsciiFilter()] if self.ascii else [])]


class Watched(MachineView):
    def __init__(self) -> None:
        self.drawn: list[tuple[Region, ...]] = []
        super().__init__()

    def refresh(self, *regions: Region, **more: object) -> MachineView:
        self.drawn.append(regions)
        return super().refresh(*regions, **more)


@pytest.mark.parametrize("size", [(80, 24), (60, 20), (40, 12), (120, 40)])
@pytest.mark.parametrize("ascii", [False, True])
async def test_on_the_screen(size: tuple[int, int], ascii: bool, screen_text: Callable, until: Callable) -> None:
    app = Machines(ascii)
    async with app.run_test(size=size) as pilot:
        view = app.query_one(Watched)
        await until(pilot, lambda: screen_text(app)[0].startswith("Looking at the machine..."))
        past = history(*(sample(at, gpus=(GPU,)) for at in range(30)))
        view.show(past, past.latest, FULL)
        await until(pilot, lambda: screen_text(app)[0].startswith("CPU"))
        shown = "\n".join(screen_text(app))
        assert all(name in shown for name in (*NAMES, "GPU memory", "4.1 of 24.0 GB", "! The disk is full in about 3 h"))
        assert not ascii or shown.isascii()
        one_row = view.size.height
        view.styles.height = "100%"
        await until(pilot, lambda: view.size.height == size[1])
        assert size[1] < 2 * one_row or screen_text(app)[1].startswith("CPU")
        await pilot.resize_terminal(50, 24)
        await until(pilot, lambda: len(screen_text(app)) == 24 and "trainer memory" in "\n".join(screen_text(app)))


async def test_only_what_changed_is_drawn_again(until: Callable, screen_text: Callable) -> None:
    app = Machines()
    async with app.run_test(size=(80, 24)) as pilot:
        view = app.query_one(Watched)
        past = history(*(sample(at) for at in range(51)))
        view.show(past, past.latest)
        await until(pilot, lambda: screen_text(app)[0].startswith("CPU"))
        view.drawn.clear()
        view.show(past, past.latest)
        assert view.drawn == []
        past.add(sample(51, load=1.0))  # into the column of the one before
        view.show(past, past.latest)
        assert view.drawn == [(Region(0, 0, 80, 1),)]
        await until(pilot, lambda: "load 1.0" in screen_text(app)[0])


async def test_with_low_bandwidth_it_draws_rarely(until: Callable, screen_text: Callable) -> None:
    app = Machines(low_bandwidth=True)
    async with app.run_test(size=(80, 24)) as pilot:
        view = app.query_one(Watched)
        past = history(sample())
        view.show(past, past.latest)
        await until(pilot, lambda: screen_text(app)[0].startswith("CPU"))
        view.drawn.clear()
        for at in range(1, 11):
            past.add(sample(at, cpu=float(at)))
            view.show(past, past.latest)
        assert len(view.drawn) == 2
        view.show(past, past.latest, FULL)  # something to say is said at once
        await until(pilot, lambda: FULL in "\n".join(screen_text(app)))
