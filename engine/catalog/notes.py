"""What a person chose about checkpoints, kept in one JSON file that several processes may write. Knows no torch.

    folders     added by hand, to be looked through for checkpoints
    standing    the checkpoint that is used where none is named
    choices     of a checkpoint: prompt style, tokenizer, the tokens that end and begin (`engine.checkpoints.choices`)
    used        when it was last loaded
    pinned      what is kept at the top and never offered for deletion

Every change is merged with what another process wrote meanwhile: the file is read, changed and replaced under a lock.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from engine import files
from engine.errors import UsageError

LARGEST = 8_000_000
MOST_USED = 2_000
"""Checkpoints whose last use is remembered; the oldest are forgotten."""
WAIT = 5.0
"""Seconds that another process may take to write."""


@dataclass(frozen=True)
class _Content:
    folders: tuple[str, ...] = ()
    standing: str | None = None
    choices: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    used: Mapping[str, float] = field(default_factory=dict)
    pinned: frozenset[str] = frozenset()


class Notes:
    """The file, as it was last read or written. What changes it writes at once, and raises `UsageError` where that cannot be."""

    def __init__(self, path: Path) -> None:
        """Read `path`; where it is missing there are no notes, and where it is damaged it is kept aside under another name."""
        self.path = path
        self.trouble = ""
        """One sentence where the file was damaged or cannot be read; empty else."""
        self._content = _Content()
        self.reload()

    @property
    def folders(self) -> tuple[Path, ...]:
        """Folders that were added, in the order in which they were."""
        return tuple(Path(folder) for folder in self._content.folders)

    @property
    def standing(self) -> str | None:
        """The source that is used where none is named; None for the checkpoint that comes with the program."""
        return self._content.standing

    @property
    def choices(self) -> Mapping[str, dict[str, Any]]:
        """By source: `Choices` as plain JSON; do not change it."""
        return self._content.choices

    @property
    def used(self) -> Mapping[str, float]:
        """By source: when it was last loaded (unix seconds)."""
        return self._content.used

    @property
    def pinned(self) -> frozenset[str]:
        """Sources."""
        return self._content.pinned

    def reload(self) -> None:
        """See what other processes wrote; where the file cannot be read now, what was known stays known."""
        try:
            self._content = self._read()
        except OSError as error:
            self.trouble = f"{self.path} cannot be read ({_why(error)})."

    def add_folder(self, folder: Path) -> None:
        """Look through this folder too; raises `UsageError` where it is none."""
        if not folder.is_dir():
            raise UsageError(f"There is no folder {folder}; give one that holds a checkpoint, or folders that do.")
        named = str(folder.absolute())
        self._change(lambda now: now if named in now.folders else replace(now, folders=(*now.folders, named)))

    def forget_folder(self, folder: Path) -> None:
        """Look through it no more; its files stay."""
        named = str(folder.absolute())
        self._change(lambda now: replace(now, folders=tuple(one for one in now.folders if one != named)))

    def set_standing(self, source: str | None) -> None:
        self._change(lambda now: replace(now, standing=source))

    def choose(self, source: str, choices: Mapping[str, Any] | None) -> None:
        """Keep these choices for a checkpoint; none, or an empty table, forgets them."""
        kept = {key: value for key, value in (choices or {}).items() if value is not None}

        def changed(now: _Content) -> _Content:
            others = {name: value for name, value in now.choices.items() if name != source}
            return replace(now, choices=others | ({source: kept} if kept else {}))

        self._change(changed)

    def mark_used(self, source: str, at: float | None = None) -> None:
        """It was loaded, now or at that time."""
        moment = time.time() if at is None else at
        self._change(lambda now: replace(now, used={**now.used, source: max(moment, now.used.get(source, moment))}))

    def pin(self, source: str, pinned: bool = True) -> None:
        self._change(lambda now: replace(now, pinned=now.pinned | {source} if pinned else now.pinned - {source}))

    def _change(self, change: Callable[[_Content], _Content]) -> None:
        from filelock import FileLock, Timeout

        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self.path.with_name(f".{self.path.name}.lock"), timeout=WAIT):
                try:
                    now = self._read()
                except OSError as error:  # what cannot be read must not be written over
                    raise UsageError(
                        f"{self.path} cannot be read ({_why(error)}), so nothing was changed in it; make it readable, and try again."
                    ) from error
                content = change(now)
                files.write_json(self.path, _to_json(content))
        except Timeout as error:
            raise UsageError(f"{self.path} is being written by another process; try again in a moment.") from error
        except OSError as error:
            raise UsageError(f"{self.path} cannot be written: {_why(error)}.") from error
        self._content = content

    def _read(self) -> _Content:
        """What the file holds; OSError where it is there and cannot be read, or is damaged and cannot be kept aside."""
        try:
            if self.path.stat().st_size > LARGEST:
                raise ValueError("too large")
            data = json.loads(self.path.read_bytes())
            if not isinstance(data, dict):
                raise ValueError("no table")
        except FileNotFoundError:
            return _Content()
        except (ValueError, RecursionError):
            aside = self.path.with_name(f"{self.path.name}.damaged-{int(time.time())}")
            self.path.replace(aside)
            self.trouble = f"{self.path.name} was damaged and is kept as {aside.name}; settings of checkpoints begin anew."
            return _Content()
        return _from_json(data)


def _to_json(content: _Content) -> dict[str, Any]:
    newest = sorted(content.used.items(), key=lambda one: -one[1])[:MOST_USED]
    return {
        "format": 1,
        "folders": list(content.folders),
        "standing": content.standing,
        "choices": dict(sorted(content.choices.items())),
        "used": dict(sorted(newest)),
        "pinned": sorted(content.pinned),
    }


def _from_json(data: dict[str, Any]) -> _Content:
    """What in the file makes sense; the rest is left out."""
    standing, choices, used = data.get("standing"), data.get("choices"), data.get("used")
    return _Content(
        tuple(dict.fromkeys(_texts(data.get("folders")))),
        standing if isinstance(standing, str) and standing else None,
        {key: value for key, value in choices.items() if isinstance(value, dict)} if isinstance(choices, dict) else {},
        {key: float(value) for key, value in used.items() if type(value) in (int, float) and 0 <= value < 2**53}
        if isinstance(used, dict)
        else {},
        frozenset(_texts(data.get("pinned"))),
    )


def _texts(found: Any) -> list[str]:
    return [one for one in found if isinstance(one, str) and one] if isinstance(found, list) else []


def _why(error: OSError) -> str:
    return (error.strerror or "the system refused").lower()
