"""A worker and its pipes, as tests talk to it."""

from __future__ import annotations

import subprocess
import sys

from engine.protocol import Command, Event, decode_event, encode


class Process:
    """`python -m engine.worker`; close it when the test is over."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "engine.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def send(self, *commands: Command) -> None:
        assert self.process.stdin
        for command in commands:
            self.process.stdin.write(encode(command))
        self.process.stdin.flush()

    def event(self) -> Event:
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, "the worker ended"
        return decode_event(line)

    def until(self, kind: type) -> list[Event]:
        events = [self.event()]
        while not isinstance(events[-1], kind):
            events.append(self.event())
        return events

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            pipe.close()  # type: ignore[union-attr]
