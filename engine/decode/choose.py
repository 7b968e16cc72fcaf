"""Which kind of step writes with a checkpoint: `plain`, the network itself, or `compiled`, for the CPU or as a CUDA graph.

Imports neither numba nor torch by itself.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import UsageError

if TYPE_CHECKING:
    from engine.checkpoints.native import Checkpoint

STEPS = ("plain", "compiled")
COMPILED_PRECISIONS = {"auto": "fp32", "fp32": "fp32", "bf16": "bf16", "int8": "int8", "int4": "int4"}
"""By what is asked for. int8 keeps 8-bit weights with a scale a row, int4 (experimental) 4-bit ones with a scale for 32; activations
are float32 in every width."""
GRAPHED_PRECISIONS = {"auto": "fp32", "fp32": "fp32", "bf16": "bf16"}
"""The same of the compiled step on CUDA, which computes with the network's own weights."""
ONLY_COMPILED = ("int8", "int4")
"""Precisions that ask for the compiled step by themselves."""


def step_for(step: str | None, precision: str) -> str:
    """The step that is meant: the one that is named, else the one that has the precision."""
    return step or ("compiled" if precision in ONLY_COMPILED else "plain")


def check_step(step: str, precision: str) -> None:
    """Raise `UsageError` for a step that does not exist, or a precision that it does not have."""
    if step not in STEPS:
        raise UsageError(f"There is no step {step!r}; choose {' or '.join(STEPS)}.")
    if step == "compiled" and precision not in COMPILED_PRECISIONS:
        raise UsageError(f"The compiled step has no precision {precision!r}; choose {', '.join(COMPILED_PRECISIONS)}.")


def compile_step(checkpoint: Checkpoint, precision: str, threads: int | None) -> None:
    """Give a checkpoint its compiled step; on the CPU it takes seconds the first time, then a part of one. Raises `UsageError`.

    `threads` None is chosen by the size of the model. On the CPU the network's own weights are read for fp32; else the step keeps what
    it needs and the network goes to the meta device, where it takes no memory. On CUDA the network is the step.
    """
    if checkpoint.device.startswith("cuda"):
        _capture_step(checkpoint, precision)
        return
    from engine.decode.compiled import MOST_THREADS, CompiledStep, available
    from engine.devices import give_back, threads_for

    folder = kernel_folder()
    if why := available(folder):
        raise UsageError(f"{why.rstrip('.')}; pip install numba, or leave --step compiled out.")
    if checkpoint.device != "cpu":
        where = f"{checkpoint.name} is on {checkpoint.device}"
        raise UsageError(f"The compiled step runs on the CPU or with CUDA, and {where}; add --device cpu.")
    count = min(MOST_THREADS, threads_for(threads, checkpoint.network.parameter_count()))
    kept_in_int8 = precision == "auto" and checkpoint.stored_as == "int8"
    wanted = "int8" if kept_in_int8 else COMPILED_PRECISIONS[precision]
    checkpoint.compiled = CompiledStep.build(checkpoint.network, wanted, count, folder, checkpoint.tokenizer.vocab_size)
    checkpoint.precision = wanted
    if wanted != "fp32":
        checkpoint.network.to("meta")
        give_back()


def _capture_step(checkpoint: Checkpoint, precision: str) -> None:
    """Give a checkpoint on CUDA its graphed step, held against the network on real text before it writes a word."""
    import torch

    from engine.checkpoints.readers.common import reason
    from engine.decode.checking import TOKENS
    from engine.decode.graphs import GraphedStep, refusal
    from engine.evaluation.stories import OPENINGS

    if precision not in GRAPHED_PRECISIONS:
        known = ", ".join(GRAPHED_PRECISIONS)
        raise UsageError(f"With CUDA the compiled step has no precision {precision!r}; choose {known}, or add --device cpu.")
    wanted = GRAPHED_PRECISIONS[precision]
    try:
        checkpoint.network.to(torch.bfloat16 if wanted == "bf16" else torch.float32)
        step = GraphedStep(checkpoint.network, checkpoint.tokenizer.vocab_size)
        why = refusal(step, wanted, checkpoint.tokenizer.encode(" ".join(OPENINGS))[:TOKENS])
    except RuntimeError as error:  # the device is out of memory, or worse
        why = f"The compiled step cannot be made on {checkpoint.device} ({reason(error)}); leave --step compiled out."
    if why:
        raise UsageError(why)
    checkpoint.compiled = step  # type: ignore[assignment]
    checkpoint.precision = wanted


def kernel_folder() -> Path:
    """Where compiled code is kept between runs: the user's own, as what lies there is run."""
    if home := os.environ.get("TINYTALES_HOME", "").strip():
        return Path(os.path.expanduser(home)).absolute() / "cache" / "kernels"  # noqa: PTH111 (Path.expanduser raises for an unknown ~name)
    import platformdirs

    return Path(platformdirs.user_cache_dir("tinytales-tui", appauthor=False)) / "kernels"
