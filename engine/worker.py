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
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from engine.errors import CheckpointError, NetworkError, TinyTalesError, UsageError
from engine.protocol import (
    PROTOCOL,
    Cancel,
    CheckpointInfo,
    Command,
    Event,
    Failed,
    Generate,
    Hello,
    Load,
    Loaded,
    Loading,
    Quit,
    Status,
    StatusReport,
    decode_command,
    encode,
)
from engine.settings import SAMPLING_PRESETS
from engine.version import __version__

if TYPE_CHECKING:
    from engine.checkpoints.choices import Choices
    from engine.checkpoints.native import Checkpoint


class Holder:
    """The checkpoint of one worker, or the one that several share; whoever works with it has `turn`."""

    def __init__(self) -> None:
        self.turn = threading.Lock()
        self._asked: tuple[object, object] | None = None
        """What is held, and on what and how."""
        self._held: tuple[Any, CheckpointInfo] | None = None
        self.info: CheckpointInfo | None = None

    def load(self, command: Load) -> tuple[Any, CheckpointInfo]:
        """The checkpoint that is asked for, read only where it is not the one that is held; the one before stays if it cannot be."""
        from engine.checkpoints import load_checkpoint
        from engine.devices import use_threads

        what = (command.source, command.choices, _stamp(command.source))
        compiled = (command.step, command.threads if command.step == "compiled" else None)
        how = (command.device, command.precision, *compiled)
        as_it_is = how == (None, "auto", None, None)  # nothing was asked for, so what it was loaded for before is right
        if self._held is None or self._asked is None or self._asked[0] != what or (not as_it_is and self._asked[1] != how):
            checkpoint = load_checkpoint(
                command.source,
                device=command.device,
                precision=command.precision,
                choices=command.choices,
                step=command.step or "plain",
                threads=command.threads,
            )
            self._asked, self._held = (what, how), (checkpoint, info_of(checkpoint, command.choices or None))
            self.info = self._held[1]
        use_threads(command.threads, self._held[0].network.parameter_count())
        return self._held


class Worker:
    """Carries out commands one after the other; cancels and the end of the input are noticed in between."""

    def __init__(self, commands: BinaryIO, events: BinaryIO, holder: Holder | None = None) -> None:
        """With a `holder` that others share, the end of the input ends this worker and not the process."""
        self._commands, self._events = commands, events
        self._queue: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._cancelled: set[int] = set()
        self._writing = threading.Lock()
        self._holder = holder or Holder()
        self._alone = holder is None
        self._gone = False
        self._checkpoint = None
        self._threads: int | None = None
        self._generating: int | None = None

    def run(self) -> None:
        """Serve until `Quit` or the end of the input."""
        self.send(Hello(PROTOCOL, __version__, os.getpid()))
        threading.Thread(target=self._read, daemon=True).start()
        if self._alone:
            self._import_torch()
        while not isinstance(command := self._queue.get(), Quit):
            self._carry_out(command)

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
        except TinyTalesError as error:
            self.send(Failed(command.id, str(error), _kind(error)))  # type: ignore[union-attr]
        except BrokenPipeError:
            raise
        except Exception as error:
            import traceback

            traceback.print_exc()  # for the log; the person gets one line
            self.send(Failed(command.id, _fault(error)))  # type: ignore[union-attr]

    def _load(self, command: Load) -> None:
        begun = time.perf_counter()
        self.send(Loading(command.id, f"loading {command.source or 'the story model'}"))
        with self._holder.turn:
            self._checkpoint, info = self._holder.load(command)
        self._threads = command.threads
        self.send(Loaded(command.id, info, round(time.perf_counter() - begun, 3)))

    def _generate(self, command: Generate) -> None:
        from engine.devices import use_threads
        from engine.generation import generate

        if self._checkpoint is None:
            raise UsageError("No checkpoint is loaded yet.")
        self._generating = command.id
        try:
            with self._holder.turn:
                use_threads(self._threads, self._checkpoint.network.parameter_count())
                for event in generate(self._checkpoint, command.request, lambda: self._is_cancelled(command.id), command.id):
                    self.send(event)
        finally:
            self._generating = None
            self._cancelled.discard(command.id)

    def _is_cancelled(self, number: int) -> bool:
        return self._gone or number in self._cancelled


def info_of(checkpoint: Checkpoint, choices: Choices | None) -> CheckpointInfo:
    """What a person wants to know of a checkpoint that was loaded."""
    return CheckpointInfo(
        name=checkpoint.name,
        source=checkpoint.source,
        family=checkpoint.family,
        parameters=checkpoint.network.parameter_count(),
        context=checkpoint.config.context,
        tokenizer=checkpoint.tokenizer.name,
        prompt_style=checkpoint.prompt_style.name,
        device=checkpoint.device,
        precision=checkpoint.precision,
        sampling=checkpoint.sampling or SAMPLING_PRESETS["balanced"],
        warnings=tuple(checkpoint.warnings),
        path=str(checkpoint.path or ""),
        choices=choices,
        step="compiled" if checkpoint.compiled is not None else "plain",
    )


def _stamp(source: str | None) -> object:
    """When the files of a checkpoint were last changed, so that one that was written anew is read anew."""
    if source is None:
        return None
    found = []
    with contextlib.suppress(OSError):
        folder = Path(source)
        for path in [folder, *sorted(folder.iterdir())] if folder.is_dir() else [folder]:
            stat = path.stat()
            found.append((path.name, stat.st_mtime_ns, stat.st_size))
    return tuple(found)


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
