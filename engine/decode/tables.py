"""The tables that the compiled step reads: the model's shape, where its weights lie, and the room it works in. No torch, no numba.

Compiled code is given their `numbers`. Shapes in names: L layers, B rows of a batch (whole tiles; CHUNK at least), H query heads,
K key/value heads, D dimensions a head, S positions that a cache holds, N threads.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

QKV, OUT, UP, DOWN = range(4)
"""Rows of a layer in `Weights.matrices`."""
HEAD, SCREEN, TABLE = range(3)
"""Rows after the last layer's: the head; the head in int8, to find the likeliest by (no rows: there is none); the token table."""
KIND, PLACE, ROW_BYTES, SCALES, ROW_SCALES, COLUMNS, ROWS, BIAS = range(8)
"""Columns of `Weights.matrices`: kind of weights; address; bytes a row; address of the scales, scales a row; numbers a row (padded);
rows; address of the bias, 0 for none."""
BATCH, RUN, POSITION, STORY, READ, LIKELIEST, SCREENED, HEAD_ONLY = range(8)
"""Places in `Room.now`: rows of the batch; rows of one story, one after the other (1 but for a prompt); position of a story's first
row; the first row's story; the first row that meets the head; size of the top-k; whether the head is screened; whether the head alone is
read once more, with what is left of the step before."""
NOW = 8
"""Numbers of `Room.now` for one call; two calls stand side by side, for the even and the odd steps."""
CHUNK = 32
"""Tokens of a prompt that are read at once."""
MLP = {"gelu": 0, "gelu_tanh": 1, "swiglu": 2}
"""The kinds of feed-forward parts, in `Shape.mlp`."""
PHASES = 5
"""Phases of a layer, each of which begins when all of the one before is done."""
BLOCK = 64
"""Logits a block."""
MOST = 256
"""The largest top-k."""
LINE = 8
"""Numbers a cache line, so that threads do not disturb each other."""
GO, LEAVE, YIELD, AWAKE = (LINE * place for place in range(4))
"""Places in `Room.control`: steps begun; whether helpers are to leave; the address of a function that lets others have the core, or 0;
whether the first helper is awake (the others follow, a line each)."""


class Shape(NamedTuple):
    """Numbers of the model that never change."""

    threads: int
    layers: int
    width: int
    heads: int
    kv_heads: int
    dim: int
    hidden: int
    vocab: int
    mlp: int
    rms: bool
    interleaved: bool
    scale: np.float32
    eps: np.float32


class Call(NamedTuple):
    """What one step is about: its number, and then the places of `Room.now`."""

    step: int
    batch: int
    run: int
    position: int
    story: int
    read: int
    likeliest: int
    screened: int
    head_only: int


class Weights(NamedTuple):
    """Where the weights lie."""

    matrices: np.ndarray
    """(4 L + 3, 8) int64, see `QKV`, `HEAD` and `KIND`."""
    norms: np.ndarray
    """(2 L + 1, 2) int64: addresses of weight and bias."""
    windows: np.ndarray
    """(L,) int64: positions that a layer sees at most."""
    places: np.ndarray
    """(2,) int64: addresses of the position table (float32), 0 for rotary positions; and of the screen's bounds (vocab,), 0 for none."""


class Room(NamedTuple):
    """What a step reads and writes; set up once."""

    now: np.ndarray
    control: np.ndarray
    tickets: np.ndarray
    """Tasks handed out and tasks done, a cache line each for every phase of a step: embedding, layers, head, choice."""
    tokens: np.ndarray
    """(B,) int64."""
    cos: np.ndarray
    """(CHUNK, R), R rotated dimensions; 0 of them for learned positions."""
    sin: np.ndarray
    keys: np.ndarray
    """(L, stories, K, S, D padded), rotated. A ring: position p stands in slot p % S."""
    values: np.ndarray
    residual: np.ndarray
    """(B, width)."""
    normed: np.ndarray
    """(N, B, width padded): every thread makes its own, which costs less than to wait for one."""
    projected: np.ndarray
    """(B, rows of the largest fused projection)."""
    mixed: np.ndarray
    """(B, H · D padded)."""
    active: np.ndarray
    """(B, hidden padded)."""
    queries: np.ndarray
    """(N, H / K padded, D padded)."""
    scores: np.ndarray
    """(N, H / K padded, S padded)."""
    lengths: np.ndarray
    """(N, B): Euclidean lengths of what meets the head."""
    logits: np.ndarray
    """(stories, vocab); where the head is screened, exact for whatever can be among the likeliest and near for all else."""
    maxima: np.ndarray
    """(stories, blocks) of the logits; `sums` (stories, blocks) of Σ e^(logit - maximum); `ceilings` what a screened block may reach."""
    sums: np.ndarray
    ceilings: np.ndarray
    highest: np.ndarray
    """(stories,): the largest logit, and `total` (stories,): Σ e^(logit - highest), float64."""
    total: np.ndarray
    top_values: np.ndarray
    """(stories, k) float32, and `top_ids` (stories, k) int64."""
    top_ids: np.ndarray


def numbers(table: Shape | Weights | Room) -> np.ndarray:
    """A table as compiled code is given it: a number for each number (floats by their bits), address and sizes for each array."""
    found: list[int] = []
    for value in table:
        if isinstance(value, np.ndarray):
            found += [value.ctypes.data, *value.shape]
        else:
            found.append(int(np.float32(value).view(np.int32)) if isinstance(value, np.floating) else int(value))
    return np.array(found, dtype=np.int64)
