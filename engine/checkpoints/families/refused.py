"""Checkpoints that are recognised so that they can be refused with the reason. Knows names alone.

Those of lewisnjue/TinyStories: their attention mask is the wrong way round, as a reading of their `model.py` shows, so no decoder can
make a story of them. Our own 8-bit weights without the files beside them: the tensors alone do not tell the shape of the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from engine.checkpoints.foreign import Family, Weights
from engine.checkpoints.layout import int8
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


def _recognises_int8(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    return f"embedding.weight{int8.WHOLE}" in shapes


def _adapt_int8(weights: Weights) -> NoReturn:
    raise CheckpointError(
        f"{weights.path.name} holds 8-bit weights of tinytales-tui, and the files that belong to them (tinytales.json, config.json) are "
        "not beside it; copy the whole folder again."
    )


INT8 = Family("8-bit weights of tinytales-tui", _recognises_int8, _adapt_int8)
