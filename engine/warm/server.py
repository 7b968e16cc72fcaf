"""`python -m engine.warm.server SOCKET [--idle SECONDS]`: keeps torch and a checkpoint ready behind a Unix socket.

Every connection is a worker of its own that speaks `engine.protocol`; they share one checkpoint and take turns at the machine, so two
stories never slow each other down. When nobody has been connected for a while, or on SIGTERM, it ends and takes its socket away.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import struct
import sys
import threading
import time
from pathlib import Path

from engine.warm import place
from engine.worker import Shared, Worker

IDLE_S = 600.0
SEND_S = 10
"""How long whoever asked may leave its story unread before the connection is cut."""
LISTEN_S = 1.0
"""Between two looks whether it has been idle long enough."""


class Server:
    """Listens on a socket that is bound already."""

    def __init__(self, listener: socket.socket, idle_s: float) -> None:
        self._listener = listener
        self._idle_s = idle_s
        self._shared = Shared()
        self._open = 0
        self._lock = threading.Lock()
        self._last = time.monotonic()
        self._ending = threading.Event()

    def run(self) -> None:
        """Serve until it is idle for long enough or told to end."""
        self._listener.settimeout(LISTEN_S)
        threading.Thread(target=_import_torch, daemon=True).start()
        while not self._ending.is_set():
            try:
                stream, _ = self._listener.accept()
            except TimeoutError:
                if not self._open and time.monotonic() - self._last >= self._idle_s:
                    return
                continue
            except OSError:
                return
            if _is_ours(stream):
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", SEND_S, 0))
                with self._lock:
                    self._open += 1
                threading.Thread(target=self._serve, args=(stream,), daemon=True).start()
            else:
                stream.close()

    def end(self, *_: object) -> None:
        """Stop listening; stories under way are not waited for."""
        self._ending.set()

    def _serve(self, stream: socket.socket) -> None:
        try:
            with (
                contextlib.suppress(OSError, ValueError),
                stream,
                stream.makefile("rb") as commands,
                stream.makefile("wb", buffering=0) as events,
            ):
                Worker(commands, _Whole(events), self._shared).run()  # type: ignore[arg-type]
        finally:
            with self._lock:
                self._open -= 1
                self._last = time.monotonic()


class _Whole:
    """A raw socket file may write a part of what it is given."""

    def __init__(self, raw: object) -> None:
        self._raw = raw

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            written = self._raw.write(view)  # type: ignore[attr-defined]
            if written is None:  # nobody has read for SEND_S, and others wait for their turn
                raise BrokenPipeError("the other side does not read")
            view = view[written:]

    def flush(self) -> None:
        """Nothing is held back."""


def _import_torch() -> None:
    with contextlib.suppress(Exception):  # told in answer to the first command that needs it
        import engine.checkpoints.load
        import engine.generation  # noqa: F401


def _is_ours(stream: socket.socket) -> bool:
    """Whether whoever connected is the owner of this process, where the system can say."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    peer = stream.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return struct.unpack("3i", peer)[1] == os.getuid()


def main() -> int:
    """Run the server; a second one beside it ends at once."""
    from filelock import FileLock, Timeout

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("socket", type=Path)
    parser.add_argument("--idle", type=float, default=IDLE_S)
    options = parser.parse_args()
    path: Path = options.socket
    place.make_folder(path)
    try:
        with FileLock(path.with_suffix(".lock"), timeout=0, mode=0o600):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()  # whoever left it is dead: it would hold the lock
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            before = os.umask(0o177)
            listener.bind(str(path))
            os.umask(before)
            listener.listen(16)
            server = Server(listener, options.idle)
            signal.signal(signal.SIGTERM, server.end)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            if hasattr(signal, "SIGHUP"):
                signal.signal(signal.SIGHUP, signal.SIG_IGN)
            try:
                server.run()
            finally:
                with contextlib.suppress(OSError):
                    path.unlink()
    except Timeout:
        sys.stderr.write("An engine is running already.\n")
        return 1
    os._exit(0)  # threads may still hold the end of a story that nobody waits for


if __name__ == "__main__":
    sys.exit(main())
