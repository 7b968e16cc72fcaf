"""Which parameters each optimizer moves, and with what decay.

Muon (K. Jordan et al. 2024; `torch.optim.Muon`) for the matrices inside the blocks, AdamW for the rest: embeddings, head, norms
and biases. Weight decay touches matrices only.
"""

from __future__ import annotations

import torch
from torch import nn

from engine.model import Decoder
from engine.training.settings import TrainSettings


def make_optimizers(model: Decoder, settings: TrainSettings) -> list[torch.optim.Optimizer]:
    """One or two optimizers, whose groups carry their peak rate as `peak`."""
    hidden = [p for p in model.blocks.parameters() if p.dim() == 2 and p.requires_grad]
    hidden_ids = {id(p) for p in hidden}
    others = [p for p in model.parameters() if id(p) not in hidden_ids and p.requires_grad]
    matrices, vectors = [p for p in others if p.dim() == 2], [p for p in others if p.dim() != 2]
    muon = settings.optimizer == "muon"
    adamw = torch.optim.AdamW(
        [
            {"params": matrices if muon else hidden + matrices, "weight_decay": settings.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        fused=True,
    )
    optimizers: list[torch.optim.Optimizer] = [adamw]
    if muon:
        rate, decay = settings.matrix_learning_rate, settings.weight_decay
        optimizers.append(torch.optim.Muon(hidden, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return optimizers


def set_rate(optimizers: list[torch.optim.Optimizer], share: float) -> None:
    """Set every group's learning rate to `share` of its peak."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * share


def clip_gradients(model: nn.Module, limit: float) -> float:
    """Scale the gradients down to norm `limit` (0: leave them) and return the norm they had."""
    bound = limit if limit > 0 else float("inf")
    return float(torch.nn.utils.clip_grad_norm_(model.parameters(), bound))
