"""Run directories as a viewer sees them: alive or stale, whole or damaged, and what may be done to them."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from made_runs import live_trainer, make_run, write_lines, write_status
from small import save_tiny

import engine
from engine.errors import TinyTalesError, UsageError
from engine.run_actions import delete_run, export_run, request, requested, wait_for
from engine.run_view import RunView, find_run, list_runs


def test_a_run_that_ended(tmp_path: Path) -> None:
    run = RunView(make_run(tmp_path, message="A person asked."))
    status, summary = run.status(), run.summary()
    assert (status.state, status.step, status.total_steps, status.share) == ("stopped", 40, 100, 0.4)
    assert status.message == "A person asked." and not status.alive and 3500 < status.age < 3600
    assert summary.train_loss == 6.0 and summary.tokens == 4000 and summary.tokens_per_s == 1234.5
    assert (summary.best_bits_per_byte, summary.best_val_loss, summary.best_step) == (2.6, 7.0, 40)
    assert summary.eta_s is None and summary.seconds == 40.0 and summary.size_bytes > 1000
    assert run.settings["model"] == "llama" and run.events()[0]["event"] == "started"
    assert run.samples()[0]["story"] == "There was a cat." and run.log_tail(2) == ["line 99", "line 100"]
    assert run.log_tail(0) == [] and len(run.log_tail(10**9)) == 100


def test_alive_while_the_process_lives_and_stale_once_it_was_killed(tmp_path: Path) -> None:
    run = RunView(make_run(tmp_path))
    with live_trainer(run.path) as trainer:
        assert run.status().state == "running" and run.status().pid == trainer.pid
        assert run.summary().eta_s == pytest.approx(5.0)  # five more steps at a second each
        os.kill(trainer.pid, signal.SIGKILL)
        assert wait_for(run, lambda run: run.status().state == "stale", timeout=10)  # a zombie too is no life
        assert run.status().claimed == "running" and run.summary().eta_s is None


def test_what_is_believed_of_a_status(tmp_path: Path) -> None:
    run = RunView(make_run(tmp_path))
    process = psutil.Process()
    mine = {"pid": process.pid, "process_started": process.create_time(), "heartbeat": time.time()}

    def state(**changes: object) -> str:
        write_status(run.path, **mine | changes)
        return run.status().state

    for claim in ("starting", "running", "paused", "stopping"):
        assert state(state=claim) == claim
        assert state(state=claim, heartbeat=time.time() - 61) == "stale"
        assert state(state=claim, heartbeat=time.time() + 3600) == "stale"
        assert state(state=claim, heartbeat=None) == "stale"
        assert state(state=claim, host="elsewhere", pid=1, process_started=1.0) == claim  # nobody can look there
        assert state(state=claim, host="elsewhere", heartbeat=time.time() - 61) == "stale"
    recycled = {"state": "running", "host": None, "process_started": process.create_time() - 10}
    assert state(**recycled) == "stale"
    assert state(**recycled | {"process_started": process.create_time() + 1.5}) == "running"
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    assert state(state="running", pid=int(gone.stdout)) == "stale"
    assert state(state="starting", pid=int(gone.stdout)) == "stale"
    for pid in (None, True, "7", -1, 0, 2**70, 1.5):
        assert state(state="running", pid=pid) == "stale"
    for claim in ("finished", "stopped", "failed"):
        assert state(state=claim, heartbeat=0) == claim
    assert state(state="dancing") == "unknown"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe\x00", b"[" * 100_000, b'{"state": ["running"]}', None])
def test_garbage_for_every_file(tmp_path: Path, content: bytes | None) -> None:
    path = make_run(tmp_path)
    for name in ("config.json", "status.json", "metrics.jsonl", "events.jsonl", "samples.jsonl", "output.log"):
        (path / name).unlink()
        if content is not None:
            (path / name).write_bytes(content + b"\n" + content)
    run = RunView(path)
    assert run.status().state == "unknown" and run.config.get("settings") is None and run.settings == {}
    assert run.metrics() == run.events() == run.samples() == run.checkpoints() == []
    assert run.summary().train_loss is None and isinstance(run.log_tail(5), list)
    assert [found.name for found in list_runs(tmp_path)] == ["mine"]  # damaged, but there


def test_a_pipe_in_place_of_a_file_hangs_nobody(tmp_path: Path) -> None:
    path = make_run(tmp_path)
    for name in ("status.json", "metrics.jsonl", "output.log"):
        (path / name).unlink()
        os.mkfifo(path / name)
    run = RunView(path)
    assert run.status().state == "unknown" and run.metrics() == [] and run.log_tail(3) == []


def test_odd_lines_are_passed_over(tmp_path: Path) -> None:
    path = make_run(tmp_path, step=0)
    good = {"step": 1, "time": 5.0, "train_loss": 2.0}
    lines = [
        json.dumps(good), "{", "null", "7", '{"step": "2", "time": 1}', '{"time": 3}', '{"step": 3}', "\0\0\0", "",
        '{"step": 4, "time": 6.0, "train_loss": "nan", "grad_norm": "inf", "val_loss": "-inf", "lr": "fast", "x": [1], "y": true}',
        '{"step": 5, "time": 7.0, "train_loss": NaN, "tokens": 1' + "0" * 400 + "}",
        '{"step": 6, "time": 8.0, "train',
    ]  # fmt: skip
    (path / "metrics.jsonl").write_text("\n".join(lines))
    run = RunView(path)
    rows = run.metrics()
    assert [row["step"] for row in rows] == [1, 4, 5] and run.damaged_lines == 3
    assert math.isnan(rows[1]["train_loss"]) and rows[1]["grad_norm"] == math.inf and rows[1]["val_loss"] == -math.inf
    assert set(rows[1]) == {"step", "time", "train_loss", "grad_norm", "val_loss"}
    summary = run.summary()
    assert summary.best_step is None and math.isnan(summary.train_loss) and summary.tokens is None
    with open(path / "metrics.jsonl", "a") as file:  # the torn line becomes whole
        file.write('_loss": 1.5}\n')
    assert run.metrics()[-1] == {"step": 6, "time": 8.0, "train_loss": 1.5}


def test_growing_cut_back_and_replaced_files(tmp_path: Path) -> None:
    path = make_run(tmp_path, step=0)
    run, file = RunView(path), path / "metrics.jsonl"

    def row(step: int, loss: float = 1.0) -> str:
        return json.dumps({"step": step, "time": float(step), "train_loss": loss}) + "\n"

    def steps() -> list[int]:
        return [row["step"] for row in run.metrics()]

    file.write_text(row(1) + row(2))
    assert steps() == [1, 2]
    with file.open("a") as more:
        more.write(row(3) + row(4)[:9])
    assert steps() == [1, 2, 3]
    file.write_text(row(1))  # cut back in place
    assert steps() == [1]
    aside = tmp_path / "aside"
    aside.write_text("".join(row(n) for n in range(5, 9)))
    aside.replace(file)
    assert steps() == [5, 6, 7, 8]
    file.write_text("".join(row(n, 3.25) for n in range(50, 59)))  # rewritten in place, and longer than it was
    assert steps() == list(range(50, 59))
    with file.open("a") as more:  # a run that went on from step 55
        more.write(row(56, 9.0) + row(57, 9.0))
    assert steps() == [*range(50, 56), 56, 57] and run.metrics()[-2]["train_loss"] == 9.0
    file.unlink()
    assert steps() == []
    write_lines(path / "events.jsonl", [{"event": "paused", "step": 1, "time": 1.0}])
    assert [row["event"] for row in run.events()] == ["paused"]


def test_a_hundred_thousand_lines(tmp_path: Path) -> None:
    path = make_run(tmp_path, step=0)
    row = {"tokens": 4096, "lr": 0.001, "grad_norm": 0.71, "tokens_per_s": 4000.1, "memory_bytes": 123456789}
    with open(path / "metrics.jsonl", "w") as file:
        for step in range(1, 100_001):
            file.write(json.dumps({"step": step, "time": 1.7e9 + step, "train_loss": 2 + 1 / step} | row) + "\n")
            if step == 50_000:
                file.write("{torn\n")
    run = RunView(path)
    begun = time.perf_counter()
    rows = run.metrics()
    first = time.perf_counter()
    again = run.metrics()
    print(f"\n100,000 lines in {first - begun:.3f} s, once more in {time.perf_counter() - first:.6f} s")
    assert len(rows) == 100_000 and again is rows and run.damaged_lines == 1
    assert [rows[at]["step"] for at in (0, 49_999, 50_000, -1)] == [1, 50_000, 50_001, 100_000]
    assert run.summary().train_loss == 2.00001


def test_the_time_left_leaves_pauses_out(tmp_path: Path) -> None:
    run = RunView(make_run(tmp_path))
    rows = [{"step": step, "time": step * 2.0 + (5000 if step > 20 else 0), "train_loss": 1.0} for step in range(1, 31)]
    write_lines(run.path / "metrics.jsonl", rows)
    process = psutil.Process()
    alive = {"state": "running", "pid": process.pid, "process_started": process.create_time(), "heartbeat": time.time()}
    write_status(run.path, **alive, step=30)
    assert run.summary().eta_s == pytest.approx(70 * 2.0)


def test_listing_and_finding(tmp_path: Path) -> None:
    for number, name in enumerate(("old", "middle", "young")):
        path = make_run(tmp_path, name)
        write_lines(path / "events.jsonl", [{"event": "started", "step": 0, "time": 1000.0 + number}])
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "config.json").write_text("{}")  # a checkpoint or anything else has one too
    (tmp_path / "file").write_text("")
    shutil.copytree(tmp_path / "old", tmp_path / ".hidden")
    assert [run.name for run in list_runs(tmp_path)] == ["young", "middle", "old"]
    assert list_runs(tmp_path / "none") == []
    assert find_run(tmp_path, "old").path == tmp_path / "old"
    assert find_run(tmp_path / "elsewhere", str(tmp_path / "old")).name == "old"
    with pytest.raises(UsageError, match="did you mean middle"):
        find_run(tmp_path, "midle")
    for name in ("", "notes", ".hidden", "../old", "a/b", "x\0y", "nothing like it"):
        with pytest.raises(UsageError):
            find_run(tmp_path, name)


def test_requests(tmp_path: Path) -> None:
    run = RunView(make_run(tmp_path))
    with pytest.raises(UsageError, match="has stopped"):
        request(run, "stop")
    shutil.rmtree(run.path / "requests")
    (run.path / "requests").mkdir()
    with live_trainer(run.path):
        with pytest.raises(UsageError, match="not paused"):
            request(run, "resume")
        with pytest.raises(UsageError, match="not to dance"):
            request(run, "dance")  # type: ignore[arg-type]
        request(run, "pause")
        assert wait_for(run, lambda run: run.status().state == "paused", timeout=10) and not requested(run, "pause")
        with pytest.raises(UsageError, match="paused already"):
            request(run, "pause")
        request(run, "resume")
        assert wait_for(run, lambda run: run.status().state == "running", timeout=10)
        assert not wait_for(run, lambda run: False, timeout=0.3, every=0.1)
        request(run, "stop")
        request(run, "stop")
        assert wait_for(run, lambda run: run.status().state == "stopped", timeout=10)
    write_status(run.path, state="running", heartbeat=1.0)
    with pytest.raises(UsageError, match="its process is gone"):
        request(run, "stop")
    assert not any((run.path / "requests").iterdir())


def test_deleting(tmp_path: Path) -> None:
    run = RunView(make_run(tmp_path / "runs"))
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "keep.txt").write_text("kept")
    (run.path / "checkpoints" / "best").symlink_to(outside)
    (run.path / "link").symlink_to(outside / "keep.txt")
    with live_trainer(run.path):
        with pytest.raises(UsageError, match="stop it first"):
            delete_run(run)
        write_status(run.path, heartbeat=1.0, state="stopped")  # it says it has ended, but it still holds the lock
        with pytest.raises(UsageError, match=r"still holds|stop it first"):
            delete_run(run)
    write_status(run.path, state="stopped")
    alias = tmp_path / "runs" / "alias"
    alias.symlink_to(run.path)
    with pytest.raises(UsageError, match="link"):
        delete_run(RunView(alias))
    with pytest.raises(UsageError, match="left alone"):
        delete_run(RunView(outside))
    alias.unlink()
    left = tmp_path / "runs" / ".other.0123abcd.tinytales-deleted"
    left.mkdir()
    delete_run(run)
    assert not any((tmp_path / "runs").iterdir())
    assert (outside / "keep.txt").read_text() == "kept"


def test_folders_that_cannot_be_written(tmp_path: Path) -> None:
    run = RunView(make_run(tmp_path / "runs"))
    save_tiny(run.path / "checkpoints" / "best", "rope")
    (tmp_path / "runs").chmod(0o555)
    for folder in (run.path, run.path / "requests"):
        folder.chmod(0o555)
    if os.access(run.path, os.W_OK):
        pytest.skip("this user may write everywhere")
    try:
        assert run.summary().best_step == 40 and list_runs(tmp_path / "runs")[0].name == "mine"
        with pytest.raises(TinyTalesError, match="cannot be deleted"):
            delete_run(run)
        process = psutil.Process()
        alive = {"state": "running", "pid": process.pid, "process_started": process.create_time(), "heartbeat": time.time()}
        write_status(run.path, **alive)
        with pytest.raises(TinyTalesError, match="cannot be left"):
            request(run, "stop")
        export_run(run, tmp_path / "out")
    finally:
        for folder in (tmp_path / "runs", run.path, run.path / "requests"):
            folder.chmod(0o755)


def test_a_disk_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same where the tests run as root, whom no permission stops."""
    run = RunView(make_run(tmp_path))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", refuse)
        with pytest.raises(TinyTalesError, match="cannot be deleted: permission denied"):
            delete_run(run)
    assert [found.name for found in list_runs(tmp_path)] == ["mine"]
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", refuse)
        with pytest.raises(TinyTalesError, match="gone from the list"):
            delete_run(run)
    assert list_runs(tmp_path) == []


def test_exporting(tmp_path: Path) -> None:
    run = RunView(make_run(tmp_path / "runs"))
    with pytest.raises(UsageError, match="no checkpoint yet"):
        export_run(run, tmp_path / "out")
    save_tiny(run.path / "checkpoints" / "best", "rope")
    save_tiny(run.path / "checkpoints" / "step-000020", "learned")
    save_tiny(run.path / "checkpoints" / "step-000040", "learned")
    (run.path / "checkpoints" / "step-000060").mkdir()  # half of one
    (run.path / "checkpoints" / ".step-000080.part").mkdir()
    assert [(c.name, c.step, c.best) for c in run.checkpoints()] == [
        ("best", 0, True), ("step-000020", 20, False), ("step-000040", 40, False)
    ]  # fmt: skip
    done = export_run(run, tmp_path / "deep" / "out")
    assert done.name == "best" and done.bytes == sum(f.stat().st_size for f in (tmp_path / "deep" / "out").iterdir())
    assert engine.load_checkpoint(tmp_path / "deep" / "out", device="cpu").family == "llama"
    assert os.listdir(tmp_path / "deep") == ["out"]
    with pytest.raises(UsageError, match="--force"):
        export_run(run, tmp_path / "deep" / "out")
    assert export_run(run, tmp_path / "deep" / "out", "latest", force=True).name == "step-000040"
    assert engine.load_checkpoint(tmp_path / "deep" / "out", device="cpu").family == "gpt2"
    assert export_run(run, tmp_path / "of-20", 20).step == 20
    with pytest.raises(UsageError, match=r"no checkpoint of step 30; it has best \(step 0\), step-000020"):
        export_run(run, tmp_path / "of-30", 30)


def test_exporting_never_harms_what_is_there(tmp_path: Path) -> None:
    run = RunView(make_run(tmp_path / "runs"))
    save_tiny(run.path / "checkpoints" / "best", "rope")
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "love.txt").write_text("x")
    (tmp_path / "file").write_text("x")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("letters", "file", "dangling"):
        with pytest.raises(UsageError, match="is there already"):
            export_run(run, tmp_path / name)
        with pytest.raises(UsageError, match="not a checkpoint"):
            export_run(run, tmp_path / name, force=True)
    for inside in (run.path, run.path / "x", run.path / "checkpoints" / "mine", tmp_path, run.path.parent):
        with pytest.raises(UsageError, match="inside the run or around it"):
            export_run(run, inside, force=True)
    with pytest.raises(TinyTalesError, match="cannot be written"):
        export_run(run, tmp_path / "file" / "below")
    before = sorted(os.listdir(tmp_path))
    (run.path / "checkpoints" / "best" / "extra").symlink_to("/etc/hostname")
    with pytest.raises(UsageError, match="not a plain file"):
        export_run(run, tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == before
    shutil.rmtree(run.path / "checkpoints" / "best")
    elsewhere = save_tiny(tmp_path / "elsewhere", "rope")
    (run.path / "checkpoints" / "best").symlink_to(elsewhere)
    assert run.checkpoints() == []


def test_exporting_while_the_trainer_replaces_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine import run_actions

    run = RunView(make_run(tmp_path / "runs"))
    best = save_tiny(run.path / "checkpoints" / "best", "rope")
    copy, copied = run_actions._copy_folder, []

    def copy_and_replace(source: Path, target: Path) -> None:
        copy(source, target)
        if not copied:
            best.rename(tmp_path / "old")
            save_tiny(best, "learned")
        copied.append(source)

    monkeypatch.setattr(run_actions, "_copy_folder", copy_and_replace)
    export_run(run, tmp_path / "out")
    assert len(copied) == 2 and engine.load_checkpoint(tmp_path / "out", device="cpu").family == "gpt2"
