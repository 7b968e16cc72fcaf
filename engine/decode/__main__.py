"""Compile the step ahead: `python -m engine.decode FOLDER` fills the folder that `CompiledStep.build` then loads from.

For a process of its own, at low priority: compiling takes about ten seconds, and in a thread it would hold up the one that writes.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from engine.decode.compiled import CompiledStep, available
from engine.errors import TinyTalesError
from engine.model import Decoder
from engine.settings import ModelConfig


def smallest() -> Decoder:
    network = Decoder(ModelConfig(vocab_size=2, width=16, layers=1, heads=1, context=2))
    network.initialise()
    return network


def main(folder: str) -> None:
    """Build a step of the smallest model; the compiled code is the same for every model and width."""
    if why := available():
        sys.exit(why)
    if hasattr(os, "nice"):
        with contextlib.suppress(OSError):
            os.nice(10)
    try:
        CompiledStep.build(smallest(), "fp32", 1, Path(folder))
    except TinyTalesError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(*sys.argv[1:])
