"""What a run is warned of while it trains: pure rules on figures, each with the numbers it goes by. Knows no torch and no files.

spike         the loss of a step lies over 6 standard deviations, and over 15 %, above the mean of the 100 steps before
overfitting   validation rose 3 times in a row while the training loss between fell
stalled       no step has ended for 20 times the usual time, and for at least a minute
disk          there is no room for two more checkpoints
"""

from __future__ import annotations

import itertools
import statistics
from collections import deque
from collections.abc import Sequence

WINDOW = 100
SPIKE_DEVIATIONS, SPIKE_SHARE = 6.0, 0.15
RISES = 3
STALL_FACTOR, STALL_SECONDS = 20.0, 60.0


class SpikeWatch:
    """`see(loss)` for each step; a sentence when it jumped."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=WINDOW)
        self._sum = self._squares = 0.0

    def see(self, loss: float) -> str | None:
        count = len(self._recent)
        message = None
        if count >= WINDOW // 2:
            mean = self._sum / count
            deviation = max(0.0, self._squares / count - mean * mean) ** 0.5
            if loss > mean + SPIKE_DEVIATIONS * deviation and loss > mean * (1 + SPIKE_SHARE):
                message = f"The loss jumped to {loss:.3f} from a mean of {mean:.3f} over the last {count} steps."
        if count == WINDOW:
            old = self._recent[0]
            self._sum, self._squares = self._sum - old, self._squares - old * old
        self._recent.append(loss)
        self._sum, self._squares = self._sum + loss, self._squares + loss * loss
        return message


def overfitting(validations: Sequence[tuple[int, float, float]]) -> str | None:
    """A sentence where the last validations, (step, validation loss, training loss before it), rose while training fell."""
    if len(validations) <= RISES:
        return None
    last = validations[-RISES - 1 :]
    rising = all(b[1] > a[1] for a, b in itertools.pairwise(last))
    falling = last[-1][2] < last[0][2]
    if not (rising and falling):
        return None
    return (
        f"Overfitting since step {last[0][0]:,}: the validation loss rose from {last[0][1]:.4f} to {last[-1][1]:.4f} "
        f"while the training loss fell from {last[0][2]:.4f} to {last[-1][2]:.4f}."
    )


def stalled(seconds_since_step: float, recent_step_seconds: Sequence[float]) -> str | None:
    """A sentence where the step in work takes far longer than the ones before."""
    usual = statistics.median(recent_step_seconds) if recent_step_seconds else 0.0
    if seconds_since_step < max(STALL_SECONDS, STALL_FACTOR * usual):
        return None
    return f"No step has ended for {seconds_since_step:,.0f} s; one usually takes {usual:.1f} s."


def little_room(free_bytes: int, checkpoint_bytes: int) -> str | None:
    """A sentence where two more checkpoints would not fit."""
    if free_bytes >= 2 * checkpoint_bytes:
        return None
    return (
        f"The disk is nearly full: {free_bytes / 1e6:,.0f} MB are free, and a checkpoint takes {checkpoint_bytes / 1e6:,.0f} MB."
    )
