"""Making runs and starting their trainer as a process of its own, which outlives the terminal. Knows no torch, so it takes no time.

The trainer is a new session with its output in the run's log: closing the terminal, or the connection, does not reach it. Several
processes are started by a supervisor (`engine.training.supervise`), one by itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from engine import openmp
from engine.errors import TinyTalesError, UsageError
from engine.run_status import read_status
from engine.runs import RunDirectory
from engine.training.settings import TrainSettings, options


def create(folder: Path, settings: TrainSettings) -> None:
    """A new run directory that waits to be started; raises `UsageError` where one is there or none can be made."""
    run = RunDirectory.create(folder, {"settings": settings.to_json()})
    run.status("stopped", 0, settings.steps, "It has been made, and never been started.")


def start(folder: Path, *, processes: int | None = None) -> int:
    """Start the trainer of a run in the background and return its process number.

    Begins the run or goes on with it. Raises `UsageError` where another process writes the run, or it cannot be written.
    """
    run = RunDirectory(folder)
    settings = TrainSettings.from_json(run.config().get("settings"))
    with run.lock():
        pass  # nobody writes it, and it can be written; the trainer takes the lock itself
    before = read_status(folder)
    if before.alive:
        raise UsageError(f"The run {folder.name} has been started a moment ago.")
    run.take_requests()  # what was asked of a process that is gone; from now on they are for this one
    try:
        log = open(folder / "output.log", "ab")  # noqa: SIM115
    except OSError as error:
        raise UsageError(f"The run's folder {folder} cannot be written: {error.strerror or error}.") from error
    with log:
        process = subprocess.Popen(
            command(folder, processes or settings.processes),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=_environment(),
            **_detached(),
        )
    try:
        run.status("starting", before.step or 0, before.total_steps or settings.steps, pid=process.pid)
    except Exception as error:  # the process has ended already
        raise TinyTalesError(f"The trainer could not be started; {folder / 'output.log'} says why.") from error
    process.returncode = 0  # it is not waited for: whoever looks reads its status
    return process.pid


def command(folder: Path, processes: int, foreground: bool = False) -> list[str]:
    """The command line of a run's trainer."""
    several = ["--processes", str(processes)] if processes > 1 else []
    return [sys.executable, "-m", "engine.training", str(folder.absolute()), *several, *(["--foreground"] if foreground else [])]


def run_here(folder: Path, say: Any) -> int:
    """Train in this process, or for several processes under a supervisor that is waited for; returns an exit code.

    Raises what `engine.training.run.train` raises.
    """
    settings = TrainSettings.from_json(RunDirectory(folder).config().get("settings"))
    if settings.processes > 1:
        return _wait(subprocess.Popen(command(folder, settings.processes, foreground=True)))
    os.environ.update(_environment())
    from engine.training.run import train

    return 0 if train(folder, say) == "finished" else 130


def change_settings(folder: Path, changes: dict[str, Any]) -> None:
    """Change settings of a run before it goes on; raises `UsageError` for one that decides what the run has learnt so far."""
    run = RunDirectory(folder)
    config = run.config()
    known = options()
    for name in changes:
        if name not in known:
            raise UsageError(f"There is no training setting {name!r}.")
        if not known[name].on_resume:
            raise UsageError(f"{name.replace('_', '-')} cannot be changed in a run that has begun; start a new run for that.")
    changes = {
        name: [value] if known[name].kind == "texts" and isinstance(value, str) else value for name, value in changes.items()
    }
    values = TrainSettings.from_json(config.get("settings")).to_json() | changes
    if "epochs" in changes and "steps" not in changes:
        values["steps"] = None
    settings = TrainSettings.from_json(values)
    with run.lock():
        run.write_config(config | {"settings": settings.to_json()})


def _environment() -> dict[str, str]:
    """The environment of a trainer; OpenMP reads it when torch is first imported."""
    return os.environ | openmp.turns(openmp.TRAINING) | {"PYTHONUNBUFFERED": "1"}


def _wait(process: subprocess.Popen[bytes]) -> int:
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue  # it heard Ctrl-C too and ends in order


def _detached() -> dict[str, Any]:
    if sys.platform == "win32":
        return {"creationflags": subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}
