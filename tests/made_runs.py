"""Run directories for tests, written by hand, and a real process that stands in for a trainer in one of them."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TRAINER = r"""
import json, os, socket, sys, time
from pathlib import Path
import psutil
from filelock import FileLock

folder, state, step = Path(sys.argv[1]), sys.argv[2], 5
lock = FileLock(folder / "lock")
lock.acquire()

def status(state, **more):
    data = {"state": state, "step": step, "total_steps": 10, "pid": os.getpid(), "host": socket.gethostname(),
            "process_started": psutil.Process().create_time(), "heartbeat": time.time(), **more}
    aside = folder / ".status.part"
    aside.write_text(json.dumps(data))
    aside.replace(folder / "status.json")

def add(name, **row):
    with open(folder / name, "a") as file:
        file.write(json.dumps({"step": step, "time": time.time(), **row}) + "\n")

status(state)
print("ready", flush=True)
beat = time.time()
while True:
    for path in (folder / "requests").iterdir():
        path.unlink()
        time.sleep(0.1)
        if path.name == "stop":
            status("stopping")
            time.sleep(0.2)
            add("events.jsonl", event="stopped")
            with open(folder / "output.log", "a") as log:
                log.write("stopping\nlast words")
            status("stopped")
            sys.exit()
        elif path.name in ("pause", "resume"):
            state = "paused" if path.name == "pause" else "running"
            status(state)
        elif path.name == "checkpoint":
            add("events.jsonl", event="checkpoint", folder="checkpoints/step-000005")
        elif path.name == "sample":
            add("samples.jsonl", prompt="a made-up cat", story="It sat.")
    if time.time() - beat > 1:
        beat = time.time()
        status(state)
    time.sleep(0.02)
"""


def make_run(folder: Path, name: str = "mine", state: str = "stopped", step: int = 40, **status: Any) -> Path:
    """A run of 100 steps that ended at `step`, with metrics every ten steps and a validation every twenty."""
    path = folder / name
    (path / "requests").mkdir(parents=True)
    (path / "checkpoints").mkdir()
    begun = time.time() - 3600
    config = {"settings": {"model": "llama", "steps": 100, "data": ["/data/stories.txt"]}, "parameters": 12_345, "device": "cpu"}
    (path / "config.json").write_text(json.dumps(config))
    data = {"state": state, "step": step, "total_steps": 100, "pid": 1, "process_started": 1.0, "heartbeat": begun + step}
    (path / "status.json").write_text(json.dumps(data | {"host": socket.gethostname()} | status))
    rows: list[dict[str, Any]] = []
    for at in range(10, step + 1, 10):
        row = {"step": at, "tokens": at * 100, "time": begun + at}
        rows.append(row | {"train_loss": 8.0 - at / 20, "lr": 1e-3, "grad_norm": 1.0, "tokens_per_s": 1234.5})
        if at % 20 == 0:
            rows.append(row | {"val_loss": 9.0 - at / 20, "val_bits_per_byte": 3.0 - at / 100})
    write_lines(path / "metrics.jsonl", rows)
    write_lines(path / "events.jsonl", [{"event": "started", "step": 0, "time": begun}])
    write_lines(path / "samples.jsonl", [{"step": 20, "time": begun, "prompt": "a cat", "story": "There was a cat."}])
    (path / "output.log").write_text("".join(f"line {number}\n" for number in range(1, 101)))
    return path


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_status(path: Path, **changes: Any) -> None:
    """Change some values of a run's `status.json`."""
    data = json.loads((path / "status.json").read_text()) | changes
    (path / "status.json").write_text(json.dumps(data))


@contextlib.contextmanager
def live_trainer(path: Path, state: str = "running") -> Iterator[subprocess.Popen[str]]:
    """A process that holds the run's lock, says it is alive, and takes requests."""
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", TRAINER, str(path), state], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert process.stdout and process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]
