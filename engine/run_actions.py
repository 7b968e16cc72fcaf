"""What a person may do to a training run from outside: leave a request, wait, delete it, take a checkpoint out of it.

The trainer is never touched: it looks for requests by itself and deletes one when it has taken it. Deleting and exporting work beside a
trainer that may be writing at the same moment, and leave nothing half-done under a name that anybody looks for. Knows no torch.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from engine import files
from engine.errors import TinyTalesError, UsageError
from engine.run_status import RunStatus
from engine.run_view import CheckpointInfo, RunView, looks_like_run
from engine.runs import REQUESTS, Request

_DELETED = ".tinytales-deleted"
Which = Literal["best", "latest"] | int
"""Which checkpoint: the best, the newest, or the one of a step."""


class MoreStepsNeeded(UsageError):
    """The run has done all the steps it would have."""


class DestinationExists(UsageError):
    """An empty folder or another checkpoint stands where an export is to go; `force` replaces it."""


def request(run: RunView, kind: Request) -> None:
    """Leave a request for the trainer (asking twice is asking once).

    Raises `UsageError` where no live trainer would take it, or where it makes no sense as the run stands; `TinyTalesError` where the
    folder cannot be written.
    """
    if kind not in REQUESTS:
        raise UsageError(f"A run can be asked to {', '.join(REQUESTS)}, not to {kind}.")
    status = run.status()
    if refused := why_not(run.name, status, kind):
        raise UsageError(refused)
    if kind == "stop" and status.state == "stopping":
        return  # a request that nobody takes any more would stop the run's next start
    try:
        (run.path / "requests").mkdir(exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        os.close(os.open(run.path / "requests" / kind, flags, 0o666))
    except OSError as error:
        raise TinyTalesError(f"The request cannot be left in {run.path / 'requests'}: {_reason(error)}.") from error


def why_not(name: str, status: RunStatus, kind: Request) -> str | None:
    """Why a run that stands like this can be asked nothing of that kind, as a sentence; None where it can."""
    if not status.alive:
        stands = {"stale": "its process is gone", "unknown": "nothing is known of its process"}.get(
            status.state, f"it has {status.state}"
        )
        return f"{name} is not being trained now ({stands}), so it cannot {VERBS[kind]}."
    if status.state == "stopping" and kind != "stop":
        return f"{name} is stopping already, so it cannot {VERBS[kind]}."
    if kind == "pause" and status.state == "paused":
        return f"{name} is paused already."
    if kind == "resume" and status.state != "paused":
        return f"{name} is not paused; it is {status.state}."
    return None


VERBS: dict[Request, str] = {
    "stop": "be stopped",
    "pause": "be paused",
    "resume": "go on",
    "checkpoint": "write a checkpoint",
    "sample": "write a sample",
}
"""What a run cannot do, after `it cannot`."""


def requested(run: RunView, kind: Request) -> bool:
    """Whether a request is still waiting to be taken."""
    return (run.path / "requests" / kind).exists()


def results(run: RunView, kind: Request) -> list[dict[str, Any]]:
    """What the run has told so far that answers requests of a kind: sample stories, or its events of that name.

    The best checkpoint, which is written after a validation, answers nobody.
    """
    if kind == "sample":
        return run.samples()
    return [row for row in run.events() if row["event"] == kind and row.get("best") is not True]


def check_can_start(run: RunView, changes: Mapping[str, Any]) -> None:
    """Raise `UsageError` where a run's trainer cannot be started again with these changes of its settings.

    `MoreStepsNeeded`, where it has done all its steps.
    """
    status = run.status()
    if status.alive:
        raise UsageError(f"{run.name} is {status.state} already.")
    settings = run.settings
    if not settings:
        raise UsageError(f"{run.path / 'config.json'} is missing or damaged, so {run.name} cannot go on.")
    steps, done = changes.get("steps", settings.get("steps")), status.step
    if isinstance(steps, int) and done and steps <= done and (status.state == "finished" or "steps" in changes):
        raise MoreStepsNeeded(f"{run.name} has done {done:,} steps already; give it more, as in --set steps={2 * done}.")


def wait_until_free(run: RunView) -> None:
    """Wait a few seconds for a process that has said its last word to let go of the run; `UsageError` where one holds on."""
    try:
        with _nobody_else(run):
            pass
    except OSError as error:
        raise TinyTalesError(f"The run's folder {run.path} cannot be written: {_reason(error)}.") from error


def wait_for(run: RunView, predicate: Callable[[RunView], bool], timeout: float | None = None, every: float = 0.2) -> bool:
    """Look every `every` seconds until the predicate holds (True) or `timeout` seconds are over (False); None waits for ever."""
    end = None if timeout is None else time.monotonic() + timeout
    while not predicate(run):
        if end is not None and time.monotonic() >= end:
            return False
        time.sleep(every)
    return True


def delete_run(run: RunView) -> None:
    """Remove a run directory with all that is in it; links in it are removed, never followed.

    It is renamed to a hidden name first, so that a run that could only be deleted in part is never listed. Raises `UsageError` for a
    live run, for a link, and for a folder that is no run directory; `TinyTalesError` where the disk says no.
    """
    path = run.path
    if path.is_symlink():
        raise UsageError(f"{path} is a link to another place; delete the run there, or remove the link yourself.")
    if not looks_like_run(path):
        raise UsageError(f"{path} is not the folder of a training run, so it is left alone.")
    if run.status().alive:
        raise UsageError(f"{run.name} is {run.status().state}; stop it first (tinytales-tui runs stop {run.name}).")
    hidden = path.with_name(f".{path.name[:200]}.{secrets.token_hex(4)}{_DELETED}")
    try:
        with _nobody_else(run):
            path.rename(hidden)
    except OSError as error:
        raise TinyTalesError(f"{path} cannot be deleted: {_reason(error)}.") from error
    try:
        shutil.rmtree(hidden)
    except OSError as error:
        raise TinyTalesError(f"{run.name} is gone from the list, but {hidden} cannot be removed: {_reason(error)}.") from error
    for left in path.parent.glob(f".*{_DELETED}"):  # by a deletion that was broken off
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)


def choose_checkpoint(run: RunView, which: Which) -> CheckpointInfo:
    """The best checkpoint, the newest, or the one of a given step; raises `UsageError`, with what there is, where it is not there."""
    found = run.checkpoints()
    if not found:
        raise UsageError(f"{run.name} has no checkpoint yet.")
    if which == "best":
        chosen = [c for c in found if c.best]
    elif which == "latest":
        chosen = found
    else:
        chosen = [c for c in found if c.step == which]
    if chosen:
        return chosen[-1]
    wanted = "best checkpoint" if which == "best" else f"checkpoint of step {which:,}"
    there = ", ".join(f"best (step {c.step:,})" if c.best and c.step is not None else c.name for c in found)
    raise UsageError(f"{run.name} has no {wanted}; it has {there} (--latest or --step takes one of them).")


def export_run(
    run: RunView,
    destination: Path,
    which: Which = "best",
    force: bool = False,
    progress: Callable[[int], None] | None = None,
) -> CheckpointInfo:
    """Copy a checkpoint to a folder of its own, whole or not at all, and return which one it was.

    Something that stands at the destination is only replaced with `force` (`DestinationExists` without), and then only an empty folder
    or another checkpoint. `progress` is told of each piece how many bytes it had; what it raises breaks the copying off. Raises
    `UsageError` for a destination that cannot be meant, `TinyTalesError` where the disk says no.
    """
    chosen = choose_checkpoint(run, which)
    _check_destination(run, destination, force)
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=destination.parent, prefix=f".{destination.name[:200]}.", suffix=".part"))
    except OSError as error:
        raise TinyTalesError(f"{destination} cannot be written: {_reason(error)}.") from error
    old = aside.with_suffix(".old")
    try:
        _copy_steady(chosen.path, aside, progress)
        _check_destination(run, destination, force)  # once more: copying may have taken minutes
        if destination.exists():
            destination.rename(old)
        aside.rename(destination)
    except OSError as error:
        raise TinyTalesError(f"{chosen.name} of {run.name} cannot be copied to {destination}: {_reason(error)}.") from error
    finally:
        if old.exists() and not destination.exists():
            old.rename(destination)
        shutil.rmtree(old, ignore_errors=True)
        shutil.rmtree(aside, ignore_errors=True)
    files.sync_folder(destination.parent)
    return chosen


def _check_destination(run: RunView, destination: Path, force: bool) -> None:
    home, target = (Path(os.path.realpath(path)) for path in (run.path, destination))
    if target == home or home in target.parents or target in home.parents:
        raise UsageError(f"{destination} lies inside the run or around it; choose a folder elsewhere.")
    if not os.path.lexists(destination):
        return
    checkpoint = destination.is_dir() and (destination / "tinytales.json").is_file()
    empty = destination.is_dir() and not any(destination.iterdir())
    replaceable = (checkpoint or empty) and not destination.is_symlink()
    if not replaceable and not force:
        raise UsageError(f"{destination} is there already and is not a checkpoint; choose another name.")
    if not replaceable:
        raise UsageError(f"{destination} is not a checkpoint, so it is not replaced; choose another name.")
    if not force:
        raise DestinationExists(f"{destination} is there already; choose another name, or say --force to replace it.")


def _copy_steady(source: Path, target: Path, progress: Callable[[int], None] | None) -> None:
    """Copy a checkpoint's files; again from the start if the trainer put another one in its place meanwhile."""
    hook = {"progress": progress} if progress else {}
    for _ in range(5):
        before = source.stat().st_ino
        try:
            _copy_folder(source, target, **hook)
        except FileNotFoundError:
            if source.exists() and source.stat().st_ino == before:
                raise
        else:
            if source.exists() and source.stat().st_ino == before:
                target.chmod(0o755)
                return
        for made in target.iterdir():
            shutil.rmtree(made) if made.is_dir() else made.unlink()
        time.sleep(0.2)
    raise TinyTalesError(f"{source} is being replaced again and again; try once more in a moment.")


def _copy_folder(source: Path, target: Path, progress: Callable[[int], None] = lambda count: None) -> None:
    for path in sorted(source.iterdir()):
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode):
            (target / path.name).mkdir()
            _copy_folder(path, target / path.name, progress)
        elif stat.S_ISREG(mode):
            with open(path, "rb") as read, open(target / path.name, "wb") as written:
                while piece := read.read(1 << 20):
                    written.write(piece)
                    progress(len(piece))
                written.flush()
                os.fsync(written.fileno())
        else:
            raise UsageError(f"{path} is not a plain file, which no checkpoint of a run has; it is not copied.")
    files.sync_folder(target)


@contextlib.contextmanager
def _nobody_else(run: RunView) -> Iterator[None]:
    """Hold the run's lock, so that no trainer starts in it meanwhile; `UsageError` where a process holds it."""
    from filelock import FileLock, Timeout

    lock = FileLock(run.path / "lock", timeout=3)  # a trainer that said its last word needs a moment to go
    try:
        with lock:
            yield
    except Timeout as error:
        raise UsageError(f"A process still holds {run.name} (number {run.status().pid}); end it first.") from error


def _reason(error: OSError) -> str:
    return (error.strerror or str(error) or "the system refused").lower()
