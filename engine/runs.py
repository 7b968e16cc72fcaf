"""Run directories: what a training run leaves on disk, and all that anybody else may know of it. Written here, read by `run_view`.

    <runs folder>/<name>/
      config.json      resolved settings, versions, data hash, seed
      metrics.jsonl    one object a line: step, tokens, time, then any of train_loss, val_loss, ...; steps in order, each once
      events.jsonl     started, resumed, checkpoint, sample, warning, paused, finished, stopped, failed
      samples.jsonl    step, prompt, story
      status.json      state, step, total_steps, pid, process_started, host, heartbeat, message
      requests/        what a viewer asks of the run: stop, checkpoint, sample, pause, resume
      output.log       what the run told a person
      checkpoints/     best, step-000500 ...: whole checkpoints that other programs open
      state/           what is needed beside to go on (`engine.training.state`)
      data/            tokens, where the run prepared its own
      lock             held by the process that writes

Files that grow are appended to a whole line at a time; files that change are written aside and renamed. Knows no torch.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import socket
import time
from pathlib import Path
from typing import Any, Literal

from engine import files
from engine.errors import UsageError

State = Literal["starting", "running", "paused", "stopping", "finished", "stopped", "failed"]
Request = Literal["stop", "checkpoint", "sample", "pause", "resume"]
REQUESTS: tuple[Request, ...] = ("stop", "checkpoint", "sample", "pause", "resume")
STATUS_BYTES = 1000
"""`status.json` is filled up to this size with blanks, so that on a full disk a new one fits into the place of the old one."""
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What the system says where a disk is full."""
GROWING = ("metrics.jsonl", "samples.jsonl", "events.jsonl")


class RunDirectory:
    """Writes one run. `create` refuses a folder that holds a run already; `lock` lets one process write at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, config: dict[str, Any]) -> RunDirectory:
        """A new run directory with its `config.json`; raises `UsageError` where it cannot be made or holds a run."""
        if (path / "config.json").exists():
            raise UsageError(f"{path} holds a training run already; choose another name, or delete that run first.")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and any(path.iterdir()):
                raise UsageError(f"{path} is not empty; choose another name for the run.")
            path.mkdir(exist_ok=path.exists())
            for folder in (path / "checkpoints", path / "requests", path / "state"):
                folder.mkdir()
            files.write_json(path / "config.json", config)
        except OSError as error:
            raise UsageError(f"The run's folder {path} cannot be written: {error.strerror or error}.") from error
        return cls(path)

    @contextlib.contextmanager
    def lock(self) -> Any:
        """Hold the run; raises `UsageError` where another process writes it, or where the folder cannot be written.

        The lock is the operating system's and dies with its process, so a killed run is free at once.
        """
        from filelock import FileLock, Timeout

        held = FileLock(self.path / "lock", timeout=0)
        try:
            held.acquire()
        except Timeout as error:
            raise UsageError(f"The run {self.path.name} is being written by another process; stop that one first.") from error
        except OSError as error:
            raise UsageError(f"The run's folder {self.path} cannot be written: {error.strerror or error}.") from error
        try:
            yield
        finally:
            held.release()

    def config(self) -> dict[str, Any]:
        """`config.json`; raises `UsageError` where there is none or it is damaged."""
        try:
            data = json.loads((self.path / "config.json").read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise UsageError(f"{self.path} holds no training run.") from error
        except (OSError, ValueError) as error:
            raise UsageError(f"The config.json of the run {self.path.name} cannot be read, so it cannot go on.") from error
        if not isinstance(data, dict):
            raise UsageError(f"The config.json of the run {self.path.name} is damaged, so it cannot go on.")
        return data

    def write_config(self, config: dict[str, Any]) -> None:
        files.write_json(self.path / "config.json", config)

    def metric(self, step: int, tokens: int, **values: float) -> None:
        """One line of `metrics.jsonl`; a value that is not finite is written as a string, since JSON has no NaN."""
        row = {key: value if math.isfinite(value) else str(value) for key, value in values.items()}
        self._append("metrics.jsonl", {"step": step, "tokens": tokens, "time": round(time.time(), 3)} | row)

    def event(self, name: str, step: int, /, **details: Any) -> None:
        self._append("events.jsonl", {"event": name, "step": step, "time": round(time.time(), 3)} | details)

    def sample(self, step: int, prompt: str, story: str, **details: Any) -> None:
        self._append("samples.jsonl", {"step": step, "time": round(time.time(), 3), "prompt": prompt, "story": story} | details)

    def log(self, line: str) -> None:
        """A line of `output.log`."""
        with open(self.path / "output.log", "ab", buffering=0) as file:
            file.write(line.encode("utf-8", "replace") + b"\n")

    def status(
        self, state: State, step: int, total_steps: int | None, message: str | None = None, pid: int | None = None
    ) -> None:
        """Replace `status.json`. The process's start time lets a viewer tell it from a later one with the same number."""
        import psutil

        process = psutil.Process(pid)
        status = {
            "state": state,
            "step": step,
            "total_steps": total_steps,
            "pid": process.pid,
            "process_started": process.create_time(),
            "host": socket.gethostname(),
            "heartbeat": round(time.time(), 3),
        }
        text = json.dumps(status | ({"message": message} if message else {}), ensure_ascii=False, indent=2)
        path = self.path / "status.json"
        data = text.encode("utf-8", "replace").ljust(STATUS_BYTES) + b"\n"
        try:
            files.write_bytes(path, data)
        except OSError as error:
            if error.errno not in NO_ROOM or not path.is_file():
                raise
            with open(path, "r+b") as file:  # over the old one, which has as many bytes
                file.write(data)

    def take_requests(self) -> set[Request]:
        """What viewers have asked for since the last time; each request is taken once. An unreadable folder asks for nothing."""
        try:
            found = {path.name for path in (self.path / "requests").iterdir() if path.name in REQUESTS}
        except OSError:
            return set()
        taken: set[Request] = set()
        for name in found:
            with contextlib.suppress(OSError):
                (self.path / "requests" / name).unlink()
                taken.add(name)  # type: ignore[arg-type]
        return taken

    def lengths(self) -> dict[str, int]:
        """Bytes of the files that hold each step once, as they are on the disk now (synced): where a resumed run goes on."""
        found = {}
        for name in GROWING[:2]:
            with contextlib.suppress(FileNotFoundError), open(self.path / name, "r+b") as file:
                os.fsync(file.fileno())
                found[name] = os.fstat(file.fileno()).st_size
        return found

    def take_back(self, lengths: dict[str, int]) -> None:
        """Drop what was written after `lengths`, and whatever a crash left half-written at the end of the other files."""
        for name in GROWING:
            path = self.path / name
            with contextlib.suppress(FileNotFoundError), open(path, "r+b") as file:
                whole = file.read().rfind(b"\n") + 1
                file.truncate(min(whole, lengths.get(name, 0 if name in GROWING[:2] else whole)))
                file.flush()
                os.fsync(file.fileno())

    def checkpoint_folder(self, step: int) -> Path:
        return self.path / "checkpoints" / f"step-{step:06d}"

    def _append(self, name: str, row: dict[str, Any]) -> None:
        line = json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        with open(self.path / name, "ab", buffering=0) as file:
            before = os.fstat(file.fileno()).st_size
            try:
                if file.write(line) == len(line):
                    return
            except OSError:
                file.truncate(before)
                raise
            file.truncate(before)  # the disk took a part of the line only
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path / name))
