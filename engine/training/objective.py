"""The training loss: cross-entropy over a large vocabulary that never holds all logits at once.

The head and its loss are most of the arithmetic and nearly all of the memory of a small model with a 50,257-token vocabulary: 4,096
positions make 0.8 GB of float32 logits, and autograd keeps several of them. Here a few hundred rows are taken at a time through
head, softmax and both gradients, into one workspace that is used again; what is kept for the backward pass is the gradients
themselves. (The idea of gradients made in the forward pass: Hsu et al. 2024, Liger Kernel, arXiv:2410.10989.) Positions without a
loss are left out before the head, so prompts and padding cost nothing there.

Measured as a whole training step of the 30-million-parameter shape (`tests/benchmarks/train.py`, two CPU threads): 1.6 times as fast
as with the plain loss in bf16, 1.8 times in float32 together with `engine.training.products`, in 45 % of the memory.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from engine.model import Decoder
from engine.training.products import times

IGNORED = -100
"""Target of a position that has no loss."""

WORKSPACE_BYTES = 104 << 20
"""How large the block of float32 logits may be that is in work."""

MULTIPLE = 256
"""The number of rows is rounded up to a multiple of this with rows that count for nothing. Without that each batch has a shape of its
own, and oneDNN keeps a compiled product for each of the last 1,024 shapes: 4 MB more memory a step, up to several GB."""


class Objective(nn.Module):
    """`Objective(network)(inputs_BT, targets_BT, scale, mask, positions) -> loss`: scaled sum of the cross-entropies in nats.

    One module around network and loss, so that `DistributedDataParallel` and `torch.compile` see one forward pass.
    """

    def __init__(self, network: Decoder, compiled: bool = False) -> None:
        super().__init__()
        self.network = network
        self._hidden = torch.compile(network.hidden) if compiled else network.hidden

    def forward(
        self,
        inputs_BT: Tensor,
        targets_BT: Tensor,
        scale: float | Tensor = 1.0,
        mask_BTT: Tensor | None = None,
        positions_BT: Tensor | None = None,
    ) -> Tensor:
        """Scalar float32: `scale` × the sum over all positions whose target is not `IGNORED`."""
        x_BTC = self._hidden(inputs_BT, mask=mask_BTT, positions=positions_BT)
        return scale * head_loss(self.network, x_BTC, targets_BT)


def head_loss(network: Decoder, x_BTC: Tensor, targets_BT: Tensor) -> Tensor:
    """Summed cross-entropy in nats of the head's predictions, float32; positions with target `IGNORED` are left out."""
    targets_N = targets_BT.flatten()
    counted = (targets_N != IGNORED).nonzero().squeeze(1)
    targets_N = targets_N.index_select(0, counted)
    spare = -len(counted) % MULTIPLE
    x_NC = x_BTC.flatten(0, 1).index_select(0, torch.cat((counted, counted.new_zeros(spare))))
    return linear_cross_entropy(x_NC, network.head.weight, network.head.bias, targets_N)


def linear_cross_entropy(x_NC: Tensor, weight_VC: Tensor, bias_V: Tensor | None, targets_N: Tensor) -> Tensor:
    """Σ −log softmax(x Wᵀ + b)[target] over the rows that have a target (x may have more), float32, in blocks of rows.

    Under autocast the matrix products run in its number format and everything else in float32. Differentiable once in x, W and b.
    """
    device = x_NC.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x_NC.dtype
    with torch.autocast(device, enabled=False):
        learning = torch.is_grad_enabled()
        return _LinearCrossEntropy.apply(x_NC, weight_VC, bias_V, targets_N, dtype, learning)  # type: ignore[no-any-return]


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x_NC: Tensor,
        weight_VC: Tensor,
        bias_V: Tensor | None,
        targets_N: Tensor,
        dtype: torch.dtype,
        learning: bool,
    ) -> Tensor:
        count, vocabulary = x_NC.shape[0], weight_VC.shape[0]
        rows = max(1, min(count, WORKSPACE_BYTES // (4 * vocabulary)))
        rows -= rows % MULTIPLE if rows > MULTIPLE else 0  # blocks of one shape
        device = x_NC.device
        weight, x_all = weight_VC.to(dtype), x_NC.to(dtype)
        narrow = None if dtype == torch.float32 else torch.empty(rows, vocabulary, device=device, dtype=dtype)
        wide = None if narrow is None else torch.empty(rows, vocabulary, device=device)
        grad_x = torch.empty(x_NC.shape, device=device, dtype=dtype) if learning else None
        # Columns of the vocabulary: this product is the faster one of the two layouts on a CPU.
        grad_weight = torch.zeros(weight_VC.shape[1], vocabulary, device=device) if learning and ctx.needs_input_grad[1] else None
        grad_bias = torch.zeros(vocabulary, device=device) if learning and ctx.needs_input_grad[2] else None
        total = torch.zeros((), device=device)
        for start in range(0, count, rows):
            x = x_all[start : start + rows]
            target = targets_N[start : start + rows, None]
            if narrow is None or wide is None:
                block = times(x, weight)
            else:
                block = wide[: len(x)].copy_(torch.mm(x, weight.T, out=narrow[: len(x)]))
            if bias_V is not None:
                block += bias_V
            wanted = block.gather(1, target)
            largest, where = block.max(dim=1, keepdim=True)
            # In place where that is known to be sound; a GPU's allocator makes the second block cheap.
            block = torch.softmax(block, dim=1, out=block) if device.type == "cpu" else torch.softmax(block, dim=1)
            # log Σ exp = the largest logit less the logarithm of its own probability, which is never small.
            total += ((largest - block.gather(1, where).log())[: len(wanted)] - wanted).sum()
            if grad_x is None:
                continue
            block[len(target) :] = 0  # rows without a target
            block.scatter_add_(1, target, torch.full_like(wanted, -1.0))  # softmax less one-hot: the gradient of the logits
            if grad_bias is not None:
                grad_bias += block.sum(0)
            if narrow is None:
                if grad_weight is not None:
                    grad_weight += times(x.T.contiguous(), block.T)
                grad_x[start : start + rows] = times(block, weight.T)
            else:
                small = narrow[: len(x)].copy_(block)
                if grad_weight is not None:
                    grad_weight += x.T @ small
                torch.mm(small, weight, out=grad_x[start : start + rows])
        ctx.gradients = grad_x, grad_weight, grad_bias
        ctx.dtypes = x_NC.dtype, weight_VC.dtype
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grad_x, grad_weight, grad_bias = ctx.gradients
        del ctx.gradients  # they are large, and nobody walks back twice
        x_dtype, weight_dtype = ctx.dtypes
        return (
            (grad_x.to(x_dtype) * grad) if ctx.needs_input_grad[0] else None,
            None if grad_weight is None else grad_weight.mul_(grad).T.to(weight_dtype),
            None if grad_bias is None else grad_bias * grad,
            None,
            None,
            None,
        )
