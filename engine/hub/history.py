"""The file in which ended downloads are kept across starts: a line of JSON each, the oldest first. Knows no torch and no screen."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from engine import files

MOST = 200
"""Downloads that are kept."""
_LARGEST = 1 << 23
"""Bytes of the file that are read at most."""
WAIT = 5.0
"""Seconds that another process may take to write."""
_TEXTS = ("repo", "revision", "pattern", "message", "kind")
_STATES = ("done", "failed", "cancelled")


class History:
    """The file `path`; one that cannot be read or written is no reason for a download to fail."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> list[dict[str, Any]]:
        """The downloads in it (fields of a `Download`), without the lines that make no sense."""
        try:
            return self._read()
        except OSError:
            return []

    def save(self, ended: list[dict[str, Any]], without: set[str] | None = None) -> None:
        """Add `ended` to what lies there by now (another process may have added its own), less the ids in `without`.

        Nothing is written where the file cannot be read, so that nothing is lost, or where another process does not get done with it.
        """
        from filelock import FileLock

        with contextlib.suppress(OSError):  # a lock that is not free in time is one of them
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self._path.with_name(f".{self._path.name}.lock"), timeout=WAIT):
                entries = {entry["id"]: _jsonable(entry) for entry in self._read()} | {entry["id"]: entry for entry in ended}
                kept = [entry for entry in entries.values() if entry["id"] not in (without or ())]
                kept.sort(key=lambda entry: entry.get("ended") or 0.0)
                files.write_text(self._path, "".join(json.dumps(entry) + "\n" for entry in kept[-MOST:]))

    def _read(self) -> list[dict[str, Any]]:
        """As `load`; OSError where the file is there and cannot be read."""
        try:
            with self._path.open("rb") as file:
                lines = file.read(_LARGEST).splitlines()
        except FileNotFoundError:
            return []
        kept: dict[str, dict[str, Any]] = {}
        for line in lines:
            with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
                entry = _sound(json.loads(line))
                kept[entry["id"]] = entry
        return list(kept.values())[-MOST:]


def _sound(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry with values of the right kinds; ValueError, KeyError or TypeError where it is none."""
    if entry["state"] not in _STATES or not all(isinstance(entry[name], str) for name in ("id", "repo")):
        raise ValueError("this is no ended download")
    kept: dict[str, Any] = {"id": entry["id"], "state": entry["state"]}
    kept |= {name: value for name in _TEXTS if isinstance(value := entry.get(name), str)}
    kept |= {name: float(entry[name]) for name in ("began", "ended") if entry.get(name) is not None}
    kept |= {name: int(entry.get(name) or 0) for name in ("total_bytes", "done_bytes")}
    return kept | ({"path": Path(entry["path"])} if entry.get("path") else {})


def _jsonable(entry: dict[str, Any]) -> dict[str, Any]:
    return entry | ({"path": str(entry["path"])} if "path" in entry else {})
