"""How many bytes a second the screen takes, for whoever pays for them: counted where they leave for the terminal."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from textual.app import App

WINDOW = 10.0
"""Seconds over which the rate is taken."""


class ByteRate:
    """Counts from now until `stop()`; `words()` says the rate."""

    def __init__(self, app: App) -> None:
        self._counted: deque[tuple[float, int]] = deque()
        self._begun = time.monotonic()
        self._driver = app._driver
        if self._driver is None:
            return
        before = self._driver.write

        def write(data: str) -> None:
            self._counted.append((time.monotonic(), len(data.encode("utf-8", "replace"))))
            self._forget(self._counted[-1][0])
            before(data)

        self._driver.write = write  # type: ignore[method-assign]

    def stop(self) -> None:
        """Count no longer."""
        if self._driver is not None:
            del self._driver.write  # type: ignore[attr-defined]  # the class's own shows again
            self._driver = None

    def words(self) -> str:
        """`1.2 kB/s`, over the last seconds."""
        now = time.monotonic()
        self._forget(now)
        seconds = min(WINDOW, max(1.0, now - self._begun))
        return f"{sum(count for _, count in self._counted) / seconds / 1000:.1f} kB/s"

    def _forget(self, now: float) -> None:
        while self._counted and self._counted[0][0] < now - WINDOW:
            self._counted.popleft()
