"""Putting a file or a folder back to where it came from, where something may have come to its place meanwhile. Knows no torch."""

from __future__ import annotations

import contextlib
import errno
import filecmp
import os
from pathlib import Path

from engine.hub.deletion import has_shared_store


def in_the_way(source: Path, target: Path) -> Path | None:
    """What lies at or below `target` and is not the same as what would come there; None where all can go back.

    A ref is never in the way: it names the newest commit that was asked for, whichever that is.
    """
    if not os.path.lexists(source) or not os.path.lexists(target):
        return None
    if _is_folder(source) and _is_folder(target):
        parts = (in_the_way(part, target / part.name) for part in sorted(source.iterdir()))
        return next((found for found in parts if found is not None), None)
    return None if is_ref(target) or same(source, target) else target


def put_back(source: Path, target: Path) -> None:
    """Rename `source` to `target`; what is there already stays, and its copy in the source goes.

    Raises OSError, also where something else is there; nothing is replaced and nothing lost then.
    """
    if not os.path.lexists(source):
        return
    if not os.path.lexists(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
    elif _is_folder(source) and _is_folder(target):
        for part in sorted(source.iterdir(), key=lambda part: (part.name != "blobs", part.name == "refs", part.name)):
            put_back(part, target / part.name)
        source.rmdir()
    elif is_ref(target) or same(source, target):
        source.unlink()
    else:
        raise FileExistsError(errno.EEXIST, "something else has come there meanwhile", str(target))


def release_shared(cache: Path, top: Path) -> int:
    """Give up the links below `top` into huggingface_hub's shared store through its own deletion, which knows who else uses
    them; the bytes freed.

    Each link goes back to its place for that; where the place is taken, a newer download uses the same blob and nothing is freed.
    """
    if not has_shared_store(cache):
        return 0
    from huggingface_hub import DeleteCacheStrategy, scan_cache_dir

    freed = 0
    for link in [path for path in top.rglob("*") if path.parent.name == "blobs" and path.is_symlink()]:
        place = cache / link.relative_to(top)
        made = [folder for folder in (place.parent.parent, place.parent) if not folder.exists()]
        place.parent.mkdir(parents=True, exist_ok=True)
        before = scan_cache_dir(cache).size_on_disk
        if not os.path.lexists(place):
            link.rename(place)
            nothing: frozenset[Path] = frozenset()
            DeleteCacheStrategy(0, frozenset({place}), nothing, nothing, nothing, cache_dir=cache).execute()
        for folder in reversed(made):
            with contextlib.suppress(OSError):
                folder.rmdir()
        freed += max(0, before - scan_cache_dir(cache).size_on_disk)
    return freed


def same(one: Path, other: Path) -> bool:
    """Whether two links lead to the same name, or two files hold the same bytes."""
    if one.is_symlink() or other.is_symlink():
        return one.is_symlink() and other.is_symlink() and os.readlink(one) == os.readlink(other)  # noqa: PTH115
    return one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)


def is_ref(path: Path) -> bool:
    """Whether a file in the cache is a ref."""
    below = [index for index, part in enumerate(path.parts[:-1]) if "--" in part and path.parts[index + 1] == "refs"]
    return bool(below) and len(path.parts) > below[-1] + 2


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()
