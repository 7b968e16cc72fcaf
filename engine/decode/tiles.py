"""The innermost loops, written straight in LLVM's vector instructions: tiles of weights times inputs, and mixtures of values.

A tile is R rows of weights by B inputs; its R·B sums stay in registers while both are read once, LANES numbers at a time. The weights
come as float32, bfloat16 or as int8 or int4 with a scale for each row or group, and are widened to float32 on the way; sums are always
float32. Every sum adds its products in the same order whatever R and B are, so a token does not depend on how many threads or stories
share the work. (LLVM's own vectoriser needs leave to reorder sums, and reaches two thirds of this speed with it.)

Addresses and counts are plain int64; nothing is checked here. Row lengths are multiples of LANES, and of GROUP for bf16 and int4.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from engine.decode.widths import BF16, BYTES, FP32, GROUP, INT4, INT8, LANES

WIDE = bool(llvmlite.binding.get_host_cpu_features().get("avx512f"))
"""Whether there are 32 registers of 512 bits, enough for the larger tiles."""
ROWS, BATCH = (4, 4) if WIDE else (2, 4)
"""Rows and inputs of a tile for several inputs; a tile for one input has `2 * ROWS` rows."""
AHEAD = 8192
"""Bytes by which weights are asked for before they are needed: 1.1× (int8) to 1.6× (fp32, several inputs) the speed of 0."""

F32, I8, I32, I64, POINTER = ir.FloatType(), ir.IntType(8), ir.IntType(32), ir.IntType(64), ir.PointerType()
FLOATS, INTEGERS = ir.VectorType(F32, LANES), ir.VectorType(I32, LANES)
ZEROS = ir.Constant(FLOATS, [0.0] * LANES)
FUSE = ("contract",)
"""Leave to make one rounding of a product and a sum."""


def make_tile(kind: int, rows: int, batch: int) -> Any:
    """The tile for weights of this kind: `tile(weights, row_bytes, scales, row_scales, x, x_bytes, columns, out, out_bytes)`.

    `weights` is the address of the first of `rows` rows, `row_bytes` apart, of `columns` numbers; `x` that of `batch` float32 inputs,
    `x_bytes` apart; `scales` that of the float32 scales, `row_scales` a row (int8, int4). Writes out[b, r] = Σ w[r]·x[b], float32,
    where the results of the inputs lie `out_bytes` apart.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        weights, row_bytes, scales, row_scales, x, x_bytes, columns, out, out_bytes = arguments
        row_at = [_moved(builder, weights, row_bytes, row) for row in range(rows)]
        input_at = [_moved(builder, x, x_bytes, b) for b in range(batch)]
        scale_at = [_moved(builder, scales, builder.shl(row_scales, _number(2)), row) for row in range(rows)]
        loop = _Loop(builder, rows * batch)
        inputs = [_inputs(builder, kind, base, loop.at) for base in input_at]
        grown = []
        for row in range(rows):
            _ask_ahead(builder, kind, row_at[row], loop.at)
            vectors = _weights(builder, kind, row_at[row], loop.at)
            scale = _group_scale(builder, scale_at[row], loop.at) if kind == INT4 else None
            for b in range(batch):
                grown.append(_grown(builder, vectors, inputs[b], scale, loop.sums[row * batch + b]))
        loop.close(grown, step=LANES * len(inputs[0]), end=columns)
        for row in range(rows):
            scale = _float(builder, scale_at[row]) if kind == INT8 else None
            for b in range(batch):
                total = _sum(builder, grown[row * batch + b])
                total = total if scale is None else builder.fmul(total, scale)
                place = builder.add(_moved(builder, out, out_bytes, b), _number(4 * row))
                builder.store(total, builder.inttoptr(place, POINTER), align=4)
        return context.get_dummy_value()

    @intrinsic
    def tile(typing, weights, row_bytes, scales, row_scales, x, x_bytes, columns, out, out_bytes):  # type: ignore[no-untyped-def]
        return types.void(*[types.int64] * 9), emit

    return tile


def make_mixture(vectors: int) -> Any:
    """`mix(shares, values, row_bytes, count, out)`: adds Σ shares[s]·values[s] to `vectors` times LANES numbers at `out`.

    `shares` is the address of `count` float32 numbers, `values` that of the first row of values, `row_bytes` apart.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        shares, values, row_bytes, count, out = arguments
        places = [builder.inttoptr(builder.add(out, _number(4 * LANES * part)), POINTER) for part in range(vectors)]
        loop = _Loop(builder, vectors, [builder.load(place, typ=FLOATS, align=4) for place in places])
        share = _splat(builder, _float(builder, builder.add(shares, builder.shl(loop.at, _number(2)))))
        row = builder.add(values, builder.mul(loop.at, row_bytes))
        grown = [
            _fused(builder, share, _vector(builder, row, _number(4 * LANES * part), FLOATS, 4), loop.sums[part])
            for part in range(vectors)
        ]
        loop.close(grown, step=1, end=count)
        for place, total in zip(places, grown, strict=True):
            builder.store(total, place, align=4)
        return context.get_dummy_value()

    @intrinsic
    def mix(typing, shares, values, row_bytes, count, out):  # type: ignore[no-untyped-def]
        return types.void(*[types.int64] * 5), emit

    return mix


class _Loop:
    """A loop over `at` = 0, step, 2 step … < end that keeps sums in registers; it runs once at least."""

    def __init__(self, builder: Any, count: int, first: list[Any] | None = None) -> None:
        self.builder, self.entry, self.first = builder, builder.block, first or [ZEROS] * count
        self.body = builder.append_basic_block("tile")
        builder.branch(self.body)
        builder.position_at_end(self.body)
        self.at = builder.phi(I64)
        self.sums = [builder.phi(FLOATS) for _ in range(count)]

    def close(self, grown: list[Any], step: int, end: Any) -> None:
        builder, done = self.builder, self.builder.append_basic_block("tile_done")
        following = builder.add(self.at, _number(step))
        builder.cbranch(builder.icmp_signed("<", following, end), self.body, done)
        self.at.add_incoming(_number(0), self.entry)
        self.at.add_incoming(following, self.body)
        for total, first, later in zip(self.sums, self.first, grown, strict=True):
            total.add_incoming(first, self.entry)
            total.add_incoming(later, self.body)
        builder.position_at_end(done)


def _number(value: int) -> Any:
    return ir.Constant(I64, value)


def _moved(builder: Any, base: Any, size: Any, times: int) -> Any:
    return builder.add(base, builder.mul(size, _number(times)))


def _float(builder: Any, place: Any) -> Any:
    return builder.load(builder.inttoptr(place, POINTER), typ=F32, align=4)


def _vector(builder: Any, base: Any, offset: Any, kind: Any, align: int) -> Any:
    return builder.load(builder.inttoptr(builder.add(base, offset), POINTER), typ=kind, align=align)


def _splat(builder: Any, value: Any) -> Any:
    first = builder.insert_element(ir.Constant(FLOATS, ir.Undefined), value, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, first, ir.Constant(INTEGERS, [0] * LANES))


def _fused(builder: Any, a: Any, b: Any, total: Any) -> Any:
    return builder.fadd(total, builder.fmul(a, b, flags=FUSE), flags=FUSE)


def _inputs(builder: Any, kind: int, base: Any, at: Any) -> list[Any]:
    """The float32 vectors of an input that meet `_weights` of the same place."""
    offset = builder.shl(at, _number(2))
    parts = 2 if kind in (BF16, INT4) else 1
    return [_vector(builder, base, builder.add(offset, _number(4 * LANES * part)), FLOATS, 4) for part in range(parts)]


def _weights(builder: Any, kind: int, base: Any, at: Any) -> list[Any]:
    """The weights of a row from number `at` on, float32: one vector, or the two of a block of bf16 or int4 (see packing)."""
    if kind == FP32:
        return [_vector(builder, base, builder.shl(at, _number(2)), FLOATS, 4)]
    if kind == INT8:
        return [builder.sitofp(builder.sext(_vector(builder, base, at, ir.VectorType(I8, LANES), 1), INTEGERS), FLOATS)]
    if kind == BF16:
        raw = _vector(builder, base, builder.shl(at, _number(1)), INTEGERS, 4)
        low, high = builder.shl(raw, _integers(16)), builder.and_(raw, _integers(-65536))
        return [builder.bitcast(half, FLOATS) for half in (low, high)]
    raw = builder.zext(_vector(builder, base, builder.lshr(at, _number(1)), ir.VectorType(I8, LANES), 1), INTEGERS)
    low, high = builder.and_(raw, _integers(15)), builder.lshr(raw, _integers(4))
    return [builder.sitofp(builder.sub(half, _integers(8)), FLOATS) for half in (low, high)]


def _integers(value: int) -> Any:
    return ir.Constant(INTEGERS, [value] * LANES)


def _group_scale(builder: Any, scales: Any, at: Any) -> Any:
    group = builder.lshr(at, _number(GROUP.bit_length() - 1))
    return _splat(builder, _float(builder, builder.add(scales, builder.shl(group, _number(2)))))


def _grown(builder: Any, vectors: list[Any], inputs: list[Any], scale: Any | None, total: Any) -> Any:
    """A sum with one more block of products in it."""
    if scale is not None:
        part = builder.fmul(vectors[0], inputs[0])
        return _fused(builder, _fused(builder, vectors[1], inputs[1], part), scale, total)
    for vector, part in zip(vectors, inputs, strict=True):
        total = _fused(builder, vector, part, total)
    return total


def _ask_ahead(builder: Any, kind: int, base: Any, at: Any) -> None:
    kinds = ir.FunctionType(ir.VoidType(), [POINTER, I32, I32, I32])
    prefetch = builder.module.declare_intrinsic("llvm.prefetch", (POINTER,), kinds)
    offset = builder.lshr(builder.mul(at, _number(int(2 * BYTES[kind]))), _number(1))
    place = builder.inttoptr(builder.add(base, builder.add(offset, _number(AHEAD))), POINTER)
    builder.call(prefetch, [place, ir.Constant(I32, 0), ir.Constant(I32, 3), ir.Constant(I32, 1)])


def _sum(builder: Any, vector: Any) -> Any:
    """All lanes added, the upper half onto the lower one each time."""
    count = LANES
    while count > 1:
        count //= 2
        low, high = (
            builder.shuffle_vector(vector, vector, ir.Constant(ir.VectorType(I32, count), list(range(start, start + count))))
            for start in (0, count)
        )
        vector = builder.fadd(low, high)
    return builder.extract_element(vector, ir.Constant(I32, 0))
