"""Several questions to the Hub at once, on threads that nobody waits for at the end. Knows no torch.

`concurrent.futures` would do but for that end: its threads are joined when the program quits, and a server that takes a connection and
never answers would keep a person in front of a dead screen.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Answer(Generic[R]):
    """What came back for the question at `place`: `get` returns it, or raises what it raised."""

    def __init__(self, place: int, result: R | None, error: Exception | None) -> None:
        self.place = place
        self._result, self._error = result, error

    def get(self) -> R:
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]


def ask_all(ask: Callable[[T], R], about: Sequence[T], at_once: int) -> Iterator[Answer[R]]:
    """`ask` of each, `at_once` at a time; the answers as they come. Whoever stops listening stops the asking."""
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    answers: queue.SimpleQueue[Answer[R]] = queue.SimpleQueue()
    stopped = threading.Event()
    for place in range(len(about)):
        waiting.put(place)

    def work() -> None:
        while not stopped.is_set():
            try:
                place = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                answers.put(Answer(place, ask(about[place]), None))
            except Exception as error:  # raised again where it is asked for
                answers.put(Answer(place, None, error))

    for number in range(min(at_once, len(about))):
        threading.Thread(target=work, name=f"asking the Hub {number + 1}", daemon=True).start()
    try:
        for _ in about:
            yield answers.get()
    finally:
        stopped.set()
