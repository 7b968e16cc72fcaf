"""Keeping the story on the desk safe while it is written, and finding what an earlier sitting left. Knows no Textual.

Each sitting has a file of its own, so two open apps cannot overwrite each other; a locked file beside it says that the sitting is
still going on. The lock falls with the process, however it ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from engine import files
from engine.errors import TinyTalesError
from tinytales_tui import paths
from tinytales_tui.story import StoryRecord


@dataclass(frozen=True)
class Kept:
    """A story that an earlier sitting left."""

    path: Path
    record: StoryRecord
    form: dict[str, Any]
    """What stood in the fields: `topic`, `ending`, `opening`."""
    saved_at: float
    """Unix seconds."""


class Autosave:
    """This sitting's file. `write` may be called from a thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / f"story-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{secrets.token_hex(2)}.json"
        self._lock_file: IO[bytes] | None = None
        self._mutex = threading.Lock()
        self._newest = -1

    def write(self, record: StoryRecord, form: dict[str, Any], revision: int) -> None:
        """Keep the story (OSError if the disk refuses); an older revision than the last one kept is passed over."""
        with self._mutex:
            if revision <= self._newest:
                return
            self._hold()
            files.write_json(self.path, {"saved_at": time.time(), "form": form, "story": record.to_json()})
            self._newest = revision

    def close(self) -> None:
        """End the sitting: what was kept stays, the lock falls."""
        with self._mutex:
            if self._lock_file:
                self._lock_file.close()
                self._lock_file = None
                with contextlib.suppress(OSError):
                    _lock_path(self.path).unlink()

    def _hold(self) -> None:
        if self._lock_file is None:
            paths.ensure(self.folder)
            self._lock_file = open(_lock_path(self.path), "wb")  # noqa: SIM115 (held until the sitting ends)
            _try_lock(self._lock_file)

    def find(self) -> list[Kept]:
        """What sittings that have ended left here, the newest first; a file that cannot be read is left where it is."""
        found = []
        for path in self.folder.glob("story-*.json"):
            if path == self.path or _in_use(path):
                continue
            with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RecursionError, TinyTalesError):
                data = json.loads(path.read_text("utf-8"))
                if not isinstance(data, dict):
                    continue
                form = data["form"] if isinstance(data.get("form"), dict) else {}
                record = StoryRecord.from_json(data["story"])
                if record.full_text.strip():
                    found.append(Kept(path, record, form, float(data.get("saved_at", 0))))
        return sorted(found, key=lambda kept: kept.saved_at, reverse=True)

    @staticmethod
    def discard(kept: Kept) -> None:
        """Delete what a person has done with (OSError if the disk refuses)."""
        kept.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            _lock_path(kept.path).unlink(missing_ok=True)


def _lock_path(path: Path) -> Path:
    return path.with_suffix(".lock")


def _in_use(path: Path) -> bool:
    try:
        with open(_lock_path(path), "r+b") as file:
            return not _try_lock(file)
    except OSError:
        return False


def _try_lock(file: IO[bytes]) -> bool:
    """Lock the file until it is closed; False if another process holds it. Where files cannot be locked, it counts as free."""
    try:
        import fcntl
    except ImportError:
        import msvcrt

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def age(seconds: float) -> str:
    """How long ago, as a person would say it."""
    for size, word in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {word}{'' if count == 1 else 's'} ago"
    return "a moment ago"
