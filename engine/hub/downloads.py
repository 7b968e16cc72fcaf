"""Several downloads in a queue, with progress, for the command line and for the screen. Knows no torch, no asyncio and no screen.

Each runs in a process of its own (`engine.hub.worker`), so that it can be stopped in the middle of a file. Who looks gets immutable
`Download`s; `on_change` is called from a thread whenever one has changed, and must only note that.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from engine.errors import TinyTalesError
from engine.hub.failures import kind_of
from engine.hub.history import History
from engine.hub.planning import Plan
from engine.hub.worker_process import WorkerProcess

State = Literal["waiting", "planning", "downloading", "checking", "done", "failed", "cancelled"]
ENDED = ("done", "failed", "cancelled")
SPEED_SECONDS = 5.0
"""The speed is that of so many seconds."""
CLOSING_SECONDS = 1.0


@dataclass(frozen=True)
class Download:
    """What is known of a download at a moment."""

    id: str
    repo: str
    revision: str | None = None
    pattern: str | None = None
    state: State = "waiting"
    plan: Plan | None = None
    """None before it is made, and of downloads of earlier days."""
    file_bytes: Mapping[str, int] = field(default_factory=dict)
    """Bytes that are there of each file of the plan that has begun."""
    done_bytes: int = 0
    total_bytes: int = 0
    """Bytes of all files, those that were in the cache before too."""
    speed: float = 0.0
    """Bytes a second, over the last few seconds."""
    eta_s: float | None = None
    message: str = ""
    """Why it failed, in one sentence."""
    kind: str = ""
    """Of a failure: `network` (worth trying again), `checkpoint` or `usage`."""
    began: float | None = None
    """Unix seconds; None while it waits."""
    ended: float | None = None
    path: Path | None = None
    """The folder with the files, when it is done."""

    @property
    def over(self) -> bool:
        return self.state in ENDED


class Downloads:
    """The queue. Every method may be called from any thread, and none waits for the network."""

    def __init__(self, on_change: Callable[[], None] | None = None, at_once: int = 2, history: Path | None = None) -> None:
        """`history` is a file for the ended ones, kept across starts; `at_once` as many as run at the same time."""
        self._on_change = on_change
        self._at_once = at_once
        self._history = History(history) if history else None
        self._condition = threading.Condition()
        self._saving = threading.Lock()
        """Held while the history is written: by one at a time, so that it is written in order. Taken before the condition."""
        self._unsaved: set[str] = set()
        """Downloads that have ended or were removed, which the history does not tell yet."""
        self._being_saved: set[str] = set()
        self._jobs: dict[str, _Job] = {}
        self._running: set[str] = set()
        self._closed = False
        for saved in self._history.load() if self._history else ():
            job = _Job(**saved)
            self._jobs[job.id] = job

    @property
    def all(self) -> tuple[Download, ...]:
        """All downloads, in the order in which they were asked for."""
        with self._condition:
            return tuple(job.snapshot() for job in self._jobs.values())

    def get(self, id: str) -> Download:
        """One of them; KeyError where there is none of that id."""
        with self._condition:
            return self._jobs[id].snapshot()

    def add(self, repo: str, revision: str | None = None, pattern: str | None = None) -> Download:
        """Ask for a download; the same one that waits or runs already is given back."""
        with self._condition:
            for job in self._jobs.values():
                if job.state not in ENDED and (job.repo, job.revision, job.pattern) == (repo, revision, pattern):
                    return job.snapshot()
            job = _Job(uuid4().hex[:12], repo, revision, pattern)
            self._jobs[job.id] = job
            if self._closed:
                self._end(job, "cancelled")
            self._start_next()
            found = job.snapshot()
        self._save_soon()
        self._tell()
        return found

    def cancel(self, id: str) -> None:
        """Stop a download (nothing where it is over); its state is `cancelled` within a second."""
        with self._condition:
            job = self._jobs[id]
            if job.state in ENDED or job.cancelled:
                return
            job.cancelled = True
            if job.process:
                job.process.stop()
            elif id not in self._running:
                self._end(job, "cancelled")
        self._save_soon()
        self._tell()

    def retry(self, id: str) -> Download:
        """Ask again for one that is over; files that are whole are not fetched again."""
        with self._condition:
            job = self._jobs[id]
            if job.state in ENDED and id not in self._running and not self._closed:
                self._jobs.pop(id)
                job = self._jobs[id] = _Job(id, job.repo, job.revision, job.pattern)
                self._start_next()
            found = job.snapshot()
        self._tell()
        return found

    def remove(self, id: str) -> None:
        """Forget one that is over; one that is not stays. What it downloaded stays too."""
        with self._condition:
            if self._jobs[id].state in ENDED:
                del self._jobs[id]
                self._unsaved.add(id)
        self._save()
        self._tell()

    def wait(self, id: str, timeout: float | None = None) -> Download:
        """The download when it is over and the history tells of it, or as it is after `timeout` seconds."""
        with self._condition:
            job = self._jobs[id]
            self._condition.wait_for(lambda: self._jobs.get(id, job).state in ENDED and not self._is_unsaved(id), timeout)
            return self._jobs.get(id, job).snapshot()

    def close(self) -> None:
        """Cancel all, and wait until they have ended, at most a second. What is asked for afterwards is cancelled at once."""
        with self._condition:
            self._closed = True
            open_ones = [job.id for job in self._jobs.values() if job.state not in ENDED]
        for id in open_ones:
            self.cancel(id)
        with self._condition:
            self._condition.wait_for(lambda: not (self._running or self._unsaved or self._being_saved), CLOSING_SECONDS)

    def _start_next(self) -> None:
        for job in self._jobs.values():
            if len(self._running) >= self._at_once or self._closed:
                return
            if job.state == "waiting" and job.id not in self._running and not job.cancelled:
                self._running.add(job.id)
                job.state, job.began = "planning", time.time()
                threading.Thread(target=self._run, args=(job,), daemon=True, name=f"download-{job.id}").start()

    def _run(self, job: _Job) -> None:
        """Lead one download from its start to its end; a thread of its own."""
        ended: State = "failed"
        process = None
        try:
            process = WorkerProcess(job.repo, job.revision, job.pattern)
            with self._condition:
                job.process = process
                if job.cancelled:
                    process.stop()
            for event in process.events():
                with self._condition:
                    job.take(event)
                self._tell()
            how = process.close()
            if job.path:
                ended = "done"
            elif not job.message:
                job.message, job.kind = f"The download of {job.repo} ended unexpectedly ({how}); try again.", "network"
        except TinyTalesError as error:
            job.message, job.kind = str(error), kind_of(error)
        except Exception as error:  # a worker of another version, say: its events make no sense
            job.message, job.kind = f"The download of {job.repo} went wrong here ({type(error).__name__}); try again.", "network"
            if process:
                process.stop()
                process.close()
        with self._condition:
            self._running.discard(job.id)
            job.process = None
            self._end(job, "cancelled" if job.cancelled and ended != "done" else ended)
            self._start_next()
        self._tell()
        self._save()

    def _end(self, job: _Job, state: State) -> None:
        """Note the end of a download; the condition is held. `_save` has to follow when it is not any more."""
        if state != "failed":
            job.message = job.kind = ""
        job.state, job.ended = state, time.time()
        if self._history:
            self._unsaved.add(job.id)
        self._condition.notify_all()

    def _save_soon(self) -> None:
        """`_save` in a thread: who only asks for something does not wait for the disk."""
        if self._unsaved:
            threading.Thread(target=self._save, daemon=True, name="downloads-history").start()

    def _save(self) -> None:
        """Bring the history up to date, never under the condition: with a slow disk, who looks would wait for it."""
        with self._saving:
            with self._condition:
                self._being_saved, self._unsaved = self._unsaved, set()
                ended = [job.to_json() for job in self._jobs.values() if job.state in ENDED]
                removed = self._being_saved - self._jobs.keys()
            try:
                if self._history and self._being_saved:
                    self._history.save(ended, removed)
            finally:
                with self._condition:
                    self._being_saved = set()
                    self._condition.notify_all()

    def _is_unsaved(self, id: str) -> bool:
        return id in self._unsaved or id in self._being_saved

    def _tell(self) -> None:
        if self._on_change:
            self._on_change()


@dataclass
class _Job:
    """A download as its thread knows it; only touched under the queue's lock."""

    id: str
    repo: str
    revision: str | None = None
    pattern: str | None = None
    state: State = "waiting"
    message: str = ""
    kind: str = ""
    began: float | None = None
    ended: float | None = None
    path: Path | None = None
    total_bytes: int = 0
    done_bytes: int = 0
    plan: Plan | None = None
    file_bytes: dict[str, int] = field(default_factory=dict)
    process: WorkerProcess | None = None
    cancelled: bool = False
    marks: deque[tuple[float, int]] = field(default_factory=deque)
    """When how many bytes had come over the network, the last few seconds of it."""
    fetched: dict[str, int] = field(default_factory=dict)

    def take(self, event: dict[str, Any]) -> None:
        """What an event of the worker changes."""
        match event["event"]:
            case "planned":
                self.plan = Plan.from_json(event["plan"])
                self.total_bytes = self.plan.size
                self.state = "downloading"
                self._mark()
            case "progress":
                self.state = "downloading"
                self.file_bytes[event["file"]] = self.fetched[event["file"]] = int(event["done"])
                self._mark()
            case "checking":
                self.state = "checking"
            case "file_done":
                self.state = "downloading"
                size = next((file.size for file in self.plan.files if file.name == event["file"]), 0) if self.plan else 0
                self.file_bytes[event["file"]] = size
                if not event["cached"]:
                    self.fetched[event["file"]] = size
                self._mark()
            case "done":
                self.path = Path(event["path"])
            case "failed":
                self.message, self.kind = str(event["message"]), str(event["kind"])
        if self.plan:
            self.done_bytes = sum(self.file_bytes.values())

    def _mark(self) -> None:
        self.marks.append((time.monotonic(), sum(self.fetched.values())))

    def speed(self) -> float:
        """Bytes a second over the last few; none where nothing came in that time."""
        now = time.monotonic()
        while len(self.marks) > 1 and self.marks[1][0] < now - SPEED_SECONDS:
            self.marks.popleft()
        if not self.marks or self.marks[-1][0] < now - SPEED_SECONDS:
            return 0.0
        (since, before), (_, after) = self.marks[0], self.marks[-1]
        return max(after - before, 0) / max(now - since, 0.2)

    def snapshot(self) -> Download:
        speed = self.speed() if self.state in ("downloading", "checking") else 0.0
        left = self.total_bytes - self.done_bytes
        return Download(
            id=self.id,
            repo=self.repo,
            revision=self.revision,
            pattern=self.pattern,
            state=self.state,
            plan=self.plan,
            file_bytes=dict(self.file_bytes),
            done_bytes=self.done_bytes,
            total_bytes=self.total_bytes,
            speed=speed,
            eta_s=left / speed if speed > 0 and self.plan else None,
            message=self.message,
            kind=self.kind,
            began=self.began,
            ended=self.ended,
            path=self.path,
        )

    def to_json(self) -> dict[str, Any]:
        """What the history keeps."""
        names = ("id", "repo", "revision", "pattern", "state", "message", "kind", "began", "ended", "total_bytes", "done_bytes")
        return {name: getattr(self, name) for name in names} | {"path": str(self.path) if self.path else None}
