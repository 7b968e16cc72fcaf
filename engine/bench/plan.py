"""What `bench` measures, how often and how, and the machine that it is measured on. Knows no torch."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.settings import SamplingSettings

PROMPT_TOKENS = 32
PREFILL_TOKENS = 256
SEED = 1
STEPS = ("plain",)
"""Kinds of one-token step that a row can be of; another kind is a further row."""
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
    together: bool = False
    """All batch sizes of a precision in one process, the small ones first, which saves the imports."""
    train: bool = True
    train_tokens: int = 4096
    """Tokens of an optimizer step."""
    train_seconds: float = 20.0
    """No further step is begun after so long."""
    against: tuple[str, ...] = ()
    """Some of `AGAINST`."""
    device: str | None = None
    threads: int | None = None
    """None: what the program itself would choose."""


QUICK: dict[str, Any] = {"tokens": 32, "repeats": 3, "together": True, "train_tokens": 512, "train_seconds": 3.0}
"""What `--quick` changes."""

METHOD = {
    "runs": "every measurement is made in a process of its own, after one run to warm up that does not count; with several programs "
    "the runs alternate; told are the median, the least and the greatest of the runs (--quick measures all batch sizes of a precision "
    "in one process)",
    "load_s": "seconds to open the checkpoint with its tokenizer in a process that has imported everything, the files being in memory "
    "from the run before",
    "ttft_s": "seconds from the request to the first token drawn, for the short prompt (prompt_tokens); with a batch, of its first text",
    "prefill_tokens_per_s": "tokens of the long prompt (prefill_tokens) divided by the seconds to the first token after it; batch 1",
    "decode_tokens_per_s": "tokens of all texts of the batch after each one's first, divided by the seconds between the last first "
    "token and the last token; drawing the tokens and everything else that writing a story takes is in it",
    "memory_bytes": "resident memory of the process after the run, less that of the same process when it had imported torch and "
    "nothing else (llama.cpp: when it had imported nothing)",
    "weight_bytes": "bytes of weights that one step reads: all but the tables of which it looks up a row (cached keys are not counted)",
    "read_bytes_per_s": "rate at which torch sums a float32 buffer of as many bytes, with as many threads",
    "floor_share": "the time that reading the weights would take at that rate, divided by the time that a step takes",
    "train_tokens_per_s": "tokens of an optimizer step (forward, backward, clipping, AdamW) of the trainer divided by its seconds; "
    "packed rows of the checkpoint's context, stories of 200 random tokens; torch's number of threads unless one is given",
}


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
