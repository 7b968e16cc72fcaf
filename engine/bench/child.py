"""The process of one measurement: `python -P -m engine.bench.child`.

The first line on standard input is the job, whose `kind` names the measurement; it is made ready and its facts are the first answer.
Each further line is one run with its parameters, and gets the figures as its answer. An answer is a line of JSON: {"answer": …}, or
{"failed": sentence, "kind": name of the exception}. When the input closes, because whoever asks has ended in whatever way, this
process ends at once. Imports torch only for a job that needs it, and then before anything else, to see what torch alone takes.
"""

from __future__ import annotations

import importlib
import json
import os
import queue
import sys
import threading
from typing import Any, Protocol

import psutil

from engine.errors import TinyTalesError


class Measurement(Protocol):
    """What a job is made into."""

    facts: dict[str, Any]

    def run(self, **parameters: Any) -> dict[str, Any]:
        """One run's figures."""


def memory() -> int:
    """Bytes of this process that are resident."""
    return int(psutil.Process().memory_info().rss)


_KINDS = {
    "look": ("looking", "Looking"),
    "write": ("writing", "Writing"),
    "read": ("reading", "Reading"),
    "train": ("training", "Training"),
    "export": ("others", "Export"),
    "transformers": ("others", "Transformers"),
    "llama.cpp": ("others", "LlamaCpp"),
}
"""Kind of job -> module of this package and class in it."""
_WEIGHED = ("write", "transformers", "llama.cpp")
"""Kinds that tell their memory, and want to know what there was before."""


def begin(kind: str, job: dict[str, Any]) -> Measurement:
    """The measurement of that kind, made ready; raises what a job that cannot be done raises."""
    if kind != "llama.cpp":
        import torch  # noqa: F401
    if kind in _WEIGHED:
        job = job | {"bare": memory()}
    module, name = _KINDS[kind]
    return getattr(importlib.import_module(f"engine.bench.{module}"), name)(**job)  # type: ignore[no-any-return]


def main() -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a stray print must not break the stream of answers
    asked: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(asked,), daemon=True).start()
    measurement: Measurement | None = None
    while True:
        parameters = asked.get()
        try:
            if measurement is None:
                measurement = begin(parameters.pop("kind"), parameters)
                answer: dict[str, Any] = {"answer": measurement.facts}
            else:
                answer = {"answer": measurement.run(**parameters)}
        except TinyTalesError as error:
            answer = {"failed": str(error), "kind": type(error).__name__}
        except Exception as error:
            answer = {"failed": _fault(error), "kind": "TinyTalesError"}
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


def _read(asked: queue.SimpleQueue[dict[str, Any]]) -> None:
    try:
        for line in sys.stdin.buffer:
            asked.put(json.loads(line))
    finally:
        os._exit(0)


def _fault(error: Exception) -> str:
    words = " ".join(str(error).split())[:300]
    if isinstance(error, MemoryError) or "out of memory" in words or "can't allocate memory" in words:
        return "There is not enough memory for this measurement; try a smaller model or fewer --tokens."
    return f"The measurement met a fault: {type(error).__name__}: {words}."


if __name__ == "__main__":
    main()
