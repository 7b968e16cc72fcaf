"""Which checkpoints are in use at present, by whatever process of this program, so that none is deleted under its reader's feet.

Each process that loads checkpoints keeps a file `<pid>.json` in one folder. A process that died keeps nothing: what counts is whether
a process of that number and that time of start is there. Knows no torch.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine import files
from engine.growing_files import read_json
from engine.run_status import process_lives, read_status, real, whole
from engine.run_view import list_runs

FOLDER = "in-use"
"""Name of the folder beside the notes (`engine.catalog.notes`)."""


@dataclass(frozen=True)
class Held:
    """A checkpoint that is in use."""

    source: str
    """As it was named: `default`, a path, a Hub id."""
    path: Path | None
    """Where it lies, links followed; None for one that was named by its Hub id alone."""
    what: str
    """By what, in a few words: `the Write pane`, `the run brave`."""
    pid: int


def hold(folder: Path, sources: Sequence[str | Path], what: str) -> None:
    """Say that this process has these checkpoints in use, in place of what it said before; raises OSError.

    Of a checkpoint from the Hub give the id and the folder that was opened, both.
    """
    import psutil

    if not sources:
        let_go(folder)
        return
    folder.mkdir(parents=True, exist_ok=True)
    held = [str(source) for source in sources]
    content = {"pid": os.getpid(), "started": psutil.Process().create_time(), "what": what, "sources": held}
    files.write_json(folder / f"{os.getpid()}.json", content)


def let_go(folder: Path) -> None:
    """This process has none in use any more."""
    with contextlib.suppress(OSError):
        (folder / f"{os.getpid()}.json").unlink()


def held(folder: Path) -> list[Held]:
    """What living processes have in use. Files of dead ones, and damaged files, are passed over and tidied away."""
    found = []
    try:
        paths = sorted(path for path in folder.iterdir() if path.name.removesuffix(".json").isdecimal())
    except OSError:
        return []
    for path in paths:
        data = read_json(path) or {}
        pid, sources, what = whole(data.get("pid")), data.get("sources"), data.get("what")
        if not process_lives(pid, real(data.get("started"))):
            with contextlib.suppress(OSError):
                path.unlink()
        elif pid is not None and isinstance(sources, list) and isinstance(what, str):
            found += [Held(source, _place(source), what, pid) for source in sources if isinstance(source, str)]
    return found


def in_use_by_runs(runs: Path) -> list[Held]:
    """What runs that are at work were started from."""
    found = []
    for run in list_runs(runs):
        status, source = read_status(run.path), run.settings.get("start_from")
        if status.alive and isinstance(source, str) and source:
            found.append(Held(source, _place(source), f"the run {run.name}", status.pid or 0))
    return found


def _place(source: str) -> Path | None:
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        path = Path(os.path.expanduser(source))  # noqa: PTH111 (Path.expanduser raises for an unknown ~name)
        if source != "default" and path.exists():
            return path.resolve()
    return None
