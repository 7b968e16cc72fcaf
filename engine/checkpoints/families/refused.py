"""Checkpoints that are recognised so that they can be refused with the reason: those of lewisnjue/TinyStories.

Their attention mask is the wrong way round, as a reading of their `model.py` shows, so no decoder can make a story of them. Knows
names alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from engine.checkpoints.foreign import Family, Weights
from engine.errors import CheckpointError


def _recognises(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    return "token_embedding_table.weight" in shapes and "blocks.0.sa.mha.in_proj_weight" in shapes


def _adapt(weights: Weights) -> NoReturn:
    # nn.MultiheadAttention hides what a boolean mask marks as true; these models hand it a lower triangle.
    raise CheckpointError(
        f"{weights.path.name} is a model of the lewisnjue/TinyStories design, which was trained with its attention mask the wrong way "
        "round: it saw only the words to come and cannot write a story; choose another checkpoint."
    )


FAMILY = Family("lewisnjue/TinyStories", _recognises, _adapt)
