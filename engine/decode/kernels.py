"""The one-token step as one compiled call: embedding, every layer, final norm, head, log-sum-exp and top-k, shared by N threads.

Each thread runs `forward` from beginning to end. Within a phase they take tasks (ranges of rows, heads, blocks of logits) one by one
from a common counter, so that a thread which the system holds up delays no more than its last task; between phases they meet. Which
thread does what never changes a number. Nothing is allocated. Imported only once numba's cache folder is set: see `compiled`.
"""

from __future__ import annotations

from numba import njit

from engine.decode.arithmetic import PLAIN, add, gelu, gelu_tanh, normalise, swiglu
from engine.decode.attention import attend
from engine.decode.likeliest import BLOCK, describe_block, log_sum_exp, take_likeliest
from engine.decode.machine import address_of, atomic_add, atomic_get, atomic_swap, give_way, pause
from engine.decode.products import TALL, floats, multiply
from engine.decode.tables import AWAKE, BATCH, DOWN, GO, LEAVE, LIKELIEST, LINE, MET, MLP, OUT, PHASES, POSITION, QKV, ROWS, UP

GELU, GELU_TANH, SWIGLU = MLP["gelu"], MLP["gelu_tanh"], MLP["swiglu"]
PATIENCE = 40_000
"""Turns of a waiting loop after which a helper without work goes to sleep: a few milliseconds."""
TURN = 128
"""Turns between two offers of the core to others."""
SHARES = 6
"""Tasks a thread into which the rows of a matrix are cut."""
TOGETHER = 4
"""Blocks of logits that make one task: they are described while they are in the cache nearest to the core."""
CACHED = {"nogil": True, "error_model": "numpy", "cache": True}


@njit(**PLAIN)
def meet(control, threads):  # type: ignore[no-untyped-def]
    """Wait until every thread is here."""
    if threads == 1:
        return
    here = atomic_add(control, MET, 1) + 1
    goal, turns = -(-here // threads) * threads, 0
    while atomic_get(control, MET) < goal:
        pause()
        turns += 1
        if turns % TURN == 0 and turns > 20 * TURN:
            give_way()


@njit(**PLAIN)
def task_rows(rows, threads):  # type: ignore[no-untyped-def]
    """Rows of a matrix that make one task: whole tiles."""
    return max(2 * TALL, -(-rows // (threads * SHARES * TALL)) * TALL) if threads > 1 else rows


@njit(**PLAIN)
def normed(shape, weights, room, index, thread):  # type: ignore[no-untyped-def]
    """Every row's residual, normalised by norm `index`, in this thread's own room; its address."""
    weight, bias = floats(weights.norms[index, 0], shape.width), floats(weights.norms[index, 1], shape.width)
    out = room.normed[thread]
    for b in range(room.now[BATCH]):
        normalise(room.residual[b], weight, bias, shape.rms, shape.eps, out[b])
    return address_of(out)


@njit(**PLAIN)
def embed(shape, weights, room, b):  # type: ignore[no-untyped-def]
    row, token, position = room.residual[b], room.tokens[b], room.now[POSITION]
    row[:] = floats(weights.embeddings[0] + 4 * token * shape.width, shape.width)
    if weights.embeddings[1] != 0:
        add(floats(weights.embeddings[1] + 4 * position * shape.width, shape.width), row)


@njit(**PLAIN)
def project(shape, room, matrix, phase, x, x_bytes, out):  # type: ignore[no-untyped-def]
    """out (B, rows) = x · matrix, task by task."""
    rows = matrix[ROWS]
    size = task_rows(rows, shape.threads)
    first = atomic_add(room.tickets, phase * LINE, 1) * size
    while first < rows:
        multiply(matrix, first, min(first + size, rows), x, x_bytes, room.now[BATCH], address_of(out), 4 * out.shape[1])
        first = atomic_add(room.tickets, phase * LINE, 1) * size


@njit(**PLAIN)
def project_onto(shape, room, matrix, phase, given):  # type: ignore[no-untyped-def]
    """residual (B, width) += given · matrix, task by task."""
    rows, out = matrix[ROWS], room.projected
    size = task_rows(rows, shape.threads)
    first = atomic_add(room.tickets, phase * LINE, 1) * size
    while first < rows:
        last = min(first + size, rows)
        multiply(matrix, first, last, address_of(given), 4 * given.shape[1], room.now[BATCH], address_of(out), 4 * out.shape[1])
        for b in range(room.now[BATCH]):
            add(out[b, first:last], room.residual[b, first:last])
        first = atomic_add(room.tickets, phase * LINE, 1) * size


@njit(**PLAIN)
def attend_all(shape, weights, room, layer, phase, thread):  # type: ignore[no-untyped-def]
    tasks = room.now[BATCH] * shape.kv_heads
    task = atomic_add(room.tickets, phase * LINE, 1)
    while task < tasks:
        attend(shape, room, layer, weights.windows[layer], thread, task // shape.kv_heads, task % shape.kv_heads)
        task = atomic_add(room.tickets, phase * LINE, 1)


@njit(**PLAIN)
def expand(shape, room, matrix, phase, x, x_bytes):  # type: ignore[no-untyped-def]
    """active (B, hidden) = activation of x · matrix; SwiGLU's gate and its other half are taken together."""
    hidden, wide = shape.hidden, room.projected
    size = task_rows(hidden, shape.threads)
    out, out_bytes, batch = address_of(wide), 4 * wide.shape[1], room.now[BATCH]
    first = atomic_add(room.tickets, phase * LINE, 1) * size
    while first < hidden:
        last = min(first + size, hidden)
        multiply(matrix, first, last, x, x_bytes, batch, out, out_bytes)
        if shape.mlp == SWIGLU:
            multiply(matrix, hidden + first, hidden + last, x, x_bytes, batch, out, out_bytes)
        for b in range(batch):
            given, result = wide[b, first:last], room.active[b, first:last]
            if shape.mlp == GELU_TANH:
                gelu_tanh(given, result)
            elif shape.mlp == GELU:
                gelu(given, result)
            else:
                swiglu(given, wide[b, hidden + first : hidden + last], result)
        first = atomic_add(room.tickets, phase * LINE, 1) * size


@njit(**PLAIN)
def read_out(shape, room, matrix, phase, x, x_bytes):  # type: ignore[no-untyped-def]
    """The logits, and a note on each block of them."""
    blocks = room.maxima.shape[1]
    size = TOGETHER
    first = atomic_add(room.tickets, phase * LINE, 1) * size
    while first < blocks:
        last = min(first + size, blocks)
        rows = min(last * BLOCK, shape.vocab)
        multiply(matrix, first * BLOCK, rows, x, x_bytes, room.now[BATCH], address_of(room.logits), 4 * room.logits.shape[1])
        for b in range(room.now[BATCH]):
            for block in range(first, last):
                describe_block(room.logits[b], block, room.maxima[b], room.sums[b])
        first = atomic_add(room.tickets, phase * LINE, 1) * size


@njit(**PLAIN)
def choose(room, phase):  # type: ignore[no-untyped-def]
    """Log-sum-exp and the likeliest tokens, a row of the batch at a time."""
    k = room.now[LIKELIEST]
    b = atomic_add(room.tickets, phase * LINE, 1)
    while b < room.now[BATCH]:
        room.logsumexp[b] = log_sum_exp(room.maxima[b], room.sums[b])
        if k > 0:
            take_likeliest(room.logits[b], room.maxima[b], room.top_values[b, :k], room.top_ids[b, :k])
        b = atomic_add(room.tickets, phase * LINE, 1)


@njit(**PLAIN)
def forward(shape, weights, room, thread):  # type: ignore[no-untyped-def]
    """One thread's part of a step."""
    threads, control, x_bytes = shape.threads, room.control, 4 * room.normed.shape[2]
    for b in range(thread, room.now[BATCH], threads):
        embed(shape, weights, room, b)
    meet(control, threads)
    for layer in range(shape.layers):
        phase, first = PHASES * layer, 4 * layer
        x = normed(shape, weights, room, 2 * layer, thread)
        project(shape, room, weights.matrices[first + QKV], phase, x, x_bytes, room.projected)
        meet(control, threads)
        attend_all(shape, weights, room, layer, phase + 1, thread)
        meet(control, threads)
        project_onto(shape, room, weights.matrices[first + OUT], phase + 2, room.mixed)
        meet(control, threads)
        x = normed(shape, weights, room, 2 * layer + 1, thread)
        expand(shape, room, weights.matrices[first + UP], phase + 3, x, x_bytes)
        meet(control, threads)
        project_onto(shape, room, weights.matrices[first + DOWN], phase + 4, room.active)
        meet(control, threads)
    phase = PHASES * shape.layers
    x = normed(shape, weights, room, 2 * shape.layers, thread)
    read_out(shape, room, weights.matrices[4 * shape.layers], phase, x, x_bytes)
    meet(control, threads)
    choose(room, phase + 1)
    meet(control, threads)


@njit(**CACHED)
def announce(control, tickets, threads):  # type: ignore[no-untyped-def]
    """Begin a step. Returns which helpers (bits) slept and must be woken."""
    tickets[:] = 0
    atomic_add(control, GO, 1)
    asleep = 0
    for helper in range(threads - 1):
        if atomic_swap(control, AWAKE + LINE * helper, 0, 1):
            asleep |= 1 << helper
    return asleep


@njit(**CACHED)
def serve(shape, weights, room, thread, seen):  # type: ignore[no-untyped-def]
    """Take part in steps as `thread`: the first one in a single step, helpers in every step after number `seen`.

    A helper returns the number of its last step when it is to leave or has found no work for a while.
    """
    control, awake, turns = room.control, AWAKE + LINE * (thread - 1), 0
    while True:
        if thread == 0 or atomic_get(control, GO) > seen:
            seen += 1
            forward(shape, weights, room, thread)
            if thread == 0:
                return seen
            turns = 0
            continue
        pause()
        turns += 1
        if turns % TURN == 0:
            give_way()
        if turns > PATIENCE or atomic_get(control, LEAVE) != 0:
            atomic_swap(control, awake, 1, 0)
            if atomic_get(control, GO) == seen or not atomic_swap(control, awake, 0, 1):
                return seen
