"""What `bench` measures, how often and how, and the machine that it is measured on. Knows no torch."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import UsageError
from engine.settings import SamplingSettings

PROMPT_TOKENS = 32
PREFILL_TOKENS = 256
SEED = 1
KINDS: dict[str, tuple[str, ...]] = {"plain": ("fp32", "bf16"), "compiled": ("fp32", "bf16", "int8", "int4")}
"""Kinds of one-token step -> their precisions: each pair is a kind of row."""
ON_REQUEST = ("int4",)
"""Precisions that are measured only where they are named."""
STEPS = tuple(KINDS)
PRECISIONS = tuple(dict.fromkeys(precision for precisions in KINDS.values() for precision in precisions))
AGAINST: dict[str, dict[str, str]] = {
    "transformers": {"transformers": "transformers"},
    "llama.cpp": {"llama_cpp": "llama-cpp-python", "gguf": "gguf"},
}
"""Programs to compare with -> the modules that have to be there -> what pip calls them."""
BITS = {"fp32": 32, "bf16": 16, "fp16": 16, "int8": 8, "int4": 4, "float32": 32, "float16": 16, "bfloat16": 16, "q8_0": 8}
"""Bits of a weight, for the names that programs use: rows are compared with rows of the same width."""
BUSY = 0.5
"""Load average a core from which a machine counts as busy."""


@dataclass(frozen=True)
class BenchSettings:
    """How much is measured."""

    tokens: int = 200
    """New tokens of each text."""
    repeats: int = 5
    """Runs that count, after one to warm up."""
    batches: tuple[int, ...] = (1, 4, 16)
    """Texts at once."""
    row_seconds: float | None = None
    """No further run of a row is begun after so long; None: all are made."""
    together: bool = False
    """All batch sizes of a precision in one process, the small ones first, which saves the imports."""
    train: bool = True
    train_tokens: int = 4096
    """Tokens of an optimizer step."""
    train_seconds: float = 20.0
    """No further step is begun after so long."""
    against: tuple[str, ...] = ()
    """Some of `AGAINST`."""
    steps: tuple[str, ...] = ()
    """Some of `STEPS`; empty: all."""
    precisions: tuple[str, ...] = ()
    """Some of `PRECISIONS`; empty: all but those of `ON_REQUEST`."""
    device: str | None = None
    threads: int | None = None
    """None: what the program itself would choose."""


QUICK: dict[str, Any] = {
    "tokens": 32, "repeats": 3, "row_seconds": 1.5, "together": True, "train_tokens": 512, "train_seconds": 3.0,
}  # fmt: skip
"""What `--quick` changes."""

METHOD = {
    "runs": "every measurement is made in a process of its own, after one run to warm up that does not count; with several programs "
    "the runs alternate; told are the median, the least and the greatest of the runs (--quick measures all batch sizes of a precision "
    "in one process, and begins no further run of a row after 1.5 seconds)",
    "load_s": "seconds to open the checkpoint with its tokenizer in a process that has imported everything, the files being in memory "
    "from the run before; with the compiled step its weights are laid out anew, and its code was compiled before",
    "ttft_s": "seconds from the request to the first token drawn, for the short prompt (prompt_tokens); with a batch, of its first text",
    "prefill_tokens_per_s": "tokens of the long prompt (prefill_tokens) divided by the seconds to the first token after it; batch 1",
    "decode_tokens_per_s": "tokens of all texts of the batch after each one's first, divided by the seconds between the last first "
    "token and the last token; drawing the tokens and everything else that writing a story takes is in it",
    "memory_bytes": "resident memory of the process after the run, less that of the same process when it had imported torch and "
    "nothing else (llama.cpp: when it had imported nothing)",
    "weight_bytes": "bytes of weights that one step reads: all but the tables of which it looks up a row (cached keys are not counted); "
    "the compiled step finds the likeliest tokens of up to four texts by a copy of the output layer in 8 bits, and reads that one",
    "read_bytes_per_s": "rate at which torch sums a float32 buffer of as many bytes, with as many threads",
    "floor_share": "the time that reading the weights would take at that rate, divided by the time that a step takes",
    "train_tokens_per_s": "tokens of an optimizer step (forward, backward, clipping, AdamW) of the trainer divided by its seconds; "
    "packed rows of the checkpoint's context, stories of 200 random tokens; torch's number of threads unless one is given",
}


def kinds(steps: Sequence[str], precisions: Sequence[str]) -> list[tuple[str, str]]:
    """(step, precision) of the rows that are wanted; raises `UsageError` for names that do not exist or do not go together."""
    for name, known, given in (("--step", STEPS, steps), ("--precision", PRECISIONS, precisions)):
        for one in given:
            if one not in known:
                raise UsageError(f"{name} knows {', '.join(known[:-1])} and {known[-1]}, and not {one!r}.")
    found = [
        (step, precision)
        for step in STEPS
        for precision in KINDS[step]
        if (not steps or step in steps) and (precision in precisions if precisions else precision not in ON_REQUEST)
    ]
    if not found:
        raise UsageError(f"The {' or '.join(steps)} step has no precision {' or '.join(precisions)}; leave --step out.")
    return found


def sampling(tokens: int) -> SamplingSettings:
    """How tokens are drawn: always exactly so many."""
    return SamplingSettings(
        temperature=0.8, top_k=50, top_p=1.0, max_tokens=tokens, min_tokens=tokens, seed=SEED, stop_loops=False
    )


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and greatest, to four digits."""
    shown = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: float(f"{value:.4g}") for name, value in shown.items()}


def machine() -> dict[str, Any]:
    """The machine and how busy it is, in plain JSON values; what is not known is None."""
    import psutil

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    return {
        "processor": _processor(),
        "cores": cores,
        "memory_bytes": psutil.virtual_memory().total,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load_average": load,
        "busy": load is not None and load > BUSY * cores,
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or "unknown"
