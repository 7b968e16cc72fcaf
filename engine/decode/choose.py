"""Which kind of step writes with a checkpoint: `plain`, the network itself, or `compiled`, on the CPU. Imports no numba by itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import UsageError

if TYPE_CHECKING:
    from engine.checkpoints.native import Checkpoint

STEPS = ("plain", "compiled")
COMPILED_PRECISIONS = {"auto": "fp32", "fp32": "fp32", "bf16": "bf16", "int8": "int8"}
"""By what is asked for. int8 keeps 8-bit weights with a scale each group, and activations in float32."""


def check_step(step: str, precision: str) -> None:
    """Raise `UsageError` for a step that does not exist, or a precision that it does not have."""
    if step not in STEPS:
        raise UsageError(f"There is no step {step!r}; choose {' or '.join(STEPS)}.")
    if step == "compiled" and precision not in COMPILED_PRECISIONS:
        raise UsageError(f"The compiled step has no precision {precision!r}; choose {', '.join(COMPILED_PRECISIONS)}.")


def compile_step(checkpoint: Checkpoint, precision: str, threads: int | None) -> None:
    """Give a checkpoint on the CPU its compiled step; takes seconds the first time, then a part of one. Raises `UsageError`.

    `threads` None is chosen by the size of the model. The network stays as it is, in float32: it reads the prompts.
    """
    from engine.decode.compiled import MOST_THREADS, CompiledStep, available
    from engine.devices import threads_for

    if why := available():
        raise UsageError(f"{why.rstrip('.')}; pip install 'tinytales-tui[fast]', or leave --step compiled out.")
    if checkpoint.device != "cpu":
        raise UsageError(f"The compiled step runs on the CPU, and {checkpoint.name} is on {checkpoint.device}; add --device cpu.")
    count = min(MOST_THREADS, threads_for(threads, checkpoint.network.parameter_count()))
    wanted = COMPILED_PRECISIONS[precision]
    folder = kernel_folder()
    checkpoint.compiled = CompiledStep.build(checkpoint.network, wanted, count, folder, checkpoint.tokenizer.vocab_size)
    checkpoint.precision = wanted


def kernel_folder() -> Path:
    """Where compiled code is kept between runs: the user's own, as what lies there is run."""
    if home := os.environ.get("TINYTALES_HOME", "").strip():
        return Path(os.path.expanduser(home)).absolute() / "cache" / "kernels"  # noqa: PTH111 (Path.expanduser raises for an unknown ~name)
    import platformdirs

    return Path(platformdirs.user_cache_dir("tinytales-tui", appauthor=False)) / "kernels"
