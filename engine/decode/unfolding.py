"""The step's tables as compiled code gets them: made again from the numbers of `tables.numbers`."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import typeof, types
from numba.extending import intrinsic

from engine.decode.machine import array_at
from engine.decode.room import make_room
from engine.decode.tables import Shape, Weights
from engine.decode.tiles import F32, I32, I64, POINTER


def make_unfolding(sample: Any) -> Any:
    """`unfold(place)`: the table of that kind whose numbers stand at an address."""
    kind = typeof(sample)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        base, values, read = builder.inttoptr(arguments[0], POINTER), [], 0

        def take() -> Any:
            nonlocal read
            place = builder.gep(base, [ir.Constant(I64, read)], source_etype=I64)
            read += 1
            return builder.load(place, typ=I64)

        for part in kind.types:
            if isinstance(part, types.Array):
                values.append(array_at(context, builder, part, take(), [take() for _ in range(part.ndim)]))
            elif isinstance(part, types.Float):
                values.append(builder.bitcast(builder.trunc(take(), I32), F32))
            elif isinstance(part, types.Boolean):
                values.append(builder.trunc(take(), ir.IntType(1)))
            else:
                values.append(take())
        return context.make_tuple(builder, kind, values)

    @intrinsic
    def unfold(typing, place):  # type: ignore[no-untyped-def]
        return kind(types.int64), emit

    return unfold


SHAPE = Shape(1, 1, 16, 1, 1, 16, 64, 2, 0, False, False, np.float32(1.0), np.float32(1e-5))
WEIGHTS = Weights(*(np.zeros(size, np.int64) for size in ((7, 8), (3, 2), 1, 2)))
shape_at, weights_at, room_at = (make_unfolding(sample) for sample in (SHAPE, WEIGHTS, make_room(SHAPE, 0, 1, 1)))
