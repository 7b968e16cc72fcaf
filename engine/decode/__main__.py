"""Compile the step ahead: `python -m engine.decode FOLDER` fills the folder that `CompiledStep.build` then loads from.

In a process of its own, at low priority: compiling takes about ten seconds, and in a thread it would hold up the one that writes.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from engine.decode.compiled import available


def main(folder: str) -> None:
    if why := available():
        sys.exit(why)
    if hasattr(os, "nice"):
        with contextlib.suppress(OSError):
            os.nice(10)
    from engine.decode.building import build

    build(Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
