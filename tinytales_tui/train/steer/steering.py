"""What can be done to runs from the Train pane: whether it can be done now, doing it, and saying truly how it went.

`available`, `more_steps`, `toggled`, `asking` and `told` only look at what they are given. `perform` and `perform_all` read and write
files and may wait for seconds: they belong in a thread. The trainer is only ever asked, by a request in the run's folder. What to ask
a person first is in `questions`. Knows no Textual and no torch.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from engine.errors import TinyTalesError
from engine.run_actions import (
    MoreStepsNeeded,
    check_can_start,
    delete_run,
    export_run,
    request,
    requested,
    results,
    wait_until_free,
    why_not,
)
from engine.run_status import RunStatus
from engine.run_view import RunView, folder_bytes
from engine.runs import Request
from tinytales_tui import paths
from tinytales_tui.figures import size
from tinytales_tui.text import one_line

Action = Literal["stop", "pause", "resume", "checkpoint", "sample", "export", "delete"]
PATIENCE = 20.0
"""Seconds that `perform` waits for a trainer's answer; a step of a large model may take longer."""
_EVERY = 0.2
SHOWN = 6
"""Runs that are told of one by one."""
_TO: dict[Action, str] = {
    "stop": "stop a run",
    "pause": "pause a run",
    "resume": "let a run go on",
    "checkpoint": "ask for a checkpoint",
    "sample": "ask for sample stories",
    "export": "copy a checkpoint",
    "delete": "delete a run",
}
_BEING: dict[Action, str] = {
    "stop": "asked to stop",
    "pause": "asked to pause",
    "resume": "asked to go on",
    "checkpoint": "asked for a checkpoint",
    "sample": "asked for sample stories",
    "export": "being copied",
    "delete": "being deleted",
}
_WILL: dict[Request, str] = {
    "stop": "it will stop",
    "pause": "it will pause",
    "resume": "it will go on",
    "checkpoint": "it will write the checkpoint",
    "sample": "it will write the stories",
}


@dataclass(frozen=True)
class Outcome:
    """How an action went with one run, or with several (`told`)."""

    ok: bool
    words: str
    """One sentence a run, safe to show as plain text."""
    waiting: bool = False
    """It was asked for, and no answer has come yet."""
    path: Path | None = None
    """The folder that a checkpoint was copied to."""

    @property
    def severity(self) -> Literal["information", "warning", "error"]:
        return "error" if not self.ok else "warning" if self.waiting else "information"


@dataclass(frozen=True)
class _Asked:
    """Something that a trainer has still to answer."""

    look: Callable[[], Outcome | None]
    """The answer, or None while there is none."""
    late: Callable[[], str]
    """What is true when nobody waits any longer."""


def available(
    action: Action, status: RunStatus, readonly: bool = False, *, name: str = "This run", steps: int | None = None
) -> str | None:
    """None if the action can be done now, else a sentence that says why not.

    `name` begins that sentence. A finished run can go on where `steps` gives it more than it has done.
    """
    name = one_line(name, 60) or "This run"
    if readonly:
        return f"This view is read-only (--readonly), so it cannot {_TO[action]}; open it without --readonly for that."
    if action == "export":
        return None
    if action == "delete":
        return f"{name} is {status.state}; stop it first." if status.alive else None
    if action == "resume":
        return _why_not_on(name, status, steps)
    if action == "stop" and status.state == "stopping":
        return f"{name} is stopping already; it writes its last checkpoint."
    return why_not(name, status, action)


def more_steps(status: RunStatus) -> int | None:
    """Steps in all to suggest for a run that has done all of its own, twice as many as before; None where it needs no more."""
    return 2 * status.step if status.state == "finished" and status.step and not _ended_early(status) else None


def toggled(status: RunStatus) -> Literal["pause", "resume"]:
    """What one key for pausing and going on means for a run."""
    return "pause" if status.alive and status.state != "paused" else "resume"


def asking(action: Action, runs: Sequence[RunView]) -> str:
    """What to show while `perform` is at work: `mine is asked to stop…`."""
    return f"{shown(runs[0])} is {_BEING[action]}…" if len(runs) == 1 else f"{len(runs)} runs are {_BEING[action]}…"


def perform(action: Action, run: RunView, **how: Any) -> Outcome:
    """Do it to one run; see `perform_all`."""
    return perform_all(action, [run], **how)[0]


def perform_all(
    action: Action,
    runs: Sequence[RunView],
    *,
    readonly: bool = False,
    patience: float = PATIENCE,
    cancel: threading.Event | None = None,
    **details: Any,
) -> list[Outcome]:
    """Do it to each of the runs, as far as it can be done, and say for each in turn how it went; raises nothing that a disk can cause.

    All are asked first, then their trainers' answers are waited for, `patience` seconds in all; `cancel` ends the waiting at once.
    Details: `steps` (resume: how many in all), `destination`, `which` and `replace` (export, as in `export_run`).
    """
    cancel = cancel or threading.Event()
    # Views of this thread's own: the pane reads on in its own ones meanwhile.
    begun = [_guarded(RunView(run.path), _begin, action, readonly, cancel, details) for run in runs]
    end = time.monotonic() + patience
    while True:
        for at, asked in enumerate(begun):
            if isinstance(asked, _Asked):
                begun[at] = _guarded(runs[at], lambda run, asked=asked: asked.look() or asked)
        late = time.monotonic() >= end
        if late or not any(isinstance(asked, _Asked) for asked in begun) or cancel.wait(_EVERY):
            return [Outcome(True, one.late(), waiting=True) if isinstance(one, _Asked) else one for one in begun]


def told(outcomes: Iterable[Outcome]) -> Outcome:
    """Several outcomes as one, a line each, what failed first; of many, the rest is counted."""
    ordered = sorted(outcomes, key=lambda outcome: (outcome.ok, not outcome.waiting))
    lines = [outcome.words for outcome in ordered[:SHOWN]]
    if rest := ordered[SHOWN:]:
        failed = sum(not outcome.ok for outcome in rest)
        lines.append(f"{len(rest)} more: {len(rest) - failed} went well, {failed} did not.")
    return Outcome(all(o.ok for o in ordered), "\n".join(lines), any(o.waiting for o in ordered))


def shown(run: RunView) -> str:
    """A run's name, safe to show and not too long for a sentence."""
    return one_line(run.name, 60) or "this run"


def place(status: RunStatus) -> str:
    """Where a run is: `step 40 of 100 (40%)`."""
    if status.step is None:
        return "an unknown step"
    if not status.total_steps:
        return f"step {status.step:,}"
    return f"step {status.step:,} of {status.total_steps:,} ({status.step / status.total_steps:.0%})"


# What can be done


def _why_not_on(name: str, status: RunStatus, steps: int | None) -> str | None:
    if status.state == "paused":
        # Only a run that waits for room on the disk gives a reason, and no request reaches it.
        return f"{name} waits by itself: {one_line(status.message, 300)}" if status.message else None
    if status.state == "stopping":
        return f"{name} is stopping; wait until it has stopped."
    if status.alive:
        return f"{name} is {status.state} already."
    if status.state == "finished":
        if _ended_early(status):
            return (
                f"{name} ended early, after {status.step:,} of {status.total_steps:,} steps, as its patience had run out; "
                "`tinytales-tui runs resume` with --set patience=0 goes on with it."
            )
        if steps is None:
            done = f" its {status.step:,} steps" if status.step else ""
            return f"{name} has finished{done}; give it more steps to go on."
    if steps is not None and status.step and steps <= status.step:
        return f"{name} has done {status.step:,} steps already; give it more than that."
    return None


def _ended_early(status: RunStatus) -> bool:
    return status.step is not None and status.total_steps is not None and status.step < status.total_steps


# Doing it


def _guarded(run: RunView, do: Callable[..., Outcome | _Asked], *arguments: Any) -> Outcome | _Asked:
    try:
        return do(run, *arguments)
    except MoreStepsNeeded:
        return Outcome(False, f"{shown(run)} has done all its steps; give it more steps to go on.")
    except TinyTalesError as error:
        return Outcome(False, one_line(str(error), 500))
    except OSError as error:
        return Outcome(False, f"{shown(run)}: {paths.reason(error)}.")


def _begin(run: RunView, action: Action, readonly: bool, cancel: threading.Event, details: dict[str, Any]) -> Outcome | _Asked:
    status, name = run.status(), shown(run)
    if refused := available(action, status, readonly, name=name, steps=details.get("steps")):
        return Outcome(False, refused)
    if cancel.is_set():
        return Outcome(False, f"{name} was left as it is.")
    if action == "delete":
        count = folder_bytes(run.path)
        delete_run(run)
        return Outcome(True, f"{name} is deleted ({size(count)}).")
    if action == "export":
        destination = details["destination"]
        done = export_run(run, destination, details.get("which", "best"), details.get("replace", False))
        return Outcome(True, f"{one_line(done.name, 60)} of {name} is copied to {paths.shown(destination)}.", path=destination)
    if action == "resume" and status.state != "paused":
        return _start(run, details.get("steps"))
    return _ask(run, action)


def _ask(run: RunView, kind: Request) -> _Asked:
    before, asked_at = len(results(run, kind)), time.monotonic()
    request(run, kind)

    def look() -> Outcome | None:
        status = run.status()  # before the results, so that nothing that was written before the end is missed
        return _answer(run, kind, status, before)

    def late() -> str:
        waited = f"has not answered for {time.monotonic() - asked_at:.0f} s"
        if requested(run, kind):
            return f"{shown(run)} {waited}; {_WILL[kind]} when its step ends."
        return f"{shown(run)} has heard the request and is still at it; {_WILL[kind]} in a while."

    return _Asked(look, late)


def _answer(run: RunView, kind: Request, status: RunStatus, before: int) -> Outcome | None:
    """What the trainer made of a request; None while that cannot be told."""
    name = shown(run)
    if kind in ("checkpoint", "sample"):
        new = results(run, kind)[before:]
        if new and not requested(run, kind):
            step = new[-1].get("step")
            if kind == "sample":
                return Outcome(True, f"{name} wrote sample stories{f' at step {step:,}' if type(step) is int else ''}.")
            return Outcome(True, f"{name} wrote checkpoint {one_line(Path(str(new[-1].get('folder'))).name, 40)}.")
    if kind not in ("stop", "resume") and status.state == "paused" and status.message:
        return Outcome(True, f"{name} waits: {one_line(status.message, 300)}", waiting=True)
    if kind == "pause" and status.state == "paused":
        return Outcome(True, f"{name} is paused at {place(status)}; its checkpoint is saved.")
    if kind == "resume" and status.state == "running":
        return Outcome(True, f"{name} goes on from {place(status)}.")
    if status.alive:
        return None
    if kind == "stop" and status.state in ("stopped", "finished"):
        return Outcome(True, f"{name} has {status.state} at {place(status)}.")
    return Outcome(False, _ending(name, status, kind))


def _ending(name: str, status: RunStatus, kind: Request) -> str:
    why = f": {one_line(status.message, 300)}" if status.message else "."
    if status.state == "stale":
        return f"{name}: its process is gone at {place(status)}; it can go on from its last checkpoint."
    if kind == "stop" or status.state == "failed":
        return f"{name} has {status.state}{why}"
    return f"{name} has {status.state}, before it came to what it was asked for."


def _start(run: RunView, steps: int | None) -> _Asked:
    """Start the trainer of a run that has none."""
    from engine.training.launch import change_settings, start

    changes = {} if steps is None else {"steps": steps}
    check_can_start(run, changes)
    wait_until_free(run)
    if changes:
        change_settings(run.path, changes)
    start(run.path)
    name = shown(run)

    def look() -> Outcome | None:
        status = run.status()
        if status.state == "starting":
            return None
        if status.state in ("running", "finished"):
            return Outcome(True, f"{name} {'goes on at' if status.alive else 'has finished at'} {place(status)}.")
        if status.state == "paused" and status.message:
            return Outcome(True, f"{name} waits: {one_line(status.message, 300)}", waiting=True)
        if status.alive:
            return Outcome(True, f"{name} is {status.state} at {place(status)}.")
        why = one_line(status.message, 300) if status.message else "its process ended at once."
        return Outcome(False, f"{name} could not go on: {why} Its log says more.")

    return _Asked(look, lambda: f"{name} is starting, and has not said anything yet; its log shows what it says.")
