"""Writing a text file line by line that is there whole at the end or not at all. Knows no torch."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from engine.files import whole


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    """A text file (UTF-8, \\n) to write to; `engine.files.whole` says when it takes the place of `path`."""
    with whole(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="\n", errors="replace")
        yield text
        text.flush()
        text.detach()
