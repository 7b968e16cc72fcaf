"""Whether the files of a checkpoint are still what was downloaded, found out without a network. Knows no torch.

In the Hub's cache every blob is called after its contents: 64 hex digits are the SHA-256 of its bytes, 40 the SHA-1 that git gives them.
Elsewhere nothing says what the bytes should be; there a safetensors file is held against its own header, which finds one that was cut
off and no changed number, so it counts as unknown and not as checked.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.checkpoints.readers.common import shown
from engine.checkpoints.readers.tensors_header import read_header
from engine.errors import CheckpointError
from engine.hub.checksums import checksum_of

_CHECKSUM = re.compile(r"[0-9a-f]{64}|[0-9a-f]{40}")

Told = Callable[[str, int, int], None]
"""Called with a file's name, the bytes gone through so far, and the bytes of all files."""


@dataclass(frozen=True)
class Verified:
    """What was found."""

    checked: int
    """Files whose contents were compared with what they are called after."""
    bytes: int
    """Of those."""
    wrong: tuple[str, ...]
    """Names of files that are damaged or cannot be read."""
    unknown: tuple[str, ...]
    """Names of files of which nothing says what they should be."""
    cancelled: bool = False
    """It was ended before everything was looked at."""

    @property
    def sound(self) -> bool:
        """Nothing is wrong, and everything that can be checked was."""
        return not self.wrong and not self.cancelled and self.checked > 0


def verify(folder: Path, told: Told | None = None, cancelled: Callable[[], bool] | None = None) -> Verified:
    """Go through the files of a checkpoint's folder, or the one file `folder`; all their bytes are read, a megabyte at a time.

    Ends soon after `cancelled()` says so, and tells what was found until then. Raises `CheckpointError` where there is nothing to look
    at.
    """
    files = _files(folder)
    if not files:
        raise CheckpointError(f"There are no files at {shown(folder, 300)} to verify.")
    total = sum(size for _, _, size in files)
    done = checked = read = 0
    wrong, unknown = [], []
    for name, path, size in files:
        expected = _expected(path)
        try:
            if not expected:
                (unknown if _is_whole(path) else wrong).append(name)
                done += size
                continue

            def step(count: int, name: str = name) -> None:
                nonlocal done
                done += count
                if cancelled is not None and cancelled():
                    raise _Cancelled
                if told is not None:
                    told(name, done, total)

            if checksum_of(path, expected, step) != expected:
                wrong.append(name)
            checked, read = checked + 1, read + size
        except _Cancelled:
            return Verified(checked, read, tuple(wrong), tuple(unknown), True)
        except OSError:
            wrong.append(name)
    return Verified(checked, read, tuple(wrong), tuple(unknown))


class _Cancelled(Exception):
    """Whoever asked wants no more."""


def _files(folder: Path) -> list[tuple[str, Path, int]]:
    """Name, path and size of the plain files at or below a path, hidden ones left out; a link that leads nowhere has no size."""
    if folder.is_file():
        return [(folder.name, folder, folder.stat().st_size)]
    found = []
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(root) / name
            if not name.startswith(".") and (path.is_file() or path.is_symlink()):
                found.append((str(path.relative_to(folder)), path, path.stat().st_size if path.is_file() else 0))
    return found


def _expected(path: Path) -> str:
    """The checksum that a file of the Hub's cache is called after; empty for any other file."""
    if not path.is_symlink():
        return ""
    blob = Path(os.path.normpath(path.parent / os.readlink(path)))  # noqa: PTH115
    in_cache = blob.parent.name == "blobs" and (blob.parent.parent / "snapshots").is_dir()
    return blob.name if in_cache and _CHECKSUM.fullmatch(blob.name) else ""


def _is_whole(path: Path) -> bool:
    """False for a file that shows by itself that it is damaged, or is a link that leads nowhere."""
    if not path.is_file():
        return False
    try:
        if path.suffix == ".safetensors":
            read_header(path)
    except CheckpointError:
        return False
    return True
