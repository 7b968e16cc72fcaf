"""All checkpoints together: the shipped one, those of own runs, the Hub's cache, and folders that were added. Knows no torch.

Anything may vanish or change while it is looked at, since runs write, downloads end, and other programs delete; what is gone in the
middle is left out.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.catalog import holding
from engine.catalog.entries import Entry, EntryFile, Facts
from engine.catalog.facts import FactsCache
from engine.catalog.holding import Held
from engine.catalog.notes import Notes
from engine.checkpoints.glance import folder_of
from engine.checkpoints.hub_names import can_be_named
from engine.checkpoints.readers.common import shown
from engine.checkpoints.readers.kinds import USUAL, may_hold_weights
from engine.growing_files import open_plain, read_json
from engine.hub.cache import Cache, CachedFile, Partial, Revision, missing_of, scan
from engine.hub.fetching import stands_alone
from engine.run_status import read_status, real, whole
from engine.run_view import RunView, list_runs

MOST_FOLDERS = 1_000
"""Subfolders of an added folder that are looked into."""
MOST_LONE_FILES = 200
"""Files of weights in one folder that get a row each."""
_CARD_HEAD = 8_000
"""Bytes of a model card in which its settings stand."""


@dataclass(frozen=True)
class Listing:
    """What there is."""

    entries: tuple[Entry, ...]
    """The shipped one, runs (the newest first, their best before their steps), the Hub's cache by name, added folders."""
    partials: tuple[Partial, ...]
    """Files in the Hub's cache whose download did not end."""
    cache_bytes: int
    """Bytes in the Hub's cache, data sets and whatever else is in it included."""
    warnings: tuple[str, ...]
    cache: Cache
    """As it was found; what `engine.hub.trash.preview` takes."""


def list_entries(runs: Path, notes: Notes, *, cache: Path | None = None, facts_cache: FactsCache | None = None) -> Listing:
    """Everything that can be written with, and what a person would take for it; raises nothing.

    `runs` is the folder of runs, `cache` the Hub's (None: where huggingface_hub keeps it). `facts_cache` is used and changed, not saved.
    """
    facts = facts_cache or FactsCache()
    found = scan(cache)
    entries = [*_shipped(facts), *_of_runs(runs, facts), *_of_cache(found, facts), *_of_folders(notes.folders, facts)]
    used = [*holding.held(notes.path.parent / holding.FOLDER), *holding.in_use_by_runs(runs)]
    noted = tuple(_noted(entry, notes, used) for entry in entries)
    gone = tuple(
        f"The folder {shown(folder, 300)} was added and is not there." for folder in notes.folders if not folder.is_dir()
    )
    return Listing(noted, found.partials, found.total_bytes, (*filter(None, [notes.trouble]), *found.warnings, *gone), found)


def _shipped(facts: FactsCache) -> Iterator[Entry]:
    folder = folder_of("default")
    if folder is not None:
        yield _of_folder("shipped", "default", "tinytales (default)", "shipped", folder, facts)


def _of_runs(runs: Path, facts: FactsCache) -> Iterator[Entry]:
    for run in list_runs(runs):
        with contextlib.suppress(OSError):
            yield from _of_run(run, facts)


def _of_run(run: RunView, facts: FactsCache) -> Iterator[Entry]:
    alive = read_status(run.path).alive
    for one in sorted(run.checkpoints(), key=lambda one: (not one.best, -(one.step or 0), one.name)):
        path = one.path.absolute()
        name = f"{run.name} {one.name}"
        made = _of_folder(f"run:{run.name}/{one.name}", str(path), name, "run", path, facts)
        held = f"the run {run.name}, which is at work" if alive else ""
        yield replace(made, run=run.name, step=one.step, in_use=held)


def _of_cache(cache: Cache, facts: FactsCache) -> Iterator[Entry]:
    for revision in cache.revisions:
        with contextlib.suppress(OSError):
            yield from _of_revision(revision, facts)


def _of_revision(revision: Revision, facts: FactsCache) -> Iterator[Entry]:
    """One entry, or one for each file of weights where they do not belong together."""
    named = revision.repo if "main" in revision.refs else f"{revision.repo}@{revision.commit}"
    short = shown(revision.repo if "main" in revision.refs else f"{revision.repo}@{revision.commit[:7]}")
    licence = _licence(revision.path / "README.md")
    common: dict[str, Any] = {
        "origin": "hub",
        "repo": revision.repo,
        "revision": revision.commit,
        "refs": revision.refs,
        "licence": licence,
        "last_used": revision.last_used,
        "modified": revision.modified,
    }
    key = f"hub:{revision.repo}@{revision.commit}"
    lone = _named_by_file(revision)
    if not lone or revision.missing or revision.outside:
        if revision.outside:
            known = _refusal(revision)
        elif not can_be_named(revision.repo, revision.commit):
            known = _unnamed(named)
        else:
            known = Facts() if revision.missing else _unread(revision.files, revision.path, facts)
            common |= _card(revision.path)
        listed = tuple(EntryFile(file.name, file.size) for file in revision.files)
        about = {"size": revision.size, "files": listed, "partial": "; ".join(revision.missing)}
        yield Entry(key=key, source=named, name=short, path=revision.path, facts=known, **common, **about)
        return
    if "/" not in named and "@" not in named:  # a repository without an owner, whose files would look like repositories
        named = f"{named}@main"
    for name in lone:
        files = [file for file in revision.files if file.name == name or _goes_with(file.name, name)]
        about = {"size": sum(file.size for file in files), "files": tuple(EntryFile(file.name, file.size) for file in files)}
        path = revision.path / name
        known = _unread(files, path, facts) if can_be_named(revision.repo, revision.commit, name) else _unnamed(name)
        yield Entry(
            key=f"{key}/{name}", source=f"{named}/{name}", name=f"{short}/{name}", path=path, facts=known, **common, **about
        )


def _named_by_file(revision: Revision) -> list[str]:
    """The files of a revision that have a row each.

    One alone too, unless the repository is known to have no other: its name would mean another file, or none, as soon as the Hub is
    asked.
    """
    lone = lone_weights([file.name for file in revision.files], one_too=True)
    return [] if len(lone) == 1 and stands_alone(revision.path, lone[0]) else lone


def lone_weights(names: list[str], *, one_too: bool = False) -> list[str]:
    """Files of weights that are models of their own: several in a folder without a usual name, or one in a subfolder.

    Empty where the folder as a whole is one checkpoint; with `one_too` one file without a usual name counts as well.
    """
    if any(name in USUAL or name == "tinytales.json" for name in names):
        return []
    found = sorted(name for name in names if may_hold_weights(name))
    return [] if len(found) == 1 and "/" not in found[0] and not one_too else found[:MOST_LONE_FILES]


def _goes_with(name: str, weights: str) -> bool:
    """Whether a file lies beside a file of weights and belongs to it, as a vocabulary or a config does."""
    return name.rpartition("/")[0] == weights.rpartition("/")[0] and not may_hold_weights(name)


def _unread(files: tuple[CachedFile, ...] | list[CachedFile], path: Path, facts: FactsCache) -> Facts:
    """The facts, with the time of last reading put back: looking at a header is no use of a model."""
    known = facts.of(path)
    for file in files:
        if may_hold_weights(file.name):
            with contextlib.suppress(OSError):
                now = file.blob.stat()
                if now.st_atime > file.read and now.st_mtime == file.modified:
                    os.utime(file.blob, ns=(int(file.read * 1e9), now.st_mtime_ns))
    return known


def _refusal(revision: Revision) -> Facts:
    return Facts(
        refused=f"{shown(revision.outside[0])} of {shown(revision.repo)} is a link that leads out of the Hub's cache, so it is not "
        "opened; delete this revision and download it again."
    )


def _unnamed(name: str) -> Facts:
    return Facts(refused=f"{shown(name)} cannot be asked for by this name; give its path instead.")


def _of_folders(folders: tuple[Path, ...], facts: FactsCache) -> Iterator[Entry]:
    for folder in folders:
        for path in [folder, *_subfolders(folder)]:
            with contextlib.suppress(OSError):
                yield from _of_added(path, facts)


def _of_added(folder: Path, facts: FactsCache) -> Iterator[Entry]:
    path = folder
    if not (folder / "tinytales.json").is_file() and (folder / "checkpoints" / "best" / "tinytales.json").is_file():
        path = folder / "checkpoints" / "best"
    names = [name for name, _ in _files(path)]
    if "tinytales.json" not in names and not any(may_hold_weights(name) for name in names):
        return
    lone = lone_weights(names)
    if not lone:
        made = _of_folder(f"folder:{folder}", str(folder), folder.name or str(folder), "folder", path, facts)
        lacking = "; ".join(missing_of(set(names), path))
        yield replace(made, partial=lacking, facts=Facts() if lacking else made.facts)
    for name in lone:
        stat = (path / name).stat()
        yield Entry(
            f"folder:{folder / name}",
            str(folder / name),
            f"{folder.name}/{name}",
            "folder",
            path / name,
            facts.of(path / name),
            stat.st_size,
            (EntryFile(name, stat.st_size),),
            stat.st_atime,
            stat.st_mtime,
        )


def _of_folder(key: str, source: str, name: str, origin: Any, folder: Path, facts: FactsCache) -> Entry:
    """A folder that is one checkpoint."""
    files = [(name, stat) for name, stat in _files(folder)]
    weights = [stat for name, stat in files if may_hold_weights(name)]
    return Entry(
        key,
        source,
        name,
        origin,
        folder,
        facts.of(folder),
        sum(stat.st_size for _, stat in files),
        tuple(EntryFile(name, stat.st_size) for name, stat in files),
        max((stat.st_atime for stat in weights), default=None),
        max((stat.st_mtime for stat in weights), default=None),
        **_card(folder),
    )


def _card(folder: Path) -> dict[str, Any]:
    """What `tinytales.json` says of how good the checkpoint is."""
    card = (read_json(folder / "tinytales.json") or {}) if (folder / "tinytales.json").is_file() else {}
    measured = card.get("validation")
    measured = measured if isinstance(measured, dict) else {}
    licence = card.get("license", card.get("licence")) or _licence(folder / "README.md")
    return {
        "val_loss": real(measured.get("nats_per_token")),
        "bits_per_byte": real(measured.get("bits_per_byte")),
        "step": whole(card.get("step")),
    } | ({"licence": shown(licence, 60)} if isinstance(licence, str) and licence else {})


def _licence(card: Path) -> str:
    """What the head of a model card calls its licence; empty where it says nothing."""
    with contextlib.suppress(OSError):
        with open_plain(card) as file:
            head = file.read(_CARD_HEAD).decode("utf-8", "replace")
        front = re.match(r"---\s*\n(.*?)\n---", head, re.DOTALL)
        found = re.search(r"^license(?:_name)?:[ \t]*['\"]?([^'\"\n#]+)", front[1], re.MULTILINE) if front else None
        return shown(found[1], 60) if found else ""
    return ""


def _noted(entry: Entry, notes: Notes, used: list[Held]) -> Entry:
    """With what the notes know of it, and what has it in use."""
    last = notes.used.get(entry.source, entry.last_used)
    holders = [one.what for one in used if _is_held(entry, one)]
    return replace(entry, last_used=last, in_use=", ".join(dict.fromkeys(filter(None, [entry.in_use, *holders]))))


def _is_held(entry: Entry, one: Held) -> bool:
    if one.source == entry.source:
        return True
    if one.path is None:
        return False
    path = Path(os.path.realpath(entry.path))
    return one.path == path or path in one.path.parents or (one.path in path.parents and entry.origin != "hub" and path.is_file())


def _files(folder: Path) -> list[tuple[str, os.stat_result]]:
    """Plain files directly in a folder, by name."""
    found = []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        with contextlib.suppress(OSError):
            if entry.is_file():
                found.append((entry.name, entry.stat()))
    return found


def _subfolders(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))[:MOST_FOLDERS]
    return []
