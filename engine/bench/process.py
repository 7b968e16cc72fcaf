"""A measurement in a process of its own (`engine.bench.child`), as whoever asks sees it. Knows no torch."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from engine import errors


class Child:
    """One measurement: made ready by `with Child(job, environment) as child:`, then `child.run(…)` as often as wanted.

    Leaving the context ends the process at once, in whatever way it is left; it also ends by itself when this process does. Entering
    and running raise what went wrong there as a `TinyTalesError`.
    """

    def __init__(self, job: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        self._job, self._environment = job, environment
        self.facts: dict[str, Any] = {}
        """What the measurement told when it was ready."""

    def __enter__(self) -> Child:
        self._narration = tempfile.TemporaryFile()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "engine.bench.child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._narration,
                env=dict(self._environment),
                start_new_session=True,  # Ctrl-C is for the terminal's own process, which ends this one
            )
        except BaseException:
            self._narration.close()
            raise
        try:
            self.facts = self._ask(self._job)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end()

    def run(self, **parameters: Any) -> dict[str, Any]:
        """The figures of one run."""
        return self._ask(parameters)

    def _ask(self, message: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = b""
        if not line.endswith(b"\n"):
            raise errors.TinyTalesError(self._end_in_words())
        answer = json.loads(line)
        if "failed" in answer:
            raise getattr(errors, answer["kind"], errors.TinyTalesError)(answer["failed"])
        return answer["answer"]  # type: ignore[no-any-return]

    def _end_in_words(self) -> str:
        code = self._process.wait()
        if code == -9:
            return "The process that measured was ended by the system, most often for want of memory; try a smaller model."
        self._narration.seek(0)
        said = self._narration.read().decode("utf-8", "replace").split("\n")
        last = next((" ".join(line.split())[:300].rstrip(".") for line in reversed(said) if line.strip()), "")
        return f"The process that measured ended by itself with code {code}{f': {last}' if last else ''}."

    def _end(self) -> None:
        self._process.kill()  # it has nothing to put in order
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._narration):
            with contextlib.suppress(OSError):
                stream.close()  # type: ignore[union-attr]
