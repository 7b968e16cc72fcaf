"""Measurement: how fast this machine reads memory, for buffers of given sizes: what is small stays in the processor's caches."""

from __future__ import annotations

import time
from typing import Any

import torch

from engine.devices import choose_device

READ_BYTES = 400_000_000
"""How much a run reads of each size, about."""
MOST_PASSES = 2000


class Reading:
    """A buffer of each size; a run sums each of them over and over."""

    def __init__(self, sizes: list[int], device: str | None, threads: int) -> None:
        torch.set_num_threads(threads)
        where = choose_device(device)
        self._buffers = {size: torch.ones(max(1, size // 4), device=where) for size in sizes}
        self.facts: dict[str, Any] = {}

    def run(self) -> dict[str, Any]:
        """Bytes a second, by size (as text: names in JSON are)."""
        return {str(size): self._rate(buffer) for size, buffer in self._buffers.items()}

    @staticmethod
    @torch.inference_mode()
    def _rate(buffer: torch.Tensor) -> float:
        size = buffer.numel() * 4
        passes = max(3, min(MOST_PASSES, READ_BYTES // size))
        begun = time.perf_counter()
        for _ in range(passes):
            total = buffer.sum()
        total.item()  # a GPU has done them all only now
        return passes * size / (time.perf_counter() - begun)
