"""How the weights of a compiled step are kept: the kinds of numbers, their names and block sizes. Knows neither torch nor numba."""

from __future__ import annotations

FP32, BF16, INT8, INT4 = 0, 1, 2, 3
"""The kinds of weights, as the compiled code knows them."""
PRECISIONS = {"fp32": FP32, "bf16": BF16, "int8": INT8, "int4": INT4}
"""The kinds by the names that people use, the most exact first."""
NAMES = {kind: name for name, kind in PRECISIONS.items()}
LANES = 16
"""Numbers that are worked on at once: a row of float32 or int8 weights is a whole number of these."""
GROUP = 32
"""Numbers a block of bf16 or int4; an int4 block has a scale of its own. Inputs are padded with zeros to whole blocks."""
BYTES = {FP32: 4.0, BF16: 2.0, INT8: 1.0, INT4: 0.5}
"""Bytes a weight, scales left out."""


def padded(count: int, block: int = GROUP) -> int:
    """`count` rounded up to whole blocks."""
    return -(-count // block) * block
