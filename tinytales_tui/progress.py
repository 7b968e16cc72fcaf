"""A line on standard error that says how far some work is, where a person is watching. No Textual."""

from __future__ import annotations

import shutil
import sys
import time
from types import TracebackType
from typing import Self

from tinytales_tui.figures import duration
from tinytales_tui.text import one_line


class Progress:
    """`with Progress("reading", total) as progress: progress(done)`; the line is gone at the end. Silent where there is no terminal."""

    def __init__(self, what: str, total: int, shown: bool = True) -> None:
        self.what, self.total = what, max(1, total)
        self.shown = shown and sys.stderr.isatty()
        self.begun = time.monotonic()
        self._drawn = 0.0
        self._width = 0

    def __enter__(self) -> Self:
        self(0)
        return self

    def __call__(self, done: int) -> None:
        """Tell how many of the total are done."""
        now = time.monotonic()
        if not self.shown or (done and now - self._drawn < 0.2):
            return
        self._drawn = now
        spent = now - self.begun
        left = f", about {duration(spent / done * (self.total - done))} left" if done and spent > 1 else ""
        self._draw(f"{self.what}: {done:,} of {self.total:,} ({done / self.total:.0%}){left}")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.shown:
            self._draw("")
            sys.stderr.write("\r")
            sys.stderr.flush()

    def _draw(self, line: str) -> None:
        line = one_line(line, shutil.get_terminal_size().columns - 1)
        try:
            sys.stderr.write(f"\r{line:<{self._width}}")
            sys.stderr.flush()
        except (OSError, ValueError):
            self.shown = False  # nobody can hear it any more; the work goes on
        self._width = len(line)
