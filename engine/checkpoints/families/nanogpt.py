"""nanoGPT's `ckpt.pt`, and the notebooks made from it that save a bare state dict: fused projections as plain linear layers.

Biases are there or not, norms are `ln_1` or `ln1`, GELU is exact. Shapes tell everything but the number of heads: that stands in
`model_args`, and a bare state dict does not say it. Knows no container and no tokenizer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from engine.checkpoints.families.gpt_shape import (
    USUAL_HEAD,
    Biases,
    Sizes,
    activation_of,
    disagreements,
    drop_masks,
    epsilon_of,
    fused_shape,
    heads_of,
    layers_of,
    matrix,
    model_config,
    prefix_of,
    take_ends,
    take_fused_blocks,
    vocabulary_of,
)
from engine.checkpoints.foreign import Adapted, Family, Taking, Weights
from engine.prompts import PromptStyle

if TYPE_CHECKING:
    from torch import Tensor


def _recognises(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    fused = fused_shape(shapes)
    return len(fused) == 2 and fused[0] == 3 * fused[1]


def _adapt(weights: Weights) -> Adapted:
    taking, stem = Taking(weights), prefix_of(weights.tensors)
    state: dict[str, Tensor] = {}
    layers, first = layers_of(weights.tensors, f"{stem}h."), f"{stem}h.0"
    norm = "ln_" if f"{first}.ln_1.weight" in taking else "ln"
    # What the first layer has a bias for, every layer must: one that is missing or too many is refused below.
    names = (f"{stem}ln_f", f"{first}.attn.c_attn", f"{first}.attn.c_proj", f"{first}.mlp.c_fc")
    biases = Biases(*(f"{name}.bias" in taking for name in names))
    rows, width, context, tied, ignored = take_ends(weights, taking, state, stem, biases.norm)
    hidden = matrix(taking, f"{first}.mlp.c_fc.weight")[0]
    heads, warnings = heads_of(weights, width, width // USUAL_HEAD if width % USUAL_HEAD == 0 else None)
    take_fused_blocks(taking, state, stem, layers, width, hidden, norm=norm, biases=biases)
    # The causal mask of an attention that does without the fused kernel; of any other shape it is left, and so refused.
    ignored += drop_masks(taking, [f"{stem}h.{layer}.attn.bias" for layer in range(layers)])
    taking.finish()
    config = model_config(
        weights,
        Sizes(rows, width, layers, heads, context, hidden, tied),
        mlp=activation_of(weights, "gelu"),
        norm_eps=epsilon_of(weights),
        norm_bias=biases.norm,
        qkv_bias=biases.qkv,
        attention_out_bias=biases.out,
        mlp_bias=biases.mlp,
    )
    warnings += disagreements(weights, {"n_layer": layers, "n_embd": width, "block_size": context})
    return Adapted(FAMILY.name, config, state, vocabulary_of(rows), PromptStyle("plain"), ignored=ignored, warnings=warnings)


FAMILY = Family("nanoGPT", _recognises, _adapt)
