"""How a half-typed field may go on: prepared data, runs, files, devices.

It reads folders, so it is called in a thread. Knows no Textual.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from tinytales_tui import paths

NAMES = {
    "data": ("storybook",),
    "start_from": ("default",),
    "tokenizer": ("gpt2", "bpe"),
    "device": ("cpu", "cuda", "mps"),
}
"""What can always be meant, by field."""
_QUOTED = re.compile(r"[\s'\"\\]")
MOST = 5000
"""Entries of a folder that are looked at."""


def complete(key: str, text: str) -> str | None:
    """`text` with its last word made whole, or None where nothing fits. Only `data` takes several words."""
    if key not in NAMES:
        return None
    before, last = _last_word(text) if key == "data" else ("", text)
    if not last:
        return None
    for candidate in (*NAMES[key], *_own(key), *(_files(last) if key != "device" else ())):
        quotes = key == "data" and _QUOTED.search(candidate)  # a person has to do that by hand
        if candidate.startswith(last) and candidate != last and not quotes:
            return before + candidate
    return None


def prepared_data() -> list[str]:
    """The names of data that were prepared here."""
    return _folders(paths.data_sets_folder())


def _own(key: str) -> list[str]:
    if key == "data":
        return prepared_data()
    return _folders(paths.runs_folder()) if key == "start_from" else []


def _last_word(text: str) -> tuple[str, str]:
    start = text.rfind(" ") + 1
    return text[:start], text[start:]


def _folders(folder: Path) -> list[str]:
    return sorted(name for name, is_folder in _entries(folder) if is_folder and not name.startswith("."))


def _files(text: str) -> Iterable[str]:
    """What lies in the folder that `text` has reached, as `text` writes it; folders with a slash behind them."""
    written, slash, start = text.rpartition("/")
    folder = os.path.expanduser(written + slash)  # noqa: PTH111 (Path.expanduser raises for an unknown ~name)
    for name, is_folder in sorted(_entries(Path(folder or "."))):
        if name.startswith(start) and (start.startswith(".") or not name.startswith(".")):
            yield f"{written}{slash}{name}{'/' if is_folder else ''}"


def _entries(folder: Path) -> list[tuple[str, bool]]:
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                found.append((entry.name, entry.is_dir()))
                if len(found) == MOST:
                    break
    except OSError:
        pass
    return found
