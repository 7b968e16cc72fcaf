"""The worker as a process of the system: its output in pieces, its last words and their log, its end. Knows nothing of the protocol."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import IO

LARGEST_LOG = 1_000_000
"""Bytes after which the log is begun anew."""


class ErrorLog:
    """What workers say on standard error, kept in a file where there is one; the last line is remembered."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.last_words = ""

    async def keep(self, process: asyncio.subprocess.Process) -> None:
        """Listen until the worker's standard error ends."""
        assert process.stderr is not None
        with contextlib.ExitStack() as stack:
            log: IO[bytes] | None = None
            with contextlib.suppress(OSError):
                if self.path:
                    self.path.parent.mkdir(parents=True, exist_ok=True)
                    large = self.path.exists() and self.path.stat().st_size > LARGEST_LOG
                    log = stack.enter_context(open(self.path, "wb" if large else "ab"))
            while chunk := await process.stderr.read(1 << 16):
                words = [line.strip() for line in chunk.decode("utf-8", "replace").splitlines() if line.strip()]
                if words:
                    self.last_words = words[-1][:300]
                if log:
                    with contextlib.suppress(OSError):  # a full disk must not stop the listening
                        log.write(chunk)
                        log.flush()

    def death(self, code: int | None, greeted: bool) -> str:
        """One sentence on how a worker ended, before or after it had said hello."""
        log = f" (what it said is in {self.path})" if self.path and self.last_words else ""
        if not greeted:
            words = f": {self.last_words}" if self.last_words else f" (exit code {code})"
            return f"The engine could not start{words.rstrip('.')}.{log and f' The rest is in {self.path}.'}"
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                return f"The engine was stopped from outside ({signal.Signals(-code).name}); your next request starts it again."
        return f"The engine stopped unexpectedly (exit code {code}){log}; your next request starts it again."


async def next_chunk(stream: asyncio.StreamReader, process: asyncio.subprocess.Process) -> bytes:
    """The next bytes; none once the worker has ended, even if a child of its own still holds the pipe open."""
    read = asyncio.create_task(stream.read(1 << 16))
    while not read.done():
        over = process.returncode is not None
        await asyncio.wait({read}, timeout=0.2 if over else 1.0)
        if over and not read.done():
            read.cancel()
            return b""
    return read.result()


async def ended(process: asyncio.subprocess.Process, seconds: float) -> None:
    """Wait for the process to end, and end it if that takes longer.

    `process.wait` would wait for its pipes as well, which a child of the process may hold open.
    """
    deadline = time.monotonic() + seconds
    while process.returncode is None:
        if time.monotonic() > deadline:
            kill(process)
        await asyncio.sleep(0.005)


def kill(process: asyncio.subprocess.Process) -> None:
    """End the process now. Not by `process.kill`, which may take its exit code away from the loop that waits for it."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.kill(process.pid, signal.SIGKILL)
