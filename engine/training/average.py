"""A running average of the weights (EMA), which often predicts better than the weights themselves.

average ← decay × average + (1 − decay) × weights after every step, with the decay held back at the start by (1 + n) / (10 + n), so
that the first weights are soon forgotten (as in TensorFlow's ExponentialMovingAverage).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn


class WeightAverage:
    """`update` after each step; `in_place` puts the average into the network for a while."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self._weights = [p for p in network.parameters() if p.requires_grad]
        self.tensors = [p.detach().clone() for p in self._weights]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After the step of that number, counted from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.tensors, self._weights, 1 - decay)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def state(self) -> dict[str, Tensor]:
        return {f"average.{number}": tensor for number, tensor in enumerate(self.tensors)}

    def load(self, tensors: dict[str, Tensor]) -> None:
        for number, tensor in enumerate(self.tensors):
            tensor.copy_(tensors[f"average.{number}"])

    @torch.no_grad()
    def _swap(self) -> None:
        for weight, average in zip(self._weights, self.tensors, strict=True):
            kept = weight.detach().clone()
            weight.copy_(average)
            average.copy_(kept)
