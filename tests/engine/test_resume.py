"""Runs that are killed, stopped, paused, damaged or squeezed for room, in processes of their own, and go on as if nothing had been."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from training_runs import (
    learnt,
    reached,
    rows_of,
    run_here,
    small_settings,
    start_process,
    status_of,
    until,
    write_stories,
)

from engine.errors import CheckpointError, UsageError
from engine.run_view import RunView
from engine.runs import RunDirectory
from engine.training import launch
from engine.training.run import train
from engine.training.settings import TrainSettings
from engine.training.state import saved_steps

STEPS = 40


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stories(tmp_path_factory.mktemp("data") / "stories.jsonl")


def settings_of(data: Path, **changes: object) -> TrainSettings:
    """With all that could go wrong: dropout, accumulation, an average, means of metrics, several epochs, samples."""
    hard = {
        "steps": STEPS, "dropout": 0.2, "micro_tokens": 300, "batch_tokens": 1024, "ema": 0.9, "log_every": 3, "evaluate_every": 10,
        "checkpoint_every": 7, "sample_every": 20, "sample_prompts": ("Mia",), "optimizer": "muon",
    }  # fmt: skip
    return small_settings(data, **(hard | changes))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    return run_here(tmp_path_factory.mktemp("undisturbed") / "run", settings_of(data))


def assert_equal(run: Path, wanted: Path) -> None:
    """The same weights, optimizer memory, metrics and samples, byte for byte."""
    for name in (f"state/step-{STEPS:06d}.safetensors", f"checkpoints/step-{STEPS:06d}/model.safetensors",
                 "checkpoints/best/model.safetensors"):  # fmt: skip
        assert (run / name).read_bytes() == (wanted / name).read_bytes(), name
    assert learnt(run) == learnt(wanted)
    assert [(row["step"], row["story"]) for row in rows_of(run, "samples")] == [
        (row["step"], row["story"]) for row in rows_of(wanted, "samples")
    ]


def test_a_run_killed_again_and_again_equals_an_undisturbed_one(tmp_path: Path, data: Path, undisturbed: Path) -> None:
    folder = tmp_path / "run"
    launch.create(folder, settings_of(data))
    draw = random.Random()
    for after in (0, 9, 23):
        process = start_process(folder)
        until(reached(folder, after) if after else lambda pid=process.pid: status_of(folder)["pid"] == pid)
        time.sleep(draw.uniform(0.0, 0.15))
        process.kill()
        process.wait()
        assert RunView(folder).status().state == "stale"
    assert train(folder) == "finished"
    assert_equal(folder, undisturbed)
    steps = [row["step"] for row in rows_of(folder, "metrics") if "train_loss" in row]
    assert steps == sorted(set(steps))
    assert "resumed" in {row["event"] for row in rows_of(folder, "events")}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_saves_first_and_the_run_goes_on(tmp_path: Path, data: Path, undisturbed: Path, number: signal.Signals) -> None:
    folder = tmp_path / "run"
    process = start_process(folder, settings_of(data), start_new_session=True)
    until(reached(folder, 9))
    process.send_signal(number)
    if number != signal.SIGINT:  # kernel and shell both send one when a terminal closes
        time.sleep(0.05)
        process.send_signal(number)
    assert process.wait(60) in (0, -number), process.communicate()[1]  # the second one may find it on its way out
    status = status_of(folder)
    assert status["state"] == "stopped" and 9 <= status["step"] < STEPS
    assert (folder / "state" / f"step-{status['step']:06d}.json").exists()
    assert train(folder) == "finished"
    assert_equal(folder, undisturbed)


def test_a_second_ctrl_c_leaves_at_once(tmp_path: Path, data: Path) -> None:
    """In the middle of a step that takes many seconds, where the first one alone would wait for its end."""
    folder = tmp_path / "run"
    process = start_process(folder, settings_of(data, width=384, layers=8, batch_tokens=20_000, micro_tokens=20_000))
    until(lambda: (folder / "output.log").exists() and "From step 0" in (folder / "output.log").read_text())
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert status_of(folder)["state"] == "stopped" and not any((folder / "state").iterdir())


DEAF_STEP = """
import ctypes, pathlib, sys
from engine.training.__main__ import main
from engine.training.step import Learner

def step(learner, number, *rest, usual=Learner.step):
    if number == 10:
        lock, library = ctypes.create_string_buffer(256), ctypes.CDLL(None)
        pathlib.Path(sys.argv[1], "deaf").touch()
        library.pthread_mutex_lock(lock)
        library.pthread_mutex_lock(lock)
    return usual(learner, number, *rest)

Learner.step = step
sys.exit(main())
"""
"""A trainer whose tenth step is one call of the C library that never ends."""


def test_a_second_ctrl_c_leaves_in_the_midst_of_one_long_call(tmp_path: Path, data: Path, undisturbed: Path) -> None:
    """Python hears of neither before the call ends; nothing is half-written, and the run goes on as if nothing had been."""
    folder = tmp_path / "run"
    launch.create(folder, settings_of(data))
    process = subprocess.Popen([sys.executable, "-c", DEAF_STEP, str(folder)])
    try:
        until((folder / "deaf").exists)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert process.poll() is None and status_of(folder)["state"] == "running"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    finally:
        process.kill()
        process.wait()
    assert status_of(folder)["state"] == "stopped" and "Left at once" in status_of(folder)["message"]
    assert train(folder) == "finished"
    assert_equal(folder, undisturbed)


def test_a_viewer_pauses_asks_for_things_and_stops(tmp_path: Path, data: Path) -> None:
    folder = tmp_path / "run"
    process = start_process(
        folder, settings_of(data, steps=100_000, checkpoint_every=50_000, evaluate_every=50_000, sample_every=0)
    )
    try:
        until(reached(folder, 3))
        for kind in ("checkpoint", "sample"):
            (folder / "requests" / kind).touch()
        until(lambda: any((folder / "checkpoints").glob("step-*")) and (folder / "samples.jsonl").exists())
        (folder / "requests" / "pause").touch()
        until(lambda: status_of(folder)["state"] == "paused")
        held = status_of(folder)["step"]
        assert (folder / "state" / f"step-{held:06d}.json").exists()
        told = len(rows_of(folder, "samples"))
        (folder / "requests" / "sample").touch()
        until(lambda: len(rows_of(folder, "samples")) > told)
        assert not reached(folder, held + 1)() and status_of(folder)["state"] == "paused"
        (folder / "requests" / "resume").touch()
        until(reached(folder, held + 3))
        (folder / "requests" / "stop").touch()
        assert process.wait(60) == 0
    finally:
        process.kill()
    assert status_of(folder)["state"] == "stopped" and not any((folder / "requests").iterdir())
    assert [row["event"] for row in rows_of(folder, "events") if row["event"] in ("paused", "resumed", "stopped")] == [
        "paused", "resumed", "stopped",
    ]  # fmt: skip


def test_a_damaged_newest_state_falls_back_to_the_one_before(tmp_path: Path, data: Path, undisturbed: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(undisturbed, folder)
    newest = folder / "state" / f"step-{STEPS:06d}.safetensors"
    newest.write_bytes(newest.read_bytes()[:-10])
    assert train(folder) == "finished"
    warnings = [row for row in rows_of(folder, "events") if row["event"] == "warning"]
    assert warnings and "step 40 is damaged" in warnings[-1]["message"]
    assert_equal(folder, undisturbed)


def test_a_run_whose_states_are_all_damaged_is_not_begun_again(tmp_path: Path, data: Path, undisturbed: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(undisturbed, folder)
    for path in (folder / "state").glob("*.safetensors"):
        path.write_bytes(b"nothing")
    before = (folder / "metrics.jsonl").read_bytes()
    with pytest.raises(CheckpointError, match="cannot go on"):
        train(folder)
    assert (folder / "metrics.jsonl").read_bytes() == before and status_of(folder)["state"] == "failed"


def test_a_damaged_state_does_not_crowd_out_good_ones(tmp_path: Path, data: Path) -> None:
    folder = run_here(tmp_path / "run", settings_of(data, steps=21, schedule="constant"))
    newest = folder / "state" / "step-000021.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    launch.change_settings(folder, {"steps": 16})
    assert train(folder) == "finished"  # from 14 to 16
    assert saved_steps(folder / "state") == [16, 14]


def test_a_stop_asked_for_while_the_run_starts_is_heard(tmp_path: Path, data: Path) -> None:
    folder = tmp_path / "run"
    launch.create(folder, settings_of(data, steps=100_000))
    (folder / "requests" / "pause").touch()  # of a process that is gone
    launch.start(folder)
    assert not (folder / "requests" / "pause").exists()
    (folder / "requests" / "stop").touch()
    until(lambda: status_of(folder)["state"] == "stopped")
    assert status_of(folder)["step"] < 10


def test_a_finished_run_can_be_given_more_steps(tmp_path: Path, data: Path) -> None:
    settings = settings_of(data, schedule="constant", warmup_steps=0)
    longer = run_here(tmp_path / "longer", settings)
    folder = run_here(tmp_path / "run", settings_of(data, schedule="constant", warmup_steps=0, steps=21))
    launch.change_settings(folder, {"steps": STEPS})
    assert train(folder) == "finished"
    assert (folder / f"state/step-{STEPS:06d}.safetensors").read_bytes() == (
        longer / f"state/step-{STEPS:06d}.safetensors"
    ).read_bytes()
    for wrong in ({"width": 64}, {"colour": "red"}, {"steps": 0}):
        with pytest.raises(UsageError):
            launch.change_settings(folder, wrong)


def test_a_run_goes_on_without_the_files_it_began_with(tmp_path: Path, data: Path) -> None:
    moved = tmp_path / "stories.jsonl"
    shutil.copy(data, moved)
    folder = run_here(tmp_path / "run", settings_of(moved, steps=10))
    moved.unlink()
    launch.change_settings(folder, {"steps": 12})
    assert train(folder) == "finished"


def test_two_trainers_never_write_one_run(tmp_path: Path, data: Path) -> None:
    folder = tmp_path / "run"
    process = start_process(folder, settings_of(data, steps=100_000))
    try:
        until(reached(folder, 1))
        with pytest.raises(UsageError, match="written by another process"):
            train(folder)
        with pytest.raises(UsageError):
            launch.start(folder)
        assert status_of(folder)["pid"] == process.pid and status_of(folder)["state"] == "running"
    finally:
        process.kill()
        process.wait()


def test_a_full_disk_makes_a_run_wait_and_costs_nothing(tmp_path: Path, data: Path, undisturbed: Path) -> None:
    """No file may grow past 20,000 bytes: metrics can be written, checkpoints cannot, until the limit is lifted."""
    folder = tmp_path / "run"
    launch.create(folder, settings_of(data))
    shutil.copytree(undisturbed / "data", folder / "data")
    process = start_process(folder)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    try:
        until(lambda: status_of(folder)["state"] == "paused")
        assert "disk is full" in status_of(folder)["message"]
        assert not any((folder / "checkpoints").glob("*")), "nothing half-written"
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert process.wait(60) == 0, process.communicate()[1]
    finally:
        process.kill()
    assert_equal(folder, undisturbed)


def test_a_run_that_waits_for_room_can_be_stopped(tmp_path: Path, data: Path, undisturbed: Path) -> None:
    folder = tmp_path / "run"
    launch.create(folder, settings_of(data))
    shutil.copytree(undisturbed / "data", folder / "data")
    process = start_process(folder)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    until(lambda: status_of(folder)["state"] == "paused")
    (folder / "requests" / "stop").touch()
    assert process.wait(60) == 1
    status = status_of(folder)
    assert status["state"] == "failed" and "disk is full" in status["message"]


def test_a_detached_run_outlives_its_terminal(tmp_path: Path, data: Path, undisturbed: Path) -> None:
    """Started from a shell in a pseudo-terminal of its own, which is then closed: the whole session gets SIGHUP."""
    folder = tmp_path / "run"
    launch.create(folder, settings_of(data))
    script = "from pathlib import Path; from engine.training import launch\n"
    script += f"print(launch.start(Path({str(folder)!r})), flush=True); input()"
    pid, terminal = os.forkpty()
    if not pid:
        os.execv(sys.executable, [sys.executable, "-c", script])
    trainer = int(os.read(terminal, 100).split()[0])
    assert os.getsid(trainer) != os.getsid(pid)
    os.close(terminal)
    os.waitpid(pid, 0)
    until(lambda: status_of(folder)["state"] == "finished")
    assert_equal(folder, undisturbed)


def test_a_run_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path, data: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        launch.create(tmp_path / "file" / "run", settings_of(data))
    with pytest.raises(UsageError, match="holds no training run"):
        train(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()
    done = subprocess.run([sys.executable, "-m", "engine.training", str(tmp_path / "nothing")], capture_output=True, text=True)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1


def test_half_a_line_at_the_end_is_taken_back(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", {})
    for step in (1, 2, 3):
        run.metric(step, 10 * step, train_loss=1.0)
    run.event("started", 0)
    lengths = run.lengths()
    run.metric(4, 40, train_loss=1.0)
    for name in ("metrics.jsonl", "events.jsonl"):
        with open(run.path / name, "ab") as file:
            file.write(b'{"step": 5, "tok')
    run.take_back(lengths)
    assert [row["step"] for row in rows_of(run.path, "metrics")] == [1, 2, 3]
    assert [row["event"] for row in rows_of(run.path, "events")] == ["started"]
