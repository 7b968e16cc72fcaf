"""The one-token step as one compiled call: embedding, every layer, final norm, head, the likeliest tokens, shared by N threads.

Each thread runs `forward` from beginning to end. Within a phase they take tasks (ranges of rows, heads, blocks of logits) one by one,
and go on when all are done: see `tasks`. Which thread does what never changes a number. The rows of a call are one token of several
stories, or a run of tokens of one story: its prompt. Nothing is allocated. `enter` is what `building` compiles and Python calls.
"""

from __future__ import annotations

from numba import njit

from engine.decode.arithmetic import PLAIN, add, gelu, gelu_tanh, length_of, normalise, swiglu
from engine.decode.attention import attend
from engine.decode.likeliest import ceiling, describe_block, greatest, sum_blocks, take_likeliest
from engine.decode.machine import address_of, atomic_get, atomic_swap, floats, give_way, pause
from engine.decode.products import TALL, multiply
from engine.decode.tables import (
    AWAKE,
    BLOCK,
    DOWN,
    GO,
    HEAD,
    LEAVE,
    LINE,
    MLP,
    OUT,
    PHASES,
    QKV,
    ROWS,
    SCREEN,
    TABLE,
    UP,
    YIELD,
)
from engine.decode.tasks import TURN, all_done, announce, call_of, finish, goes_on, take
from engine.decode.unfolding import room_at, shape_at, weights_at
from engine.decode.widening import widen

GELU, GELU_TANH, SWIGLU = MLP["gelu"], MLP["gelu_tanh"], MLP["swiglu"]
PATIENCE = 40_000
"""Turns of a waiting loop after which a helper without work goes to sleep: a few milliseconds."""
SHARES = 6
"""Tasks a thread into which the rows of a matrix are cut."""
TOGETHER = 4
"""Blocks of logits that make one task: they are described while they are in the cache nearest to the core."""


@njit(**PLAIN)
def task_rows(rows, threads):  # type: ignore[no-untyped-def]
    """Rows of a matrix that make one task: whole tiles."""
    return max(2 * TALL, -(-rows // (threads * SHARES * TALL)) * TALL) if threads > 1 else rows


@njit(**PLAIN)
def normed(shape, weights, room, call, index, thread):  # type: ignore[no-untyped-def]
    """Every row's residual, normalised by norm `index`, in this thread's own room; its address."""
    weight, bias = floats(weights.norms[index, 0], shape.width), floats(weights.norms[index, 1], shape.width)
    out = room.normed[thread]
    for b in range(call.batch):
        normalise(room.residual[b], weight, bias, shape.rms, shape.eps, out[b])
    return address_of(out)


@njit(**PLAIN)
def embed(shape, weights, room, call, phase):  # type: ignore[no-untyped-def]
    b = take(room, call, phase, call.batch)
    while b >= 0:
        row, position = room.residual[b], call.position + b % call.run
        widen(weights.matrices[4 * shape.layers + TABLE], room.tokens[b], row)
        if weights.places[0] != 0:
            add(floats(weights.places[0] + 4 * position * shape.width, shape.width), row)
        finish(room, phase)
        b = take(room, call, phase, call.batch)
    return all_done(room, call, phase, call.batch)


@njit(**PLAIN)
def project(shape, room, call, matrix, phase, x, x_bytes, out):  # type: ignore[no-untyped-def]
    """out (B, rows) = x · matrix."""
    rows = matrix[ROWS]
    size = task_rows(rows, shape.threads)
    tasks = -(-rows // size)
    task = take(room, call, phase, tasks)
    while task >= 0:
        first = task * size
        multiply(matrix, first, min(first + size, rows), x, x_bytes, call.batch, address_of(out), 4 * out.shape[1])
        finish(room, phase)
        task = take(room, call, phase, tasks)
    return all_done(room, call, phase, tasks)


@njit(**PLAIN)
def project_onto(shape, room, call, matrix, phase, given):  # type: ignore[no-untyped-def]
    """residual (B, width) += given · matrix."""
    rows, out = matrix[ROWS], room.projected
    size = task_rows(rows, shape.threads)
    tasks = -(-rows // size)
    task = take(room, call, phase, tasks)
    while task >= 0:
        first = task * size
        last = min(first + size, rows)
        multiply(matrix, first, last, address_of(given), 4 * given.shape[1], call.batch, address_of(out), 4 * out.shape[1])
        for b in range(call.batch):
            add(out[b, first:last], room.residual[b, first:last])
        finish(room, phase)
        task = take(room, call, phase, tasks)
    return all_done(room, call, phase, tasks)


@njit(**PLAIN)
def attend_all(shape, weights, room, call, layer, phase, thread):  # type: ignore[no-untyped-def]
    tasks = call.batch // call.run * shape.kv_heads
    task = take(room, call, phase, tasks)
    while task >= 0:
        first, head = task // shape.kv_heads * call.run, task % shape.kv_heads
        for b in range(first, first + call.run):  # a row sees those before it
            attend(shape, room, call, layer, weights.windows[layer], thread, b, head)
        finish(room, phase)
        task = take(room, call, phase, tasks)
    return all_done(room, call, phase, tasks)


@njit(**PLAIN)
def expand(shape, room, call, matrix, phase, x, x_bytes):  # type: ignore[no-untyped-def]
    """active (B, hidden) = activation of x · matrix; SwiGLU's gate and its other half are taken together."""
    hidden, wide = shape.hidden, room.projected
    size = task_rows(hidden, shape.threads)
    out, out_bytes, tasks = address_of(wide), 4 * wide.shape[1], -(-hidden // size)
    task = take(room, call, phase, tasks)
    while task >= 0:
        first = task * size
        last = min(first + size, hidden)
        multiply(matrix, first, last, x, x_bytes, call.batch, out, out_bytes)
        if shape.mlp == SWIGLU:
            multiply(matrix, hidden + first, hidden + last, x, x_bytes, call.batch, out, out_bytes)
        for b in range(call.batch):
            given, result = wide[b, first:last], room.active[b, first:last]
            if shape.mlp == GELU_TANH:
                gelu_tanh(given, result)
            elif shape.mlp == GELU:
                gelu(given, result)
            else:
                swiglu(given, wide[b, hidden + first : hidden + last], result)
        finish(room, phase)
        task = take(room, call, phase, tasks)
    return all_done(room, call, phase, tasks)


@njit(**PLAIN)
def read_out(shape, weights, room, call, phase, x, x_bytes, thread):  # type: ignore[no-untyped-def]
    """The logits, and notes on each block of them; from the screen, near the truth."""
    blocks, rows, screened, lengths = room.maxima.shape[1], call.batch - call.read, call.screened != 0, room.lengths[thread]
    matrix, given = weights.matrices[4 * shape.layers + (SCREEN if screened else HEAD)], x + call.read * x_bytes
    if screened:
        for row in range(rows):
            lengths[row] = length_of(floats(given + row * x_bytes, shape.width))
    out, out_bytes, tasks = address_of(room.logits[call.story]), 4 * room.logits.shape[1], -(-blocks // TOGETHER)
    task = take(room, call, phase, tasks)
    while task >= 0:
        first = task * TOGETHER
        last = min(first + TOGETHER, blocks)
        multiply(matrix, first * BLOCK, min(last * BLOCK, shape.vocab), given, x_bytes, rows, out, out_bytes)
        for row in range(rows):
            at = call.story + row
            for block in range(first, last):
                describe_block(room.logits[at], block, room.maxima[at], room.sums[at])
                if screened:
                    low, high = block * BLOCK, min((block + 1) * BLOCK, shape.vocab)
                    bounds = floats(weights.places[1] + 4 * low, high - low)
                    room.ceilings[at, block] = ceiling(room.logits[at, low:high], bounds, lengths[row])
        finish(room, phase)
        task = take(room, call, phase, tasks)
    return all_done(room, call, phase, tasks)


@njit(**PLAIN)
def correct(shape, weights, room, call, at, x, length):  # type: ignore[no-untyped-def]
    """Find the exact logits of whatever can be among the k likeliest, which `room.top_*` name by the screen.

    The k-th largest exact logit is no less than the least that those k can be; what cannot reach that is out of question.
    """
    matrix, bounds = weights.matrices[4 * shape.layers + HEAD], floats(weights.places[1], shape.vocab)
    values, ids = room.top_values[at], room.top_ids[at]
    least = values[0] - bounds[ids[0]] * length
    for i in range(1, call.likeliest):
        least = min(least, values[i] - bounds[ids[i]] * length)
    logits, out = room.logits[at], address_of(room.logits[at])
    for block in range(room.maxima.shape[1]):
        if room.ceilings[at, block] < least:
            continue
        for token in range(block * BLOCK, min((block + 1) * BLOCK, shape.vocab)):
            if logits[token] + bounds[token] * length >= least:
                multiply(matrix, token, token + 1, x, 0, 1, out, 0)
        describe_block(logits, block, room.maxima[at], room.sums[at])


@njit(**PLAIN)
def choose(shape, weights, room, call, phase, x, x_bytes, thread):  # type: ignore[no-untyped-def]
    """Σ e^logit and the likeliest tokens, a story at a time."""
    k, rows = call.likeliest, call.batch - call.read
    row = take(room, call, phase, rows)
    while row >= 0:
        at = call.story + row
        if k > 0:
            take_likeliest(room.logits[at], room.maxima[at], room.top_values[at, :k], room.top_ids[at, :k])
            if call.screened != 0:
                correct(shape, weights, room, call, at, x + (call.read + row) * x_bytes, room.lengths[thread, row])
                take_likeliest(room.logits[at], room.maxima[at], room.top_values[at, :k], room.top_ids[at, :k])
        room.highest[at] = greatest(room.maxima[at])
        room.total[at] = sum_blocks(room.maxima[at], room.sums[at], room.highest[at])
        finish(room, phase)
        row = take(room, call, phase, rows)
    return all_done(room, call, phase, rows)


@njit(**PLAIN)
def forward(shape, weights, room, call, thread):  # type: ignore[no-untyped-def]
    """One thread's part of a step; whoever comes too late leaves."""
    x_bytes, phase = 4 * room.normed.shape[2], 1
    if call.head_only == 0:
        if not embed(shape, weights, room, call, 0):
            return
        for layer in range(shape.layers):
            first = 4 * layer
            x = normed(shape, weights, room, call, 2 * layer, thread)
            if not project(shape, room, call, weights.matrices[first + QKV], phase, x, x_bytes, room.projected):
                return
            if not attend_all(shape, weights, room, call, layer, phase + 1, thread):
                return
            if not project_onto(shape, room, call, weights.matrices[first + OUT], phase + 2, room.mixed):
                return
            x = normed(shape, weights, room, call, 2 * layer + 1, thread)
            if not expand(shape, room, call, weights.matrices[first + UP], phase + 3, x, x_bytes):
                return
            if not project_onto(shape, room, call, weights.matrices[first + DOWN], phase + 4, room.active):
                return
            phase += PHASES
    if call.read < call.batch:
        phase = 1 + PHASES * shape.layers
        x = normed(shape, weights, room, call, 2 * shape.layers, thread)
        if read_out(shape, weights, room, call, phase, x, x_bytes, thread):
            choose(shape, weights, room, call, phase + 1, x, x_bytes, thread)


@njit(**PLAIN)
def serve(shape, weights, room, thread, seen):  # type: ignore[no-untyped-def]
    """Take part in steps as `thread`: the first one in a single step, helpers in every step after number `seen`.

    A helper returns the number of its last step when it is to leave or has found no work for a while.
    """
    control, awake, turns = room.control, AWAKE + LINE * (thread - 1), 0
    while True:
        step = atomic_get(control, GO)
        if thread == 0 or step > seen:
            call = call_of(room, step)
            if goes_on(room, call):
                forward(shape, weights, room, call, thread)
            if thread == 0:
                return step
            seen, turns = step, 0
            continue
        pause()
        turns += 1
        if turns % TURN == 0:
            give_way(control[YIELD])
        if turns > PATIENCE or atomic_get(control, LEAVE) != 0:
            atomic_swap(control, awake, 1, 0)
            if atomic_get(control, GO) == seen or not atomic_swap(control, awake, 0, 1):
                return seen


@njit(**PLAIN)
def enter(shape_place, weights_place, room_place, thread, seen):  # type: ignore[no-untyped-def]
    """What Python calls, with the addresses of `tables.numbers`: `serve` for a thread, `announce` for thread -1."""
    shape, weights, room = shape_at(shape_place), weights_at(weights_place), room_at(room_place)
    if thread < 0:
        return announce(room.control, room.tickets, shape.threads)
    return serve(shape, weights, room, thread, seen)
