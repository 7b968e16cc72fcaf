"""Matrix products in float32 on a CPU, through oneDNN where torch itself would take a slower library.

Torch hands float32 products to MKL, which does not use AVX-512 on processors of other makers than its own. The same products through
oneDNN, which torch carries too, take half the time there (two threads of an AMD EPYC with AVX-512, 4,096 × 384 by 384 × 1,536: 401
against 191 GFLOP/s forward, 473 against 220 and 354 against 216 for the two gradients). Float32 throughout: only the order of the
sums differs. The operator is not public, so its absence is no error: then torch's own product is used. Which one is used depends on the
machine alone, never on a measurement, so that a resumed run gives the same bits.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn


@functools.cache
def available() -> bool:
    """Whether this torch has the operator and this processor gains from it."""
    try:
        wide = bool(torch.cpu.get_capabilities().get("avx512_f", False))
        return wide and torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    except (AttributeError, RuntimeError):
        return False


def helps(a: Tensor, b: Tensor) -> bool:
    """Whether `times` would go through oneDNN for these factors."""
    return available() and a.dtype == b.dtype == torch.float32 and a.device.type == b.device.type == "cpu"


def times(a_MK: Tensor, b_NK: Tensor, bias_N: Tensor | None = None) -> Tensor:
    """a bᵀ (+ bias), (M, N). Not differentiable: for the inside of autograd functions."""
    if helps(a_MK, b_NK) and a_MK.shape[0] and b_NK.shape[0]:
        return torch.ops.mkldnn._linear_pointwise(a_MK, b_NK, bias_N, "none", [], "")
    return nn.functional.linear(a_MK, b_NK, bias_N)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_MK: Tensor, weight_NK: Tensor, bias_N: Tensor | None) -> Tensor:
        ctx.save_for_backward(x_MK, weight_NK)
        return times(x_MK, weight_NK, bias_N)

    @staticmethod
    def backward(ctx: Any, grad_MN: Tensor) -> tuple[Tensor | None, ...]:
        x_MK, weight_NK = ctx.saved_tensors
        grad_MN = grad_MN.contiguous()
        grad_x = times(grad_MN, weight_NK.T) if ctx.needs_input_grad[0] else None
        # As (K, N), which is the faster way around, and turned over.
        grad_weight = times(x_MK.T.contiguous(), grad_MN.T).T.contiguous() if ctx.needs_input_grad[1] else None
        return grad_x, grad_weight, grad_MN.sum(0) if ctx.needs_input_grad[2] else None


class FastLinear(nn.Linear):
    """`nn.Linear` with its three products through `times`."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_autocast_enabled(x.device.type) or not helps(x, self.weight):
            return super().forward(x)
        flat = x.reshape(-1, x.shape[-1])
        return _Linear.apply(flat, self.weight, self.bias).view(*x.shape[:-1], self.weight.shape[0])


def speed_up(network: nn.Module) -> None:
    """Give every plain linear layer the faster products, where there are any; names and weights stay as they are."""
    if available():
        for module in network.modules():
            if type(module) is nn.Linear:
                module.__class__ = FastLinear
