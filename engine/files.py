"""Writing files so that nothing is ever half-written: aside, fsynced, renamed. Knows no torch."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO


@contextlib.contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write to that takes the place of `path` when the block ends, or never where it ends with an error (OSError).

    What stood there before stays until the new file is on the disk. A symbolic link is written through, and an existing file keeps its
    permissions. Something that is not a plain file (a terminal, a pipe, /dev/null) cannot be replaced and is written to as it is.
    """
    if path.exists() and not path.is_file():  # asked before links are followed: a pipe under /dev/fd leads to no real place
        with path.open("wb") as direct:
            yield direct
        return
    path = Path(os.path.realpath(path))
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
    descriptor, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(aside).chmod(mode)
        Path(aside).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(aside).unlink()
        raise
    sync_folder(path.parent)


def write_bytes(path: Path, data: bytes) -> None:
    """Put `data` at `path` whole or not at all (OSError); see `whole`."""
    with whole(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of UTF-8 text; half a surrogate pair becomes a question mark rather than an error."""
    write_bytes(path, text.encode("utf-8", "replace"))


def write_json(path: Path, data: Any) -> None:
    """`write_text` of indented JSON with a final newline."""
    write_text(path, json.dumps(data, ensure_ascii=False, indent=2) + "\n")


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """An empty folder to fill that takes the place of `folder` when the block ends, or never where it ends with an error (OSError).

    A crash in the instant between the two renames leaves what stood there as a hidden `.….old` folder beside; it is never deleted
    before the new one has its name.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".part"))
    old = aside.with_suffix(".old")
    try:
        yield aside
        aside.chmod(0o777 & ~_umask())
        if folder.exists():
            folder.rename(old)
        aside.rename(folder)
    except BaseException:
        if old.exists() and not folder.exists():
            old.rename(folder)
        shutil.rmtree(aside, ignore_errors=True)
        raise
    finally:
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
    sync_folder(folder.parent)


def stamps(path: Path) -> list[tuple[str, int, int]]:
    """Name, date (ns) and size of a file, or of all in a folder by their names; what cannot be looked at is left out.

    Two that are equal stand for files that nobody has changed in between, as far as the system tells. OSError for an unreadable folder.
    """
    found = []
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        with contextlib.suppress(OSError):  # a link that leads nowhere
            stat = file.stat()
            found.append((file.name, stat.st_mtime_ns, stat.st_size))
    return found


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut, where the file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
