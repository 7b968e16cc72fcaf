"""One row of a packed matrix as float32 numbers, compiled: how tokens are looked up. The layouts are `packing`'s."""

from __future__ import annotations

import numpy as np
from numba import njit, types

from engine.decode.arithmetic import PLAIN
from engine.decode.machine import array_maker, float_of_bits, floats
from engine.decode.tables import KIND, PLACE, ROW_BYTES, ROW_SCALES, SCALES
from engine.decode.widths import BF16, FP32, GROUP, INT8

whole_bytes, words = array_maker(types.int8), array_maker(types.int32)
HALF, HIGH, NIBBLE, MIDDLE, SHIFT, FOUR = GROUP // 2, np.int32(-65536), np.int32(15), np.int32(8), np.int32(16), np.int32(4)


@njit(**PLAIN)
def widen(matrix, row, out):  # type: ignore[no-untyped-def]
    """Row `row` of a matrix, into out (columns,)."""
    place, kind, count = matrix[PLACE] + row * matrix[ROW_BYTES], matrix[KIND], out.shape[0]
    scales = matrix[SCALES] + 4 * row * matrix[ROW_SCALES]
    if kind == FP32:
        given = floats(place, count)
        for i in range(count):
            out[i] = given[i]
    elif kind == BF16:
        pairs = words(place, matrix[ROW_BYTES] // 4)
        for i in range(count):
            word = pairs[i // GROUP * HALF + i % HALF]
            out[i] = float_of_bits(word & HIGH if i % GROUP >= HALF else word << SHIFT)
    elif kind == INT8:
        numbers, scale = whole_bytes(place, count), floats(scales, 1)[0]
        for i in range(count):
            out[i] = np.float32(numbers[i]) * scale
    else:
        both, grouped = whole_bytes(place, matrix[ROW_BYTES]), floats(scales, matrix[ROW_SCALES])
        for i in range(count):
            byte = np.int32(both[i // GROUP * HALF + i % HALF]) & np.int32(255)
            value = byte >> FOUR if i % GROUP >= HALF else byte & NIBBLE
            out[i] = np.float32(value - MIDDLE) * grouped[i // GROUP]
