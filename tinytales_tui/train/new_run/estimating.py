"""The estimate of a run, as the figures of a child process (`train --dry-run --json`) and as lines for a person.

The child has a process group and a temporary folder of its own, so that it can be ended at any moment and leaves nothing behind.
What the machine has free is measured here. Knows no Textual and no torch.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import TinyTalesError
from tinytales_tui.figures import duration, size
from tinytales_tui.text import one_line


class Stopped(Exception):
    """The estimate was ended before it had figures."""


@dataclass(frozen=True)
class Machine:
    """What is free on this machine, in bytes; None where it cannot be told."""

    free_memory: int | None
    free_disk: int | None


@dataclass(frozen=True)
class Line:
    """One figure for a person; `warning` where the machine has less than that."""

    name: str
    words: str
    warning: bool = False


class Estimate:
    """One measurement. `measure` blocks and belongs in a thread; `stop` may be called from anywhere, at any time."""

    def __init__(self, command: Sequence[str], said: Callable[[str], None]) -> None:
        self._command, self._said = list(command), said
        self._process: subprocess.Popen[str] | None = None
        self._stopped = False
        self._lock = threading.Lock()

    @property
    def pid(self) -> int | None:
        """The child's process number once it has been started."""
        return self._process.pid if self._process else None

    def measure(self) -> dict[str, Any]:
        """The figures of `engine.training.estimate`; what the child says meanwhile goes to `said`, a line at a time.

        Raises `Stopped` after `stop`, and `TinyTalesError` with the child's own sentence where it refuses or fails.
        """
        with tempfile.TemporaryDirectory(prefix="tinytales-estimate-", ignore_cleanup_errors=True) as folder:
            with self._lock:
                if self._stopped:
                    raise Stopped
                try:
                    self._process = process = self._start(folder)
                except OSError as error:
                    raise TinyTalesError(f"The estimate cannot be started: {error.strerror or error}.") from error
            last = ""
            with process:
                for line in process.stderr or ():
                    if line.strip():
                        last = one_line(line.removeprefix("tinytales-tui: "), 500)
                        self._said(last)
                out = process.stdout.read() if process.stdout else ""
            if self._stopped:
                raise Stopped
        try:
            figures = json.loads(out) if process.returncode == 0 else None
        except ValueError:
            figures = None
        if not isinstance(figures, dict):
            raise TinyTalesError(last or f"The estimate ended without a word (exit code {process.returncode}).")
        return figures

    def stop(self) -> None:
        """End the child and whatever it has started, at once."""
        with self._lock:
            self._stopped = True
            process = self._process
            if process is None or process.poll() is not None:
                return
            with contextlib.suppress(OSError):
                if sys.platform == "win32":
                    process.kill()
                else:
                    os.killpg(process.pid, signal.SIGKILL)  # the child leads a group of its own

    def _start(self, folder: str) -> subprocess.Popen[str]:
        own = {"TMPDIR": folder, "TEMP": folder, "TMP": folder, "PYTHONWARNINGS": "ignore", "PYTHONUNBUFFERED": "1"}
        return subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            env=os.environ | own | {"PYTHONIOENCODING": "utf-8"},
            start_new_session=sys.platform != "win32",
        )


def look_at_machine(folder: Path) -> Machine:
    """What is free now; the disk is that of `folder`, or of its nearest parent that is there."""
    free_memory = free_disk = None
    with contextlib.suppress(ImportError, OSError, RuntimeError):
        import psutil

        free_memory = psutil.virtual_memory().available
    there = next((path for path in (folder, *folder.parents) if path.exists()), None)
    with contextlib.suppress(OSError):
        free_disk = shutil.disk_usage(there).free if there else None
    return Machine(free_memory, free_disk)


def lines(figures: dict[str, Any], machine: Machine, keep_every: int = 0) -> list[Line]:
    """The figures in the order in which a person asks for them; raises `TinyTalesError` for figures that lack a part."""
    try:
        return _lines(figures, machine, keep_every)
    except (KeyError, TypeError, ValueError) as error:
        raise TinyTalesError("The estimate gave figures of another version of this program.") from error


def _lines(figures: dict[str, Any], machine: Machine, keep_every: int) -> list[Line]:
    parameters, trained = figures["parameters"], figures["trained_parameters"]
    only = "" if trained == parameters else f", {trained:,} trained"
    steps, epochs = figures["steps"], figures["epochs"]
    return [
        Line("time", f"about {duration(figures['seconds'])}"),
        Line("speed", f"{figures['tokens_per_s']:,.0f} tokens/s on {figures['device']}, {figures['precision']}"),
        Line("model", f"{parameters:,} parameters{only}"),
        Line("data", f"{figures['stories']:,} stories"),
        Line("length", f"{steps:,} steps, {epochs:.{2 if epochs < 10 else 0}f} passes"),
        _memory(figures, machine),
        _disk(figures, machine, keep_every),
    ]


def _memory(figures: dict[str, Any], machine: Machine) -> Line:
    """The peak against what is free; the memory of an accelerator is not this machine's, and is left uncompared."""
    peak = figures["peak_memory_bytes"]
    if str(figures["device"]).startswith("cuda"):
        return Line("memory", f"{size(peak)} of the GPU's")
    if machine.free_memory is None:
        return Line("memory", size(peak))
    return Line("memory", f"{size(peak)} ({size(machine.free_memory)} free)", peak > machine.free_memory)


def _disk(figures: dict[str, Any], machine: Machine, keep_every: int) -> Line:
    """The best checkpoint, the newest two and one that is being written, those that are kept for good; and as much to go on from."""
    kept = 4 + (figures["steps"] // keep_every if keep_every else 0)
    needed = kept * figures["checkpoint_bytes"] + 3 * figures["state_bytes"]
    if machine.free_disk is None:
        return Line("disk", size(needed))
    return Line("disk", f"{size(needed)} ({size(machine.free_disk)} free)", needed > machine.free_disk)
