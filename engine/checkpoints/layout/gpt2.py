"""`GPT2LMHeadModel`: learned positions, every part with a bias, matrices kept as (in, out)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from engine.settings import ModelConfig, gpt2_config

if TYPE_CHECKING:
    from torch import Tensor

ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_new"}
"""The decoder's two kinds of GELU, as the Hub calls them."""


def is_learned(config: ModelConfig) -> bool:
    """What GPT-2 and GPT-Neo have in common, in canonical form: learned positions, LayerNorm, GELU, as many keys as queries."""
    return (
        (config.positions, config.norm, config.norm_bias) == ("learned", "layernorm", True)
        and config.mlp in ACTIVATIONS
        and config.attention_out_bias
        and config.mlp_bias
        and config.key_value_heads == config.heads
        and config.dim_per_head * config.heads == config.width
        and not config.head_bias
    )


def holds(config: ModelConfig) -> bool:
    """Whether this layout holds a model of this canonical shape."""
    return is_learned(config) and config.qkv_bias and not any(config.windows) and config.attention_scale in (None, 1.0)


def describe(config: ModelConfig) -> dict[str, Any]:
    """What `config.json` says of the shape."""
    unscaled = {"scale_attn_weights": False} if config.attention_scale is not None else {}
    return {
        "architectures": ["GPT2LMHeadModel"],
        "n_embd": config.width,
        "n_inner": config.hidden,
        "n_layer": config.layers,
        "n_head": config.heads,
        "n_positions": config.context,
        "activation_function": ACTIVATIONS[config.mlp],
        "layer_norm_epsilon": config.norm_eps,
        **unscaled,
        "embd_pdrop": config.dropout,
        "resid_pdrop": config.dropout,
        "attn_pdrop": 0.0,
    }


def config_of(data: dict[str, Any]) -> ModelConfig:
    """The shape that a `config.json` describes."""
    return gpt2_config(
        data["n_embd"],
        data["n_layer"],
        data["n_head"],
        data["n_positions"],
        data["vocab_size"],
        mlp=activation_of(data),
        mlp_width=None if data.get("n_inner") == 4 * data["n_embd"] else data.get("n_inner"),
        norm_eps=float(data.get("layer_norm_epsilon", 1e-5)),
        tied_head=bool(data.get("tie_word_embeddings", True)),
        attention_scale=None if data.get("scale_attn_weights", True) else 1.0,
    )


def activation_of(data: dict[str, Any]) -> str:
    """The decoder's word for the activation; KeyError for another than GELU."""
    return {theirs: ours for ours, theirs in ACTIVATIONS.items()}[data.get("activation_function", "gelu_new")]


def plain_names(config: ModelConfig) -> Iterator[tuple[str, str]]:
    """(our name, theirs) of every tensor that GPT-2 and GPT-Neo hold as the decoder does."""
    yield "embedding.weight", "transformer.wte.weight"
    yield "position_embedding.weight", "transformer.wpe.weight"
    for part in ("weight", "bias"):
        yield f"norm.{part}", f"transformer.ln_f.{part}"
        for layer in range(config.layers):
            yield f"blocks.{layer}.attention_norm.{part}", f"transformer.h.{layer}.ln_1.{part}"
            yield f"blocks.{layer}.mlp_norm.{part}", f"transformer.h.{layer}.ln_2.{part}"


_CONV = (("attention.qkv", "attn.c_attn"), ("attention.out", "attn.c_proj"), ("mlp.up", "mlp.c_fc"), ("mlp.down", "mlp.c_proj"))


def _conv_names(config: ModelConfig) -> Iterator[tuple[str, str]]:
    """(our name, theirs) of the parts that are Conv1D modules there, whose weights are kept as (in, out)."""
    for layer in range(config.layers):
        for ours, theirs in _CONV:
            yield f"blocks.{layer}.{ours}", f"transformer.h.{layer}.{theirs}"


def to_hub(config: ModelConfig, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The decoder's state under this layout's names, without the head."""
    out = {theirs: state[ours] for ours, theirs in plain_names(config)}
    for ours, theirs in _conv_names(config):
        out |= {f"{theirs}.weight": state[f"{ours}.weight"].T, f"{theirs}.bias": state[f"{ours}.bias"]}
    return out


def from_hub(config: ModelConfig, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The opposite of `to_hub`."""
    state = {ours: tensors[theirs] for ours, theirs in plain_names(config)}
    for ours, theirs in _conv_names(config):
        state |= {f"{ours}.weight": tensors[f"{theirs}.weight"].T.contiguous(), f"{ours}.bias": tensors[f"{theirs}.bias"]}
    return state
