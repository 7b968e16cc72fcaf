"""Deleting from the Hub's cache with a way back: files are renamed into a trash folder, and only emptying that frees their bytes.

    <trash>/<id>/manifest.json    what is moved, from where, and how far that is; written before anything is moved
    <trash>/<id>/files/…          what was moved, under the paths it had in the cache
    <trash>/<id>/going/…          the same once it is being removed for good

The trash lies beside the cache, so that neither huggingface_hub nor its `hf cache ls` trips over it; where that folder is not writable
or on another disk, it lies in the cache's `.locks`, which they pass over. Refs go first, then snapshots, then blobs, and they come back
the other way round: wherever a crash stops it, the cache is one that can be read, and `restore` or `purge` can be asked for again.

Only `to_trash` takes something out of the cache, and only after it has looked that it is what a person was shown. Whatever a crash
left behind, `purge` removes no more than what lies in the trash: what is in the cache by then was put back or downloaded anew. One
lock keeps two of these from working at a time. Knows no torch.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from engine import files
from engine.checkpoints.readers.common import shown
from engine.errors import CheckpointError, TinyTalesError, UsageError
from engine.hub.cache import cache_folder
from engine.hub.deletion import Deletion, has_shared_store, locked, looked_at_again, preview
from engine.hub.putting_back import in_the_way, is_ref, put_back, release_shared

__all__ = ["Deletion", "Trashed", "leftovers", "preview", "purge", "restore", "to_trash", "trashed"]
State = Literal["moving", "moved", "restoring", "purging"]
BESIDE = ".tinytales-trash"
INSIDE = Path(".locks") / "tinytales-trash"
LOCK = Path(".locks") / "tinytales-trash.lock"
WAIT = 5.0
"""Seconds that another process may take to change the trash."""
_MANIFEST, _FILES, _GOING = "manifest.json", "files", "going"


@dataclass(frozen=True)
class Trashed:
    """One deletion that can be undone, or what is left of one that cannot."""

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
    """Bytes that purging it should free; they are taken up until then."""
    words: str
    """What it is, for a person."""
    state: State = "moved"
    """`moved` when all of it lies here. A crash leaves one of the others: `moving` and `restoring` mean that a part lies here and a part
    in the cache, `purging` that a part may be gone for good."""

    @property
    def whole(self) -> bool:
        """Everything has arrived; False where a crash came in between."""
        return self.state == "moved"


def to_trash(deletion: Deletion) -> Trashed:
    """Take away what `engine.hub.deletion.preview` showed; nothing is copied and no byte freed yet.

    Raises `UsageError` where a part is being downloaded, has changed or has gone since the preview, `CheckpointError` where the system
    refuses; what was moved until then is put back.
    """
    with _alone(deletion.cache, deletion.moves):
        now = looked_at_again(deletion)
        why = "there is no place for it"
        for place in _places(now.cache):
            try:
                item = _new(place, now)
            except OSError as error:
                why = _why(error)
                continue
            try:
                _move_all(item)
            except OSError as error:
                undone = _undo(item)
                if error.errno != errno.EXDEV or not undone:
                    rest = "nothing was changed" if undone else "a part of it lies in the trash and can be put back"
                    raise CheckpointError(f"{item.words} cannot be deleted: {_why(error)}; {rest}.") from error
                why = _why(error)
            else:
                return _noted(item, "moved")
    raise CheckpointError(f"The trash beside {shown(deletion.cache, 300)} cannot be written: {why}; nothing was deleted.")


def trashed(cache: Path | None = None) -> list[Trashed]:
    """What can be put back into a cache, the newest first."""
    return [item for item in _every(_real(cache)) if item.state != "purging"]


def leftovers(cache: Path | None = None) -> list[Trashed]:
    """What was being removed for good when that was cut off, and what nothing tells any more where it came from: only to be purged."""
    return [item for item in _every(_real(cache)) if item.state == "purging"]


def restore(id: str, cache: Path | None = None) -> Trashed:
    """Put a deletion back as it was, also one that a crash left half-done.

    What has come to the same place meanwhile and is the same stays; a ref that points elsewhere by now is left to point there. Raises
    `UsageError` where something else is in the way, a download is going on or a part was removed for good; nothing is changed then.
    `CheckpointError` where the system refuses, or where something is missing that never came to lie in the trash.
    """
    folder = _real(cache)
    with _alone(folder, _named(id, folder).moves):
        item = _named(id, folder)  # as it is now that nobody else is at it
        if item.state == "purging":
            raise UsageError(
                f"{item.words} was being removed for good already and cannot be put back; empty the trash to free what is left of it."
            )
        try:
            obstacle = next((at for move in item.moves if (at := in_the_way(_files(item) / move, item.cache / move))), None)
            if obstacle is not None:
                raise UsageError(
                    f"{item.words} cannot be put back: {shown(obstacle.relative_to(item.cache), 200)} has come there meanwhile and is "
                    "not the same; delete that first, or leave this in the trash."
                )
            item = _noted(item, "restoring")
            for move in reversed(item.moves):
                put_back(_files(item) / move, item.cache / move)
            files.sync_folder(item.cache)
            _forget(item)
        except OSError as error:
            raise CheckpointError(f"{item.words} cannot be put back: {_why(error)}; try again, nothing is lost.") from error
    if any(not _is_there(item.cache / move) and not is_ref(item.cache / move) for move in item.moves):
        raise CheckpointError(f"All that lay in the trash of {item.words} was put back, and it is not whole; download it again.")
    return item


def purge(id: str | None = None, *, cache: Path | None = None, older_than: float | None = None) -> int:
    """Empty the trash for good: one deletion, or all with the leftovers. The bytes really freed.

    With `older_than` (seconds) only those that are older, and leftovers; one that was cut off while it was moved stays then, since a
    part of it is in the cache and a person should say what becomes of it. Never takes anything out of the cache. Raises `UsageError`
    for an id that is not there, or where another process is at work, `CheckpointError` where the system refuses; the others are
    removed all the same.
    """
    folder = _real(cache)
    freed, failed = 0, None
    for item in _every(folder) if id is None else [_named(id, folder)]:
        old = older_than is None or (item.whole and time.time() - item.at >= older_than)
        if old or item.state == "purging":
            try:
                freed += _purge(item)
            except TinyTalesError as error:
                failed = failed or error
    if id is None:
        _sweep(folder)
    if failed is not None:
        raise failed
    return freed


def _purge(seen: Trashed) -> int:
    """Remove one; the bytes freed. One that another process has put back or removed meanwhile frees nothing."""
    with _alone(seen.cache, seen.moves if has_shared_store(seen.cache) else ()):
        item = _read(seen.folder, seen.cache)
        if item is None:
            return 0
        going = item.folder / _GOING
        try:
            if not going.is_dir() and _files(item).is_dir():
                # The name says from here on that it cannot be put back. Not the manifest: on a full disk no other can be written, and
                # emptying the trash is what makes room there.
                _files(item).rename(going)
                files.sync_folder(item.folder)
            freed = release_shared(item.cache, going) + _bytes_below(item.folder)
            for part in (going, _files(item)):
                if part.is_dir():
                    shutil.rmtree(part)
            _forget(item)
        except OSError as error:
            raise CheckpointError(f"{item.words} cannot be removed for good: {_why(error)}.") from error
    return freed


def _sweep(cache: Path) -> None:
    """Folders of the trash in which a crash left nothing but a manifest half-written, and the trash where nothing else lies in it.

    For another cache beside this one such a folder may just be coming into being; its deletion finds another place then.
    """
    for place in _possible(cache):
        if empty := [folder for folder in _folders(place) if not _is_there(folder / _MANIFEST)]:
            with contextlib.suppress(TinyTalesError), _alone(cache, ()):
                for folder in empty:
                    with contextlib.suppress(OSError):
                        for part in folder.glob(f".{_MANIFEST}.*"):
                            part.unlink()
                        folder.rmdir()
        with contextlib.suppress(OSError):
            place.rmdir()


@contextlib.contextmanager
def _alone(cache: Path, moves: Sequence[str]) -> Iterator[None]:
    """Nobody else changes the trash of this cache meanwhile, or downloads into the repositories of these paths."""
    from filelock import FileLock, Timeout

    with contextlib.ExitStack() as held:
        try:
            (cache / LOCK).parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(FileLock(cache / LOCK, timeout=WAIT))
            held.enter_context(locked(cache, sorted({move.split("/")[0] for move in moves})))
        except Timeout as error:
            raise UsageError("The trash is being changed by another process; try again in a moment.") from error
        except OSError as error:
            raise CheckpointError(f"The Hub's cache {shown(cache, 300)} cannot be changed: {_why(error)}.") from error
        yield


def _new(place: Path, deletion: Deletion) -> Trashed:
    """A folder in the trash with the manifest in it, on the disk before anything is moved; OSError.

    `files` comes after the manifest: a folder that has the one and not the other was being removed.
    """
    at = time.time()
    id = f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(at))}-{secrets.token_hex(3)}"
    names = tuple(path.name for path in deletion.partials)
    item = Trashed(
        id, deletion.cache, place / id, at, deletion.revisions, names, deletion.moves, deletion.freed, deletion.words, "moving"
    )
    try:
        item.folder.mkdir(parents=True)
        _write(item)
        _files(item).mkdir()
        files.sync_folder(place)
    except OSError:
        _forget(item)
        raise
    return item


def _write(item: Trashed) -> None:
    content = {"format": 1} | asdict(item) | {"cache": str(item.cache)}
    del content["folder"]  # it lies there
    files.write_json(item.folder / _MANIFEST, content)


def _noted(item: Trashed, state: State) -> Trashed:
    """The item with its new state, noted in its manifest as far as the disk has room: a `moving` one is handled as a `moved` one is."""
    item = replace(item, state=state)
    with contextlib.suppress(OSError):
        _write(item)
    return item


def _move_all(item: Trashed) -> None:
    for move in item.moves:
        target = _files(item) / move
        target.parent.mkdir(parents=True, exist_ok=True)
        (item.cache / move).rename(target)
    files.sync_folder(item.folder)


def _undo(item: Trashed) -> bool:
    """Put back what was moved; whether all of it went."""
    for move in reversed(item.moves):
        with contextlib.suppress(OSError):
            put_back(_files(item) / move, item.cache / move)
    if _files_below(_files(item)):
        return False
    with contextlib.suppress(OSError):
        _forget(item)
    return True


def _files(item: Trashed) -> Path:
    return item.folder / _FILES


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


def _every(cache: Path) -> list[Trashed]:
    """All that lies in the trash of a cache, the newest first."""
    found = [item for place in _possible(cache) for item in _items(place, cache) if item.cache == cache]
    return sorted(found, key=lambda item: (-item.at, item.id))


def _items(place: Path, cache: Path) -> list[Trashed]:
    return [item for folder in _folders(place) if (item := _read(folder, cache)) is not None]


def _folders(place: Path) -> list[Path]:
    try:
        return [path for path in place.iterdir() if path.is_dir() and not path.is_symlink()]
    except OSError:
        return []


def _read(folder: Path, cache: Path) -> Trashed | None:
    """What lies in a folder of the trash; without a manifest only to be purged, for `cache` as for any other beside it.

    None where there is nothing, and where the manifest makes no sense, so that nothing is done on its word.
    """
    kept, going = (folder / _FILES).is_dir(), (folder / _GOING).is_dir()
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        try:
            data: dict[str, Any] = json.loads((folder / _MANIFEST).read_bytes())
        except FileNotFoundError:
            if not kept and not going:
                return None
            at, left = folder.stat().st_mtime, _bytes_below(folder)
            return Trashed(folder.name, cache, folder, at, (), (), (), left, "What is left of an earlier deletion", "purging")
        moves = tuple(map(str, data["moves"]))
        state: Any = data.get("state", "moved")
        if any(not _is_inside(move) for move in moves) or state not in get_args(State):
            return None
        if going or not kept:
            state = "purging"
        elif state == "moved" and not all(_is_there(folder / _FILES / move) for move in moves):
            state = "restoring"  # which could not be noted
        revisions = tuple((str(repo), str(commit)) for repo, commit in data["revisions"])
        names, frees = tuple(map(str, data["partials"])), int(data["frees"])
        home, at, words = Path(data["cache"]), float(data["at"]), shown(data["words"])
        frees = frees if state == "moved" else _bytes_below(folder)
        return Trashed(folder.name, home, folder, at, revisions, names, moves, frees, words, state)
    return None


def _is_inside(move: str) -> bool:
    """Whether a path is one of a repository in the cache, without a way out."""
    parts = move.split("/")
    return "--" in parts[0] and not move.startswith("/") and not any(part in ("", ".", "..") for part in parts)


def _named(id: str, cache: Path) -> Trashed:
    found = next((item for item in _every(cache) if item.id == id), None)
    if found is None:
        raise UsageError(f"There is nothing called {shown(id, 60)} in the trash; it was put back or removed already.")
    return found


def _real(cache: Path | None) -> Path:
    return Path(os.path.realpath(cache or cache_folder()))


def _forget(item: Trashed) -> None:
    """Take an item of which nothing is left off the list, its manifest first, and the trash where nothing else lies in it; OSError."""
    (item.folder / _MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(item.folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        item.folder.parent.rmdir()


def _files_below(folder: Path) -> list[Path]:
    """Files and links, also links to folders."""
    found = ((Path(root), [*folders, *names]) for root, folders, names in os.walk(folder))
    return [path for root, names in found for name in names if (path := root / name).is_symlink() or not path.is_dir()]


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
