"""`GPTNeoForCausalLM`, the layout of the first TinyStories models: unscaled scores, and layers that see only the newest tokens.

Queries, keys and values are apart and have no bias; all local layers have the same window.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from engine.checkpoints.foreign import join
from engine.checkpoints.layout import gpt2
from engine.settings import ModelConfig

if TYPE_CHECKING:
    from torch import Tensor

USUAL_WINDOW = 256


def holds(config: ModelConfig) -> bool:
    """Whether this layout holds a model of this canonical shape."""
    return (
        gpt2.is_learned(config)
        and not config.qkv_bias
        and config.attention_scale == 1.0
        and len({size for size in config.windows if size}) <= 1
    )


def describe(config: ModelConfig) -> dict[str, Any]:
    """What `config.json` says of the shape."""
    windows = [config.window(layer) for layer in range(config.layers)]
    return {
        "architectures": ["GPTNeoForCausalLM"],
        "hidden_size": config.width,
        "intermediate_size": config.hidden,
        "num_layers": config.layers,
        "num_heads": config.heads,
        "max_position_embeddings": config.context,
        "attention_types": [[["local" if window else "global" for window in windows], 1]],
        "window_size": next((window for window in windows if window), USUAL_WINDOW),
        "activation_function": gpt2.ACTIVATIONS[config.mlp],
        "layer_norm_epsilon": config.norm_eps,
        "embed_dropout": config.dropout,
        "resid_dropout": config.dropout,
        "attention_dropout": 0.0,
    }


def config_of(data: dict[str, Any]) -> ModelConfig:
    """The shape that a `config.json` describes, as `describe` writes it: every layer's kind of attention in one group."""
    ((kinds, times),) = data["attention_types"]
    window, context = data["window_size"], data["max_position_embeddings"]
    if times != 1 or not set(kinds) <= {"global", "local"} or type(window) is not int or window < 1:
        raise ValueError("attention_types names other kinds of attention than global and local")
    width, hidden = data["hidden_size"], data["intermediate_size"]
    windows = tuple(window if kind == "local" and window < context else None for kind in kinds)
    return ModelConfig(
        vocab_size=data["vocab_size"],
        width=width,
        layers=data["num_layers"],
        heads=data["num_heads"],
        context=context,
        mlp=gpt2.activation_of(data),  # type: ignore[arg-type]
        mlp_width=None if hidden == 4 * width else hidden,
        norm_eps=float(data["layer_norm_epsilon"]),
        qkv_bias=False,
        tied_head=bool(data.get("tie_word_embeddings", True)),
        attention_scale=1.0,
        windows=windows if any(windows) else (),
    )


def _linear_names(config: ModelConfig) -> Iterator[tuple[str, str]]:
    for layer in range(config.layers):
        for part in ("weight", "bias"):
            for ours, theirs in (
                ("attention.out", "attn.attention.out_proj"),
                ("mlp.up", "mlp.c_fc"),
                ("mlp.down", "mlp.c_proj"),
            ):
                yield f"blocks.{layer}.{ours}.{part}", f"transformer.h.{layer}.{theirs}.{part}"


def _query_names(layer: int) -> list[str]:
    return [f"transformer.h.{layer}.attn.attention.{name}_proj.weight" for name in "qkv"]


def to_hub(config: ModelConfig, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The decoder's state under this layout's names, without the head."""
    out = {theirs: state[ours] for ours, theirs in (*gpt2.plain_names(config), *_linear_names(config))}
    for layer in range(config.layers):
        out |= zip(_query_names(layer), state[f"blocks.{layer}.attention.qkv.weight"].chunk(3), strict=True)
    return out


def from_hub(config: ModelConfig, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The opposite of `to_hub`."""
    state = {ours: tensors[theirs] for ours, theirs in (*gpt2.plain_names(config), *_linear_names(config))}
    for layer in range(config.layers):
        state[f"blocks.{layer}.attention.qkv.weight"] = join([tensors[name] for name in _query_names(layer)])
    return state
