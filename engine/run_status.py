"""Whether a training run is alive: `status.json`, and what is believed of it.

A process that was killed cannot say so, and a process number may be given to another program; so a claim to be alive needs a fresh
heartbeat and, on the same machine, that very process. Knows no torch.
"""

from __future__ import annotations

import math
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.growing_files import read_json

LIVE_STATES = frozenset(("starting", "running", "paused", "stopping"))
"""States that claim that a process is at work."""
ENDED_STATES = frozenset(("finished", "stopped", "failed"))
HEARTBEAT_LIMIT = 60.0
"""Seconds without a heartbeat after which a run counts as stale; the trainer gives one about every five."""
START_TOLERANCE = 2.0
"""Seconds by which a process's start time may differ from the one written down."""
NUMBERS = frozenset((int, float))
"""Types of a number in JSON; a bool is none."""
NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf, "infinity": math.inf, "-infinity": -math.inf}
"""What JSON has no number for, by the names that stand in its place."""


@dataclass(frozen=True)
class RunStatus:
    """How a run stands, as far as can be known from here."""

    state: str
    """starting, running, paused, stopping, finished, stopped, failed; `stale`: it claims to be alive and is not; `unknown`: nothing that
    can be read is said."""
    claimed: str | None
    """The state that `status.json` gives."""
    step: int | None
    """Optimizer steps done."""
    total_steps: int | None
    pid: int | None
    host: str | None
    heartbeat: float | None
    """Unix time in seconds."""
    age: float | None
    """Seconds since the last sign of life."""
    message: str | None
    """One sentence: why it failed, paused or stopped."""

    @property
    def alive(self) -> bool:
        return self.state in LIVE_STATES

    @property
    def share(self) -> float | None:
        """Steps done / steps in all."""
        return self.step / self.total_steps if self.step is not None and self.total_steps else None


def read_status(folder: Path) -> RunStatus:
    """How the run stands now.

    A state that claims a live process (starting, running, paused, stopping) is believed only while the heartbeat is younger than 60
    seconds and, on the trainer's own host, a process with the pid and the start time that were written down is there (2 seconds of
    tolerance; a number that was given to another process does not count). On any other host the heartbeat alone decides. What
    is not believed is `stale`.
    """
    data = read_json(folder / "status.json") or {}
    claimed = data.get("state")
    claimed = claimed if isinstance(claimed, str) and claimed in LIVE_STATES | ENDED_STATES else None
    heartbeat, pid = real(data.get("heartbeat")), whole(data.get("pid"))
    host = data["host"] if isinstance(data.get("host"), str) else None
    age = None if heartbeat is None else time.time() - heartbeat
    state = claimed or "unknown"
    if claimed in LIVE_STATES:
        fresh = age is not None and abs(age) < HEARTBEAT_LIMIT
        here = host is None or host == socket.gethostname()
        if not fresh or (here and not process_lives(pid, real(data.get("process_started")))):
            state = "stale"
    return RunStatus(
        state=state,
        claimed=claimed,
        step=whole(data.get("step")),
        total_steps=whole(data.get("total_steps")),
        pid=pid,
        host=host,
        heartbeat=heartbeat,
        age=None if age is None else max(0.0, age),
        message=data["message"] if isinstance(data.get("message"), str) and data["message"].strip() else None,
    )


def process_lives(pid: int | None, started: float | None) -> bool:
    """Whether a process with this number, started at this time (unix seconds), runs on this machine."""
    import psutil

    if pid is None or pid <= 0 or started is None:
        return False
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - started) <= START_TOLERANCE and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, OverflowError):
        return False


def real(value: Any) -> float | None:
    """A finite number, or None."""
    return finite(value) if type(value) in NUMBERS else None


def finite(value: Any) -> float | None:
    try:
        return float(value) if value is not None and math.isfinite(value) else None
    except OverflowError:  # a whole number of hundreds of digits
        return None


def whole(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 2**63 else None
