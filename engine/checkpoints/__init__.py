"""Checkpoints: from a folder, a file or a Hub id to a model that is ready to write.

Names are looked up when they are first used, so that parts that need no torch (`glance`) come without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.checkpoints.load import load_checkpoint
    from engine.checkpoints.native import Checkpoint, save_checkpoint

__all__ = ["Checkpoint", "load_checkpoint", "save_checkpoint"]


def __getattr__(name: str) -> Any:
    if name == "load_checkpoint":
        from engine.checkpoints.load import load_checkpoint

        return load_checkpoint
    if name in ("Checkpoint", "save_checkpoint"):
        from engine.checkpoints import native

        return getattr(native, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
