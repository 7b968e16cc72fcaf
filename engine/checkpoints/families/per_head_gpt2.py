"""The GPT-2 models of 0rn0/gpt2-*-tinystories: one small linear layer for each head's queries, keys and values, and a head of its own.

Every shape can be read off the tensors, heads too; the settings are only compared. A float mask lies in the file for each head. The
`-sft` models, and files called `finetune_…`, were tuned on topic and ending. Knows no container and no tokenizer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from engine.checkpoints.families.gpt_shape import (
    Sizes,
    disagreements,
    drop_masks,
    layers_of,
    matrix,
    model_config,
    put,
    take_head,
    take_linear,
    take_norm,
)
from engine.checkpoints.foreign import Adapted, Family, Taking, Weights, join
from engine.errors import CheckpointError
from engine.prompts import PromptStyle

if TYPE_CHECKING:
    from torch import Tensor

_FIRST = "blocks.0.mha.heads."


def _recognises(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    return f"{_FIRST}0.q.weight" in shapes


def _adapt(weights: Weights) -> Adapted:
    taking = Taking(weights)
    state: dict[str, Tensor] = {}
    layers, heads = layers_of(weights.tensors, "blocks."), layers_of(weights.tensors, _FIRST)
    rows, width = matrix(taking, "embeddings.token_embedding.weight")
    context = matrix(taking, "embeddings.pos_embedding.weight")[0]
    size, hidden = matrix(taking, f"{_FIRST}0.q.weight")[0], matrix(taking, "blocks.0.feed_forward.layers.0.weight")[0]
    if heads * size != width:
        raise CheckpointError(
            f"{weights.path.name} has {heads} heads of {size} dimensions, which do not make up its width of {width}."
        )
    bias = f"{_FIRST}0.q.bias" in taking
    put(state, "embedding.weight", taking.take("embeddings.token_embedding.weight", (rows, width)))
    put(state, "position_embedding.weight", taking.take("embeddings.pos_embedding.weight", (context, width)))
    for layer in range(layers):
        ours = theirs = f"blocks.{layer}"
        take_norm(taking, state, f"{ours}.attention_norm", f"{theirs}.layer_norm1", width)
        parts = [f"{theirs}.mha.heads.{head}.{name}" for name in "qkv" for head in range(heads)]
        joined = join([taking.take(f"{part}.weight", (size, width)).float() for part in parts])
        put(state, f"{ours}.attention.qkv.weight", joined)
        if bias:
            joined = join([taking.take(f"{part}.bias", (size,)).float() for part in parts])
            put(state, f"{ours}.attention.qkv.bias", joined)
        take_linear(taking, state, f"{ours}.attention.out", f"{theirs}.mha.out_proj", width, width)
        take_norm(taking, state, f"{ours}.mlp_norm", f"{theirs}.layer_norm2", width)
        take_linear(taking, state, f"{ours}.mlp.up", f"{theirs}.feed_forward.layers.0", hidden, width)
        take_linear(taking, state, f"{ours}.mlp.down", f"{theirs}.feed_forward.layers.2", width, hidden)
    take_norm(taking, state, "norm", "layer_norm", width)
    taking.shape("output_layer.weight")  # never shared in this family: without it the file is not whole
    tied, ignored = take_head(taking, state, "output_layer.weight", rows, width)
    put(state, "head.bias", taking.take("output_layer.bias", (rows,)))
    masks = [f"blocks.{layer}.mha.heads.{head}.mask" for layer in range(layers) for head in range(heads)]
    ignored += drop_masks(taking, masks)
    taking.finish()
    config = model_config(
        weights,
        Sizes(rows, width, layers, heads, context, hidden, tied),
        mlp="gelu",
        qkv_bias=bias,
        head_bias=True,
    )
    told = {"num_layers": layers, "num_heads": heads, "embedding_dim": width, "context_length": context}
    return Adapted(
        FAMILY.name,
        config,
        state,
        "gpt2",
        PromptStyle("topic-ending" if is_tuned(weights.path) else "plain"),
        ignored=ignored,
        warnings=disagreements(weights, told),
    )


FAMILY = Family("GPT-2 with separate heads", _recognises, _adapt)


def is_tuned(path: Path) -> bool:
    """Whether file, folder or Hub repository are named as the tuned models are: `…-sft`, or a file `finetune_…`."""
    path = path.absolute()
    names = [path.stem, path.parent.name, *(part for part in path.parts if part.startswith("models--"))]
    return path.name.lower().startswith("finetune") or any(re.search(r"[-_]sft(?![a-z])", name.lower()) for name in names)
