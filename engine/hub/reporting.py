"""What a downloading process tells of itself: events as lines of JSON, and how far the present file is. Knows no torch.

huggingface_hub counts on a bar as it does on tqdm's; nothing is drawn, a thread looks at the count a few times a second.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from engine.hub.planning import PlannedFile

TICK = 0.2
"""Seconds between two looks at how far a file is."""
_MOST_DESCRIPTORS = 512
"""Open files of this process that are looked at."""


class Reporter:
    """Writes events, and tells from a thread of its own how far the present file is."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._writing = threading.Lock()
        self._looking = threading.RLock()
        self._file: PlannedFile | None = None
        self._bar: Bar | None = None
        self._blobs = Path()
        self._said = -1
        self.partials: set[Path] = set()
        threading.Thread(target=self._tick, daemon=True).start()

    def event(self, name: str, **fields: Any) -> None:
        with self._writing:
            self._out.write(json.dumps({"event": name, **fields}) + "\n")
            self._out.flush()

    def begin(self, file: PlannedFile, blobs: Path) -> None:
        """From now on progress is that of `file`, which is written in the folder `blobs`."""
        with self._looking:
            self._bar, self._file, self._blobs, self._said = None, file, blobs, -1

    def end(self) -> None:
        """No more is told of the present file."""
        with self._looking:
            self._bar = self._file = None

    def opened(self, bar: Bar) -> None:
        """huggingface_hub counts on `bar` from now on, and has the half-written file open."""
        with self._looking:
            self._bar = bar
            self._look()

    def _tick(self) -> None:
        pause = threading.Event()
        while not pause.wait(TICK):
            with contextlib.suppress(OSError, ValueError):
                self._look()

    def _look(self) -> None:
        with self._looking:
            if self._file is None:
                return
            for path in own_partials(self._blobs) - self.partials:
                self.partials.add(path)
                self.event("partial", path=str(path))
            if self._bar is not None and self._bar.done != self._said:
                self._said = self._bar.done
                self.event("progress", file=self._file.name, done=min(self._said, self._file.size), total=self._file.size)


class Bar:
    """Stands in for a tqdm bar: huggingface_hub counts on it, and the reporter looks at the count."""

    reporter: Reporter
    """Set once for the process: the library makes its bars itself."""

    def __init__(self, *_: Any, total: int | None = None, initial: int = 0, **__: Any) -> None:
        self.n = initial
        self.total = total
        self._received = initial
        self.reporter.opened(self)

    @property
    def done(self) -> int:
        """Bytes that have come. The xet protocol writes late what it received, and may receive less than the file has."""
        return int(max(self.n, self._received))

    def update(self, n: float | None = 1) -> None:
        self.n += int(n or 0)

    def update_transfer(self, n: float | None = 1) -> None:
        self._received += int(n or 0)

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass

    def _nothing(self, *_: Any, **__: Any) -> None:
        """A bar of tqdm's can be drawn; this one cannot."""

    set_postfix_str = set_transfer_postfix_str = set_description = refresh = close = reset = _nothing
    _lock = threading.RLock()

    @classmethod
    def get_lock(cls) -> Any:
        return cls._lock

    @classmethod
    def set_lock(cls, lock: Any) -> None:
        cls._lock = lock


def own_partials(blobs: Path) -> set[Path]:
    """The half-written files in a repository's folder of blobs that this very process has open.

    Another process may write the same file beside; only the open descriptors tell whose is whose.
    """
    found = {}
    for path in blobs.glob("*.incomplete"):
        with contextlib.suppress(OSError):
            entry = path.stat()
            found[entry.st_dev, entry.st_ino] = path
    mine = set()
    for descriptor in range(3, _MOST_DESCRIPTORS) if found else ():
        with contextlib.suppress(OSError):
            entry = os.fstat(descriptor)
            if path := found.get((entry.st_dev, entry.st_ino)):
                mine.add(path)
    return mine
