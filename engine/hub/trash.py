"""Deleting from the Hub's cache with a way back: files are renamed into a trash folder, and only emptying that frees their bytes.

    <trash>/<id>/manifest.json    what is moved, and from where; written before anything is moved
    <trash>/<id>/files/…          what was moved, under the paths it had in the cache

The trash lies beside the cache, so that neither huggingface_hub nor its `hf cache ls` trips over it; where that folder is not writable
or on another disk, it lies in the cache's `.locks`, which they pass over. Refs go first, then snapshots, then blobs, and they come back
the other way round: wherever a crash stops it, the cache is one that can be read, and `restore` or `purge` can be asked for again.
Knows no torch.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine import files
from engine.checkpoints.readers.common import shown
from engine.errors import CheckpointError, UsageError
from engine.hub.cache import cache_folder
from engine.hub.deletion import Deletion, has_shared_store, locked, preview
from engine.hub.putting_back import in_the_way, put_back

__all__ = ["Deletion", "Trashed", "preview", "purge", "restore", "to_trash", "trashed"]
BESIDE = ".tinytales-trash"
INSIDE = Path(".locks") / "tinytales-trash"
_MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Trashed:
    """One deletion that can be undone."""

    id: str
    cache: Path
    folder: Path
    """Where it lies in the trash."""
    at: float
    """When it was deleted (unix seconds)."""
    revisions: tuple[tuple[str, str], ...]
    partials: tuple[str, ...]
    """Names of partial files."""
    moves: tuple[str, ...]
    frees: int
    """Bytes that purging it should free, as worked out when it was deleted; they are taken up until then."""
    words: str
    """What it is, for a person."""

    @property
    def whole(self) -> bool:
        """Everything has arrived; False where a crash came in between. `restore` and `purge` do their work all the same."""
        return all(_is_there(self.folder / "files" / move) for move in self.moves)


def to_trash(deletion: Deletion) -> Trashed:
    """Take away what `engine.hub.deletion.preview` showed; nothing is copied and no byte freed yet.

    Raises `UsageError` where a part is being downloaded or more has come to it since the preview, `CheckpointError` where the system
    refuses; what was moved until then is put back.
    """
    repos = sorted({move.split("/")[0] for move in deletion.moves})
    with locked(deletion.cache, repos):
        _refuse_if_grown(deletion)
        why = "there is no place for it"
        for place in _places(deletion.cache):
            try:
                item = _new(place, deletion)
            except OSError as error:
                why = _why(error)
                continue
            try:
                _move_all(item)
                files.sync_folder(item.folder)
                return item
            except OSError as error:
                _undo(item)
                if error.errno != errno.EXDEV:
                    raise CheckpointError(f"{item.words} cannot be deleted: {_why(error)}; nothing was changed.") from error
                why = _why(error)
    raise CheckpointError(f"The trash beside {shown(deletion.cache, 300)} cannot be written: {why}; nothing was deleted.")


def trashed(cache: Path | None = None) -> list[Trashed]:
    """What lies in the trash of a cache, the newest first."""
    folder = _real(cache)
    found = [item for place in _possible(folder) for item in _items(place) if item.cache == folder]
    return sorted(found, key=lambda item: (-item.at, item.id))


def restore(id: str, cache: Path | None = None) -> Trashed:
    """Put a deletion back as it was, also one that a crash left half-done.

    What has come to the same place meanwhile and is the same stays; a ref that points elsewhere by now is left to point there. Raises
    `UsageError` where something else is in the way or a download is going on; nothing is changed then.
    """
    item = _named(id, cache)
    with locked(item.cache, sorted({move.split("/")[0] for move in item.moves})):
        try:
            obstacle = next(
                (at for move in item.moves if (at := in_the_way(item.folder / "files" / move, item.cache / move))), None
            )
            if obstacle is not None:
                raise UsageError(
                    f"{item.words} cannot be put back: {shown(obstacle.relative_to(item.cache), 200)} has come there meanwhile and is "
                    "not the same; delete that first, or leave this in the trash."
                )
            for move in reversed(item.moves):
                put_back(item.folder / "files" / move, item.cache / move)
            files.sync_folder(item.cache)
            _remove(item.folder)
        except OSError as error:
            raise CheckpointError(f"{item.words} cannot be put back: {_why(error)}; try again, nothing is lost.") from error
    return item


def purge(id: str | None = None, *, cache: Path | None = None, older_than: float | None = None) -> int:
    """Empty the trash for good: one deletion, or all; with `older_than` (seconds) only those that are older. The bytes really freed.

    Raises `UsageError` for an id that is not there, `CheckpointError` where the system refuses.
    """
    items = trashed(cache) if id is None else [_named(id, cache)]
    freed = 0
    for item in items:
        if older_than is not None and time.time() - item.at < older_than:
            continue
        try:
            if not item.whole:
                with locked(item.cache, sorted({move.split("/")[0] for move in item.moves})):
                    _move_all(item)
            freed += _release_shared(item) + _bytes_below(item.folder / "files")
            _remove(item.folder)
        except OSError as error:
            raise CheckpointError(f"{item.words} cannot be removed for good: {_why(error)}.") from error
    return freed


def _new(place: Path, deletion: Deletion) -> Trashed:
    """A folder in the trash with the manifest in it, on the disk before anything is moved; OSError."""
    at = time.time()
    id = f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(at))}-{secrets.token_hex(3)}"
    names = tuple(path.name for path in deletion.partials)
    item = Trashed(id, deletion.cache, place / id, at, deletion.revisions, names, deletion.moves, deletion.freed, deletion.words)
    try:
        (item.folder / "files").mkdir(parents=True)
        content = {"format": 1} | asdict(item) | {"cache": str(item.cache)}
        del content["folder"]  # it lies there
        files.write_json(item.folder / _MANIFEST, content)
        files.sync_folder(place)
    except OSError:
        _remove(item.folder)
        raise
    return item


def _refuse_if_grown(deletion: Deletion) -> None:
    """A repository that is to go as a whole may have got another revision since a person saw what would go."""
    known = {(repo.replace("/", "--"), commit) for repo, commit in deletion.revisions}
    for repo in deletion.whole_repos:
        folder = deletion.cache / f"models--{repo.replace('/', '--')}" / "snapshots"
        there = {path.name for path in folder.iterdir() if path.is_dir()} if folder.is_dir() else set()
        if any((repo.replace("/", "--"), commit) not in known for commit in there):
            raise UsageError(f"{shown(repo)} has got another revision meanwhile; look again at what would be deleted.")


def _move_all(item: Trashed) -> None:
    """Move what has not been moved yet. A blob that a download has begun to use meanwhile stays."""
    for move in item.moves:
        source, target = item.cache / move, item.folder / "files" / move
        if _is_there(source) and not _is_there(target) and not _is_wanted(source, item):
            target.parent.mkdir(parents=True, exist_ok=True)
            source.rename(target)


def _is_wanted(path: Path, item: Trashed) -> bool:
    """Whether a blob is used by a revision that stays."""
    if path.parent.name != "blobs" or path.name.endswith(".incomplete"):
        return False
    for root, _, names in os.walk(path.parent.parent / "snapshots"):
        for name in names:
            link = Path(root) / name
            with contextlib.suppress(OSError):
                if link.is_symlink() and os.path.normpath(link.parent / os.readlink(link)) == str(path):  # noqa: PTH115
                    return True
    return False


def _undo(item: Trashed) -> None:
    for move in reversed(item.moves):
        with contextlib.suppress(OSError):
            put_back(item.folder / "files" / move, item.cache / move)
    if not _files_below(item.folder / "files"):
        _remove(item.folder)


def _release_shared(item: Trashed) -> int:
    """Give up links into huggingface_hub's shared store through its own deletion, which knows who else uses them; the bytes freed.

    Each link goes back to its place for that; where the place is taken, a newer download uses the same blob and nothing is freed.
    """
    if not has_shared_store(item.cache):
        return 0
    from huggingface_hub import DeleteCacheStrategy, scan_cache_dir

    top, freed = item.folder / "files", 0
    for link in [path for path in top.rglob("*") if path.parent.name == "blobs" and path.is_symlink()]:
        place = item.cache / link.relative_to(top)
        made = [folder for folder in (place.parent.parent, place.parent) if not folder.exists()]
        place.parent.mkdir(parents=True, exist_ok=True)
        before = scan_cache_dir(item.cache).size_on_disk
        if not _is_there(place):
            link.rename(place)
            nothing: frozenset[Path] = frozenset()
            DeleteCacheStrategy(0, frozenset({place}), nothing, nothing, nothing, cache_dir=item.cache).execute()
        for folder in reversed(made):
            with contextlib.suppress(OSError):
                folder.rmdir()
        freed += max(0, before - scan_cache_dir(item.cache).size_on_disk)
    return freed


def _places(cache: Path) -> Iterator[Path]:
    """Folders that can be the trash of a cache, the better one first."""
    beside, inside = _possible(cache)
    with contextlib.suppress(OSError):
        parent = beside if beside.is_dir() else cache.parent
        if parent.stat().st_dev == cache.stat().st_dev and os.access(parent, os.W_OK | os.X_OK):
            yield beside
    yield inside


def _possible(cache: Path) -> tuple[Path, Path]:
    return cache.parent / BESIDE, cache / INSIDE


def _items(place: Path) -> list[Trashed]:
    try:
        folders = [path for path in place.iterdir() if path.is_dir()]
    except OSError:
        return []
    return [item for folder in folders if (item := _read(folder)) is not None]


def _read(folder: Path) -> Trashed | None:
    """The deletion in a folder of the trash; None where its manifest makes no sense, so that nothing is moved on its word."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        data: dict[str, Any] = json.loads((folder / _MANIFEST).read_bytes())
        moves = tuple(map(str, data["moves"]))
        if any(not _is_inside(move) for move in moves):
            return None
        revisions = tuple((str(repo), str(commit)) for repo, commit in data["revisions"])
        names, frees = tuple(map(str, data["partials"])), int(data["frees"])
        cache, at, words = Path(data["cache"]), float(data["at"]), shown(data["words"])
        return Trashed(folder.name, cache, folder, at, revisions, names, moves, frees, words)
    return None


def _is_inside(move: str) -> bool:
    """Whether a path is one of a repository in the cache, without a way out."""
    parts = move.split("/")
    return "--" in parts[0] and not move.startswith("/") and not any(part in ("", ".", "..") for part in parts)


def _named(id: str, cache: Path | None) -> Trashed:
    found = next((item for item in trashed(cache) if item.id == id), None)
    if found is None:
        raise UsageError(f"There is nothing called {shown(id, 60)} in the trash; it was put back or removed already.")
    return found


def _real(cache: Path | None) -> Path:
    return Path(os.path.realpath(cache or cache_folder()))


def _remove(folder: Path) -> None:
    """A folder of the trash, and the trash where nothing else lies in it."""
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.parent.rmdir()


def _files_below(folder: Path) -> list[Path]:
    return [Path(root) / name for root, _, names in os.walk(folder) for name in names]


def _bytes_below(folder: Path) -> int:
    """Bytes of models' files that nothing else on the disk holds; refs are not counted, as huggingface_hub does not."""
    counted = {"blobs", "snapshots"}
    found = [path for path in _files_below(folder) if counted.intersection(path.relative_to(folder).parts)]
    stats = [path.lstat() for path in found if not path.is_symlink()]
    return sum(stat.st_size for stat in stats if stat.st_nlink == 1)


def _is_there(path: Path) -> bool:
    return os.path.lexists(path)


def _why(error: OSError) -> str:
    return (error.strerror or "the system refused").lower()
