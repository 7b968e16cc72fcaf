"""Talking to the warm engine from a program that waits for the answer. Knows no torch."""

from __future__ import annotations

import contextlib
import dataclasses
import select
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from engine import protocol
from engine.errors import CheckpointError, NetworkError, TinyTalesError, UsageError
from engine.settings import GenerationRequest
from engine.version import __version__
from engine.warm import place

GREETING_S = 1.0
"""How long it may take to say hello; one that does not is no obstacle."""
LOOK_S = 0.05
"""Between two looks whether a story was cancelled."""
_ERRORS = {"usage": UsageError, "checkpoint": CheckpointError, "network": NetworkError}


class Lost(TinyTalesError):
    """The engine has gone in the middle."""


class Connection:
    """One conversation; close it when it is over. `hello` is what the engine is."""

    def __init__(self, stream: socket.socket, hello: protocol.Hello, rest: bytes) -> None:
        self.hello = hello
        self._stream = stream
        self._pending = rest
        self._id = 0

    def load(self, command: protocol.Load) -> protocol.Loaded:
        """Have it hold this checkpoint; raises what the engine says is wrong."""
        self._id += 1
        self._send(dataclasses.replace(command, id=self._id))
        while True:
            event = self._event()
            if isinstance(event, protocol.Loaded) and event.id == self._id:
                return event
            self._refuse(event)

    def generate(self, request: GenerationRequest, cancelled: Callable[[], bool] = lambda: False) -> Iterator[protocol.Event]:
        """The events of a story with the checkpoint that was loaded, as `engine.generate` gives them."""
        self._id += 1
        self._send(protocol.Generate(self._id, request))
        told = False
        while True:
            event = self._event(LOOK_S)
            if not told and cancelled():
                told = True
                self._send(protocol.Cancel(self._id))
            if event is None:
                continue
            self._refuse(event)
            yield event
            if isinstance(event, protocol.Done):
                return

    def status(self) -> protocol.StatusReport:
        """What it holds and does."""
        self._id += 1
        self._send(protocol.Status(self._id))
        while True:
            event = self._event(GREETING_S)
            if isinstance(event, protocol.StatusReport):
                return event
            if event is None:
                raise Lost("The engine does not answer.")

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.close()

    def _send(self, command: protocol.Command) -> None:
        try:
            self._stream.sendall(protocol.encode(command))
        except OSError as error:
            raise Lost("The engine that was left running has gone; try again.") from error

    def _event(self, timeout: float | None = None) -> protocol.Event | None:
        """The next event; None where none comes within so many seconds. Raises `Lost` where the engine has gone."""
        while b"\n" not in self._pending:
            if timeout is not None and not select.select([self._stream], [], [], timeout)[0]:
                return None
            try:
                chunk = self._stream.recv(1 << 16)
            except OSError as error:
                raise Lost("The engine that was left running has gone; try again.") from error
            if not chunk:
                raise Lost("The engine that was left running has ended; try again.")
            self._pending += chunk
        line, _, self._pending = self._pending.partition(b"\n")
        return protocol.decode_event(line)

    @staticmethod
    def _refuse(event: object) -> None:
        if isinstance(event, protocol.Failed):
            raise _ERRORS.get(event.kind, TinyTalesError)(event.message)


def connect(path: Path) -> Connection | None:
    """A connection to the engine behind this socket; None where there is none that can be used: nobody listens, it is another
    version's, or it does not answer. A socket that a dead one left is no obstacle."""
    if not place.available() or not place.may_be_trusted(path):
        return None
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    stream.settimeout(GREETING_S)
    try:
        stream.connect(str(path))
        pending = b""
        while b"\n" not in pending:
            chunk = stream.recv(1 << 16)
            if not chunk:
                raise OSError("it hung up")
            pending += chunk
        line, _, rest = pending.partition(b"\n")
        hello = protocol.decode_event(line)
        if isinstance(hello, protocol.Hello) and (hello.protocol, hello.version) == (protocol.PROTOCOL, __version__):
            stream.settimeout(None)
            return Connection(stream, hello, rest)
    except (OSError, TinyTalesError):
        pass
    stream.close()
    return None
