"""The tensors that a decoder of some shape has, told from the shape alone: no module is made, and nothing of torch is needed."""

from __future__ import annotations

from engine.settings import ModelConfig

Shapes = dict[str, tuple[int, ...]]


def decoder_shapes(config: ModelConfig) -> Shapes:
    """The shape of every tensor in `engine.model.Decoder(config).state_dict()`, by name."""
    width, size = config.width, config.dim_per_head
    up = config.hidden * (2 if config.mlp == "swiglu" else 1)
    shapes: Shapes = {"embedding.weight": (config.vocab_size, width)}
    if config.positions == "learned":
        shapes["position_embedding.weight"] = (config.context, width)
    shapes |= _norm("norm", config)
    for layer in range(config.layers):
        block = f"blocks.{layer}"
        shapes |= _norm(f"{block}.attention_norm", config)
        shapes |= _norm(f"{block}.mlp_norm", config)
        shapes |= _linear(f"{block}.attention.qkv", (config.heads + 2 * config.key_value_heads) * size, width, config.qkv_bias)
        shapes |= _linear(f"{block}.attention.out", width, config.heads * size, config.attention_out_bias)
        shapes |= _linear(f"{block}.mlp.up", up, width, config.mlp_bias)
        shapes |= _linear(f"{block}.mlp.down", width, config.hidden, config.mlp_bias)
    return shapes | _linear("head", config.vocab_size, width, config.head_bias)


def _linear(name: str, rows: int, columns: int, bias: bool) -> Shapes:
    return {f"{name}.weight": (rows, columns), **({f"{name}.bias": (rows,)} if bias else {})}


def _norm(name: str, config: ModelConfig) -> Shapes:
    bias = config.norm == "layernorm" and config.norm_bias
    return {f"{name}.weight": (config.width,), **({f"{name}.bias": (config.width,)} if bias else {})}
