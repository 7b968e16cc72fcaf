"""One training process, from the run's folder to its end: `train(folder)`. The only entry that starts training."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

import torch

from engine.errors import TinyTalesError
from engine.interrupt import Interrupt
from engine.runs import RunDirectory
from engine.training.heartbeat import Heartbeat
from engine.training.loop import Trainer
from engine.training.setup import assemble, read_settings
from engine.training.state import saved_steps
from engine.training.world import World

Say = Callable[[str], None]
LEFT = "Left at once; what was done since the last checkpoint will be done when it goes on."


def train(folder: Path, say: Say = lambda line: None) -> str:
    """Begin or go on with the run in `folder` and return how it ended: finished or stopped.

    Ctrl-C, SIGTERM and SIGHUP end it after a whole step, with a checkpoint; a second Ctrl-C at once (`KeyboardInterrupt`). Raises
    `UsageError` or another `TinyTalesError` in one sentence where it cannot train; `status.json` then says so too.
    """
    run = RunDirectory(folder)
    if int(os.environ.get("RANK", "0")):
        return _following(run, say)
    run.config()  # a folder without a run is refused before anything is written into it
    with run.lock():
        return _writing(run, say)


def _writing(run: RunDirectory, say: Say) -> str:
    """Rank 0: it writes the run directory and decides."""

    def tell(line: str) -> None:
        with contextlib.suppress(OSError):  # a full disk; what must be kept is written with patience (`saving`)
            run.log(line)
        say(line)

    world: World | None = None
    heartbeat = Heartbeat(run, next(iter(saved_steps(run.path / "state")), 0), None)
    with _interrupt(lambda: heartbeat.now("stopped", LEFT)) as interrupt, heartbeat:
        try:
            settings = read_settings(run)
            if settings.threads:
                torch.set_num_threads(settings.threads)
            world = World.join(settings.device)
            interrupt.gentle = world.many  # before the first step there is nothing to save: leave at once
            parts = assemble(run, world, tell)
            interrupt.gentle = True
            heartbeat.expect(parts.progress.step, parts.steps)
            return Trainer(run, parts, world, interrupt, heartbeat, tell).run_all()
        except KeyboardInterrupt:
            heartbeat.now("stopped", LEFT)
            raise
        except BaseException as error:
            message = failure(error, world)
            heartbeat.now("failed", message)
            try:
                run.event("failed", heartbeat.step, message=message)
            except OSError:
                say("The run directory cannot be written any more.")
            raise
        finally:
            if world:
                world.close()


def _following(run: RunDirectory, say: Say) -> str:
    """Any other rank: it learns its share and follows rank 0."""
    settings = read_settings(run)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    world = World.join(settings.device)
    try:
        with _interrupt() as interrupt:
            parts = assemble(run, world, say)
            return Trainer(run, parts, world, interrupt, Heartbeat(run, 0, parts.steps), say).run_all()
    except RuntimeError as error:  # rank 0 has said why, or has died
        raise TinyTalesError(failure(error, world)) from error
    finally:
        world.close()


def failure(error: BaseException, world: World | None = None) -> str:
    """One sentence for what ended a run."""
    if isinstance(error, TinyTalesError):
        return str(error)
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return "There is not enough memory; a smaller micro-tokens takes each step in smaller parts."
    first = str(error).splitlines()[0].rstrip(".") if str(error) else "no reason was given"
    if world and world.many and isinstance(error, RuntimeError):
        return f"Another process of this run has died, or cannot be reached ({first})."
    return f"{type(error).__name__}: {first}."


def _interrupt(last_words: Callable[[], None] | None = None) -> Interrupt:
    """Ctrl-C, SIGTERM and SIGHUP as requests; under a launcher, which passes on what it hears too, however often they come."""
    patient = int(os.environ.get("WORLD_SIZE", "1")) > 1
    return Interrupt(*_signals("SIGINT", "SIGTERM", "SIGHUP"), patient=patient, last_words=last_words)


def _signals(*names: str) -> list[signal.Signals]:
    return [getattr(signal, name) for name in names if hasattr(signal, name)]
