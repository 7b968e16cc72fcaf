"""The memory that a compiled step works in, set up once and all of it aligned. Knows neither torch nor numba."""

from __future__ import annotations

import numpy as np

from engine.decode.tables import AWAKE, LINE, MLP, PHASES, Room, Shape
from engine.decode.widths import LANES, padded

ALIGNED = 64
"""Bytes a cache line."""
TILE = 4
"""Inputs that are multiplied at once: batches are padded to it."""


def aligned(shape: tuple[int, ...], dtype: np.dtype | type) -> np.ndarray:
    """Zeros at an address that is a multiple of a cache line."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    room = np.zeros(size + ALIGNED, np.uint8)
    start = -room.ctypes.data % ALIGNED
    return room[start : start + size].view(dtype).reshape(shape)


def make_room(shape: Shape, rotary: int, rows: int, capacity: int, most: int, block: int) -> Room:
    """The room for `rows` stories of up to `capacity` positions; `rotary` dimensions are turned, the top-k has up to `most` tokens."""
    batch, group, dim = padded(rows, TILE), padded(shape.heads // shape.kv_heads, TILE), padded(shape.dim, LANES)
    blocks, fused = -(-shape.vocab // block), shape.dim * (shape.heads + 2 * shape.kv_heads)
    wide = max(fused, shape.width, shape.hidden * (2 if shape.mlp == MLP["swiglu"] else 1))

    def floats(*size: int) -> np.ndarray:
        return aligned(size, np.float32)

    return Room(
        now=aligned((LINE,), np.int64),
        control=aligned((AWAKE + LINE * shape.threads,), np.int64),
        tickets=aligned((LINE * (PHASES * shape.layers + 2),), np.int64),
        tokens=aligned((batch,), np.int64),
        cos=floats(rotary),
        sin=floats(rotary),
        keys=floats(shape.layers, rows, shape.kv_heads, capacity, dim),
        values=floats(shape.layers, rows, shape.kv_heads, capacity, dim),
        residual=floats(batch, shape.width),
        normed=floats(shape.threads, batch, padded(shape.width)),
        projected=floats(batch, padded(wide)),
        mixed=floats(batch, padded(shape.heads * shape.dim)),
        active=floats(batch, padded(shape.hidden)),
        queries=floats(shape.threads, group, dim),
        scores=floats(shape.threads, group, padded(capacity)),
        logits=floats(batch, shape.vocab),
        maxima=floats(batch, blocks),
        sums=floats(batch, blocks),
        logsumexp=floats(batch),
        top_values=floats(batch, most),
        top_ids=aligned((batch, most), np.int64),
    )
