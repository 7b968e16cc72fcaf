"""Compile the step ahead: `python -m engine.decode FOLDER` fills the folder that `CompiledStep.build` then loads from.

A process of its own, as compiling takes about ten seconds and in a thread would hold up the one that writes. With `--end-with-input` it
ends when its standard input closes: with whoever waits for it.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from engine.decode.compiled import available


def main(folder: str, *options: str) -> None:
    if why := available():
        sys.exit(why)
    if options:
        threading.Thread(target=_end_with_input, daemon=True).start()
    from engine.decode.building import build

    Path(folder).mkdir(0o700, parents=True, exist_ok=True)
    build(Path(folder))
    sys.stderr.flush()
    os._exit(0)  # the thread holds standard input, which an orderly end of the interpreter would wait for


def _end_with_input() -> None:
    while sys.stdin.buffer.read(1 << 10):
        pass
    os._exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
