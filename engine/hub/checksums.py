"""The two checksums by which the Hub names the bytes of a file. Knows no torch and no network."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

_BLOCK = 1 << 20


def checksum_of(path: Path, like: str, told: Callable[[int], object] | None = None) -> str:
    """The checksum of a file, of the same kind as `like`: SHA-256 (64 hex digits) or Git's SHA-1 of a blob (40 hex digits).

    `told` is called with the bytes of each block that was read. Raises OSError where the file cannot be read.
    """
    if len(like) == 64:
        digest = hashlib.sha256()
    else:
        digest = hashlib.sha1(usedforsecurity=False)
        digest.update(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            if told:
                told(len(block))
    return digest.hexdigest()
