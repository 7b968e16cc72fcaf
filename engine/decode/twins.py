"""Networks made of another one's weights: one that shares them, and one whose weights are rounded as the compiled step keeps them."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.decode.packing import unpack_rows
from engine.model import Decoder

ROWS_AT_ONCE = 4096
"""Rounded at once, which bounds the memory beside the two networks."""


def sharing(network: Decoder) -> Decoder:
    """A second module over the same numbers: it takes no memory, and what is moved elsewhere of it leaves the first as it is."""
    return _made_of(network, network.state_dict())


@torch.inference_mode()
def rounded(network: Decoder, precision: str) -> Decoder:
    """What the compiled step computes with in this precision, as a plain network in float32: a copy of the rounded parts.

    Rounded are the matrices, the head and the token table (these two to int8 for int4); the position table, norms and biases are the
    network's own in every width.
    """
    fine = "int8" if precision == "int4" else precision
    kinds = {id(layer.weight): precision for layer in network.modules() if isinstance(layer, torch.nn.Linear)}
    kinds |= {id(network.head.weight): fine, id(network.embedding.weight): fine}
    done: dict[int, Tensor] = {}
    state = {}
    for name, weight in network.named_parameters(remove_duplicate=False):
        if (kind := kinds.get(id(weight))) and id(weight) not in done:
            done[id(weight)] = torch.cat([unpack_rows(part, kind) for part in weight.detach().split(ROWS_AT_ONCE)])
        state[name] = done.get(id(weight), weight.detach())
    return _made_of(network, state)


def _made_of(network: Decoder, state: dict[str, Tensor]) -> Decoder:
    with torch.device("meta"):
        made = Decoder(network.config)
    made.load_state_dict(state, assign=True)
    if network.config.tied_head:
        made.head.weight = made.embedding.weight
    return made.eval().requires_grad_(False)
