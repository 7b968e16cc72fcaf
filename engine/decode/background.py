"""The fastest step, made ready while nobody waits: for a checkpoint that was loaded with neither a step nor a precision asked for.

The plain step answers at once. What was chosen for this machine before (`remembered`) is built in a thread while no story is under way;
where nothing was, a process of its own measures first (`choosing`), begun after the first story or some idle seconds. What was built is
held against the plain step, and the next story is written by it. Whatever goes wrong, the plain step stays: the reason is remembered
and told in the worker's log. Imports no torch by itself.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import engine
from engine.decode import library, remembered
from engine.decode.choose import kernel_folder
from engine.decode.remembered import Choice, Subject
from engine.errors import TinyTalesError
from engine.held import Held, Holder

if TYPE_CHECKING:
    from engine.checkpoints.native import Checkpoint

SWITCH = "TINYTALES_NO_BACKGROUND"
"""Set to anything, it leaves the plain step in place: for tests and measurements."""
IDLE_S = 4.0
"""Without a story for so long, measuring may begin before the first one."""
QUIET_S = 0.25
"""Without a request for so long, nobody is about to be held up by building."""
STORIES = 2
"""Where one story follows the other, building takes a turn of its own after so many."""
LOOK_S = 0.05


class Background:
    """What goes on beside the stories of one holder."""

    def __init__(self, holder: Holder, changed: Callable[[Held], None]) -> None:
        """`changed` hears, in the holder's turn, that what is held is written with by another step."""
        self._holder, self._changed = holder, changed

    def consider(self, held: Held) -> None:
        """Begin for a checkpoint that was just loaded, if that may be and is not done already; for whoever has the turn."""
        if held.open and not held.taken_up and not os.environ.get(SWITCH):
            held.taken_up = True
            threading.Thread(target=self._prepare, args=(held,), name="faster-step", daemon=True).start()

    def _prepare(self, held: Held) -> None:
        folder, subject = kernel_folder(), None
        try:
            assert held.checkpoint.path is not None
            subject = Subject.of(held.checkpoint.path, held.info.choices, held.threads)
            choice = remembered.lookup(folder, subject)
            if choice is None or (choice.step != "plain" and not library.ready(folder)):
                choice = self._choose(held, folder, subject)
            if choice is not None and choice.step != "plain":
                self._exchange(held, choice)
                _give_back()
        except Exception as error:  # the plain step goes on; what is written must not depend on this
            reason = str(error) if isinstance(error, TinyTalesError) else f"{type(error).__name__}: {error}"
            _say(f"The plain step stays: {reason}")
            if subject is not None:
                _keep(folder, subject, reason)

    def _choose(self, held: Held, folder: Path, subject: Subject) -> Choice | None:
        """What a process of its own finds out; None where the checkpoint is no longer held."""
        if not self._wait(held, lambda: self._holder.idle_s > (QUIET_S if held.stories else IDLE_S) or held.stories >= STORIES):
            return None
        with self._holder.turn:  # not while a story is being written; it may run on under one
            process = _choosing(held)
        code = _await(process, lambda: self._holder.held is held)
        if self._holder.held is not held:
            return None
        found = remembered.lookup(folder, subject)
        if found is None or (found.step != "plain" and not library.ready(folder)):
            raise TinyTalesError(f"the process that measures ended without a result (exit code {code})")
        return found

    def _exchange(self, held: Held, choice: Choice) -> None:
        """Build what was chosen, hold it against the plain step, and let it write the next story."""
        if not self._wait(held, lambda: self._holder.idle_s > QUIET_S or held.stories >= STORIES):
            return
        if self._holder.idle_s > QUIET_S:
            made = _built(held, choice)
            with self._holder.turn:
                self._swap(held, made)
        else:
            with self._holder.turn:
                self._swap(held, _built(held, choice))

    def _swap(self, held: Held, made: Checkpoint) -> None:
        if self._holder.held is held:
            held.exchange(made)
            self._changed(held)

    def _wait(self, held: Held, until: Callable[[], bool]) -> bool:
        """Whether it came true while the checkpoint was still held."""
        pause = threading.Event()
        while self._holder.held is held:
            if until():
                return True
            pause.wait(LOOK_S)
        return False


def _built(held: Held, choice: Choice) -> Checkpoint:
    """The checkpoint with its compiled step; raises what building raises, and where it finds other logits."""
    from engine.decode.checking import refusal
    from engine.decode.choose import compile_step
    from engine.decode.twins import sharing

    exact = held.checkpoint
    made = dataclasses.replace(exact, network=sharing(exact.network))  # building may give up the weights that it does not need
    compile_step(made, choice.precision, choice.threads)
    if why := refusal(made, exact):
        raise TinyTalesError(why)
    return made


def _give_back() -> None:
    from engine.devices import give_back

    give_back()  # the network that was let go is an eighth of a gigabyte for 30 million parameters


def _choosing(held: Held) -> subprocess.Popen[bytes]:
    """The process that measures, which was just started. Its standard input is ours, so it ends when we do."""
    assert held.checkpoint.path is not None
    choices = held.info.choices.to_json() if held.info.choices else {}
    command = [sys.executable, "-P", "-m", "engine.decode.choosing", str(held.checkpoint.path.absolute())]
    command += ["--choices", json.dumps(choices)] + ([] if held.threads is None else ["--threads", str(held.threads)])
    root = str(Path(engine.__file__).parents[1])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": path}, start_new_session=True
    )


def _await(process: subprocess.Popen[bytes], wanted: Callable[[], bool]) -> int:
    """The exit code; where nobody wants it any more, it is ended."""
    assert process.stdin is not None
    with process.stdin:
        while wanted():
            try:
                return process.wait(LOOK_S * 4)
            except subprocess.TimeoutExpired:
                continue
    return process.wait()


def _keep(folder: Path, subject: Subject, reason: str) -> None:
    try:
        remembered.give_up(folder, subject, reason)
    except OSError as error:
        _say(f"That cannot be kept in {folder}: {error}")


def _say(words: str) -> None:
    sys.stderr.write(words + "\n")
    sys.stderr.flush()
