"""Ctrl-C as a request: work ends at a good moment, with nothing half-done. Knows no torch."""

from __future__ import annotations

import signal
import threading
from typing import Any


class Interrupt:
    """While `gentle`, the first signal only sets `came`; a second Ctrl-C, or any signal while not gentle, raises KeyboardInterrupt.

    Other signals may come more than once without meaning more: kernel and shell both send SIGHUP when a terminal closes. A `patient`
    one never raises. To be used as a context; outside the main thread, where signals cannot be caught, it never comes.
    """

    def __init__(self, *signals: signal.Signals, gentle: bool = True, patient: bool = False) -> None:
        self.came = False
        self.gentle = gentle
        self._patient = patient
        self._signals = signals or (signal.SIGINT,)
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._catch) for number in self._signals}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _catch(self, number: int, _: object) -> None:
        if not self._patient and (not self.gentle or (self.came and number == signal.SIGINT)):
            raise KeyboardInterrupt
        self.came = True
