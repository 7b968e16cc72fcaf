"""Looking at training runs: what a run directory says, for any number of viewers, while the trainer writes it or long after.

Only reads. Files may be missing, half-written or damaged: what cannot be read is left out, and nothing here raises for it. A run
that claims to be alive is believed only while there are signs of life (see `engine.run_status`). The layout is described in
`engine.runs`; what a viewer may do to a run is in `engine.run_actions`. Knows no torch, so a screen can import it in a blink.
"""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import UsageError
from engine.growing_files import GrowingFile, JsonLines, read_json
from engine.run_digest import Digest, Summary, clean_rows
from engine.run_status import RunStatus, read_status, real, whole

_MARKS = ("status.json", "metrics.jsonl", "events.jsonl", "checkpoints", "requests", "state")


@dataclass(frozen=True)
class CheckpointInfo:
    """One checkpoint folder of a run."""

    name: str
    """`best` or `step-000500`."""
    step: int | None
    bytes: int
    best: bool
    path: Path


class RunView:
    """One run directory. Keep the object and ask again: growing files are read on from where they were."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name or path.resolve().name
        self._metrics, self._rows = JsonLines(path / "metrics.jsonl"), []
        self._events, self._event_rows = JsonLines(path / "events.jsonl"), []
        self._samples, self._sample_rows = JsonLines(path / "samples.jsonl"), []

    @property
    def config(self) -> dict[str, Any]:
        """`config.json`; empty where it cannot be read."""
        return read_json(self.path / "config.json") or {}

    @property
    def settings(self) -> dict[str, Any]:
        """The training settings out of `config.json`; empty where there are none."""
        found = self.config.get("settings")
        return found if isinstance(found, dict) else {}

    def status(self) -> RunStatus:
        """How the run stands now; see `engine.run_status.read_status` for what is believed."""
        return read_status(self.path)

    def metrics(self) -> list[dict[str, Any]]:
        """All lines of `metrics.jsonl` in order of their steps, numbers only (NaN and infinities as floats); do not change the list.

        Where a run went on from a checkpoint and did some steps again, the later lines stand in place of the earlier ones.
        """
        fresh, restarted = self._metrics.new_rows()
        if restarted:
            self._rows = []
        rows = self._rows
        for row in clean_rows(fresh):
            if rows and row["step"] < rows[-1]["step"]:
                while rows and rows[-1]["step"] >= row["step"]:
                    rows.pop()
            rows.append(row)
        return rows

    def events(self) -> list[dict[str, Any]]:
        """All lines of `events.jsonl` that name an event; do not change the list."""
        fresh, restarted = self._events.new_rows()
        kept = [row for row in fresh if isinstance(row.get("event"), str)]
        self._event_rows = kept if restarted else self._event_rows + kept if kept else self._event_rows
        return self._event_rows

    def samples(self) -> list[dict[str, Any]]:
        """All lines of `samples.jsonl` that hold a story; do not change the list."""
        fresh, restarted = self._samples.new_rows()
        kept = [row for row in fresh if isinstance(row.get("story"), str)]
        self._sample_rows = kept if restarted else self._sample_rows + kept if kept else self._sample_rows
        return self._sample_rows

    @property
    def damaged_lines(self) -> int:
        """Lines of metrics, events and samples read so far that were no JSON objects and were passed over."""
        return self._metrics.damaged + self._events.damaged + self._samples.damaged

    def checkpoints(self) -> list[CheckpointInfo]:
        """The checkpoint folders, by step, the best one last among those of its step."""
        found = []
        folder = self.path / "checkpoints"
        for path in _folders(folder):
            if path.is_symlink() and path.resolve().parent != folder.resolve():
                continue  # a link that leads elsewhere is no checkpoint of this run
            match = re.fullmatch(r"step-(\d{1,12})", path.name)
            if not (path / "tinytales.json").is_file() or not (path / "model.safetensors").is_file():
                continue
            step = int(match[1]) if match else whole((read_json(path / "tinytales.json") or {}).get("step"))
            found.append(CheckpointInfo(path.name, step, folder_bytes(path), path.name == "best", path))
        return sorted(found, key=lambda c: (-1 if c.step is None else c.step, c.best, c.name))

    def log_tail(self, lines: int) -> list[str]:
        """The last lines of `output.log`, an unfinished one included."""
        log = GrowingFile(self.path / "output.log")
        log.skip_to_tail(lines)
        whole = [log_line(line) for line in log.new_lines()[0]]
        rest = log_line(log.rest())
        return (whole + [rest] * bool(rest))[-lines:] if lines > 0 else []

    def started(self) -> float | None:
        """Unix time of the run's first start: of its first event, else of its config."""
        times = (real(row.get("time")) for row in self.events())
        return next((at for at in times if at is not None), None) or _changed(self.path / "config.json")

    def summary(self) -> Summary:
        """The figures that a list shows."""
        digest = Digest()
        digest.see(self.metrics())
        return digest.summary(self.status(), self.started(), folder_bytes(self.path))


def looks_like_run(path: Path) -> bool:
    """Whether a folder is a run directory; a damaged one is told by at least two of the names that a run has."""
    if not path.is_dir() or path.is_symlink():
        return False
    if isinstance((read_json(path / "config.json") or {}).get("settings"), dict):
        return True
    if isinstance((read_json(path / "status.json") or {}).get("state"), str):
        return True
    return sum(os.path.exists(path / name) for name in _MARKS) >= 2  # noqa: PTH110 (False, not an error, where it may not be read)


def list_runs(folder: Path) -> list[RunView]:
    """The runs in a folder, the one that was started last first; none where the folder is missing."""
    runs = [RunView(path) for path in _folders(folder) if looks_like_run(path)]
    return sorted(runs, key=lambda run: (-(run.started() or 0.0), run.name))


def find_run(folder: Path, name: str) -> RunView:
    """The run of this name in the runs folder, or at this path where it has a slash in it.

    Raises `UsageError`, with names that are near, where there is none.
    """
    if not name.strip():
        raise UsageError("A run's name cannot be empty; see tinytales-tui runs list.")
    if os.sep in name or name.startswith((".", "~")):
        path = Path(os.path.expanduser(name))  # noqa: PTH111 (Path.expanduser raises for an unknown ~name)
        if looks_like_run(path):
            return RunView(path)
        raise UsageError(f"{name} is not the folder of a training run.")
    if "\0" not in name and looks_like_run(folder / name):
        return RunView(folder / name)
    if "\0" not in name and (folder / name).is_dir():
        raise UsageError(f"{folder / name} holds no training run that can be read.")
    names = [path.name for path in _folders(folder) if looks_like_run(path)]
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5) or [n for n in names if n.startswith(name)][:3]
    if near:
        raise UsageError(f"There is no run called {name}; did you mean {' or '.join(near)}?")
    there = "see tinytales-tui runs list" if names else "there are no runs yet"
    raise UsageError(f"There is no run called {name}; {there}.")


def folder_bytes(folder: Path) -> int:
    """Bytes of all plain files below a folder, links not followed."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(root, name)).st_size  # noqa: PTH118 (a Path a file makes this four times slower)
            except OSError:
                continue
    return total


def log_line(line: bytes) -> str:
    """A line of a log as text; of a line that was drawn over itself with carriage returns, what was drawn last."""
    parts = [part for part in line.decode("utf-8", "replace").split("\r") if part]
    return parts[-1] if parts else ""


def _changed(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _folders(folder: Path) -> list[Path]:
    """The visible folders in a folder, by name."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.is_dir())
    except OSError:
        return []
