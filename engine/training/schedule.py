"""The learning rate as a function of the step, and nothing else, so that a resumed run needs no scheduler state."""

from __future__ import annotations

import math

from engine.training.settings import TrainSettings

WSD_DECAY = 0.8
"""Share of the steps after which the warm-up, stable, decay schedule begins to fall (Hu et al. 2024, MiniCPM, arXiv:2404.06395)."""


def rate(step: int, settings: TrainSettings, steps: int) -> float:
    """Share of the peak learning rate at `step` (from 0) of `steps`: linear warm-up, a plateau until `decay_start`, then the fall."""
    if step < settings.warmup_steps:
        return (step + 1) / settings.warmup_steps
    level = max(settings.decay_start, WSD_DECAY) if settings.schedule == "wsd" else settings.decay_start
    begin = max(settings.warmup_steps, int(level * steps))
    if settings.schedule == "constant" or step < begin:
        return 1.0
    progress = min(1.0, (step - begin) / max(1, steps - begin))
    fall = (1 - math.cos(math.pi * progress)) / 2 if settings.schedule == "cosine" else progress
    return 1.0 - (1.0 - settings.final_learning_rate) * fall
