"""The memory that a compiled step works in, set up once and all of it aligned. Knows neither torch nor numba."""

from __future__ import annotations

import ctypes
import sys

import numpy as np

from engine.decode.tables import AWAKE, BLOCK, CHUNK, LINE, MLP, MOST, NOW, PHASES, YIELD, Room, Shape
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


def make_room(shape: Shape, rotary: int, rows: int, capacity: int) -> Room:
    """The room for `rows` stories of up to `capacity` positions, of which `rotary` dimensions are turned."""
    stories, batch = padded(rows, TILE), padded(max(rows, CHUNK), TILE)
    group, dim = padded(shape.heads // shape.kv_heads, TILE), padded(shape.dim, LANES)
    blocks, fused = -(-shape.vocab // BLOCK), shape.dim * (shape.heads + 2 * shape.kv_heads)
    wide = max(fused, shape.width, shape.hidden * (2 if shape.mlp == MLP["swiglu"] else 1))

    def floats(*size: int) -> np.ndarray:
        return aligned(size, np.float32)

    control = aligned((AWAKE + LINE * shape.threads,), np.int64)
    control[YIELD] = _address_of_yield()
    return Room(
        now=aligned((2 * NOW,), np.int64),
        control=control,
        tickets=aligned((2 * LINE * (PHASES * shape.layers + 3),), np.int64),
        tokens=aligned((batch,), np.int64),
        cos=floats(CHUNK, rotary),
        sin=floats(CHUNK, rotary),
        keys=floats(shape.layers, rows, shape.kv_heads, capacity, dim),
        values=floats(shape.layers, rows, shape.kv_heads, capacity, dim),
        residual=floats(batch, shape.width),
        normed=floats(shape.threads, batch, padded(shape.width)),
        projected=floats(batch, padded(wide)),
        mixed=floats(batch, padded(shape.heads * shape.dim)),
        active=floats(batch, padded(shape.hidden)),
        queries=floats(shape.threads, group, dim),
        scores=floats(shape.threads, group, padded(capacity)),
        lengths=floats(shape.threads, batch),
        logits=floats(stories, shape.vocab),
        maxima=floats(stories, blocks),
        sums=floats(stories, blocks),
        ceilings=floats(stories, blocks),
        highest=floats(stories),
        total=aligned((stories,), np.float64),
        top_values=floats(stories, min(MOST, shape.vocab)),
        top_ids=aligned((stories, min(MOST, shape.vocab)), np.int64),
    )


def _address_of_yield() -> int:
    if sys.platform == "win32":
        return 0
    function = ctypes.CDLL(None).sched_yield
    return int(ctypes.cast(function, ctypes.c_void_p).value or 0)
