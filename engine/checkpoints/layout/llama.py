"""`LlamaForCausalLM`: every dimension of a head is turned by halves; queries, keys and values apart, gate and up apart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from engine.checkpoints.foreign import join
from engine.errors import CheckpointError
from engine.settings import ModelConfig, llama_config

if TYPE_CHECKING:
    from torch import Tensor


def is_rotary(config: ModelConfig) -> bool:
    """What Llama and Phi-3 have in common: rotary positions, RMSNorm, SwiGLU, scaled scores, no windows."""
    return (
        (config.positions, config.rope_style, config.norm, config.mlp) == ("rope", "half", "rmsnorm", "swiglu")
        and config.attention_scale is None
        and not any(config.windows)
        and not config.head_bias
    )


def holds(config: ModelConfig) -> bool:
    """Whether this layout holds a model of this canonical shape."""
    return is_rotary(config) and config.rope_fraction == 1.0


def describe(config: ModelConfig) -> dict[str, Any]:
    """What `config.json` says of the shape."""
    return (
        {"architectures": ["LlamaForCausalLM"]}
        | sizes(config)
        | {
            "rope_theta": config.rope_theta,
            "attention_bias": config.qkv_bias,
            "mlp_bias": config.mlp_bias,
        }
    )


def sizes(config: ModelConfig) -> dict[str, Any]:
    """The settings that Llama and Phi-3 share."""
    return {
        "hidden_size": config.width,
        "intermediate_size": config.hidden,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.key_value_heads,
        "head_dim": config.dim_per_head,
        "hidden_act": "silu",
        "max_position_embeddings": config.context,
        "rms_norm_eps": config.norm_eps,
        "initializer_range": 0.02,
    }


def config_of(data: dict[str, Any], **changes: Any) -> ModelConfig:
    """The shape that a `config.json` describes."""
    rope = data.get("rope_parameters") or data.get("rope_scaling") or {}
    if data.get("hidden_act", "silu") != "silu" or rope.get("rope_type", "default") != "default":
        raise CheckpointError("A Llama with another activation than SiLU or with scaled rotary positions cannot be read.")
    width, heads = data["hidden_size"], data["num_attention_heads"]
    shared, size = data.get("num_key_value_heads"), data.get("head_dim")
    biased = bool(data.get("attention_bias", False))
    return llama_config(
        width,
        data["num_hidden_layers"],
        heads,
        data["max_position_embeddings"],
        data["vocab_size"],
        data["intermediate_size"],
        kv_heads=None if shared == heads else shared,
        head_dim=None if size is None or size * heads == width else size,
        rope_theta=float(rope.get("rope_theta", data.get("rope_theta", 10_000.0))),
        norm_eps=float(data["rms_norm_eps"]),
        tied_head=bool(data.get("tie_word_embeddings", False)),
        qkv_bias=biased,
        attention_out_bias=biased,
        mlp_bias=bool(data.get("mlp_bias", False)),
        **changes,
    )


_PLAIN = (
    ("attention_norm", "input_layernorm"),
    ("attention.out", "self_attn.o_proj"),
    ("mlp_norm", "post_attention_layernorm"),
    ("mlp.down", "mlp.down_proj"),
)
"""Parts of a block that are called otherwise and are otherwise the same."""


def plain_names(config: ModelConfig) -> Iterator[tuple[str, str]]:
    """(our name, theirs) of every tensor that Llama and Phi-3 hold as the decoder does."""
    yield "embedding.weight", "model.embed_tokens.weight"
    yield "norm.weight", "model.norm.weight"
    biased = {"attention.out": config.attention_out_bias, "mlp.down": config.mlp_bias}
    for layer in range(config.layers):
        for ours, theirs in _PLAIN:
            for part in ("weight", "bias") if biased.get(ours) else ("weight",):
                yield f"blocks.{layer}.{ours}.{part}", f"model.layers.{layer}.{theirs}.{part}"


def to_hub(config: ModelConfig, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The decoder's state under this layout's names, without the head."""
    q, kv = config.heads * config.dim_per_head, config.key_value_heads * config.dim_per_head
    out = {theirs: state[ours] for ours, theirs in plain_names(config)}
    for layer in range(config.layers):
        ours, theirs = f"blocks.{layer}", f"model.layers.{layer}"
        for part in ("weight", "bias") if config.qkv_bias else ("weight",):
            split = state[f"{ours}.attention.qkv.{part}"].split((q, kv, kv))
            out |= {f"{theirs}.self_attn.{n}_proj.{part}": tensor for n, tensor in zip("qkv", split, strict=True)}
        for part in ("weight", "bias") if config.mlp_bias else ("weight",):
            gate, up = state[f"{ours}.mlp.up.{part}"].chunk(2)
            out |= {f"{theirs}.mlp.gate_proj.{part}": gate, f"{theirs}.mlp.up_proj.{part}": up}
    return out


def from_hub(config: ModelConfig, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The opposite of `to_hub`."""
    state = {ours: tensors[theirs] for ours, theirs in plain_names(config)}
    for layer in range(config.layers):
        ours, theirs = f"blocks.{layer}", f"model.layers.{layer}"
        for part in ("weight", "bias") if config.qkv_bias else ("weight",):
            state[f"{ours}.attention.qkv.{part}"] = join([tensors[f"{theirs}.self_attn.{n}_proj.{part}"] for n in "qkv"])
        for part in ("weight", "bias") if config.mlp_bias else ("weight",):
            state[f"{ours}.mlp.up.{part}"] = join([tensors[f"{theirs}.mlp.{n}_proj.{part}"] for n in ("gate", "up")])
    return state
