"""Giving stories out to a file, and taking some in from one: names, paths, and why it failed in a sentence. Knows no Textual."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine import files
from engine.errors import TinyTalesError, UsageError
from tinytales_tui import paths
from tinytales_tui.library.exporting import FORMS, export
from tinytales_tui.library.importing import add_new, read
from tinytales_tui.library.store import Library

FORM_WORDS = (("md", "Markdown"), ("txt", "text"), ("html", "HTML"), ("epub", "EPUB"), ("json", "JSON"))
"""(file ending, words on the screen) of the forms in which stories are given out."""
_OTHER_ENDINGS = {"markdown": "md", "text": "txt", "htm": "html"}


class FileThere(UsageError):
    """A file of this name is there already."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path.name} is there already: Enter again replaces it, or give another name.")
        self.path = path


@dataclass(frozen=True)
class TakenIn:
    """What became of the stories in a file."""

    added: tuple[str, ...]
    """Ids of the new ones."""
    there: int
    """How many were in the library already."""


def suggested(name: str, form: str, folder: Path) -> str:
    """A file name that says what is in it and is not taken yet."""
    plain = unicodedata.normalize("NFKD", name[:200]).encode("ascii", "ignore").decode().lower()
    slug = "-".join(re.findall(r"[a-z0-9]+", plain))[:40].strip("-") or "story"
    number, found = 1, f"{slug}.{form}"
    while os.path.lexists(folder / found):
        number += 1
        found = f"{slug}-{number}.{form}"
    return found


def form_of(name: str, otherwise: str) -> str:
    """The form that the ending of a file's name says."""
    ending = Path(name.strip()).suffix[1:].lower()
    ending = _OTHER_ENDINGS.get(ending, ending)
    return ending if ending in FORMS else otherwise


def path_named(name: str, folder: Path) -> Path:
    """Where a typed name leads: into `folder` unless it says otherwise (`~` is home); UsageError for what is no name."""
    name = name.strip()
    if not name or "\0" in name:
        raise UsageError("Give the file a name.")
    return Path(os.path.abspath(folder / os.path.expanduser(name)))  # noqa: PTH100, PTH111 (expanduser raises for an unknown ~name)


def give_out(library: Library, ids: Sequence[str], form: str, name: str, folder: Path, replace: Path | None = None) -> Path:
    """Write the stories to the file that was named, whole or not at all; another file in its place only if it is `replace`.

    `FileThere` where one is; UsageError or LibraryError where it cannot be done.
    """
    path = path_named(name, folder)
    if path.is_dir() or name.strip().endswith(("/", os.sep)):
        raise UsageError(f"{paths.shown(path)} is a folder: add a file name.")
    form = form_of(path.name, form)
    if not path.suffix:
        path = path.with_name(f"{path.name}.{form}")
    if os.path.lexists(path) and path != replace:
        raise FileThere(path)
    if not ids:
        raise UsageError("There is no story to export.")
    data = export([library.get(id) for id in ids], form)
    try:
        paths.ensure(path.parent)
        files.write_bytes(path, data)
    except OSError as error:
        raise UsageError(f"Nothing was written: {paths.shown(path)} cannot be made, {paths.reason(error)}.") from error
    return path


def take_in(library: Library, name: str, folder: Path) -> TakenIn:
    """Add the stories in a JSON file, all or none (TinyTalesError); those that are there already are passed over."""
    path = path_named(name, folder)
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise UsageError(f"There is no file {paths.shown(path)}; check the path.") from error
    except OSError as error:
        raise UsageError(f"{paths.shown(path)} cannot be read: {paths.reason(error)}.") from error
    try:
        added, there = add_new(library, read(data, path.name))
    except (MemoryError, RecursionError) as error:
        raise TinyTalesError(f"{path.name} is too large to be taken in at once; divide it into several files.") from error
    return TakenIn(tuple(story.id for story in added), there)
