"""The sign of life: a thread that renews `status.json` while the run trains, and notices when a step never ends.

It only reads figures that the training thread leaves in it. Knows no torch.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque

from engine.runs import RunDirectory, State
from engine.training.watchdog import stalled

EVERY = 5.0
"""Seconds between two signs of life."""


class Heartbeat:
    """`with Heartbeat(run, step, total): …`; `now(...)` tells a new state at once, `stepped()` that a step has ended."""

    def __init__(self, run: RunDirectory, step: int, total: int | None) -> None:
        self._run, self.step, self._total = run, step, total
        self._state: State = "starting"
        self._message: str | None = None
        self._seconds: deque[float] = deque(maxlen=50)
        self._last: float | None = None
        self._told_stall = False
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._write()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def expect(self, step: int, total: int) -> None:
        """Where the run begins, and how many steps it has in all."""
        self.step, self._total = step, total

    def now(self, state: State, message: str | None = None) -> None:
        """Tell a new state; where the disk is full the old one stays until there is room."""
        self._state, self._message, self._last = state, message, None
        self._write()

    def stepped(self, step: int) -> None:
        """A training step has ended."""
        at = time.monotonic()
        if self._last is not None:
            self._seconds.append(at - self._last)
        self.step, self._last, self._told_stall = step, at, False

    def begins(self) -> None:
        """A training step begins, after another one or after something else."""
        self._last = self._last or time.monotonic()

    def busy(self) -> None:
        """Something else than a step begins (a validation, a checkpoint): its time is not a step's."""
        self._last = None

    def _beat(self) -> None:
        while not self._stop.wait(EVERY):
            self._write()
            last = self._last
            if self._state == "running" and last is not None and not self._told_stall:
                message = stalled(time.monotonic() - last, tuple(self._seconds))
                if message:
                    self._told_stall = True
                    with contextlib.suppress(OSError):
                        self._run.event("warning", self.step, kind="stalled", message=message)

    def _write(self) -> None:
        with self._lock, contextlib.suppress(OSError):
            self._run.status(self._state, self.step, self._total, self._message)
