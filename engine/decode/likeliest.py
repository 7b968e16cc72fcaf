"""The largest logits and their Σ e^logit, without sorting them all: only blocks whose maximum can matter are looked into."""

from __future__ import annotations

from numba import njit

from engine.decode.arithmetic import PLAIN, SUMS, exponential, greatest, sum_exponentials
from engine.decode.tables import BLOCK


@njit(**PLAIN)
def describe_block(logits, block, maxima, sums):  # type: ignore[no-untyped-def]
    """Note a block's maximum and its Σ e^(logit - maximum)."""
    values = logits[block * BLOCK : min((block + 1) * BLOCK, logits.shape[0])]
    maxima[block] = greatest(values)
    sums[block] = sum_exponentials(values, maxima[block])


@njit(**SUMS)
def ceiling(logits, bounds, length):  # type: ignore[no-untyped-def]
    """The most that any of these logits can be in truth: `bounds`, times `length`, is how far each may be off."""
    best = logits[0] + bounds[0] * length
    for i in range(1, logits.shape[0]):
        best = max(best, logits[i] + bounds[i] * length)
    return best


@njit(**PLAIN)
def sum_blocks(maxima, sums, base):  # type: ignore[no-untyped-def]
    """Σ e^(logit - base) over all blocks, float64."""
    total = 0.0
    for block in range(maxima.shape[0]):
        total += sums[block] * exponential(maxima[block] - base)
    return total


@njit(**PLAIN)
def worse(value, place, other, other_place):  # type: ignore[no-untyped-def]
    """Whether a logit comes after another: it is less, or equal and of a later token."""
    return value < other or (value == other and place > other_place)


@njit(**PLAIN)
def sift(values, ids, size, at):  # type: ignore[no-untyped-def]
    """Restore the heap of the first `size`, the worst one on top, after the one at `at` was replaced."""
    value, place = values[at], ids[at]
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and worse(values[child + 1], ids[child + 1], values[child], ids[child]):
            child += 1
        if not worse(values[child], ids[child], value, place):
            break
        values[at], ids[at] = values[child], ids[child]
        at = child
    values[at], ids[at] = value, place


@njit(**PLAIN)
def take_likeliest(logits, maxima, values, ids):  # type: ignore[no-untyped-def]
    """The largest logits into `values` (k,) and `ids` (k,), largest first and of equals the earliest token; k <= MOST and vocabulary."""
    size = values.shape[0]
    for i in range(size):
        values[i], ids[i] = logits[i], i
    for at in range(size // 2 - 1, -1, -1):
        sift(values, ids, size, at)
    for block in range(size // BLOCK, maxima.shape[0]):
        if maxima[block] <= values[0]:
            continue
        for i in range(max(size, block * BLOCK), min((block + 1) * BLOCK, logits.shape[0])):
            if logits[i] > values[0]:
                values[0], ids[0] = logits[i], i
                sift(values, ids, size, 0)
    for last in range(size - 1, 0, -1):
        values[0], values[last] = values[last], values[0]
        ids[0], ids[last] = ids[last], ids[0]
        sift(values, ids, last, 0)
