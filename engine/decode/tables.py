"""The tables that the compiled step reads: the model's shape, where its weights lie, and the room it works in. No torch, no numba.

All are named tuples, which compiled code takes as they are. Shapes in names: L layers, B rows of the batch (padded to whole tiles),
H query heads, K key/value heads, D dimensions a head, S positions that a cache holds, N threads.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

QKV, OUT, UP, DOWN = range(4)
"""Rows of a layer in `Weights.matrices`; the last row of all is the head's."""
KIND, PLACE, ROW_BYTES, SCALES, ROW_SCALES, COLUMNS, ROWS, BIAS = range(8)
"""Columns of `Weights.matrices`: kind of weights; address; bytes a row; address of the scales, scales a row; numbers a row (padded);
rows; address of the bias, 0 for none."""
BATCH, POSITION, LIKELIEST = range(3)
"""Places in `Room.now`: rows of the batch, position of the token that is read, size of the top-k."""
MLP = {"gelu": 0, "gelu_tanh": 1, "swiglu": 2}
"""The kinds of feed-forward parts, in `Shape.mlp`."""
PHASES = 5
"""Phases of a layer, between which the threads meet."""
LINE = 8
"""Numbers a cache line, so that threads do not disturb each other."""
GO, MET, LEAVE, AWAKE = (LINE * place for place in range(4))
"""Places in `Room.control`: steps begun; arrivals at meeting points; whether helpers are to leave; whether the first helper is awake
(the others follow, a line each)."""


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


class Weights(NamedTuple):
    """Where the weights lie."""

    matrices: np.ndarray
    """(4 L + 1, 8) int64, see `QKV` and `KIND`."""
    norms: np.ndarray
    """(2 L + 1, 2) int64: addresses of weight and bias."""
    windows: np.ndarray
    """(L,) int64: positions that a layer sees at most."""
    embeddings: np.ndarray
    """(2,) int64: addresses of the token and the position table, the latter 0 for rotary positions."""


class Room(NamedTuple):
    """What a step reads and writes; set up once."""

    now: np.ndarray
    control: np.ndarray
    tickets: np.ndarray
    """Tasks handed out, a cache line for each phase of a step."""
    tokens: np.ndarray
    """(B,) int64."""
    cos: np.ndarray
    """(R,), R rotated dimensions; 0 of them for learned positions."""
    sin: np.ndarray
    keys: np.ndarray
    """(L, B, K, S, D padded), rotated. A ring: position p stands in slot p % S."""
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
    logits: np.ndarray
    """(B, vocab)."""
    maxima: np.ndarray
    """(B, blocks) of the logits, and `sums` (B, blocks)."""
    sums: np.ndarray
    logsumexp: np.ndarray
    """(B,)."""
    top_values: np.ndarray
    """(B, k) float32, and `top_ids` (B, k) int64."""
    top_ids: np.ndarray
