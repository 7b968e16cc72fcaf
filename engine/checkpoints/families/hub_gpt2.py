"""GPT-2 as the Hub keeps it (`GPT2LMHeadModel`), with or without the prefix `transformer.`.

Fused projections are Conv1D matrices there, (in, out), and are turned. Knows no container and no tokenizer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from engine.checkpoints.families.gpt_shape import (
    USUAL_HEAD,
    Sizes,
    activation_of,
    disagreements,
    drop_masks,
    end_ids_of,
    epsilon_of,
    expect_type,
    fused_shape,
    heads_of,
    layers_of,
    matrix,
    model_config,
    prefix_of,
    take_ends,
    take_fused_blocks,
    tied_warnings,
    vocabulary_of,
)
from engine.checkpoints.foreign import Adapted, Family, Taking, Weights
from engine.errors import CheckpointError
from engine.prompts import PromptStyle

if TYPE_CHECKING:
    from torch import Tensor


def _recognises(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    fused = fused_shape(shapes)
    return len(fused) == 2 and fused[1] == 3 * fused[0]


def _adapt(weights: Weights) -> Adapted:
    expect_type(weights, "gpt2")
    if weights.config.get("scale_attn_by_inverse_layer_idx"):
        raise CheckpointError(f"{weights.path.name} scales its attention by the number of the layer, which cannot be read.")
    taking, stem = Taking(weights), prefix_of(weights.tensors)
    state: dict[str, Tensor] = {}
    layers = layers_of(weights.tensors, f"{stem}h.")
    rows, width, context, tied, ignored = take_ends(weights, taking, state, stem)
    hidden = matrix(taking, f"{stem}h.0.mlp.c_fc.weight")[1]
    heads, warnings = heads_of(weights, width, width // USUAL_HEAD if width % USUAL_HEAD == 0 else None)
    take_fused_blocks(taking, state, stem, layers, width, hidden, turned=True)
    masks = [f"{stem}h.{layer}.attn.{name}" for layer in range(layers) for name in ("bias", "masked_bias")]
    ignored += drop_masks(taking, masks)
    taking.finish()
    config = model_config(
        weights,
        Sizes(rows, width, layers, heads, context, hidden, tied),
        mlp=activation_of(weights, "gelu_tanh"),
        norm_eps=epsilon_of(weights),
        attention_scale=1.0 if weights.config.get("scale_attn_weights") is False else None,
    )
    warnings += disagreements(weights, {"n_layer": layers, "n_embd": width, "n_positions": context, "n_inner": hidden})
    return Adapted(
        FAMILY.name,
        config,
        state,
        vocabulary_of(rows),
        PromptStyle("plain"),
        end_ids=end_ids_of(weights, rows),
        ignored=ignored,
        warnings=warnings + tied_warnings(weights, tied),
    )


FAMILY = Family("GPT-2 (Hub)", _recognises, _adapt)
