"""The form of a model that the layouts hold: the same logits, from tensors that are ordered or filled up otherwise.

Rotary positions that turn neighbouring dimensions become such that turn halves, by reordering the rows of queries and keys; biases that
a layout always has and the model has not become zeros; a head's bias of zeros goes away. Knows no names of the Hub.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from engine.checkpoints.foreign import join
from engine.settings import ModelConfig

if TYPE_CHECKING:
    from torch import Tensor

_BIASES = {
    "qkv_bias": ("blocks.{}.attention.qkv",),
    "attention_out_bias": ("blocks.{}.attention.out",),
    "mlp_bias": ("blocks.{}.mlp.up", "blocks.{}.mlp.down"),
    "norm_bias": ("norm", "blocks.{}.attention_norm", "blocks.{}.mlp_norm"),
}
"""Which parts of the decoder have a bias with which switch."""


def canonical_config(config: ModelConfig) -> ModelConfig:
    """The shape that `canonical` gives, leaving a head's bias as it is."""
    if config.positions == "rope":
        attention = config.qkv_bias or config.attention_out_bias  # one switch in the Hub's Llama
        return dataclasses.replace(
            config,
            rope_style="half",
            norm_bias=config.norm == "layernorm" and config.norm_bias,
            qkv_bias=attention,
            attention_out_bias=attention,
            rope_fraction=1.0 if config.rotary_dim == config.dim_per_head else config.rope_fraction,
        )
    windows = tuple(size if size is not None and size < config.context else None for size in config.windows)
    neo = any(windows) or (config.attention_scale is not None and not config.qkv_bias)
    return dataclasses.replace(
        config,
        rope_style="half",
        rope_fraction=1.0,
        windows=windows if any(windows) else (),
        norm_bias=True,
        qkv_bias=config.qkv_bias or not neo,  # GPT-Neo has none; GPT-2 always
        attention_out_bias=True,
        mlp_bias=True,
    )


def canonical(config: ModelConfig, state: dict[str, Tensor]) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Shape and state of an equal model that a layout holds, if any does; what need not change is shared with what was given."""
    to, state = canonical_config(config), dict(state)
    for switch, parts in _BIASES.items():
        if getattr(to, switch) and not getattr(config, switch):
            for part in _each_layer(parts, config.layers):
                weight = state[f"{part}.weight"]
                state[f"{part}.bias"] = weight.new_zeros(weight.shape[0])
    if config.positions == "rope" and config.rope_style == "interleaved":
        for layer in range(config.layers):
            name = f"blocks.{layer}.attention.qkv"
            for part in ("weight", "bias") if config.qkv_bias else ("weight",):
                state[f"{name}.{part}"] = _turned_by_halves(config, state[f"{name}.{part}"])
    if config.head_bias and not state["head.bias"].any():
        del state["head.bias"]
        to = dataclasses.replace(to, head_bias=False)
    return to, state


def halves_to_neighbours(rows: Tensor, heads: int) -> Tensor:
    """Rows of queries or keys, (heads × dim, …), for rotations of (2i, 2i + 1) from those for rotations of (i, i + dim/2)."""
    return rows.unflatten(0, (heads, 2, -1)).transpose(1, 2).reshape(rows.shape)


def neighbours_to_halves(rows: Tensor, heads: int, turned: int) -> Tensor:
    """The opposite, where of each head the first `turned` dimensions are turned at all."""
    import torch  # here alone, so that shapes can be told without it

    each = rows.unflatten(0, (heads, -1))
    return torch.cat((each[:, 0:turned:2], each[:, 1:turned:2], each[:, turned:]), dim=1).reshape(rows.shape)


def _turned_by_halves(config: ModelConfig, qkv: Tensor) -> Tensor:
    size, shared = config.dim_per_head, config.key_value_heads
    query, key, value = qkv.split((config.heads * size, shared * size, shared * size))
    turned = config.rotary_dim
    return join((neighbours_to_halves(query, config.heads, turned), neighbours_to_halves(key, shared, turned), value))


def _each_layer(parts: tuple[str, ...], layers: int) -> list[str]:
    return [name for part in parts for name in ([part] if "{}" not in part else [part.format(i) for i in range(layers)])]
