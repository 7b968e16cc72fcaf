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
    """Counts from now on; `words()` says the rate. The same app is only ever counted once."""

    def __init__(self, app: App) -> None:
        self._counted: deque[tuple[float, int]] = deque()
        self._begun = time.monotonic()
        driver = app._driver
        if driver is None:
            return
        before = getattr(driver, "_uncounted_write", driver.write)
        driver._uncounted_write = before  # type: ignore[attr-defined]

        def write(data: str) -> None:
            self._counted.append((time.monotonic(), len(data.encode("utf-8", "replace"))))
            before(data)

        driver.write = write  # type: ignore[method-assign]

    def words(self) -> str:
        """`1.2 kB/s`, over the last seconds."""
        now = time.monotonic()
        while self._counted and self._counted[0][0] < now - WINDOW:
            self._counted.popleft()
        seconds = min(WINDOW, max(1.0, now - self._begun))
        return f"{sum(count for _, count in self._counted) / seconds / 1000:.1f} kB/s"
