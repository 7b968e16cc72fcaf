"""Logs of other programs, read-only: JSON lines, CSV, Hugging Face, console logs, TensorBoard. `open_feed(path)` tells them apart.

Importing this package is cheap: what reads a kind of log is imported when one is opened. Knows no torch and no screen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.watching.foreign.names import Columns
    from engine.watching.foreign.opening import open_feed
    from engine.watching.foreign.pipe import copy_pipe

__all__ = ["Columns", "copy_pipe", "open_feed"]

_LAZY = {
    "Columns": "engine.watching.foreign.names",
    "open_feed": "engine.watching.foreign.opening",
    "copy_pipe": "engine.watching.foreign.pipe",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'engine.watching.foreign' has no attribute {name!r}")
