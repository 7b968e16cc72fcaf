"""Run directories: what a training run leaves on disk, and all that anybody else may know of it.

    <runs folder>/<name>/
      config.json      resolved settings, versions, data hash, seed
      metrics.jsonl    append-only, one object a line: step, tokens, time, then any of train_loss, val_loss, ...
      events.jsonl     started, checkpoint, sample, warning, finished, stopped, failed
      samples.jsonl    step, prompt, story
      status.json      state, step, total_steps, pid, process_started, heartbeat
      requests/        what a viewer asks of the run
      output.log       what the run told a person
      checkpoints/     step-000500/ ...

Files that grow are appended to a whole line at a time; files that change are written aside and renamed. Knows no torch.
"""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Any, Literal

from engine import files
from engine.errors import UsageError

State = Literal["running", "paused", "finished", "stopped", "failed"]


class RunDirectory:
    """Writes one run. `create` refuses a folder that holds a run already."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, config: dict[str, Any]) -> RunDirectory:
        """A new run directory with its `config.json`; raises `UsageError` where it cannot be made or holds a run."""
        if (path / "config.json").exists():
            raise UsageError(f"{path} holds a training run already; choose another name, or delete that folder first.")
        try:
            for folder in (path, path / "checkpoints", path / "requests"):
                folder.mkdir(parents=True, exist_ok=True)
            files.write_json(path / "config.json", config)
        except OSError as error:
            raise UsageError(f"The run's folder {path} cannot be written: {error.strerror or error}.") from error
        return cls(path)

    def metric(self, step: int, tokens: int, **values: float) -> None:
        """One line of `metrics.jsonl`; a value that is not finite is written as a string, since JSON has no NaN."""
        row = {key: value if math.isfinite(value) else str(value) for key, value in values.items()}
        self._append("metrics.jsonl", {"step": step, "tokens": tokens, "time": round(time.time(), 3)} | row)

    def event(self, kind: str, step: int, **details: Any) -> None:
        self._append("events.jsonl", {"event": kind, "step": step, "time": round(time.time(), 3)} | details)

    def sample(self, step: int, prompt: str, story: str, **details: Any) -> None:
        self._append("samples.jsonl", {"step": step, "time": round(time.time(), 3), "prompt": prompt, "story": story} | details)

    def log(self, line: str) -> None:
        """A line of `output.log`."""
        with open(self.path / "output.log", "ab", buffering=0) as file:
            file.write(line.encode("utf-8", "replace") + b"\n")

    def status(self, state: State, step: int, total_steps: int) -> None:
        """Replace `status.json`; the process's start time lets a viewer tell this process from a later one with its number."""
        import psutil

        status = {
            "state": state,
            "step": step,
            "total_steps": total_steps,
            "pid": os.getpid(),
            "process_started": psutil.Process().create_time(),
            "heartbeat": round(time.time(), 3),
        }
        files.write_json(self.path / "status.json", status)

    def checkpoint_folder(self, step: int) -> Path:
        return self.path / "checkpoints" / f"step-{step:06d}"

    def _append(self, name: str, row: dict[str, Any]) -> None:
        line = json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        with open(self.path / name, "ab", buffering=0) as file:
            file.write(line)
