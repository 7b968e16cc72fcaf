"""Saving a story to a file: which name, which form, and why it failed. Knows no Textual."""

from __future__ import annotations

import json
import os
import re
import unicodedata
from pathlib import Path

from engine import files
from engine.errors import TinyTalesError
from tinytales_tui import paths
from tinytales_tui.story import StoryRecord

FORMATS = (("md", "Markdown"), ("txt", "text"), ("json", "JSON"))
"""(file ending, words on the screen)."""


class SaveError(TinyTalesError):
    """The story could not be saved; one sentence."""


class FileExists(SaveError):
    """A file of this name is there already."""


def suggest_name(record: StoryRecord, ending: str, folder: Path) -> str:
    """A name from the topic that is not taken yet."""
    words = unicodedata.normalize("NFKD", record.prompt or record.full_text[:60]).encode("ascii", "ignore").decode()
    slug = "-".join(re.findall(r"[a-z0-9]+", words.lower()))[:40].strip("-") or "story"
    number, name = 1, f"{slug}.{ending}"
    while (folder / name).exists():
        number += 1
        name = f"{slug}-{number}.{ending}"
    return name


def target(name: str, ending: str, folder: Path) -> Path:
    """Where a typed name leads: into `folder` unless it says otherwise, with the form's ending unless it has one of its own."""
    name = name.strip()
    if not name or "\0" in name:
        raise SaveError("Give the file a name.")
    path = folder / Path(name).expanduser()
    if name.endswith(("/", os.sep)) or path.is_dir():
        raise SaveError(f"{paths.shown(path)} is a folder: add a file name.")
    if not path.suffix and not path.exists():
        path = path.with_name(f"{path.name}.{ending}")
    return path


def save(record: StoryRecord, form: str, path: Path, *, replace: bool = False) -> None:
    """Write the story whole or not at all (`SaveError`); an existing file only with `replace` (`FileExists`)."""
    if os.path.lexists(path) and not replace:
        raise FileExists(f"{path.name} exists already: press save again to replace it, or give another name.")
    if form == "md":
        text = record.to_markdown()
    elif form == "txt":
        text = record.to_text()
    else:
        text = json.dumps(record.to_json(), ensure_ascii=False, indent=2) + "\n"
    try:
        paths.ensure(path.parent)
        files.write_text(path, text)
    except OSError as error:
        raise SaveError(
            f"The story was not saved: {paths.shown(path)} cannot be written, {paths.reason(error)}. The story is still on the page."
        ) from error
