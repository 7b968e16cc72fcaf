"""The engine worker: `python -m engine.worker`, a process that holds a checkpoint and answers the messages of `engine.protocol`.

Standard input brings commands, standard output carries events and nothing else (whatever a library prints goes to standard error).
One thread reads, the main thread works, so that a cancel takes effect within one token. When the input closes, because the terminal
has ended in whatever way, the worker ends at once.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, BinaryIO

from engine.errors import CheckpointError, NetworkError, TinyTalesError, UsageError
from engine.held import Held, Holder, look, score, write, write_together
from engine.protocol import (
    PROTOCOL,
    Cancel,
    Command,
    Event,
    Failed,
    Generate,
    Hello,
    Load,
    Loaded,
    Loading,
    Look,
    Quit,
    Score,
    Status,
    StatusReport,
    StepChanged,
    Together,
    decode_command,
    encode,
)
from engine.version import __version__

if TYPE_CHECKING:
    from engine.decode.background import Background


class Shared:
    """What the workers of one process have in common: the checkpoint, and what is made ready for it meanwhile."""

    def __init__(self) -> None:
        self.holder = Holder()
        self.listeners: list[Callable[[Held], None]] = []
        """Hear that another step writes with a checkpoint."""
        self._background: Background | None = None

    def make_faster(self, held: Held) -> None:
        """See to it that a checkpoint that was just loaded is soon written with by the fastest step; for whoever has the turn."""
        if held.open:
            from engine.decode.background import Background  # nothing of it is needed before a checkpoint is there

            self._background = self._background or Background(self.holder, self._changed)
            self._background.consider(held)

    def _changed(self, held: Held) -> None:
        for listener in list(self.listeners):
            listener(held)


class Worker:
    """Carries out commands one after the other; cancels and the end of the input are noticed in between."""

    def __init__(self, commands: BinaryIO, events: BinaryIO, shared: Shared | None = None) -> None:
        """With what others share, the end of the input ends this worker and not the process."""
        self._commands, self._events = commands, events
        self._queue: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._cancelled: set[int] = set()
        self._writing = threading.Lock()
        self._alone = shared is None
        self._shared = shared or Shared()
        self._holder = self._shared.holder
        self._gone = False
        self._held: Held | None = None
        self._generating: int | None = None

    def run(self) -> None:
        """Serve until `Quit` or the end of the input."""
        self.send(Hello(PROTOCOL, __version__, os.getpid()))
        threading.Thread(target=self._read, daemon=True).start()
        if self._alone:
            self._import_torch()
        self._shared.listeners.append(self._on_change)
        try:
            while not isinstance(command := self._queue.get(), Quit):
                self._carry_out(command)
        finally:
            self._shared.listeners.remove(self._on_change)

    def _on_change(self, held: Held) -> None:
        if held is self._held:
            with contextlib.suppress(OSError, ValueError):  # nobody listens any more
                self.send(StepChanged(held.info))

    @staticmethod
    def _import_torch() -> None:
        with contextlib.suppress(Exception):  # a torch that is broken is told in answer to the first command that needs it
            import engine.checkpoints  # noqa: F401  # torch takes a second: import it while the first command is on its way

    def send(self, event: Event) -> None:
        with self._writing:
            self._events.write(encode(event))
            self._events.flush()

    def _read(self) -> None:
        try:
            for line in self._commands:
                self._hear(line)
        except (OSError, ValueError):  # the connection was cut
            pass
        finally:
            if self._alone:
                os._exit(0)  # nobody is listening any more; a generation under way has no one to write for
            self._gone = True
            self._queue.put(Quit())

    def _hear(self, line: bytes) -> None:
        try:
            command = decode_command(line)
        except TinyTalesError as error:
            self.send(Failed(-1, str(error)))
            return
        if isinstance(command, Cancel):
            self._cancelled.add(command.id)
        elif isinstance(command, Status):
            self.send(StatusReport(command.id, self._holder.info, self._generating, _memory()))
        else:
            self._queue.put(command)

    def _carry_out(self, command: Command) -> None:
        try:
            if isinstance(command, Load):
                self._load(command)
            elif isinstance(command, Generate):
                self._generate(command)
            elif isinstance(command, Together):
                self._together(command)
            elif isinstance(command, Look):
                self._look(command)
            elif isinstance(command, Score):
                self._score(command)
        except BrokenPipeError:
            raise
        except Exception as error:
            for number in [part.id for part in command.parts] if isinstance(command, Together) else [command.id]:  # type: ignore[union-attr]
                self.send(_failed(number, error))

    def _load(self, command: Load) -> None:
        begun = time.perf_counter()
        self.send(Loading(command.id, f"loading {command.source or 'the story model'}"))
        with self._holder.working():
            self._held = self._holder.load(command)
            info = self._held.info
            self._shared.make_faster(self._held)
        self.send(Loaded(command.id, info, round(time.perf_counter() - begun, 3)))

    @contextlib.contextmanager
    def _at_work(self, *numbers: int) -> Iterator[Held]:
        """Have the turn with what is held, for the commands with these ids."""
        if self._held is None:
            raise UsageError("No checkpoint is loaded yet.")
        try:
            with self._holder.working():
                yield self._held
        finally:
            self._generating = None
            self._cancelled.difference_update(numbers)

    def _generate(self, command: Generate) -> None:
        with self._at_work(command.id) as held:
            self._generating = command.id
            for event in write(held, command.request, lambda: self._is_cancelled(command.id), command.id):
                self.send(event)

    def _together(self, command: Together) -> None:
        numbers = [part.id for part in command.parts]
        with self._at_work(*numbers) as held:
            self._generating = numbers[0] if numbers else None
            for event in write_together(held, command.parts, self._is_cancelled, _failed):
                self.send(event)

    def _look(self, command: Look) -> None:
        with self._at_work(command.id) as held:
            if self._is_cancelled(command.id):
                raise UsageError("Nobody wants to see this any more.")
            self.send(look(held, command))

    def _score(self, command: Score) -> None:
        with self._at_work(command.id) as held:
            self.send(score(held, command, lambda: self._is_cancelled(command.id)))

    def _is_cancelled(self, number: int) -> bool:
        return self._gone or number in self._cancelled


def _failed(number: int, error: Exception) -> Failed:
    """What is told of a command that could not be carried out."""
    if isinstance(error, TinyTalesError):
        return Failed(number, str(error), _kind(error))
    import traceback

    traceback.print_exception(error)  # for the log; the person gets one line
    return Failed(number, _fault(error))


def _kind(error: TinyTalesError) -> str:
    kinds = {UsageError: "usage", CheckpointError: "checkpoint", NetworkError: "network"}
    return next((kind for cls, kind in kinds.items() if isinstance(error, cls)), "error")


def _fault(error: Exception) -> str:
    words = " ".join(str(error).split())[:300]
    if isinstance(error, MemoryError) or "out of memory" in words or "can't allocate memory" in words:
        return "There is not enough memory for this; try a smaller model, a shorter story or another device."
    if isinstance(error, ImportError):
        return f"A part of the installation is missing or broken ({words}); install tinytales-tui again."
    return f"The engine met a fault of its own: {type(error).__name__}: {words}."


def _memory() -> int:
    import psutil

    return psutil.Process().memory_info().rss


def main() -> None:
    """Run a worker on this process's standard streams."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the terminal, which shares our process group
    events = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a stray print must not break the stream of events
    with contextlib.suppress(BrokenPipeError):
        Worker(sys.stdin.buffer, events).run()
    os._exit(0)  # the reading thread holds standard input, which an orderly end of the interpreter would wait for


if __name__ == "__main__":
    main()
