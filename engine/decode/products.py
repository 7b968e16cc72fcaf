"""Matrix times vectors, compiled: tiles for every kind of weights put together to ranges of rows."""

from __future__ import annotations

from typing import Any

from numba import njit

from engine.decode.arithmetic import PLAIN, add
from engine.decode.machine import floats
from engine.decode.tables import BIAS, COLUMNS, KIND, PLACE, ROW_BYTES, ROW_SCALES, SCALES
from engine.decode.tiles import BATCH, ROWS, make_tile
from engine.decode.widths import BF16, FP32, INT4, INT8

TALL = 2 * ROWS
"""Rows of a tile for one input."""


def _make_product(kind: int) -> Any:
    tall, flat = make_tile(kind, TALL, 1), make_tile(kind, 1, 1)
    square, wide = make_tile(kind, ROWS, BATCH), make_tile(kind, 1, BATCH)

    @njit(**PLAIN)
    def product(place, row_bytes, scales, row_scales, columns, first, last, x, x_bytes, batch, out, out_bytes):  # type: ignore[no-untyped-def]
        groups = (batch + 1) // BATCH  # three inputs are taken as four: the fourth is room that nobody reads
        row = first
        while row < last:
            rows = TALL if row + TALL <= last else 1
            at, scale, target = place + row * row_bytes, scales + 4 * row * row_scales, out + 4 * row
            for group in range(groups):
                given, result = x + BATCH * group * x_bytes, target + BATCH * group * out_bytes
                if rows == TALL:
                    square(at, row_bytes, scale, row_scales, given, x_bytes, columns, result, out_bytes)
                    at_2, scale_2, result_2 = at + ROWS * row_bytes, scale + 4 * ROWS * row_scales, result + 4 * ROWS
                    square(at_2, row_bytes, scale_2, row_scales, given, x_bytes, columns, result_2, out_bytes)
                else:
                    wide(at, row_bytes, scale, row_scales, given, x_bytes, columns, result, out_bytes)
            for single in range(BATCH * groups, batch):
                given, result = x + single * x_bytes, target + single * out_bytes
                if rows == TALL:
                    tall(at, row_bytes, scale, row_scales, given, x_bytes, columns, result, out_bytes)
                else:
                    flat(at, row_bytes, scale, row_scales, given, x_bytes, columns, result, out_bytes)
            row += rows

    return product


product_fp32, product_bf16, product_int8, product_int4 = (_make_product(kind) for kind in (FP32, BF16, INT8, INT4))


@njit(**PLAIN)
def multiply(matrix, first, last, x, x_bytes, batch, out, out_bytes):  # type: ignore[no-untyped-def]
    """Rows `first` to `last` of a matrix times `batch` inputs, biases added; addresses as in `make_tile`, `out` that of row 0."""
    place, row_bytes, columns = matrix[PLACE], matrix[ROW_BYTES], matrix[COLUMNS]
    scales, row_scales, kind = matrix[SCALES], matrix[ROW_SCALES], matrix[KIND]
    if kind == FP32:
        product_fp32(place, row_bytes, scales, row_scales, columns, first, last, x, x_bytes, batch, out, out_bytes)
    elif kind == BF16:
        product_bf16(place, row_bytes, scales, row_scales, columns, first, last, x, x_bytes, batch, out, out_bytes)
    elif kind == INT8:
        product_int8(place, row_bytes, scales, row_scales, columns, first, last, x, x_bytes, batch, out, out_bytes)
    else:
        product_int4(place, row_bytes, scales, row_scales, columns, first, last, x, x_bytes, batch, out, out_bytes)
    if matrix[BIAS] != 0:
        bias = floats(matrix[BIAS] + 4 * first, last - first)
        for b in range(batch):
            add(bias, floats(out + b * out_bytes + 4 * first, last - first))
