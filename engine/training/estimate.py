"""What a run would take, before it is started: parameters, memory and time, from a few real steps on the real data.

Nothing is written but temporary files; the weights that were moved are thrown away.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from engine.data.batches import step_batches
from engine.data.plan import Steps
from engine.evaluation.loss import evaluate_split
from engine.runs import RunDirectory
from engine.training.settings import TrainSettings
from engine.training.setup import Parts, assemble
from engine.training.step import Learner
from engine.training.world import World

MEASURED_SECONDS, LEAST_STEPS, MOST_STEPS = 10.0, 3, 50
MEASURED_STORIES = 50


def estimate(settings: TrainSettings, say: Callable[[str], None]) -> dict[str, Any]:
    """Figures for a run with these settings on this machine, by measuring for some ten seconds.

    `seconds` is the whole run's time, validations included, samples and checkpoints not. Raises what starting the run would raise.
    """
    if settings.threads:
        torch.set_num_threads(settings.threads)
    with tempfile.TemporaryDirectory(prefix="tinytales-estimate-") as folder:
        run = RunDirectory.create(Path(folder) / "run", {"settings": settings.to_json()})
        world = World(0, 1, World.join(settings.device).device)
        parts = assemble(run, world, say)
        return _measure(parts, settings, world, say)


def _measure(parts: Parts, settings: TrainSettings, world: World, say: Callable[[str], None]) -> dict[str, Any]:
    split = parts.data.split("train")
    learner = Learner(parts.network, settings, world)
    learner.begin()
    plan = Steps(split, settings, parts.context)
    epoch_steps = plan.steps_in(1.0)
    micro = settings.micro_tokens or settings.batch_tokens
    say("measuring a few steps ...")
    seconds, targets, used, cells = [], 0, 0, 0
    begun = time.perf_counter()
    while len(seconds) < LEAST_STEPS or (time.perf_counter() - begun < MEASURED_SECONDS and len(seconds) < MOST_STEPS):
        at = time.perf_counter()
        step = next(plan)
        batches = list(step_batches(split, step, parts.data.end_id, parts.context, micro))
        learner.step(len(seconds) + 1, batches, step.targets, 1.0)
        seconds.append(time.perf_counter() - at)
        targets, cells = targets + step.targets, cells + sum(batch.inputs.numel() for batch in batches)
        used += sum(int(row["length"].sum()) for row in step.rows)
    count = len(seconds)
    usual = sum(seconds[1:]) / (count - 1)  # the first one warms up
    validation = _validation_seconds(parts, settings)
    steps = parts.steps
    tensors = learner.tensors()
    return {
        "parameters": parts.facts["parameters"],
        "trained_parameters": parts.facts["trained_parameters"],
        "context": parts.context,
        "stories": parts.facts["stories"],
        "device": parts.facts["device"],
        "precision": "bf16" if learner.bf16 else "fp32",
        "steps": steps,
        "steps_an_epoch": epoch_steps,
        "epochs": steps / epoch_steps,
        "tokens_a_step": round(targets / count),
        "padding_share": 1 - used / cells,
        "tokens": round(targets / count * steps),
        "seconds_a_step": usual,
        "tokens_per_s": targets / count / usual,
        "seconds_a_validation": validation,
        "seconds": usual * steps + validation * (steps // settings.evaluate_every),
        "peak_memory_bytes": _peak_memory(world.device),
        "checkpoint_bytes": 4 * parts.facts["parameters"] if settings.stored_as == "float32" else 2 * parts.facts["parameters"],
        "state_bytes": sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()),
        "measured_steps": count,
    }


def _validation_seconds(parts: Parts, settings: TrainSettings) -> float:
    """A whole validation's time, from a part of it."""
    split = parts.data.split("valid")
    whole = min(len(split), settings.evaluate_stories)
    some = min(whole, MEASURED_STORIES)
    if not some:
        return 0.0
    at = time.perf_counter()
    evaluate_split(parts.network, split, parts.data.end_id, some)
    return (time.perf_counter() - at) * whole / some


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
