"""Two processes with gloo on the CPU: the same curve as one, resuming with another number, and a process that dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from training_runs import learnt, reached, rows_of, run_here, small_settings, status_of, until, write_stories

import engine
from engine.training import launch
from engine.training.run import train
from engine.training.settings import TrainSettings


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stories(tmp_path_factory.mktemp("data") / "stories.jsonl")


def settings_of(data: Path, **changes: object) -> TrainSettings:
    values = {"steps": 20, "batch_tokens": 1024, "evaluate_every": 10, "checkpoint_every": 10, "processes": 2, "ema": 0.9}
    return small_settings(data, **(values | changes))


def supervise(folder: Path) -> subprocess.Popen[str]:
    command = launch.command(folder, 2, foreground=True)
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True)


def ranks(folder: Path) -> list[psutil.Process]:
    """The training processes of a run, by rank."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(folder) in process.cmdline() and "RANK" in process.environ():
                found.append((int(process.environ()["RANK"]), process))
        except psutil.Error:
            continue
    return [process for _, process in sorted(found, key=lambda pair: pair[0])]


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    folder = tmp_path_factory.mktemp("two") / "run"
    launch.create(folder, settings_of(data))
    process = supervise(folder)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    return folder


def test_two_processes_learn_what_one_learns(tmp_path: Path, data: Path, together: Path) -> None:
    alone = run_here(tmp_path / "alone", settings_of(data))
    assert len(learnt(alone)) == len(learnt(together)) == 22
    for one, two in zip(learnt(alone), learnt(together), strict=True):
        assert (one["step"], one["tokens"]) == (two["step"], two["tokens"])
        for key in ("train_loss", "val_loss", "grad_norm"):
            assert two.get(key, 0) == pytest.approx(one.get(key, 0), rel=2e-3)
    a, b = (engine.load_checkpoint(run, device="cpu").network.state_dict() for run in (alone, together))
    assert max(float((a[key] - b[key]).abs().max()) for key in a) < 0.02
    assert rows_of(together, "events")[0]["processes"] == 2
    assert [row["event"] for row in rows_of(together, "events")].count("checkpoint") == 4  # one process wrote


def test_a_run_goes_on_with_another_number_of_processes(tmp_path: Path, data: Path, together: Path) -> None:
    folder = tmp_path / "run"
    launch.create(folder, settings_of(data, steps=10, schedule="constant"))
    process = supervise(folder)
    assert process.wait(120) == 0, process.communicate()[1]
    launch.change_settings(folder, {"steps": 20})
    assert train(folder) == "finished"  # by one process
    launch.change_settings(folder, {"steps": 30})
    process = supervise(folder)
    assert process.wait(120) == 0, process.communicate()[1]
    alone = run_here(tmp_path / "alone", settings_of(data, steps=30, schedule="constant"))
    for one, mixed in zip(learnt(alone), learnt(folder), strict=True):
        assert mixed.get("train_loss", 0) == pytest.approx(one.get("train_loss", 0), rel=5e-3)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_dies_ends_the_run_and_leaves_nobody_behind(tmp_path: Path, data: Path, rank: int) -> None:
    folder = tmp_path / "run"
    launch.create(folder, settings_of(data, steps=100_000, evaluate_every=100_000, checkpoint_every=5))
    process = supervise(folder)
    until(reached(folder, 12))
    all_ranks = ranks(folder)
    assert len(all_ranks) == 2
    all_ranks[rank].kill()
    assert process.wait(60) == 1
    assert psutil.wait_procs(all_ranks, timeout=10)[1] == []
    status = status_of(folder)
    assert status["state"] == "failed" and status["message"]
    launch.change_settings(folder, {"steps": status["step"] + 5, "processes": 1})
    assert train(folder) == "finished"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopping_through_the_supervisor_saves_first(tmp_path: Path, data: Path, number: signal.Signals) -> None:
    folder = tmp_path / "run"
    launch.create(folder, settings_of(data, steps=100_000, evaluate_every=100_000, checkpoint_every=100_000))
    process = supervise(folder)
    until(reached(folder, 3))
    os.killpg(process.pid, number)  # as a terminal does it: to all of them, and the supervisor passes it on
    assert process.wait(25) in (0, 130)
    status = status_of(folder)
    assert status["state"] == "stopped" and (folder / "state" / f"step-{status['step']:06d}.json").exists()
    assert ranks(folder) == []


def test_a_viewer_pauses_and_stops_two_processes(tmp_path: Path, data: Path) -> None:
    folder = tmp_path / "run"
    launch.create(folder, settings_of(data, steps=100_000, evaluate_every=100_000, checkpoint_every=100_000))
    process = supervise(folder)
    until(reached(folder, 3))
    (folder / "requests" / "pause").touch()
    until(lambda: status_of(folder)["state"] == "paused")
    held = status_of(folder)["step"]
    time.sleep(1)
    assert not reached(folder, held + 1)()
    (folder / "requests" / "resume").touch()
    until(reached(folder, held + 2))
    (folder / "requests" / "stop").touch()
    assert process.wait(60) == 0 and status_of(folder)["state"] == "stopped"


def test_plain_torchrun_trains_a_run(tmp_path: Path, data: Path) -> None:
    folder = tmp_path / "run"
    launch.create(folder, settings_of(data, steps=4))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "engine.training"]
    done = subprocess.run([*command, str(folder)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert status_of(folder)["state"] == "finished"
