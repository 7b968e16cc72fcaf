"""One line on standard error that says how far something long has come. Knows no Textual.

On a terminal the line is written over in place; elsewhere (a log, a pipe) a new line comes every ten seconds.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from typing import TYPE_CHECKING

from tinytales_tui.output import note
from tinytales_tui.text import one_line

if TYPE_CHECKING:
    from engine.data.progress import Progress

SECONDS_BETWEEN_LINES = 10.0


class ProgressLine:
    """Called with each report, or `show`n words; `say` puts a lasting line above it, `end` leaves the screen as lines are wont to."""

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._in_place = not quiet and sys.stderr.isatty()
        self._shown = 0
        self._last = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        self.show(described(progress))

    def show(self, words: str) -> None:
        """Say how far it is, in place of what was said before."""
        if self._quiet:
            return
        if self._in_place:
            width = max(20, shutil.get_terminal_size().columns - 1)
            line = one_line(words, width)
            self._write("\r" + line.ljust(self._shown))
            self._shown = len(line)
        elif time.monotonic() - self._last >= SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            note(words)

    def say(self, line: str) -> None:
        if not self._quiet:
            self.end()
            note(line)

    def end(self) -> None:
        """Take the line away."""
        if self._shown:
            self._write("\r" + " " * self._shown + "\r")
            self._shown = 0

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.write(text)
            sys.stderr.flush()


def described(progress: Progress) -> str:
    """The report in words: stage, stories, speed, share, time that remains."""
    parts = [f"{progress.stage}: {progress.stories:,} stories", f"{progress.bytes_per_s / 1e6:.1f} MB/s"]
    if progress.share is not None:
        parts.append(f"{100 * progress.share:.0f} %")
    if progress.remaining_s is not None:
        parts.append(f"{duration(progress.remaining_s)} left")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Seconds as 0:07 or 1:02:03."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"
