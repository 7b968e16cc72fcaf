"""How the threads of a step share its work, compiled: tasks are handed out one by one, and a phase is over when all of them are done.

Nobody waits for a thread, only for tasks: one that the system has put aside delays the others by the task in its hands and no more, and
by nothing where it holds none. When it comes back, the step may be over and others begun. So every count carries the number of its step,
and whoever is late finds a stranger's number, takes nothing and leaves; what a call is about is read first, and taken for true only
when the counts still bear the step's number.
"""

from __future__ import annotations

from numba import njit

from engine.decode.arithmetic import PLAIN
from engine.decode.machine import atomic_add, atomic_get, atomic_swap, give_way, pause
from engine.decode.tables import (
    AWAKE,
    BATCH,
    GO,
    HEAD_ONLY,
    LIKELIEST,
    LINE,
    NOW,
    POSITION,
    READ,
    RUN,
    SCREENED,
    STORY,
    YIELD,
    Call,
)

STEP = 32
"""Bits of a count below the number of its step."""
COUNT = (1 << STEP) - 1
TURN = 128
"""Turns of a waiting loop between two offers of the core to others."""
EAGER = 20 * TURN
"""Turns before the first offer, where somebody else is at work on what is waited for."""


@njit(**PLAIN)
def announce(control, tickets, threads):  # type: ignore[no-untyped-def]
    """Begin a step. Returns which helpers (bits) slept and must be woken."""
    step = atomic_get(control, GO) + 1
    for place in range(tickets.shape[0] // LINE):
        tickets[place * LINE] = step << STEP
    atomic_add(control, GO, 1)
    asleep = 0
    for helper in range(threads - 1):
        if atomic_swap(control, AWAKE + LINE * helper, 0, 1):
            asleep |= 1 << helper
    return asleep


@njit(**PLAIN)
def call_of(room, step):  # type: ignore[no-untyped-def]
    """What this step is about; only right while the step goes on, which is asked after this: so no read of it may come later.

    Two calls stand side by side, as one is written while one goes on.
    """
    now, at = room.now, (step & 1) * NOW
    return Call(
        step,
        atomic_get(now, at + BATCH),
        atomic_get(now, at + RUN),
        atomic_get(now, at + POSITION),
        atomic_get(now, at + STORY),
        atomic_get(now, at + READ),
        atomic_get(now, at + LIKELIEST),
        atomic_get(now, at + SCREENED),
        atomic_get(now, at + HEAD_ONLY),
    )


@njit(**PLAIN)
def goes_on(room, call):  # type: ignore[no-untyped-def]
    """Whether no later step has begun."""
    return atomic_get(room.tickets, 0) >> STEP == call.step


@njit(**PLAIN)
def take(room, call, phase, tasks):  # type: ignore[no-untyped-def]
    """The next task of a phase, from 0; -1 where there is none left, or the step is over."""
    place = 2 * phase * LINE
    while True:
        count = atomic_get(room.tickets, place)
        if count >> STEP != call.step or count & COUNT >= tasks:
            return -1
        if atomic_swap(room.tickets, place, count, count + 1):
            return count & COUNT


@njit(**PLAIN)
def finish(room, phase):  # type: ignore[no-untyped-def]
    """A task that was taken is done."""
    atomic_add(room.tickets, (2 * phase + 1) * LINE, 1)


@njit(**PLAIN)
def all_done(room, call, phase, tasks):  # type: ignore[no-untyped-def]
    """Wait until all tasks of a phase are done; False where the step is over."""
    place, turns = (2 * phase + 1) * LINE, 0
    while True:
        count = atomic_get(room.tickets, place)
        if count >> STEP != call.step:
            return False
        if count & COUNT >= tasks:
            return True
        pause()
        turns += 1
        if turns % TURN == 0 and turns > EAGER:
            give_way(room.control[YIELD])
