"""The near side of `engine.hub.worker`: one process that downloads one repository. Knows no torch and no screen."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.errors import NetworkError

PATIENCE = 0.6
"""Seconds from a request to end to a kill."""


class WorkerProcess:
    """A worker at its request; iterate over `events` until they end, then `close` it. `stop` may be called from any thread."""

    def __init__(self, repo: str, revision: str | None = None, pattern: str | None = None) -> None:
        """Start it. Raises `NetworkError` where the system starts no process (trying again may help)."""
        self.repo = repo
        self._partials: set[Path] = set()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "engine.hub.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=_environment(),
                start_new_session=sys.platform != "win32",  # Ctrl-C is for us; we tell the worker
            )
        except OSError as error:
            raise NetworkError(
                f"No process could be started to download {repo}: {error.strerror or error}; try again."
            ) from error
        request = json.dumps({"repo": repo, "revision": revision, "pattern": pattern}) + "\n"
        assert self._process.stdin
        with contextlib.suppress(OSError):  # a worker that is gone already says so by ending its events
            self._process.stdin.write(request.encode())
            self._process.stdin.flush()

    @property
    def pid(self) -> int:
        return self._process.pid

    def events(self) -> Iterator[dict[str, Any]]:
        """The worker's events as they come (see `engine.hub.worker`), without `partial`; they end when the process ends."""
        assert self._process.stdout
        for line in self._process.stdout:
            with contextlib.suppress(ValueError):  # the last line of a killed process may be half a line
                event = json.loads(line)
                if event["event"] == "partial":
                    self._partials.add(Path(event["path"]))
                else:
                    yield event

    def stop(self) -> None:
        """Ask the process to end, and see to it that it does; returns at once."""
        with contextlib.suppress(OSError):
            self._process.terminate()
        timer = threading.Timer(PATIENCE, self._kill)
        timer.daemon = True
        timer.start()

    def close(self) -> str:
        """Wait for the end of a process whose events have ended, remove what it left half-written, and say how it ended.

        The words are for a worker that ended without a last event: `signal 9`, `exit status 1`.
        """
        assert self._process.stdin and self._process.stdout
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            code = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._kill()
            code = self._process.wait()
        self._process.stdout.close()
        for path in self._partials:  # their names are this process's own, so they are nobody else's
            with contextlib.suppress(OSError):
                path.unlink()
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"

    def _kill(self) -> None:
        with contextlib.suppress(OSError):
            self._process.kill()


def _environment() -> dict[str, str]:
    """This process's environment; where the package is used from a source folder, with that folder named."""
    environment = dict(os.environ, PYTHONIOENCODING="utf-8")
    spec = importlib.util.find_spec("engine")
    root = Path(spec.origin).parent.parent if spec and spec.origin else None
    if root and root.name not in ("site-packages", "dist-packages"):
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), environment.get("PYTHONPATH", "")]))
    return environment
