"""Weights as 8-bit whole numbers with a float32 scale a row, and back. Knows tensors, and no file and no name.

A row becomes round(row / scale), with scale = greatest magnitude / 127 rounded up to 16 significant bits. 127 × scale then has 23 bits
at most and float32 keeps 24, so every product is exact: what comes back, made whole numbers again, gives the same numbers and the same
scales. Rounding up costs at most 0.003 % of a scale.
"""

from __future__ import annotations

import torch
from torch import Tensor

TOP = 127
"""The greatest magnitude of a whole number; -128 is not used, so that both signs reach equally far."""
LEAST = 2.0**-100
"""The smallest scale, which a row of zeros has too; a row that would need a smaller one is rounded to multiples of this."""
MOST = 33_026 * 2.0**106
"""The greatest scale of 16 significant bits of which 127 are still a float32."""
_DROPPED = 0xFF
"""The last 8 of a float32's 24 significant bits."""


def quantise_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers, int8 (rows, columns), and scales, float32 (rows,), of finite weights (rows, columns) of any floating kind."""
    wide = weight.detach().float()
    scale = (wide.abs().amax(1) / TOP).clamp(LEAST, MOST)
    scale = ((scale.view(torch.int32) + _DROPPED) & ~_DROPPED).view(torch.float32)
    return (wide / scale[:, None]).round_().to(torch.int8), scale


def dequantise_rows(whole: Tensor, scale: Tensor) -> Tensor:
    """The weights, float32 (rows, columns), from int8 (rows, columns) and scales, float32 (rows,); exact for sound ones."""
    return whole.float() * scale[:, None]


def are_sound(whole: Tensor, scale: Tensor) -> bool:
    """Whether `quantise_rows` could have made these: scales in range and of 16 significant bits, no whole number below -127."""
    in_range = bool(((scale >= LEAST) & (scale <= MOST)).all())
    return in_range and not bool((scale.view(torch.int32) & _DROPPED).any()) and int(whole.min()) >= -TOP
