"""How much memory a checkpoint needs here, and whether that is there. An estimate that errs on the large side; knows no torch."""

from __future__ import annotations

from dataclasses import dataclass

from engine.catalog.entries import Facts

BASE = 290_000_000
"""Bytes of a process with torch, the engine and GPT-2's vocabulary but no model: 234 and up to 56 million, as psutil counts them (RSS)
for torch 2.13 without CUDA on Linux, Python 3.11."""
_COPIES = 2
"""While it is loaded, a checkpoint is in memory twice: as the file's pages, and as the numbers in float32. The pages are given up when
memory gets short, so this is more than it must have. Measured peaks of loading and of writing 480 tokens: 299 MB for 5.7 million
parameters, 505 MB for 30 million, 1,117 MB for 124 million; the estimates are 342, 540 and 1,320 MB."""


@dataclass(frozen=True)
class Fit:
    """Whether a checkpoint has room."""

    needed_bytes: int
    available_bytes: int
    """What the system could give at this moment without swapping."""
    fits: bool


def fit(facts: Facts, precision: str = "fp32") -> Fit | None:
    """Memory for a checkpoint on the CPU: the process, its weights, and the key/value cache of one story of the full context.

    None where the headers do not tell how large it is. Key/value heads that several query heads share are not known from `Facts` and
    count in full. Several stories at once need as many caches.
    """
    import psutil

    if facts.parameters is None:
        return None
    cache = 2 * (facts.layers or 0) * (facts.context or 0) * (facts.width or 0) * (2 if precision == "bf16" else 4)
    needed = BASE + _COPIES * 4 * facts.parameters + cache
    available = psutil.virtual_memory().available
    return Fit(needed, available, needed <= available)
