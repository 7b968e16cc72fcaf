"""Attention of a position over a ring of keys and values, compiled: one key/value head of one row of the batch at a time."""

from __future__ import annotations

from numba import njit

from engine.decode.arithmetic import ONE, PLAIN, ZERO, rotate, softmax
from engine.decode.machine import address_of
from engine.decode.products import product_fp32
from engine.decode.tiles import make_mixture
from engine.decode.widths import LANES

mix_one, mix_four = make_mixture(1), make_mixture(4)


@njit(**PLAIN)
def mix(shares, values, row_bytes, count, out, size):  # type: ignore[no-untyped-def]
    """Add Σ shares[s]·values[s] to the `size` numbers at `out`, a multiple of LANES."""
    done = 0
    while done < size:
        if done + 4 * LANES <= size:
            mix_four(shares, values + 4 * done, row_bytes, count, out + 4 * done)
            done += 4 * LANES
        else:
            mix_one(shares, values + 4 * done, row_bytes, count, out + 4 * done)
            done += LANES


@njit(**PLAIN)
def attend(shape, room, call, layer, window, thread, b, k):  # type: ignore[no-untyped-def]
    """Take up the key and value of head k of row b, and write what its query heads make of all they see into `room.mixed`."""
    group, dim = shape.heads // shape.kv_heads, shape.dim
    story, turn, position = call.story + b // call.run, b % call.run, call.position + b % call.run
    projected, capacity = room.projected[b], room.keys.shape[3]
    keys, values, cos, sin = room.keys[layer, story, k], room.values[layer, story, k], room.cos[turn], room.sin[turn]
    slot, width = position % capacity, keys.shape[1]
    key, value = dim * (shape.heads + k), dim * (shape.heads + shape.kv_heads + k)
    rotate(projected[key : key + dim], cos, sin, shape.interleaved, ONE, keys[slot])
    for i in range(dim):
        values[slot, i] = projected[value + i]
    queries, scores = room.queries[thread], room.scores[thread]
    for g in range(group):
        at = dim * (k * group + g)
        rotate(projected[at : at + dim], cos, sin, shape.interleaved, shape.scale, queries[g])
    reach = min(position + 1, capacity, window)
    start = (position + 1 - reach) % capacity
    first = min(reach, capacity - start)  # the oldest lie up to the end of the ring, the rest from its beginning
    row, line, score_bytes = 4 * width, address_of(keys), 4 * scores.shape[1]
    query, score = address_of(queries), address_of(scores)
    product_fp32(line + start * row, row, 0, 0, width, 0, first, query, row, group, score, score_bytes)
    if first < reach:
        product_fp32(line, row, 0, 0, width, 0, reach - first, query, row, group, score + 4 * first, score_bytes)
    line = address_of(values)
    for g in range(group):
        softmax(scores[g, :reach])
        blend, share = queries[g], score + g * score_bytes
        for i in range(width):
            blend[i] = ZERO
        mix(share, line + start * row, row, first, address_of(blend), width)
        if first < reach:
            mix(share + 4 * first, line, row, reach - first, address_of(blend), width)
        at = dim * (k * group + g)
        for i in range(dim):
            room.mixed[b, at + i] = blend[i]
            blend[i] = ZERO
