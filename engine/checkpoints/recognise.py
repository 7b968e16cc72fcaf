"""Which family a file of weights belongs to, by the names and shapes in it, and what model it makes. Knows no torch.

Each of `FAMILIES` is asked in that order, and the first that is sure adapts. The same for tensors and for outlines of them
(`engine.checkpoints.outline`), so the catalogue says of a file what loading it will say.
"""

from __future__ import annotations

import math

from engine.checkpoints.families import gpt_neo, half_rotary, hub_gpt2, hub_llama, llama2c, nanogpt, per_head_gpt2, refused
from engine.checkpoints.foreign import Adapted, Family, Weights
from engine.errors import CheckpointError, TinyTalesError

FAMILIES: tuple[Family, ...] = (
    per_head_gpt2.FAMILY, llama2c.FAMILY, half_rotary.FAMILY, refused.FAMILY, refused.INT8, gpt_neo.FAMILY, hub_llama.FAMILY,
    nanogpt.FAMILY, hub_gpt2.FAMILY,
)  # fmt: skip
LARGEST = 10**10
"""Numbers in all tensors together; a file that claims more holds no story model."""


def recognise(weights: Weights) -> Adapted:
    """The model that tensors make, or their outlines; raises `CheckpointError` with one sentence where they make none."""
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.tensors.items()}
    if sum(math.prod(shape) for shape in shapes.values()) > LARGEST:
        raise CheckpointError(f"{weights.path.name} is far larger than any story model.")
    family = next((family for family in FAMILIES if family.recognises(shapes)), None)
    if family is None:
        some = ", ".join(" ".join(name.split())[:60] for name in list(shapes)[:4])
        raise CheckpointError(
            f"{weights.path.name} is of no kind that can be read; its tensors are called {some} …"
            if shapes
            else f"{weights.path.name} holds no tensors."
        )
    try:
        return family.adapt(weights)
    except CheckpointError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, TinyTalesError) as error:
        raise CheckpointError(f"{weights.path.name} is no {family.name} model that makes sense ({error}).") from error
