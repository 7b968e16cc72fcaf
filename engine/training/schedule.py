"""The learning rate as a function of the step, and nothing else, so that a resumed run needs no scheduler state."""

from __future__ import annotations

import math

from engine.settings import TrainSettings


def rate(step: int, settings: TrainSettings) -> float:
    """Share of the peak learning rate at `step` (from 0): linear warm-up, a plateau until `decay_start`, then the fall."""
    if step < settings.warmup_steps:
        return (step + 1) / settings.warmup_steps
    begin = max(settings.warmup_steps, int(settings.decay_start * settings.steps))
    if settings.schedule == "constant" or step < begin:
        return 1.0
    progress = (step - begin) / max(1, settings.steps - begin)
    fall = progress if settings.schedule == "linear" else (1 - math.cos(math.pi * progress)) / 2
    return 1.0 - (1.0 - settings.final_learning_rate) * fall
