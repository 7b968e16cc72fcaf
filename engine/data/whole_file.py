"""Writing a file line by line that is there whole at the end or not at all. Knows no torch."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from engine.files import sync_folder


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    """A text file (UTF-8, \\n) to write to; it takes the place of `path` when the block ends without an error (OSError).

    What is no plain file (a terminal, a pipe, /dev/null) is written to as it is.
    """
    if path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8", newline="\n", errors="replace") as direct:
            yield direct
        return
    path = Path(os.path.realpath(path))
    umask = os.umask(0)
    os.umask(umask)
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~umask
    descriptor, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n", errors="replace") as file:
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
