"""Readers: from a file or a folder of weights to plain tensors with their names, whatever container they lie in.

They know containers (safetensors, PyTorch's pickles, llama2.c's `.bin`) and no model: what a name means is the families' business.
Nothing from a file is run, and no memory is taken before the sizes in it have been checked. `safe` in `Weights` says which kind it was.
Names are looked up when they are first used, so that whoever only reads headers (`outlines`) needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.checkpoints.readers.choose import read_weights
    from engine.checkpoints.readers.finite import check_finite

__all__ = ["check_finite", "read_weights"]


def __getattr__(name: str) -> Any:
    if name == "read_weights":
        from engine.checkpoints.readers.choose import read_weights

        return read_weights
    if name == "check_finite":
        from engine.checkpoints.readers.finite import check_finite

        return check_finite
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
