"""Safetensors files: a header in JSON, then the bytes of the tensors. Knows no model.

The header is checked (`tensors_header`) before the library is asked for a tensor.
"""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open

from engine.checkpoints.foreign import Weights
from engine.checkpoints.readers.common import damaged, reason, unreadable
from engine.checkpoints.readers.tensors_header import read_header


def read_safetensors(path: Path) -> Weights:
    """The tensors of a safetensors file, mapped into memory, in the types they have; `__metadata__` goes to `about`.

    Raises `CheckpointError` with one sentence for whatever is wrong.
    """
    try:
        metadata = read_header(path).metadata
        with safe_open(path, framework="pt", device="cpu") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise unreadable(path, error) from error
    except (SafetensorError, ValueError, RuntimeError, MemoryError) as error:
        raise damaged(path, reason(error)) from error
    return Weights(tensors, {}, "safetensors", path, about=metadata)
