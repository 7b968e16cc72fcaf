"""With which command line and environment an engine is started, and whether what was started is one. Knows no Textual and no torch."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from engine import openmp, protocol
from engine.warm import place


def command_line(command: Sequence[str], warm: Path | None) -> tuple[list[str], dict[str, str]]:
    """(command line, environment) of a worker: `command` where a person gave one, else a pipe to the engine that waits behind the
    socket `warm`, else a worker of our own."""
    environment = engine_environment()
    if command:
        return list(command), environment
    if warm is not None and place.available() and place.may_be_trusted(warm):
        return [sys.executable, "-P", "-m", "engine.warm.relay", str(warm)], environment
    return [sys.executable, "-P", "-m", "engine.worker"], environment


def engine_environment() -> dict[str, str]:
    """The environment of a process that imports this very installation's engine, whatever lies where the person stands.

    With `-P`, a folder that happens to be called `engine` there is not run; where the package is used from a source folder and not
    installed, that folder has to be named.
    """
    environment = dict(os.environ, PYTHONUNBUFFERED="1", PYTHONIOENCODING="utf-8") | openmp.turns(openmp.WRITING)
    spec = importlib.util.find_spec("engine")
    root = Path(spec.origin).parent.parent if spec and spec.origin else None
    if root and root.name not in ("site-packages", "dist-packages"):
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), environment.get("PYTHONPATH", "")]))
    return environment


def fault_of_greeting(line: bytes) -> str | None:
    """None if the line is a hello of our protocol, words if it must be refused, nothing if it is a shell's greeting."""
    try:
        event = protocol.decode_event(line)
    except protocol.ProtocolError:
        return "The engine's greeting is of another version of this program." if line.lstrip().startswith(b'{"type"') else ""
    if not isinstance(event, protocol.Hello):
        return "The engine spoke before it said hello, so it was stopped."
    if event.protocol != protocol.PROTOCOL:
        return (
            f"The engine (version {event.version}) speaks protocol {event.protocol} and this terminal {protocol.PROTOCOL}: "
            "install the same version of tinytales-tui on both sides."
        )
    return None
