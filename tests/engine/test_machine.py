"""The machine's health and the disk forecast: real processes, a made GPU library, and made histories of a folder."""

from __future__ import annotations

import contextlib
import math
import random
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_runs import live_trainer, make_run, write_status

from engine.run_view import CheckpointInfo
from engine.watching.disk import DiskWatch, checkpoint_growth, forecast, seconds_until_full
from engine.watching.machine import GpuSample, History, Machine, MachineSample, shown_gpus

MB = 1e6
HOUR = 3600.0


def sampled_until(machine: Machine, condition: Callable[[MachineSample], object]) -> MachineSample:
    end = time.monotonic() + 20
    while not condition(sample := machine.sample()):
        assert time.monotonic() < end, sample
        time.sleep(0.05)
    return sample


@contextlib.contextmanager
def process(code: str, *words: str) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A Python process that prints process numbers on one line and then goes on; all below it are ended with it."""
    started = subprocess.Popen([sys.executable, "-c", code, *words], stdout=subprocess.PIPE, text=True)
    below: list[psutil.Process] = []
    try:
        assert started.stdout
        numbers = [int(word) for word in started.stdout.readline().split()]
        below = psutil.Process(started.pid).children(recursive=True)
        yield started, numbers
    finally:
        for each in (*below, started):
            with contextlib.suppress(psutil.Error):
                each.kill()
        started.wait()
        started.stdout.close()


BUSY = "import os; print(os.getpid(), flush=True)\nwhile True: pass"
IDLE = "import time; held = bytearray(30_000_000); print(1, flush=True); time.sleep(600)"
FAMILY = f"""
import subprocess, sys, time
children = [subprocess.Popen([sys.executable, "-c", {IDLE!r}], stdout=subprocess.PIPE) for _ in range(2)]
for child in children:
    child.stdout.readline()
print(*(child.pid for child in children), flush=True)
time.sleep(600)
"""


def claim(run: Path, pid: int) -> None:
    write_status(run, state="running", pid=pid, process_started=psutil.Process(pid).create_time(), heartbeat=time.time())


def test_this_machine(tmp_path: Path) -> None:
    machine = Machine(make_run(tmp_path))
    first = machine.sample()
    assert first.cpu is None and first.disk_write_rate is None  # these take two
    sample = sampled_until(machine, lambda sample: sample.cpu is not None)
    assert 0 <= sample.cpu <= 100 and sample.cores == psutil.cpu_count()
    assert 0 < sample.memory_used < sample.memory_total
    assert 0 <= sample.disk_free < sample.disk_total
    assert sample.host is None and not sample.trainer and sample.trainer_cpu is None and sample.trainer_memory is None
    machine.close()


def test_the_trainers_processor_and_memory(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    machine = Machine(run)
    with process(BUSY) as (trainer, _):
        claim(run, trainer.pid)
        first = machine.sample()
        assert first.trainer and first.trainer_cpu is None and first.trainer_memory > 1_000_000
        assert sampled_until(machine, lambda sample: sample.trainer_cpu).trainer_cpu > 0
    assert not (gone := machine.sample()).trainer and gone.trainer_memory is None


def test_what_stands_below_and_beside_the_first_process_counts(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    machine = Machine(run)
    with process(FAMILY) as (parent, children):
        claim(run, parent.pid)
        assert machine.sample().trainer_memory > 80_000_000
        claim(run, children[0])  # the parent is no launcher of ours, so the other child is no part of it
        assert 30_000_000 < machine.sample().trainer_memory < 60_000_000
    with process(FAMILY, "-m", "engine.training", str(run)) as (parent, children):
        claim(run, children[0])
        assert machine.sample().trainer_memory > 80_000_000


def test_a_number_that_was_given_to_another_process(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    machine = Machine(run)
    with live_trainer(run) as trainer:
        assert machine.sample().trainer
        for started in (psutil.Process(trainer.pid).create_time() - 100, None):
            write_status(run, process_started=started)
            assert not machine.sample().trainer
        trainer.kill()
        claim(run, trainer.pid)
        assert not sampled_until(machine, lambda sample: not sample.trainer).trainer  # dead, and nobody has asked how it ended


def test_a_run_on_another_host_shows_its_disk_only(tmp_path: Path) -> None:
    run = make_run(tmp_path, host="another-machine")
    machine = Machine(run)
    machine.sample()
    sample = machine.sample()
    assert sample.host == "another-machine" and sample.disk_free is not None
    assert (sample.cpu, sample.memory_total, sample.disk_write_rate, sample.trainer, sample.gpus) == (None, None, None, False, ())


@pytest.mark.parametrize("content", [None, b"", b"[]", b'{"pid": "x", "host": 3}', b'{"pid": -1, "process_started": 1e999}'])
def test_folders_that_say_nothing(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "status.json").write_bytes(content)
    sample = Machine(tmp_path).sample()
    assert not sample.trainer and sample.disk_free is not None
    assert Machine(tmp_path / "missing").sample().disk_free is None


def gpu_library(pid: int) -> types.SimpleNamespace:
    """What NVIDIA's package offers, with two GPUs; the second tells little, and one of its calls fails."""

    def fails(*_: object) -> None:
        raise RuntimeError("not supported")

    library = types.SimpleNamespace(open=False)
    library.nvmlInit = lambda: setattr(library, "open", True)
    library.nvmlShutdown = lambda: setattr(library, "open", False)
    library.nvmlDeviceGetCount = lambda: 2
    library.nvmlDeviceGetHandleByIndex = lambda index: index
    library.nvmlDeviceGetName = lambda gpu: ["First", b"Second"][gpu]
    library.nvmlDeviceGetMemoryInfo = lambda gpu: types.SimpleNamespace(used=5 * 10**9, total=80 * 10**9)
    library.nvmlDeviceGetUtilizationRates = lambda gpu: fails() if gpu else types.SimpleNamespace(gpu=87, memory=20)
    library.nvmlDeviceGetTemperature = lambda gpu, sensor: 61
    library.nvmlDeviceGetPowerUsage = lambda gpu: 301_200
    library.nvmlDeviceGetComputeRunningProcesses = lambda gpu: [types.SimpleNamespace(pid=pid if gpu == 0 else 1)]
    return library


def test_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path)
    with live_trainer(run) as trainer:
        library = gpu_library(trainer.pid)
        monkeypatch.setitem(sys.modules, "pynvml", library)
        machine = Machine(run)
        sample = machine.sample()
        first, second = sample.gpus
        assert first == GpuSample(0, "First", 87.0, 5 * 10**9, 80 * 10**9, 61.0, 301.2, ours=True)
        assert second.name == "Second" and second.utilisation is None and second.memory_used and not second.ours
        assert shown_gpus(sample) == (first,) and sample.gpu_utilisation == 87.0
        del library.nvmlDeviceGetPowerUsage
        assert machine.sample().gpus[0].power is None
        assert library.open
        machine.close()
        assert not library.open


@pytest.mark.parametrize("broken", ["nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex"])
def test_no_gpus_where_the_driver_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    library = gpu_library(1)
    delattr(library, broken)
    monkeypatch.setitem(sys.modules, "pynvml", library)
    machine = Machine(tmp_path)
    assert machine.sample().gpus == () and machine.sample().gpu_utilisation is None
    monkeypatch.setitem(sys.modules, "pynvml", None)  # not installed
    assert Machine(tmp_path).sample().gpus == ()
    machine.close()


def test_history_is_a_ring() -> None:
    history = History(seconds=20, every=2)
    assert len(history.series("cpu")) == 0 and history.latest is None
    gpu = GpuSample(0, "First", 5.0, 7, 9, None, None, False)
    for step in range(25):
        history.add(MachineSample(1000.0 + 2 * step, cpu=float(step), gpus=(gpu,) if step > 20 else ()))
    assert list(history.series("cpu")) == [float(step) for step in range(15, 25)]
    assert [value == 5.0 for value in history.series("gpu0")] == [False] * 6 + [True] * 4
    assert list(history.series("gpu0_memory"))[-1] == 7.0 and len(history.series("memory")) == 0
    assert (history.count, history.latest.cpu) == (25, 24.0)
    history.add(MachineSample(1000.0 + 2 * 25 + 600, cpu=1.0))  # the machine slept
    assert math.isnan(history.series("cpu")[-2]) and list(history.series("cpu"))[-1] == 1.0


def test_history_before_it_is_full() -> None:
    history = History(seconds=20, every=2)
    for step in range(3):
        history.add(MachineSample(2.0 * step, cpu=None if step == 1 else float(step)))
    values = history.series("cpu")
    assert len(values) == 3 and values[0] == 0.0 and math.isnan(values[1]) and values[2] == 2.0


def test_no_torch_and_no_screen() -> None:
    code = "import engine.watching.machine, engine.watching.disk, sys; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "textual", "rich", "psutil", "pynvml", "tinytales_tui"} & set(modules)


# The disk


def steady(rate: float, *, hours: float = 2.0, every: float = 30.0, start: float = 1e9) -> list[tuple[float, float]]:
    return [(start + at * every, 100 * MB + rate * at * every) for at in range(int(hours * HOUR / every))]


def sawtooth(kept_bytes: float, *, hours: float = 4.0, every: float = 30.0) -> list[tuple[float, float]]:
    """A checkpoint each 20 minutes: two lie side by side for a minute, then the old one goes; `kept_bytes` of each stay."""
    points = []
    for at in range(int(hours * HOUR / every)):
        seconds = at * every
        saved, since = divmod(seconds, 1200)
        points.append((1e9 + seconds, 200 * MB + saved * kept_bytes + (60 * MB if since < 60 else 0) + seconds / 100))
    return points


def test_a_folder_that_grows_steadily() -> None:
    assert seconds_until_full(10 * MB * 3600, steady(10 * MB / 3)) == pytest.approx(3 * HOUR, rel=0.05)
    assert forecast(10 * MB * 3600, steady(10 * MB / 3)) == "The disk is full in about 3 h at this rate of checkpoints."
    assert forecast(10 * MB * 600, steady(10 * MB)) == "The disk is full in about 10 min at this rate of checkpoints."
    assert forecast(10 * MB * 86_400 * 5, steady(10 * MB)) == "The disk is full in about 5 days at this rate of checkpoints."
    assert forecast(MB, steady(10 * MB)) == "The disk is full in about a minute at this rate of checkpoints."
    assert forecast(0, []) == "The disk is full."


def test_old_checkpoints_that_go_are_no_growth() -> None:
    points = sawtooth(0)
    for seen in range(len(points)):
        assert forecast(10e9, points[:seen]) is None  # at whatever moment somebody looks


def test_checkpoints_that_stay_are_growth() -> None:
    # 60 MB each 20 minutes are 180 MB an hour.
    assert seconds_until_full(180 * MB * 10, sawtooth(60 * MB)) == pytest.approx(10 * HOUR, rel=0.25)


def test_what_grew_once_need_not_go_on() -> None:
    begun = [(1e9 + at, min(at, 120) * 5 * MB + at * 10) for at in range(0, 3600, 20)]
    for seen in range(len(begun)):
        assert forecast(50e9, begun[:seen]) is None


def test_growth_that_begins_late_counts_once_it_has_lasted() -> None:
    flat = [(1e9 + at, 100 * MB + at) for at in range(0, 7200, 30)]
    rising = [(at + 7200, size + (at - 1e9) * MB) for at, size in flat]
    assert forecast(3600 * MB * 5, flat) is None
    assert seconds_until_full(3600 * MB * 5, flat + rising) == pytest.approx(5 * HOUR, rel=0.1)


def test_checkpoints_that_somebody_deleted() -> None:
    before = steady(10 * MB)
    end = before[-1][0] + 30
    after = [(end + at, 50 * MB + at * 2 * MB) for at in range(0, 3600, 30)]
    assert forecast(100e9, before + after[:5]) is None  # nothing is known yet of how it goes on
    assert seconds_until_full(7200 * MB, before + after) == pytest.approx(HOUR, rel=0.05)


def test_clocks_that_jump() -> None:
    plain = steady(10 * MB)
    expected = pytest.approx(HOUR, rel=0.05)
    back = plain[:100] + [(at - 7200, size) for at, size in plain[100:]]
    ahead = plain[:100] + [(at + 1e6, size) for at, size in plain[100:]]
    assert seconds_until_full(36_000 * MB, back) == expected
    assert seconds_until_full(36_000 * MB, ahead) == expected
    assert seconds_until_full(36_000 * MB, [*plain[:100], (0.0, 5.0)]) is None


def test_silence_where_there_is_nothing_to_say() -> None:
    growing = steady(10 * MB)
    assert forecast(None, growing) is None and forecast(math.nan, growing) is None
    assert forecast(36_000 * MB, growing[:10]) is None  # five minutes
    assert forecast(36_000 * MB * 24 * 60, growing) is None  # two months
    assert forecast(36_000 * MB, growing, ends_in=HOUR / 2) is None
    assert forecast(36_000 * MB, growing, ends_in=2 * HOUR) is not None
    assert forecast(36_000 * MB, list(reversed(growing))) is None


@given(st.lists(st.tuples(st.floats(), st.floats())), st.floats() | st.none())
def test_whatever_was_measured(growth: list[tuple[float, float]], free: float | None) -> None:
    left = seconds_until_full(free, growth)
    assert left is None or left >= 0
    assert forecast(free, growth) is None or free is not None


@given(st.floats(1e3, 1e8), st.floats(1, 1e6), st.integers(0, 2**32))
def test_a_steady_pace_is_found_under_noise(rate: float, left: float, seed: int) -> None:
    chance = random.Random(seed)
    growth = [(at, size + chance.random() * rate * 60) for at, size in steady(rate)]
    assert seconds_until_full(rate * left, growth) == pytest.approx(left, rel=0.1)


def checkpoint(step: int, size: float = 60 * MB, *, best: bool = False) -> CheckpointInfo:
    name = "best" if best else f"step-{step:06d}"
    return CheckpointInfo(name, step, int(size), best, Path("/run/checkpoints") / name)


def written(steps: int, *, every: float = 1200.0) -> list[dict[str, object]]:
    return [
        {"event": "checkpoint", "time": 1e9 + step * every, "step": step, "folder": f"checkpoints/step-{step:06d}"}
        for step in range(1, steps + 1)
    ]


def test_checkpoints_tell_of_growth_at_once() -> None:
    events = [*written(12), {"event": "checkpoint", "time": "x", "folder": "checkpoints/step-000001"}, {"event": "warning"}]
    stay = [checkpoint(step) for step in (2, 4, 6, 8, 10)]
    growth = checkpoint_growth([*stay, checkpoint(9, best=True), checkpoint(11), checkpoint(12)], events)
    assert growth == [(1e9 + step * 1200, step / 2 * 60 * MB) for step in (2, 4, 6, 8, 10)]
    # 60 MB each 40 minutes are 90 MB an hour.
    assert seconds_until_full(900 * MB, growth) == pytest.approx(10 * HOUR, rel=0.05)
    newest_only = checkpoint_growth([checkpoint(11), checkpoint(12), checkpoint(12, best=True)], events)
    assert newest_only == [] and checkpoint_growth(stay, []) == []


def test_a_watch_measures_for_days_at_a_bounded_cost() -> None:
    watch = DiskWatch(every=10, kept=50)
    assert watch.forecast(1e12) is None
    for at in range(0, 100_000, 5):
        watch.note(1e9 + at, 1e9 + at * MB if at % 1000 else 0)  # now and then a size that is not known
    assert watch.forecast(36_000 * MB) == "The disk is full in about 10 h at this rate of checkpoints."
    assert watch.forecast(36_000 * MB, ends_in=60) is None
    assert 20 < len(watch.measured) <= 50


def test_a_watch_knows_from_the_checkpoints_before_it_has_measured() -> None:
    now = 1e9 + 20 * 1200
    watch = DiskWatch()
    watch.note(now, 1e9, [checkpoint(step) for step in range(1, 21)], written(20))
    assert watch.forecast(180 * MB * 6) == "The disk is full in about 6 h at this rate of checkpoints."
    watch = DiskWatch()
    for at in range(0, 3600, 30):  # too few checkpoints to tell from
        watch.note(now + at, 1e9 + at * MB, [checkpoint(step) for step in (18, 19, 20)], written(20))
    assert watch.forecast(3600 * MB * 3) == "The disk is full in about 3 h at this rate of checkpoints."
