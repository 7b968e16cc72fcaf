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

    `threads` None is chosen by the size of the model. For fp32 the network's own weights are read; else the step keeps what it needs
    and the network goes to the meta device, where it takes no memory.
    """
    from engine.decode.compiled import MOST_THREADS, CompiledStep, available
    from engine.devices import threads_for

    folder = kernel_folder()
    if why := available(folder):
        raise UsageError(f"{why.rstrip('.')}; pip install 'tinytales-tui[fast]', or leave --step compiled out.")
    if checkpoint.device != "cpu":
        raise UsageError(f"The compiled step runs on the CPU, and {checkpoint.name} is on {checkpoint.device}; add --device cpu.")
    count = min(MOST_THREADS, threads_for(threads, checkpoint.network.parameter_count()))
    kept_in_int8 = precision == "auto" and checkpoint.stored_as == "int8"
    wanted = "int8" if kept_in_int8 else COMPILED_PRECISIONS[precision]
    checkpoint.compiled = CompiledStep.build(checkpoint.network, wanted, count, folder, checkpoint.tokenizer.vocab_size)
    checkpoint.precision = wanted
    if wanted != "fp32":
        checkpoint.network.to("meta")


def kernel_folder() -> Path:
    """Where compiled code is kept between runs: the user's own, as what lies there is run."""
    if home := os.environ.get("TINYTALES_HOME", "").strip():
        return Path(os.path.expanduser(home)).absolute() / "cache" / "kernels"  # noqa: PTH111 (Path.expanduser raises for an unknown ~name)
    import platformdirs

    return Path(platformdirs.user_cache_dir("tinytales-tui", appauthor=False)) / "kernels"
