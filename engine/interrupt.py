"""Ctrl-C as a request: work ends at a good moment, with nothing half-done; asked twice it ends at once. Knows no torch.

Python runs a signal's handler between two instructions of its own, so it hears nothing during one long call of a library, and two
signals that come within one are a single call of the handler. Where the second Ctrl-C must end a process whatever it is doing, a thread
counts the signals as they come (the system's handler writes each of them into a socket) and leaves in the main thread's stead.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any

INTERRUPTED = 130
"""The exit code of a process that was interrupted."""
GRACE = 1.0
"""Seconds that the main thread has, after a second Ctrl-C, to leave in its usual way."""
LAST_WORDS = 5.0
"""Seconds that the last words may take where it did not; they wait for a disk."""


class Interrupt:
    """While `gentle`, the first signal only sets `came`; a second Ctrl-C, or any signal while not gentle, raises KeyboardInterrupt.

    Other signals may come more than once without meaning more: kernel and shell both send SIGHUP when a terminal closes. A `patient`
    one never raises. With `last_words`, a second Ctrl-C that the main thread cannot hear ends the process nevertheless, after these
    have been said in another thread; what is written at that moment must be safe from a process that is killed. To be used as a
    context; outside the main thread, where signals cannot be caught, it never comes.
    """

    def __init__(
        self,
        *signals: signal.Signals,
        gentle: bool = True,
        patient: bool = False,
        last_words: Callable[[], None] | None = None,
    ) -> None:
        self.came = False
        self.gentle = gentle
        self._patient = patient
        self._signals = signals or (signal.SIGINT,)
        self._before: dict[signal.Signals, Any] = {}
        self._counter = None if patient or last_words is None else _Counter(self._signals, last_words)

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._catch) for number in self._signals}
            if self._counter:
                self._counter.begin()
        return self

    def __exit__(self, *_: object) -> None:
        if self._counter:
            self._counter.end()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _catch(self, number: int, _: object) -> None:
        again = number == signal.SIGINT and (self.came or (self._counter is not None and self._counter.twice))
        if not self._patient and (not self.gentle or again):
            if self._counter:
                self._counter.leaving.set()
            raise KeyboardInterrupt
        self.came = True


class _Counter:
    """Counts signals while the main thread may be deaf, and ends the process after a second Ctrl-C if the main thread does not."""

    def __init__(self, signals: tuple[signal.Signals, ...], last_words: Callable[[], None]) -> None:
        self.twice = False
        """A Ctrl-C has come after another signal."""
        self.leaving = threading.Event()
        """The main thread has heard and is on its way out, or all is over."""
        self._signals, self._last_words = signals, last_words
        self._ends: tuple[socket.socket, socket.socket] | None = None
        self._before = -1
        self._thread = threading.Thread(target=self._listen, name="second Ctrl-C", daemon=True)

    def begin(self) -> None:
        """To be called in the main thread; does nothing where something else, an event loop, is told of signals already."""
        self._ends = socket.socketpair()
        told = self._ends[1]
        told.setblocking(False)
        self._before = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
        if self._before != -1:
            signal.set_wakeup_fd(self._before)
            self._close()
            return
        self._thread.start()

    def end(self) -> None:
        """To be called in the main thread."""
        if self._ends is None:
            return
        ours = self._ends[1].fileno()
        if (found := signal.set_wakeup_fd(self._before)) != ours:
            signal.set_wakeup_fd(found)  # of an event loop that was begun since
        self.leaving.set()
        with contextlib.suppress(OSError):
            self._ends[1].shutdown(socket.SHUT_RDWR)  # which wakes the thread
        self._thread.join()
        self._close()

    def _close(self) -> None:
        for end in self._ends or ():
            end.close()
        self._ends = None

    def _listen(self) -> None:
        assert self._ends is not None
        came = False
        while heard := self._ends[0].recv(64):
            for number in heard:
                self.twice = self.twice or (came and number == signal.SIGINT)
                came = came or number in self._signals
            if self.twice and not self.leaving.wait(GRACE):
                self._leave()

    def _leave(self) -> None:
        last = threading.Thread(target=self._last_words, daemon=True)
        last.start()
        last.join(LAST_WORDS)
        os._exit(INTERRUPTED)
