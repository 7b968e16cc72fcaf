"""Low-rank fine-tuning (Hu et al. 2021, LoRA, arXiv:2106.09685): small matrices are learnt beside frozen ones, and merged when saved.

y = W x + (alpha / rank) B A x, with A random and B zero at first, so that training begins from the model as it is. Every matrix
inside the blocks gets a pair; embeddings, head and norms stay as they are.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.model import Decoder


class LowRankLinear(nn.Module):
    """A frozen `nn.Linear` with a learnt low-rank addition."""

    def __init__(self, base: nn.Linear, rank: int, alpha: float, generator: torch.Generator) -> None:
        super().__init__()
        self.base, self.scale = base, alpha / rank
        self.base.requires_grad_(False)
        self.down = nn.Parameter(torch.randn(rank, base.in_features, generator=generator) / math.sqrt(base.in_features))
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + F.linear(F.linear(x, self.down), self.up) * self.scale

    @torch.no_grad()
    def merged(self) -> Tensor:
        """The weight of the plain layer that does the same."""
        return self.base.weight + self.scale * (self.up @ self.down)


def add_low_rank(network: Decoder, rank: int, alpha: float, seed: int) -> None:
    """Freeze the network and give each matrix of its blocks a low-rank addition."""
    generator = torch.Generator().manual_seed(seed)
    network.requires_grad_(False)
    for block in network.blocks:
        for part in (block.attention, block.mlp):
            for name, layer in list(part.named_children()):
                if isinstance(layer, nn.Linear):
                    setattr(part, name, LowRankLinear(layer, rank, alpha, generator))


def plain_network(network: Decoder) -> Decoder:
    """The network itself, or where it has low-rank additions, a plain twin with those merged into its matrices."""
    added = {name: layer for name, layer in network.named_modules() if isinstance(layer, LowRankLinear)}
    if not added:
        return network
    merged = {f"{name}.weight": layer.merged() for name, layer in added.items()}
    state = {}
    for key, value in network.state_dict().items():
        owner = next((name for name in added if key.startswith(f"{name}.")), None)
        if owner is None:
            state[key] = value
        elif key == f"{owner}.base.weight":
            state[f"{owner}.weight"] = merged[f"{owner}.weight"]
        elif key == f"{owner}.base.bias":
            state[f"{owner}.bias"] = value
    with torch.device("meta"):
        twin = Decoder(network.config)
    twin.load_state_dict(state, assign=True)
    if network.config.tied_head:
        twin.head.weight = twin.embedding.weight
    return twin.train(network.training).requires_grad_(False)
