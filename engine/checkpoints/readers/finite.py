"""Whether all weights are numbers: a model with a NaN or an infinity in it can only write nonsense.

Knows tensors and no container. Works in pieces, so that weights mapped into memory are not copied as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from engine.checkpoints.foreign import Weights
from engine.checkpoints.readers.common import shown
from engine.errors import CheckpointError

_PIECE = 1 << 20
"""Values looked at together: 4 MB in float32."""


def check_finite(weights: Weights) -> None:
    """Raises `CheckpointError`, naming the tensor, where a floating-point tensor holds a NaN or an infinity."""
    for name, tensor in weights.tensors.items():
        if tensor.is_floating_point() and not all(_finite(piece) for piece in _pieces(tensor)):
            raise CheckpointError(
                f"{shown(weights.path, 300)} holds numbers that are not finite in {shown(name)}; "
                "it is damaged or its training failed, so take another checkpoint."
            )


def _finite(piece: Tensor) -> bool:
    """Least and greatest value in one pass and without a copy; a NaN comes out as both of them."""
    return piece.numel() == 0 or all(math.isfinite(float(bound)) for bound in torch.aminmax(piece))


def _pieces(tensor: Tensor) -> Iterator[Tensor]:
    """The tensor in parts of some `_PIECE` values, without a copy of it: flat where it lies in one run, else row by row."""
    if tensor.is_contiguous():
        yield from tensor.reshape(-1).split(_PIECE)
    elif tensor.numel() <= _PIECE:
        yield tensor
    else:
        rows = max(1, _PIECE * tensor.shape[0] // tensor.numel())
        for part in tensor.split(rows):
            yield from _pieces(part[0]) if rows == 1 else (part,)
