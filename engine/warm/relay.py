"""`python -m engine.warm.relay SOCKET`: a child process that is a pipe to the warm engine, for a program that expects a worker.

Where nobody listens any more, it becomes a worker itself, so a stale socket is never an obstacle. Imports next to nothing.
"""

from __future__ import annotations

import os
import select
import socket
import sys

from engine.version import __version__

GREETING_S = 1.0
"""How long it may take to say hello."""


def main() -> None:
    """Pass bytes both ways until either side ends."""
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    stream.settimeout(GREETING_S)
    try:
        stream.connect(sys.argv[1])
        greeting = stream.recv(1 << 16)
        if f'"version":"{__version__}"'.encode() not in greeting:
            raise OSError("it hung up, or is another version's")
    except OSError:
        stream.close()
        os.execv(sys.executable, [sys.executable, *(["-P"] if sys.flags.safe_path else []), "-m", "engine.worker"])
    stream.settimeout(None)
    write_all(greeting)
    while True:
        for ready in select.select([0, stream], [], [])[0]:
            data = os.read(0, 1 << 16) if ready == 0 else stream.recv(1 << 16)
            if not data:
                return
            if ready == 0:
                stream.sendall(data)
            else:
                write_all(data)


def write_all(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]


if __name__ == "__main__":
    import contextlib
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the terminal
    with contextlib.suppress(OSError):
        main()
