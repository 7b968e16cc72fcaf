"""`tinytales-tui watch` without its screen: look once, for people or as JSON, or wait until something comes true.

Standard output is data, standard error is narration; the exit code is 0 where it came true, 1 where it cannot any more or time ran out.
What is printed is made in `watch_report`. Only reads, and leaves no request. No Textual, no torch.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.errors import UsageError
from engine.growing_files import read_json
from engine.run_status import ENDED_STATES, process_lives, real
from engine.run_view import find_run, looks_like_run
from engine.watching.feed import Feed, RunFeed
from tinytales_tui import paths
from tinytales_tui.figures import duration
from tinytales_tui.output import note, quiet
from tinytales_tui.runs_show import chosen
from tinytales_tui.text import one_line

LOOK_EVERY = 0.5
"""Seconds between two looks while waiting."""
STALE_FOR = 15.0
"""Seconds for which a run whose process may live must look stale before it counts as gone: after a computer has slept, the next sign of
life comes within a few."""
TELL_WITHIN = 2.0
"""Seconds within which the kind of a log that came through a pipe is told, once it is closed."""
_NO_COLUMNS = "--columns is for logs of other programs; the columns of a run are known."
_UNTIL = "finished, failed, stale or step:N, as in --until step:5000"


@dataclass(frozen=True)
class WatchOptions:
    """What `tinytales-tui watch` was asked for."""

    target: str | None = None
    """A run's name, a path, or `-` for standard input; None: the run that is being trained, else the newest."""
    once: bool = False
    """Print a summary and end."""
    json: bool = False
    """Print one JSON object and end."""
    until: str | None = None
    """Wait for this: finished, failed, stale, or step:N."""
    timeout: float | None = None
    """Seconds to wait at most; None: without end."""
    columns: str | None = None
    """Which columns of a log of another program are what, as in `step=a,loss=b`."""
    quiet: bool = False
    """No narration."""
    readonly: bool = False
    """The screen offers nothing that changes a run."""
    theme: str | None = None
    ascii: bool | None = None
    low_bandwidth: bool | None = None
    mouse: bool = True

    @property
    def headless(self) -> bool:
        """Whether it is done without the screen."""
        return self.once or self.json or self.until is not None


def run_watch(options: WatchOptions) -> int:
    """Do what was asked for, without the screen; returns the exit code. Raises `UsageError` for a target or an option that is wrong."""
    from tinytales_tui import watch_report

    goal = _goal(options.until) if options.until is not None else None
    if options.timeout is not None and goal is None:
        raise UsageError("--timeout belongs to --until; say what to wait for.")
    feed = open_target(options.target, options.columns)
    if goal is None and options.target not in (None, "-") and not feed.path.exists():
        raise UsageError(f"There is no file and no run at {one_line(str(feed.path), 200)}.")
    try:
        code = 0
        if goal is not None:
            code = _wait(feed, goal, options.timeout, quiet if options.quiet else note)
        else:
            _read_all(feed)
            if not isinstance(feed, RunFeed) and feed.trouble and not (feed.table and len(feed.table)):
                raise UsageError(feed.trouble)
        if options.json:
            watch_report.put_json(feed)
        elif options.once or goal is None:
            watch_report.put_summary(feed, options.ascii)
        return code
    finally:
        feed.close()


def open_target(target: str | None, columns: str | None = None) -> Feed:
    """The feed of a run or a log, not read yet; raises `UsageError` where there is none.

    A run's name comes before a file of that name in the working folder; what has a slash in it is a path.
    """
    if target is None:
        return _of_run(chosen(None, newest=True).path, columns)
    if not target.strip() or "\0" in target:
        raise UsageError("Say which run or file to watch; see tinytales-tui runs list.")
    if target == "-":
        return _of_pipe(columns)
    named = paths.runs_folder() / target
    if os.sep not in target and not target.startswith((".", "~")) and looks_like_run(named):
        return _of_run(named, columns)
    path = Path(os.path.expanduser(target))  # noqa: PTH111 (Path.expanduser raises for an unknown ~name)
    if os.path.lexists(path) or os.sep in target or target.startswith((".", "~")):
        from engine.watching.foreign.names import Columns
        from engine.watching.foreign.opening import open_feed

        feed = open_feed(path, Columns.parse(columns) if columns else None)
        if columns and isinstance(feed, RunFeed):
            raise UsageError(_NO_COLUMNS)
        return feed
    try:
        return _of_run(find_run(paths.runs_folder(), target).path, columns)
    except UsageError as error:
        raise UsageError(f"{error} No file here has that name either.") from error


def _of_run(path: Path, columns: str | None) -> RunFeed:
    if columns:
        raise UsageError(_NO_COLUMNS)
    return RunFeed(path, full=True)


def _of_pipe(columns: str | None) -> Feed:
    import sys

    if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
        raise UsageError("- reads a log from a pipe, as in: train.py | tinytales-tui watch -")
    from engine.watching.foreign.names import Columns
    from engine.watching.foreign.opening import open_feed
    from engine.watching.foreign.pipe import copy_pipe

    chosen_columns = Columns.parse(columns) if columns else None
    return open_feed(copy_pipe(os.dup(sys.stdin.fileno())), chosen_columns)


def _read_all(feed: Feed) -> None:
    """Read what there is; of a pipe, until it is closed."""
    pipe = _PipeEnd(feed)
    while True:
        pipe.look()
        while feed.poll():
            pass
        if not pipe.is_pipe or pipe.over:
            return
        time.sleep(0.05)


class _PipeEnd:
    """Whether the pipe that a feed reads has come to its end, and all of it has been read."""

    def __init__(self, feed: Feed) -> None:
        self._feed, self._copy, self._ended_at = feed, None, None
        if not isinstance(feed, RunFeed):
            from engine.watching.foreign.pipe import copy_at

            self._copy = copy_at(feed.path)
        self.is_pipe = self._copy is not None

    def look(self) -> None:
        """To be asked before reading, so that nothing that came last is missed."""
        if self._copy is not None and self._copy.ended and self._ended_at is None:
            self._ended_at = time.monotonic()

    @property
    def over(self) -> bool:
        if self._ended_at is None:
            return False
        read = self._feed.table is not None and len(self._feed.table) > 0
        return read or time.monotonic() - self._ended_at > TELL_WITHIN


# Waiting


@dataclass(frozen=True)
class Goal:
    """What is waited for: a state, or a step."""

    words: str
    state: str | None = None
    step: int | None = None


def _goal(text: str) -> Goal:
    if text in ("finished", "failed", "stale"):
        return Goal(text, state=text)
    name, _, number = text.partition(":")
    if name == "step" and number.isascii() and number.isdigit() and len(number) < 19:
        return Goal(f"at step {int(number):,}", step=int(number))
    raise UsageError(f"--until takes {_UNTIL}; not {one_line(text, 60)!r}.")


def _wait(feed: Feed, goal: Goal, timeout: float | None, say: Callable[[str], None]) -> int:
    """Look again and again until the goal is reached (0), cannot be reached any more, or time has run out (1)."""
    from engine.watching.verdict import evidence_of, judge

    name = one_line(feed.name, 80)
    begun, told, stale_since = time.monotonic(), None, None
    pipe = _PipeEnd(feed)
    while True:
        pipe.look()
        while feed.poll():
            if timeout is not None and time.monotonic() - begun >= timeout:
                break
        status = feed.status
        if status.state != told:
            told = status.state
            at = f", step {status.step:,}" if status.step is not None else ""
            say(f"{name}: {told}{at}")
        if not feed.path.exists() and isinstance(feed, RunFeed):
            say(f"{name}: its folder is gone.")
            return 1
        stale_since = (stale_since or time.monotonic()) if status.state == "stale" else None
        gone = stale_since is not None and (_process_gone(feed) or time.monotonic() - stale_since >= STALE_FOR)
        came = _came(feed, goal, gone)
        if pipe.over and not came:  # no more will ever come
            came = goal.state == "stale"
        if came is None and timeout is not None and time.monotonic() - begun >= timeout:
            say(f"{name}: not {goal.words} within {duration(timeout)}; it is {_standing(feed)}.")
            return 1
        if came is not None:
            words = one_line(judge(evidence_of(feed, time.time())).words, 300)
            say(f"{name}: {words}" if came else f"{name}: it will not be {goal.words} any more ({words}).")
            return 0 if came else 1
        left = LOOK_EVERY if timeout is None else min(LOOK_EVERY, max(0.0, timeout - (time.monotonic() - begun)))
        time.sleep(left)


def _came(feed: Feed, goal: Goal, gone: bool) -> bool | None:
    """Whether the goal is reached; False where it cannot be any more, None where it may yet be."""
    state, step = feed.status.state, _step(feed)
    if goal.step is not None and step is not None and step >= goal.step:
        return True
    if feed.kind == "run":
        if state == goal.state and (gone or state != "stale"):
            return True
        return False if state in ENDED_STATES or gone else None
    if goal.state == "stale":
        return True if state == "quiet" and feed.loading is None else None
    if goal.state is None:
        return None  # a quiet log may go on
    total = feed.status.total_steps
    if goal.state == "finished" and total is not None:
        return True if step is not None and step >= total else None
    if feed.loading is None and (feed.table is None or len(feed.table)):
        raise UsageError(f"A log of another program does not say when it is {goal.state}; wait for step:N, or for stale.")
    return None


def _step(feed: Feed) -> int | None:
    """The last step that is known of: of the figures, or of the heartbeat where that is further."""
    steps = [feed.status.step] if feed.status.step is not None else []
    with feed.lock:
        if feed.table is not None and len(feed.table):
            steps.append(int(feed.table.axis("step")[-1]))
    return max(steps, default=None)


def _process_gone(feed: Feed) -> bool:
    """Whether the trainer ran on this machine, and no longer does."""
    import socket

    data = read_json(feed.path / "status.json") or {}
    here = data.get("host") in (None, socket.gethostname())
    pid = feed.status.pid
    return here and not process_lives(pid, real(data.get("process_started")))


def _standing(feed: Feed) -> str:
    at = f" at step {feed.status.step:,}" if feed.status.step is not None else ""
    return f"{feed.status.state}{at}"
