"""The machine's figures for the run that is shown: measured in a thread every two seconds, kept for half an hour, shown on request."""

from __future__ import annotations

import asyncio
import contextlib

from engine.watching.disk import DiskWatch
from engine.watching.feed import Feed
from engine.watching.machine import History, Machine, MachineSample
from tinytales_tui.train.machine.view import MachineView, one_line_health


class Health:
    """`await sample(feed)` now and then, `show()` to draw what is known."""

    def __init__(self, view: MachineView) -> None:
        self._view = view
        self._machine: Machine | None = None
        self._history = History()
        self._disk = DiskWatch()
        self._newest: MachineSample | None = None
        self._forecast: str | None = None
        self._key = ""
        self._busy = False

    async def sample(self, feed: Feed | None) -> None:
        """Measure once for this run, unless the last measurement is still under way (a file system that hangs)."""
        if feed is None or self._busy:
            return
        if feed.key != self._key or self._machine is None:
            self._begin(feed)
        machine = self._machine
        assert machine is not None
        self._busy = True
        try:
            sample = await asyncio.to_thread(machine.sample)
        finally:
            self._busy = False
        if machine is not self._machine:
            return  # another run was opened meanwhile
        self._newest = sample
        self._history.add(sample)
        summary = feed.summary
        if summary is not None:
            self._disk.note(sample.time, summary.size_bytes, feed.checkpoints, feed.events)
        ends_in = summary.eta_s if summary is not None else None
        self._forecast = self._disk.forecast(sample.disk_free, ends_in=ends_in) if feed.status.alive else None

    def show(self) -> None:
        """Draw what was measured."""
        self._view.show(self._history, self._newest, self._forecast)

    def words(self, width: int) -> str:
        """The most telling figures in one line; empty while nothing was measured, or where there is no room."""
        return one_line_health(self._newest, width) if self._newest is not None and width > 20 else ""

    def close(self) -> None:
        """Let go of the GPU's driver, without waiting for a measurement that may hang."""
        machine, self._machine = self._machine, None
        if machine is not None and not self._busy:
            with contextlib.suppress(Exception):
                machine.close()

    def _begin(self, feed: Feed) -> None:
        self.close()
        self._key = feed.key
        self._machine = Machine(feed.path if feed.kind == "run" else feed.path.parent)
        self._history, self._disk, self._newest, self._forecast = History(), DiskWatch(), None, None
