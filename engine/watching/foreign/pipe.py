"""What comes through a pipe, as a file that can be followed: a thread copies it into a temporary file, up to a limit.

Beyond the limit it is read on and let go, so that the program which writes is never held up. The file is removed at the end. Knows
nothing of what the lines mean.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import tempfile
import threading
from pathlib import Path

LIMIT = 1 << 30
"""Bytes that are kept."""
NAME = "standard input"
_BLOCK = 1 << 16

_copies: dict[Path, PipeCopy] = {}


class PipeCopy:
    """Copies a descriptor, which it closes at the end, into `path`, until it ends or `close` is called."""

    def __init__(self, fd: int, limit: int = LIMIT) -> None:
        out, name = tempfile.mkstemp(prefix="tinytales-pipe-", suffix=".log")
        self.path = Path(name)
        self.trouble = ""
        """One sentence where not everything could be kept."""
        self.ended = False
        """Whether the pipe has come to its end."""
        self._limit = limit
        self._fd, self._out = fd, out
        self._closing, self._wake = os.pipe()
        self._thread = threading.Thread(target=self._run, name="reading a pipe", daemon=True)
        _copies[self.path] = self
        atexit.register(self.close)
        self._thread.start()

    def close(self) -> None:
        """End the thread and remove the file; may be called more than once."""
        atexit.unregister(self.close)
        if _copies.pop(self.path, None) is None:
            return
        os.close(self._wake)  # which ends the thread's waiting
        self._thread.join(2.0)
        with contextlib.suppress(OSError):
            self.path.unlink()

    def _run(self) -> None:
        kept, last = 0, b""
        try:
            while True:
                ready, _, _ = select.select([self._fd, self._closing], [], [])
                if self._closing in ready:
                    break
                data = os.read(self._fd, _BLOCK)
                if not data:
                    if last not in (b"", b"\n") and not self.trouble:
                        self._keep(b"\n", False)  # the last line is as whole as it will ever be
                    self.ended = True
                    break
                last = data[-1:]
                if not self.trouble:
                    kept += self._keep(data[: self._limit - kept], kept + len(data) > self._limit)
        except (OSError, ValueError):  # a terminal that went away, a descriptor that cannot be waited for
            self.ended = True
        finally:
            for descriptor in (self._fd, self._out, self._closing):
                with contextlib.suppress(OSError):
                    os.close(descriptor)

    def _keep(self, data: bytes, full: bool) -> int:
        try:
            rest = data
            while rest:
                rest = rest[os.write(self._out, rest) :]
        except OSError as error:
            self.trouble = f"What comes through the pipe cannot be kept any more: {(error.strerror or str(error)).lower()}."
        if full:
            self.trouble = f"Only the first {self._limit / 2**30:.3g} GB of what came through the pipe are shown."
        return len(data)


def copy_pipe(fd: int) -> Path:
    """The temporary file that a descriptor is copied into from now on; `open_feed` of it follows the pipe. Takes the descriptor over."""
    return PipeCopy(fd).path


def copy_at(path: Path) -> PipeCopy | None:
    """The copy that this file is filled by; None where it is no file of a pipe."""
    return _copies.get(path)
