"""Putting a file or a folder back to where it came from, where something may have come to its place meanwhile. Knows no torch."""

from __future__ import annotations

import filecmp
import os
from pathlib import Path


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
    """Rename `source` to `target`; what is there already stays, and its copy in the source goes. Raises OSError."""
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
