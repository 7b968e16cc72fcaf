"""nanoGPT's `ckpt.pt`, and the notebooks made from it that save a bare state dict: fused projections as plain linear layers.

Biases are there or not, norms are `ln_1` or `ln1`, GELU is exact. Shapes tell everything but the number of heads: that stands in
`model_args`, and a bare state dict does not say it. Knows no container and no tokenizer.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from engine.checkpoints.families.gpt_shape import (
    USUAL_HEAD,
    activation_of,
    disagreements,
    drop_masks,
    epsilon_of,
    fused_shape,
    heads_of,
    hidden_or_none,
    layers_of,
    matrix,
    model_config,
    prefix_of,
    take_ends,
    take_linear,
    take_norm,
    vocabulary_of,
)
from engine.checkpoints.foreign import Adapted, Family, Taking, Weights
from engine.prompts import PromptStyle


def _recognises(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    fused = fused_shape(shapes)
    return len(fused) == 2 and fused[0] == 3 * fused[1]


def _adapt(weights: Weights) -> Adapted:
    taking, state, stem = Taking(weights), dict[str, Tensor](), prefix_of(weights.tensors)
    layers, first = layers_of(weights.tensors, f"{stem}h."), f"{stem}h.0"
    norm = "ln_" if f"{first}.ln_1.weight" in taking else "ln"
    # What the first layer has a bias for, every layer must: one that is missing or too many is refused below.
    norm_bias, qkv_bias = f"{stem}ln_f.bias" in taking, f"{first}.attn.c_attn.bias" in taking
    out_bias, mlp_bias = f"{first}.attn.c_proj.bias" in taking, f"{first}.mlp.c_fc.bias" in taking
    rows, width, context, tied, ignored = take_ends(weights, taking, state, stem, norm_bias)
    hidden = matrix(taking, f"{first}.mlp.c_fc.weight")[0]
    heads, warnings = heads_of(weights, width, width // USUAL_HEAD if width % USUAL_HEAD == 0 else None)
    for layer in range(layers):
        ours, theirs = f"blocks.{layer}", f"{stem}h.{layer}"
        take_norm(taking, state, f"{ours}.attention_norm", f"{theirs}.{norm}1", width, norm_bias)
        take_linear(taking, state, f"{ours}.attention.qkv", f"{theirs}.attn.c_attn", 3 * width, width, bias=qkv_bias)
        take_linear(taking, state, f"{ours}.attention.out", f"{theirs}.attn.c_proj", width, width, bias=out_bias)
        take_norm(taking, state, f"{ours}.mlp_norm", f"{theirs}.{norm}2", width, norm_bias)
        take_linear(taking, state, f"{ours}.mlp.up", f"{theirs}.mlp.c_fc", hidden, width, bias=mlp_bias)
        take_linear(taking, state, f"{ours}.mlp.down", f"{theirs}.mlp.c_proj", width, hidden, bias=mlp_bias)
    # The causal mask of an attention that does without the fused kernel; of any other shape it is left, and so refused.
    ignored += drop_masks(taking, [f"{stem}h.{layer}.attn.bias" for layer in range(layers)])
    taking.finish()
    config = model_config(
        weights,
        vocab_size=rows,
        width=width,
        layers=layers,
        heads=heads,
        context=context,
        mlp=activation_of(weights, "gelu"),
        mlp_width=hidden_or_none(hidden, width),
        norm_eps=epsilon_of(weights),
        norm_bias=norm_bias,
        qkv_bias=qkv_bias,
        attention_out_bias=out_bias,
        mlp_bias=mlp_bias,
        tied_head=tied,
    )
    warnings += disagreements(weights, {"n_layer": layers, "n_embd": width, "block_size": context})
    return Adapted(FAMILY.name, config, state, vocabulary_of(rows), PromptStyle("plain"), ignored=ignored, warnings=warnings)


FAMILY = Family("nanoGPT", _recognises, _adapt)
