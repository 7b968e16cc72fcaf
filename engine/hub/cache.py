"""What lies in huggingface_hub's cache: every revision of every model, and what was left half-downloaded. Only reads; knows no torch.

    <cache>/models--owner--name/
      blobs/<etag>                  the bytes; a link into <cache>/blobs where they are shared between repositories
      blobs/<etag>.<…>.incomplete   of a download under way, or one that was killed
      refs/main                     the commit that the branch pointed at when it was last asked for
      snapshots/<commit>/…          links to the blobs under the files' names

The folders are read here and not by `scan_cache_dir`: that gives up a whole repository for one missing blob, and a download that was
cut off is just what a person should see. A test holds the two against each other.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat as stat_kinds
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.checkpoints.readers.common import LARGEST_INDEX, shown
from engine.checkpoints.readers.kinds import may_hold_weights
from engine.growing_files import open_plain

_REPO = re.compile(r"(model|dataset|space|kernel)s--(.+)")
_LARGEST_REF = 200
"""Bytes of a file that names a commit."""
_IGNORED = (".DS_Store", "Thumbs.db", "desktop.ini")


@dataclass(frozen=True)
class CachedFile:
    """A file of a revision."""

    name: str
    """Inside the revision, with slashes."""
    size: int
    blob: Path
    """Where its bytes lie, or the link to them that the repository counts as its own; the file itself where it is no link."""
    modified: float
    read: float
    """When its bytes were last read, as far as the file system notes that (unix seconds)."""


@dataclass(frozen=True)
class Revision:
    """One commit of a model, as much of it as was downloaded."""

    repo: str
    commit: str
    """The name of its folder: 40 hex digits, unless somebody made it by hand."""
    refs: tuple[str, ...]
    path: Path
    """Its folder under `snapshots`."""
    size: int
    """Bytes of its files, one that it names twice counted once; files that other revisions share are counted in full."""
    files: tuple[CachedFile, ...]
    missing: tuple[str, ...]
    """What is not there of it, each in a few words; empty for one that can be opened as it is."""
    outside: tuple[str, ...]
    """Names whose links lead out of the cache; they are not among `files`, and such a revision should not be opened."""
    last_used: float | None
    modified: float | None

    @property
    def folder(self) -> Path:
        """The repository's folder."""
        return self.path.parent.parent


@dataclass(frozen=True)
class Partial:
    """A file whose download has not ended; nothing can go on from it, since huggingface_hub begins such a file anew."""

    path: Path
    repo: str
    size: int
    modified: float


@dataclass(frozen=True)
class Cache:
    """The cache as it was found."""

    folder: Path
    revisions: tuple[Revision, ...] = ()
    """By repository, those with a ref first, then the newest."""
    partials: tuple[Partial, ...] = ()
    total_bytes: int = 0
    """Of all finished files, also those of data sets and spaces; shared ones counted once."""
    warnings: tuple[str, ...] = ()

    def of(self, repo: str) -> tuple[Revision, ...]:
        """The revisions of a repository."""
        return tuple(revision for revision in self.revisions if revision.repo == repo)


def cache_folder() -> Path:
    """Where huggingface_hub keeps its cache: HF_HUB_CACHE, HF_HOME, or the usual place."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE).expanduser().absolute()


def scan(cache: Path | None = None) -> Cache:
    """What lies in the cache; nothing where there is none. Raises nothing: what cannot be read is told in `warnings`.

    A file whose link leads out of the cache is left out, with a warning.
    """
    folder = Path(os.path.realpath(cache or cache_folder()))
    look = _Look(folder)
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except FileNotFoundError:
        return Cache(folder)
    except OSError as error:
        return Cache(folder, warnings=(f"The Hub's cache {shown(folder, 300)} cannot be read ({_why(error)}).",))
    for entry in entries:
        if entry.name.startswith(".") or entry.name in (*_IGNORED, "CACHEDIR.TAG"):
            continue
        try:
            look.at(entry)
        except OSError as error:
            look.warn(entry.name, f"cannot be read ({_why(error)})")
    found = sorted(look.revisions, key=lambda r: (r.repo.casefold(), not r.refs, "main" not in r.refs, -(r.modified or 0)))
    return Cache(folder, tuple(found), tuple(look.partials), look.total, tuple(look.warnings))


def missing_of(names: set[str], folder: Path) -> tuple[str, ...]:
    """What a checkpoint's files lack, each in a few words: the weights, or shards that the index among them names."""
    weights = [name for name in names if may_hold_weights(name)]
    indexes = [name for name in sorted(names) if name.endswith((".safetensors.index.json", ".bin.index.json"))]
    whole = {"model.safetensors", "pytorch_model.bin"} & names
    if not whole and indexes:
        lacking = [shard for shard in _shards(folder / indexes[0]) if shard not in names]
        if lacking:
            return (f"{len(lacking)} of its files of weights ({shown(lacking[0], 60)}{' …' if len(lacking) > 1 else ''})",)
    return () if weights else ("weights",)


class _Look:
    """One look through a cache."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inside = f"{folder}{os.sep}"
        self.revisions: list[Revision] = []
        self.partials: list[Partial] = []
        self.warnings: list[str] = []
        self.total = 0

    def warn(self, name: str, what: str) -> None:
        self.warnings.append(f"{shown(name)} in the Hub's cache {what}.")

    def at(self, entry: os.DirEntry[str]) -> None:
        match = _REPO.fullmatch(entry.name)
        if entry.name == "blobs" and entry.is_dir(follow_symlinks=False):  # those that several repositories share
            self.total += sum(size for name, size in _files_below(entry.path) if _is_payload(name))
        elif match is None or entry.is_symlink() or not entry.is_dir():
            self.warn(entry.name, "is no repository and was left alone")
        else:
            repo = match[2].replace("--", "/")
            blobs = self._blobs(repo, entry.path)
            if match[1] == "model":
                self._model(repo, entry.path, blobs)
            else:
                self.total += sum(size for _, size in _files_below(os.path.join(entry.path, "snapshots")))  # noqa: PTH118

    def _blobs(self, repo: str, folder: str) -> dict[str, os.stat_result]:
        """What `os.lstat` says of each file in `blobs`; counts them, and notes partial ones."""
        found = {}
        try:
            entries = list(os.scandir(os.path.join(folder, "blobs")))  # noqa: PTH118 (a Path a file makes this much slower)
        except FileNotFoundError:
            return {}
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):  # a download ends, another program deletes
                stat = entry.stat(follow_symlinks=False)
                if entry.name.endswith(".incomplete"):
                    self.partials.append(Partial(Path(entry.path), repo, stat.st_size, stat.st_mtime))
                elif not entry.is_symlink():
                    self.total += stat.st_size
                found[entry.name] = stat
        return found

    def _model(self, repo: str, folder: str, blobs: dict[str, os.stat_result]) -> None:
        refs = self._refs(folder)
        try:
            snapshots = sorted(os.scandir(os.path.join(folder, "snapshots")), key=lambda entry: entry.name)  # noqa: PTH118
        except FileNotFoundError:
            snapshots = []
        if not snapshots:
            self.warn(repo, "has no finished download")
        for snapshot in snapshots:
            if snapshot.name in _IGNORED:
                continue
            if snapshot.is_symlink() or not snapshot.is_dir():
                self.warn(repo, f"has something among its revisions that is none ({shown(snapshot.name, 60)})")
                continue
            self._revision(
                repo, snapshot, tuple(sorted(refs.get(snapshot.name, ()), key=lambda ref: (ref != "main", ref))), blobs
            )

    def _revision(self, repo: str, snapshot: os.DirEntry[str], refs: tuple[str, ...], blobs: dict[str, os.stat_result]) -> None:
        files, broken, outside = list[CachedFile](), list[str](), list[str]()
        store = str(Path(snapshot.path).parent.parent / "blobs")
        for name, path, link in _names_below(snapshot.path):
            blob = os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path))) if link else path  # noqa: PTH118, PTH115, PTH120
            place, _, etag = blob.rpartition(os.sep)
            stat = blobs.get(etag) if place == store else None
            try:
                if stat is None or stat_kinds.S_ISLNK(stat.st_mode):
                    if not os.path.realpath(blob).startswith(self.inside):
                        outside.append(name)
                        self.warn(repo, f"names {shown(name)}, whose link leads out of the cache; that file was left out")
                        continue
                    stat = os.stat(blob)  # noqa: PTH116
            except OSError:
                broken.append(name)
                continue
            if not link:
                self.total += stat.st_size
            files.append(CachedFile(name, stat.st_size, Path(blob), stat.st_mtime, stat.st_atime))
        names = {file.name for file in files}
        missing = (*(f"the bytes of {shown(name, 60)}" for name in broken[:1]), *missing_of(names, Path(snapshot.path)))
        weights = [file for file in files if may_hold_weights(file.name)] or files
        self.revisions.append(
            Revision(
                repo,
                snapshot.name,
                refs,
                Path(snapshot.path),
                sum({file.blob: file.size for file in files}.values()),
                tuple(sorted(files, key=lambda file: file.name)),
                missing,
                tuple(outside),
                max((file.read for file in weights), default=None),
                max((file.modified for file in files), default=snapshot.stat().st_mtime),
            )
        )

    def _refs(self, folder: str) -> dict[str, list[str]]:
        """Names of branches and tags by the commit they point at."""
        found: dict[str, list[str]] = {}
        top = os.path.join(folder, "refs")  # noqa: PTH118
        for name, path, link in _names_below(top):
            with contextlib.suppress(OSError, UnicodeDecodeError):
                if not link:
                    with open_plain(Path(path)) as file:
                        said = file.read(_LARGEST_REF + 1)
                    if len(said) <= _LARGEST_REF:
                        found.setdefault(said.decode().strip(), []).append(name)
        return found


def _names_below(top: str, below: str = "", depth: int = 0) -> Iterator[tuple[str, str, bool]]:
    """(name, path, whether it is a link) of the files below a folder; linked folders are not entered."""
    try:
        entries = sorted(os.scandir(top), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.name in _IGNORED:
            continue
        if entry.is_dir(follow_symlinks=False):
            if depth < 12:
                yield from _names_below(entry.path, f"{below}{entry.name}/", depth + 1)
        else:
            yield f"{below}{entry.name}", entry.path, entry.is_symlink()


def _files_below(top: str) -> Iterator[tuple[str, int]]:
    """Name and size of the plain files below a folder, links left out."""
    for root, _, names in os.walk(top):
        for name in names:
            with contextlib.suppress(OSError):
                stat = os.lstat(os.path.join(root, name))  # noqa: PTH118
                if stat_kinds.S_ISREG(stat.st_mode):
                    yield name, stat.st_size


def _is_payload(name: str) -> bool:
    """Whether a file of the shared store holds a model's bytes, and not a lock or a list of who uses them."""
    return re.fullmatch(r"[0-9a-f]{64}", name) is not None


def _shards(index: Path) -> list[str]:
    """The files that an index of weights names; none where it cannot be read."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        with open_plain(index) as file:
            contents = file.read(LARGEST_INDEX + 1)
        data: Any = json.loads(contents) if len(contents) <= LARGEST_INDEX else None
        table = data.get("weight_map") if isinstance(data, dict) else None
        return sorted({name for name in table.values() if isinstance(name, str)}) if isinstance(table, dict) else []
    return []


def _why(error: OSError) -> str:
    return (error.strerror or "the system refused").lower()
