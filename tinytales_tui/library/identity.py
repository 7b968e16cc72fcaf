"""What a checkpoint was, beyond its name: the commit it came from and a digest of its weights. Knows no torch.

A name may mean something else tomorrow (a run trains on, a branch of the Hub moves); a recipe keeps this beside it.
"""

from __future__ import annotations

import functools
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

_WEIGHTS = {".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".model"}
"""Files in a checkpoint's folder that decide what it writes; `.model`: a vocabulary."""
_COMMIT = re.compile(r"/snapshots/([0-9a-f]{40})(/|$)")


@dataclass(frozen=True)
class Identity:
    revision: str = ""
    """Commit on the Hub; empty where it did not come from there."""
    sha256: str = ""
    """Of the file of weights, as `sha256sum` tells it; of several, that of the list of their names and digests. Empty: unknown."""


def identity(path: str | Path) -> Identity:
    """Of the folder or file that was opened; empty where it cannot be read here. A second for each GB, once."""
    if not str(path):
        return Identity()
    path = Path(path)
    commit = _COMMIT.search(path.as_posix())
    try:
        files = sorted(file for file in path.iterdir() if file.suffix in _WEIGHTS) if path.is_dir() else [path]
        stamps = tuple((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files)
        digest = _digest(stamps)
    except OSError:
        digest = ""
    return Identity(commit[1] if commit else "", digest)


@functools.lru_cache(maxsize=16)
def _digest(stamps: tuple[tuple[str, int, int], ...]) -> str:
    """The digest of these files; when they were written and how long they are say whether it is known already."""
    each = []
    for name, _, _ in stamps:
        with open(name, "rb") as file:
            each.append((Path(name).name, hashlib.file_digest(file, "sha256").hexdigest()))
    if len(each) == 1:
        return each[0][1]
    return hashlib.sha256("".join(f"{digest}  {name}\n" for name, digest in each).encode()).hexdigest() if each else ""
