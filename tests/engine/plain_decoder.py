"""The decoder's plain twin: the same formulas as `engine.model`, one position and one head at a time, with nothing fused or cached."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from engine.model import Decoder
from engine.settings import ModelConfig


def plain_logits(network: Decoder, ids: list[int]) -> Tensor:
    """Logits (T, vocab) in float64 for one text, by loops."""
    config, state = network.config, {name: tensor.double() for name, tensor in network.state_dict().items()}
    x = state["embedding.weight"][ids]
    if config.positions == "learned":
        x = x + state["position_embedding.weight"][: len(ids)]
    for layer in range(config.layers):
        block = {
            key.removeprefix(f"blocks.{layer}."): value for key, value in state.items() if key.startswith(f"blocks.{layer}.")
        }
        x = x + _attention(config, layer, block, _norm(config, x, block, "attention_norm"))
        x = x + _mlp(config, block, _norm(config, x, block, "mlp_norm"))
    x = _norm(config, x, state, "norm")
    logits = x @ state["head.weight"].T
    return logits + state["head.bias"] if config.head_bias else logits


def _norm(config: ModelConfig, x: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    if config.norm == "rmsnorm":
        return x / torch.sqrt((x * x).mean(-1, keepdim=True) + config.norm_eps) * state[f"{name}.weight"]
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / torch.sqrt((centred * centred).mean(-1, keepdim=True) + config.norm_eps) * state[f"{name}.weight"]
    return scaled + state[f"{name}.bias"] if config.norm_bias else scaled


def _linear(x: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    y = x @ state[f"{name}.weight"].T
    return y + state[f"{name}.bias"] if f"{name}.bias" in state else y


def _turn(config: ModelConfig, vector: Tensor, position: int) -> Tensor:
    size, out = config.rotary_dim, vector.clone()
    for pair in range(size // 2):
        angle = position / config.rope_theta ** (2 * pair / size)
        a, b = (pair, pair + size // 2) if config.rope_style == "half" else (2 * pair, 2 * pair + 1)
        out[a] = vector[a] * math.cos(angle) - vector[b] * math.sin(angle)
        out[b] = vector[b] * math.cos(angle) + vector[a] * math.sin(angle)
    return out


def _attention(config: ModelConfig, layer: int, state: dict[str, Tensor], x: Tensor) -> Tensor:
    heads, shared, size = config.heads, config.key_value_heads, config.dim_per_head
    qkv = _linear(x, state, "attention.qkv")
    reach = min(config.window(layer) or len(x), config.context if config.positions == "rope" else len(x))
    scale = config.attention_scale or 1 / math.sqrt(size)
    out = torch.zeros(len(x), heads * size, dtype=x.dtype)
    for head in range(heads):
        group = head // (heads // shared)
        q = qkv[:, head * size : (head + 1) * size]
        k = qkv[:, (heads + group) * size : (heads + group + 1) * size]
        v = qkv[:, (heads + shared + group) * size : (heads + shared + group + 1) * size]
        if config.positions == "rope":
            q = torch.stack([_turn(config, row, at) for at, row in enumerate(q)])
            k = torch.stack([_turn(config, row, at) for at, row in enumerate(k)])
        for at in range(len(x)):
            seen = range(max(0, at - reach + 1), at + 1)
            weights = torch.stack([q[at] @ k[other] * scale for other in seen]).softmax(0)
            out[at, head * size : (head + 1) * size] = sum(w * v[other] for w, other in zip(weights, seen, strict=True))
    return _linear(out, state, "attention.out")


def _mlp(config: ModelConfig, state: dict[str, Tensor], x: Tensor) -> Tensor:
    h = _linear(x, state, "mlp.up")
    if config.mlp == "swiglu":
        gate, up = h[:, : config.hidden], h[:, config.hidden :]
        h = gate / (1 + torch.exp(-gate)) * up
    elif config.mlp == "gelu":
        h = h * (1 + torch.erf(h / math.sqrt(2))) / 2
    else:
        h = h * (1 + torch.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3))) / 2
    return _linear(h, state, "mlp.down")
