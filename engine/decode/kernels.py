"""The one-token step as one compiled call: embedding, every layer, final norm, head, the likeliest tokens, shared by N threads.

Each thread runs `forward` from beginning to end. Within a phase they take tasks (ranges of rows, heads, blocks of logits) one by one
from a common counter, so that a thread which the system holds up delays no more than its last task; between phases they meet. Which
thread does what never changes a number. The rows of a call are one token of several stories, or a run of tokens of one story: its
prompt. Nothing is allocated. `enter` is what `building` compiles and Python calls.
"""

from __future__ import annotations

from numba import njit

from engine.decode.arithmetic import PLAIN, add, gelu, gelu_tanh, length_of, normalise, swiglu
from engine.decode.attention import attend
from engine.decode.likeliest import ceiling, describe_block, greatest, sum_blocks, take_likeliest
from engine.decode.machine import address_of, atomic_add, atomic_get, atomic_swap, floats, give_way, pause
from engine.decode.products import TALL, multiply
from engine.decode.tables import (
    AWAKE,
    BATCH,
    BLOCK,
    DOWN,
    GO,
    HEAD,
    HEAD_ONLY,
    LEAVE,
    LIKELIEST,
    LINE,
    MET,
    MLP,
    OUT,
    PHASES,
    POSITION,
    QKV,
    READ,
    ROWS,
    RUN,
    SCREEN,
    SCREENED,
    STORY,
    TABLE,
    UP,
    YIELD,
)
from engine.decode.unfolding import room_at, shape_at, weights_at
from engine.decode.widening import widen

GELU, GELU_TANH, SWIGLU = MLP["gelu"], MLP["gelu_tanh"], MLP["swiglu"]
PATIENCE = 40_000
"""Turns of a waiting loop after which a helper without work goes to sleep: a few milliseconds."""
TURN = 128
"""Turns between two offers of the core to others."""
SHARES = 6
"""Tasks a thread into which the rows of a matrix are cut."""
TOGETHER = 4
"""Blocks of logits that make one task: they are described while they are in the cache nearest to the core."""


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
            give_way(control[YIELD])


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
    row, position = room.residual[b], room.now[POSITION] + b % room.now[RUN]
    widen(weights.matrices[4 * shape.layers + TABLE], room.tokens[b], row)
    if weights.places[0] != 0:
        add(floats(weights.places[0] + 4 * position * shape.width, shape.width), row)


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
    run = room.now[RUN]
    tasks = room.now[BATCH] // run * shape.kv_heads
    task = atomic_add(room.tickets, phase * LINE, 1)
    while task < tasks:
        first, head = task // shape.kv_heads * run, task % shape.kv_heads
        for b in range(first, first + run):  # a row sees those before it
            attend(shape, room, layer, weights.windows[layer], thread, b, head)
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
def read_out(shape, weights, room, phase, x, x_bytes, thread):  # type: ignore[no-untyped-def]
    """The logits, and notes on each block of them; from the screen, near the truth."""
    last_layer, blocks, first_row, story = 4 * shape.layers, room.maxima.shape[1], room.now[READ], room.now[STORY]
    rows, screened, lengths = room.now[BATCH] - first_row, room.now[SCREENED] != 0, room.lengths[thread]
    matrix = weights.matrices[last_layer + (SCREEN if screened else HEAD)]
    if screened:
        for row in range(rows):
            lengths[row] = length_of(floats(x + (first_row + row) * x_bytes, shape.width))
    given, out, out_bytes = x + first_row * x_bytes, address_of(room.logits[story]), 4 * room.logits.shape[1]
    first = atomic_add(room.tickets, phase * LINE, 1) * TOGETHER
    while first < blocks:
        last = min(first + TOGETHER, blocks)
        multiply(matrix, first * BLOCK, min(last * BLOCK, shape.vocab), given, x_bytes, rows, out, out_bytes)
        for row in range(rows):
            at = story + row
            for block in range(first, last):
                describe_block(room.logits[at], block, room.maxima[at], room.sums[at])
                if screened:
                    low, high = block * BLOCK, min((block + 1) * BLOCK, shape.vocab)
                    bounds = floats(weights.places[1] + 4 * low, high - low)
                    room.ceilings[at, block] = ceiling(room.logits[at, low:high], bounds, lengths[row])
        first = atomic_add(room.tickets, phase * LINE, 1) * TOGETHER


@njit(**PLAIN)
def correct(shape, weights, room, at, x, length):  # type: ignore[no-untyped-def]
    """Find the exact logits of whatever can be among the k likeliest, which `room.top_*` name by the screen.

    The k-th largest exact logit is no less than the least that those k can be; what cannot reach that is out of question.
    """
    matrix, bounds = weights.matrices[4 * shape.layers + HEAD], floats(weights.places[1], shape.vocab)
    values, ids = room.top_values[at], room.top_ids[at]
    least = values[0] - bounds[ids[0]] * length
    for i in range(1, room.now[LIKELIEST]):
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
def choose(shape, weights, room, phase, x, x_bytes, thread):  # type: ignore[no-untyped-def]
    """Σ e^logit and the likeliest tokens, a story at a time."""
    k, rows = room.now[LIKELIEST], room.now[BATCH] - room.now[READ]
    row = atomic_add(room.tickets, phase * LINE, 1)
    while row < rows:
        at = room.now[STORY] + row
        if k > 0:
            take_likeliest(room.logits[at], room.maxima[at], room.top_values[at, :k], room.top_ids[at, :k])
            if room.now[SCREENED] != 0:
                correct(shape, weights, room, at, x + (room.now[READ] + row) * x_bytes, room.lengths[thread, row])
                take_likeliest(room.logits[at], room.maxima[at], room.top_values[at, :k], room.top_ids[at, :k])
        room.highest[at] = greatest(room.maxima[at])
        room.total[at] = sum_blocks(room.maxima[at], room.sums[at], room.highest[at])
        row = atomic_add(room.tickets, phase * LINE, 1)


@njit(**PLAIN)
def forward(shape, weights, room, thread):  # type: ignore[no-untyped-def]
    """One thread's part of a step."""
    threads, control, x_bytes = shape.threads, room.control, 4 * room.normed.shape[2]
    reads = room.now[READ] < room.now[BATCH]  # asked here: after the last meeting the next call may stand there
    if room.now[HEAD_ONLY] == 0:
        b = thread
        while b < room.now[BATCH]:
            embed(shape, weights, room, b)
            b += threads
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
    if reads:
        phase = PHASES * shape.layers
        x = normed(shape, weights, room, 2 * shape.layers, thread)
        read_out(shape, weights, room, phase, x, x_bytes, thread)
        meet(control, threads)
        choose(shape, weights, room, phase + 1, x, x_bytes, thread)
        meet(control, threads)


@njit(**PLAIN)
def announce(control, tickets, threads):  # type: ignore[no-untyped-def]
    """Begin a step. Returns which helpers (bits) slept and must be woken."""
    for i in range(tickets.shape[0]):
        tickets[i] = 0
    atomic_add(control, GO, 1)
    asleep = 0
    for helper in range(threads - 1):
        if atomic_swap(control, AWAKE + LINE * helper, 0, 1):
            asleep |= 1 << helper
    return asleep


@njit(**PLAIN)
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
