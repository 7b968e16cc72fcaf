"""`Phi3ForCausalLM`, for a Llama that turns only a share of each head's dimensions.

Queries, keys and values are one matrix there, gate and up another: the decoder's own, in its order. Phi-3 has no biases; windows,
dropouts and scaled positions stay off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.checkpoints.layout import llama
from engine.settings import ModelConfig

if TYPE_CHECKING:
    from torch import Tensor


def holds(config: ModelConfig) -> bool:
    """Whether this layout holds a model of this canonical shape."""
    return (
        llama.is_rotary(config)
        and 0.0 < config.rope_fraction < 1.0
        and not (config.qkv_bias or config.attention_out_bias or config.mlp_bias)
    )


def describe(config: ModelConfig) -> dict[str, Any]:
    """What `config.json` says of the shape; the share of a head stands twice, for older readers and newer ones."""
    share = {"partial_rotary_factor": config.rope_fraction, "rope_theta": config.rope_theta}
    return {
        "architectures": ["Phi3ForCausalLM"],
        **llama.sizes(config),
        **share,
        "rope_parameters": {"rope_type": "default", **share},
        "original_max_position_embeddings": config.context,
        "sliding_window": None,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attention_dropout": 0.0,
    }


def config_of(data: dict[str, Any]) -> ModelConfig:
    """The shape that a `config.json` describes."""
    share = float(data["rope_parameters"]["partial_rotary_factor"])
    if not 0.0 < share <= 1.0:
        raise ValueError(f"partial_rotary_factor is {share:g}")
    return llama.config_of(data, rope_fraction=share)


def to_hub(config: ModelConfig, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The decoder's state under this layout's names, without the head."""
    return {theirs: state[ours] for ours, theirs in _names(config)}


def from_hub(config: ModelConfig, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The opposite of `to_hub`."""
    return {ours: tensors[theirs] for ours, theirs in _names(config)}


def _names(config: ModelConfig) -> list[tuple[str, str]]:
    fused = [
        (f"blocks.{layer}.{ours}.weight", f"model.layers.{layer}.{theirs}.weight")
        for layer in range(config.layers)
        for ours, theirs in (("attention.qkv", "self_attn.qkv_proj"), ("mlp.up", "mlp.gate_up_proj"))
    ]
    return [*llama.plain_names(config), *fused]
