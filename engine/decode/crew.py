"""The helpers of a compiled step: threads that take part in every step while there are steps, and sleep otherwise.

Between two tokens a helper waits in compiled code for some milliseconds, which makes it start within a microsecond; then it sleeps
until the next step wakes it. No step waits for a helper: one that comes late finds the work done. This costs less than a pool's
parallel regions (2.7 µs each) and leaves torch's own threads alone.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.decode.library import Enter
from engine.decode.tables import AWAKE, GO, LEAVE, LINE, Room

RING_S = 0.1
"""After so long, a helper that should rest and does not is rung for once more."""
LONGEST_S = 30.0


class Crew:
    """`threads - 1` helpers; `begin` before the first thread's own part of a step, `rest` before anything they use is replaced."""

    def __init__(self, threads: int, enter: Enter) -> None:
        self.threads, self._enter = threads, enter
        self._given: tuple[Any, ...] = ()
        self._addresses: tuple[int, ...] = ()
        self._control: Any = None
        self._closing = False
        self._process = os.getpid()
        self._bells = [threading.Semaphore(0) for _ in range(threads - 1)]
        self._helpers = [
            threading.Thread(target=self._help, args=(number,), name=f"decode-{number + 1}", daemon=True)
            for number in range(threads - 1)
        ]
        for helper in self._helpers:
            helper.start()

    def equip(self, addresses: tuple[int, ...], tables: Sequence[np.ndarray], room: Room) -> None:
        """What the next steps work with: the tables' addresses, and what they lead to; the helpers must rest."""
        self._addresses, self._given, self._control = addresses, (addresses, *tables, room), room.control

    def begin(self) -> None:
        """Call the helpers to a step."""
        asleep = self._enter(*self._addresses, -1, 0)
        for number, bell in enumerate(self._bells):
            if asleep >> number & 1:
                bell.release()

    def rest(self) -> None:
        """Send all helpers to sleep and wait until they do; a few microseconds as a rule."""
        if self._control is None or self._process != os.getpid():  # after a fork there are no helpers
            return
        self._control[LEAVE] = 1
        try:
            end, ring = time.monotonic() + LONGEST_S, time.monotonic() + RING_S
            while awake := [number for number in range(self.threads - 1) if self._control[AWAKE + LINE * number]]:
                if time.monotonic() > end:
                    raise RuntimeError("a thread of the compiled step does not answer")
                if time.monotonic() > ring:  # it was marked as called, and an interrupt came before it was
                    for number in awake:
                        self._bells[number].release()
                    ring = end
                time.sleep(0.0001)
        finally:
            self._control[LEAVE] = 0

    def close(self) -> None:
        """End the helpers."""
        if self._closing:
            return
        with contextlib.suppress(RuntimeError):
            self.rest()  # first: a helper that finds the end has no more to do with steps
        self._closing = True
        for bell in self._bells:
            bell.release()

    def _help(self, number: int) -> None:
        while True:
            self._bells[number].acquire()
            if self._closing:
                return
            given = self._given
            # It was woken for the step that was announced last; where that is over, it finds nothing to do.
            self._enter(*given[0], number + 1, int(given[-1].control[GO]) - 1)
            del given
