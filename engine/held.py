"""The checkpoint that a worker holds, alone or together with others, and the stories that are written with it.

What writes with it may be exchanged for a faster step between two stories (`engine.decode.background`), never within one: whoever
begins a story has the holder's turn, looks at what is held then, and tells it in `Started`. Knows no torch until something is loaded.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import files
from engine.protocol import CheckpointInfo, Event, Generate, Load, Look, Prospect, Score, Scored, Started
from engine.settings import SAMPLING_PRESETS, GenerationRequest

if TYPE_CHECKING:
    from engine.checkpoints.choices import Choices
    from engine.checkpoints.native import Checkpoint
    from engine.looking import Looker


_NOTHING: tuple[Any, ...] = (None, "auto", None, None)
"""Device, precision, step and threads of a request that leaves them all open."""


@dataclass
class Held:
    """One checkpoint as it was asked for. `checkpoint` and `info` change only in the holder's turn."""

    checkpoint: Checkpoint
    info: CheckpointInfo
    threads: int | None
    """CPU threads that were asked for."""
    open: bool
    """Neither step nor precision was asked for, and it is on the CPU: what writes may be exchanged."""
    taken_up: bool = False
    """Somebody sees to that already."""
    stories: int = 0
    """Requests that were carried out."""
    looker: Looker | None = None
    """What was looked at last."""

    def exchange(self, checkpoint: Checkpoint) -> None:
        """Write with this from now on."""
        self.checkpoint, self.info, self.looker = checkpoint, info_of(checkpoint, self.info.choices), None


class Holder:
    """The checkpoint of one worker, or the one that several share; whoever works with it has `turn`."""

    def __init__(self) -> None:
        self.turn = threading.Lock()
        self.held: Held | None = None
        self._asked: tuple[object, object] | None = None
        """What is held, and on what and how."""
        self._started = _NOTHING
        """How it is held for whoever asks for nothing."""
        self._at_work = 0
        """Loads and stories that are under way or wait for their turn."""
        self._last = time.monotonic()
        self._counting = threading.Lock()

    @property
    def info(self) -> CheckpointInfo | None:
        return self.held.info if self.held else None

    @property
    def idle_s(self) -> float:
        """Seconds since anybody wanted anything; 0 while somebody does."""
        with self._counting:
            return 0.0 if self._at_work else time.monotonic() - self._last

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Have the turn; other parts of the program see that there is work."""
        with self._counting:
            self._at_work += 1
        try:
            with self.turn:
                yield
        finally:
            with self._counting:
                self._at_work -= 1
                self._last = time.monotonic()

    def load(self, command: Load) -> Held:
        """The checkpoint that is asked for, read only where it is not the one that is held; the one before stays if it cannot be."""
        from engine.checkpoints import load_checkpoint

        what = (command.source, command.choices, _stamp(command.source))
        asked = (command.device, command.precision, command.step, command.threads)
        how = self._started if asked == _NOTHING and not command.lasting else asked
        if self.held is None or self._asked != (what, how):
            device, precision, step, threads = how
            checkpoint = load_checkpoint(
                command.source, device=device, precision=precision, choices=command.choices, step=step, threads=threads
            )
            is_open = (precision, step, checkpoint.device) == ("auto", None, "cpu")
            info = info_of(checkpoint, command.choices or None)
            self._asked, self.held = (what, how), Held(checkpoint, info, threads, is_open)
        if command.lasting:
            self._started = how
        return self.held


def write(held: Held, request: GenerationRequest, cancelled: Callable[[], bool] = lambda: False, id: int = 0) -> Iterator[Event]:
    """The events of `engine.generate`, with what writes in `Started`; for whoever has the holder's turn until the last of them."""
    from engine.generation import generate

    threads = _set_threads(held)
    for event in generate(held.checkpoint, request, cancelled, id):
        yield _told(event, held, threads)
    held.stories += 1


def write_together(
    held: Held, parts: Sequence[Generate], cancelled: Callable[[int], bool], failed: Callable[[int, Exception], Event]
) -> Iterator[Event]:
    """The same of several requests in turns; `failed` says what is told of one that cannot be carried out, or not to its end."""
    from engine.together import together

    threads = _set_threads(held)
    for event in together(held.checkpoint, parts, cancelled, failed):
        yield _told(event, held, threads)
    held.stories += len(parts)


def look(held: Held, command: Look) -> Prospect:
    """What may come next; for whoever has the holder's turn, as `score`."""
    from engine.looking import Looker

    _set_threads(held)
    held.looker = held.looker or Looker()
    return held.looker.look(held.checkpoint, command.request, command.count, command.also, command.id)


def score(held: Held, command: Score, cancelled: Callable[[], bool]) -> Scored:
    """How likely the request's opening is."""
    from engine.scoring import score

    _set_threads(held)
    return score(held.checkpoint, command.request, cancelled, command.id)


def _set_threads(held: Held) -> int:
    """Set the CPU threads that write, and say how many they are."""
    from engine.devices import use_threads

    compiled = held.checkpoint.compiled
    return use_threads(compiled.shape.threads if compiled else held.threads, held.checkpoint.network.parameter_count())


def _told(event: Event, held: Held, threads: int) -> Event:
    """The event, with what writes where that belongs into it."""
    if not isinstance(event, Started):
        return event
    info = held.info
    counted = threads if held.checkpoint.device == "cpu" else None
    return dataclasses.replace(event, step=info.step, precision=info.precision, loss=info.loss, threads=counted)


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
        loss=_loss(checkpoint, choices),
    )


def _loss(checkpoint: Checkpoint, choices: Choices | None) -> float | None:
    """What its precision was measured to cost it, if that was measured."""
    if checkpoint.compiled is None or checkpoint.precision == "fp32" or checkpoint.path is None:
        return None
    if checkpoint.precision == checkpoint.stored_as:  # its weights are read as they are
        return 0.0
    from engine.decode import remembered
    from engine.decode.choose import kernel_folder

    with contextlib.suppress(OSError):
        return remembered.loss_of(kernel_folder(), remembered.Subject.of(checkpoint.path, choices), checkpoint.precision)
    return None


def _stamp(source: str | None) -> object:
    """When the files of a checkpoint were last changed, so that one that was written anew is read anew."""
    with contextlib.suppress(OSError):
        return files.stamps(Path(source)) if source is not None else None
    return None
