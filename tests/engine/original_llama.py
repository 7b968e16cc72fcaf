"""Miniatures of the Llama-shaped story models under their original names, and their original maths written out from the formulas.

llama2.c turns pairs of neighbours as complex numbers; the other two turn halves (`rotate_half`), one of them half of each head only.
Shares no code with the engine.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

VOCAB, WIDTH, LAYERS, HEADS, HIDDEN, CONTEXT = 50, 32, 2, 4, 48, 64
LLAMA2C = {
    "dim": WIDTH,
    "n_layers": LAYERS,
    "n_heads": HEADS,
    "n_kv_heads": HEADS,
    "vocab_size": VOCAB,
    "multiple_of": 32,
    "norm_eps": 1e-5,
    "max_seq_len": CONTEXT,
    "dropout": 0.0,
}
HALF_ROTARY = {
    "model": {
        "vocab_size": VOCAB,
        "d_model": WIDTH,
        "n_layers": LAYERS,
        "n_heads": HEADS,
        "d_ffn": 40,  # the tensors say otherwise, as those of the published model do
        "max_seq_len": CONTEXT,
        "rope_percentage": 0.5,
        "rope_base": 10000,
        "rms_norm_eps": "1e-6",  # what YAML makes of 1e-6
        "tie_embeddings": True,
    },
    "training": {"batch_size": 64},
}
HUB = {
    "model_type": "llama",
    "hidden_size": WIDTH,
    "intermediate_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": HEADS,
    "max_position_embeddings": CONTEXT,
    "vocab_size": VOCAB,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

Parts = dict[str, str]
LLAMA2C_PARTS: Parts = {
    "attention_norm": "layers.{}.attention_norm.weight",
    "q": "layers.{}.attention.wq.weight",
    "k": "layers.{}.attention.wk.weight",
    "v": "layers.{}.attention.wv.weight",
    "o": "layers.{}.attention.wo.weight",
    "mlp_norm": "layers.{}.ffn_norm.weight",
    "gate": "layers.{}.feed_forward.w1.weight",
    "down": "layers.{}.feed_forward.w2.weight",
    "up": "layers.{}.feed_forward.w3.weight",
    "embedding": "tok_embeddings.weight",
    "norm": "norm.weight",
    "head": "output.weight",
}
HALF_ROTARY_PARTS: Parts = {
    "attention_norm": "blocks.{}.attn_norm.weight",
    "q": "blocks.{}.attention.q_proj.weight",
    "k": "blocks.{}.attention.k_proj.weight",
    "v": "blocks.{}.attention.v_proj.weight",
    "o": "blocks.{}.attention.o_proj.weight",
    "mlp_norm": "blocks.{}.ffn_norm.weight",
    "gate": "blocks.{}.ffn.w_gate.weight",
    "down": "blocks.{}.ffn.w_down.weight",
    "up": "blocks.{}.ffn.w_up.weight",
    "embedding": "token_embedding.weight",
    "norm": "final_norm.weight",
    "head": "lm_head.weight",
}
HUB_PARTS: Parts = {
    "attention_norm": "model.layers.{}.input_layernorm.weight",
    "q": "model.layers.{}.self_attn.q_proj.weight",
    "k": "model.layers.{}.self_attn.k_proj.weight",
    "v": "model.layers.{}.self_attn.v_proj.weight",
    "o": "model.layers.{}.self_attn.o_proj.weight",
    "mlp_norm": "model.layers.{}.post_attention_layernorm.weight",
    "gate": "model.layers.{}.mlp.gate_proj.weight",
    "down": "model.layers.{}.mlp.down_proj.weight",
    "up": "model.layers.{}.mlp.up_proj.weight",
    "embedding": "model.embed_tokens.weight",
    "norm": "model.norm.weight",
    "head": "lm_head.weight",
}


def tensors(parts: Parts, kv_heads: int = HEADS, tied: bool = True, width: int = WIDTH, heads: int = HEADS) -> dict[str, Tensor]:
    """Random weights under original names, large enough that choices are far apart; a tied matrix stands there twice."""
    source = torch.Generator().manual_seed(7)
    shared = kv_heads * width // heads
    shapes = {"q": (width, width), "k": (shared, width), "v": (shared, width), "o": (width, width)}
    shapes |= {"gate": (HIDDEN, width), "up": (HIDDEN, width), "down": (width, HIDDEN)}
    made = {
        parts[part].format(layer): torch.randn(shape, generator=source) * 0.2
        for layer in range(LAYERS)
        for part, shape in shapes.items()
    }
    norms = [parts["norm"], *(parts[part].format(i) for i in range(LAYERS) for part in ("attention_norm", "mlp_norm"))]
    made |= {name: 1 + torch.randn(width, generator=source) * 0.1 for name in norms}
    made[parts["embedding"]] = torch.randn(VOCAB, width, generator=source)
    made[parts["head"]] = made[parts["embedding"]] if tied else torch.randn(VOCAB, width, generator=source)
    return made


def turn_neighbours(x_TD: Tensor) -> Tensor:
    """llama2.c: dimensions 2i and 2i + 1 are a complex number that is multiplied by e^(i · position · 10000^(-2i/D))."""
    size = x_TD.shape[-1]
    angles = torch.outer(torch.arange(len(x_TD)).float(), 10000.0 ** (-torch.arange(0, size, 2).float() / size))
    turned = torch.view_as_complex(x_TD.reshape(len(x_TD), -1, 2).contiguous()) * torch.polar(torch.ones_like(angles), angles)
    return torch.view_as_real(turned).flatten(1)


def turn_halves(x_TD: Tensor, share: float = 1.0) -> Tensor:
    """x cos + rotate_half(x) sin on the first dimensions of a head; the others stay."""
    size = int(x_TD.shape[-1] * share)
    x, rest = x_TD[:, :size], x_TD[:, size:]
    angles = torch.outer(torch.arange(len(x)).float(), 10000.0 ** (-torch.arange(0, size, 2).float() / size))
    angles = torch.cat((angles, angles), dim=-1)
    across = torch.cat((-x[:, size // 2 :], x[:, : size // 2]), dim=-1)
    return torch.cat((x * angles.cos() + across * angles.sin(), rest), dim=-1)


def logits(
    parts: Parts, weights: dict[str, Tensor], ids: list[int], style: str, eps: float, heads: int = HEADS, share: float = 1.0
) -> Tensor:
    """Logits (T, vocab) of one text, a head at a time; `style` is neighbours or halves."""

    def norm(x: Tensor, weight: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weight

    def turn(x: Tensor) -> Tensor:
        return turn_neighbours(x) if style == "neighbours" else turn_halves(x, share)

    x = weights[parts["embedding"]][ids]
    size = x.shape[1] // heads
    hidden = torch.full((len(ids), len(ids)), float("-inf")).triu(1)
    for layer in range(LAYERS):
        w = {part: weights[name.format(layer)] for part, name in parts.items() if "{}" in name}
        kv_heads = len(w["k"]) // size
        h = norm(x, w["attention_norm"])
        q, k, v = h @ w["q"].T, h @ w["k"].T, h @ w["v"].T
        seen = []
        for head in range(heads):
            mine, its = slice(head * size, (head + 1) * size), head // (heads // kv_heads) * size
            scores = turn(q[:, mine]) @ turn(k[:, its : its + size]).T / math.sqrt(size) + hidden
            seen.append(scores.softmax(-1) @ v[:, its : its + size])
        x = x + torch.cat(seen, dim=-1) @ w["o"].T
        h = norm(x, w["mlp_norm"])
        gate = h @ w["gate"].T
        x = x + (gate * torch.sigmoid(gate) * (h @ w["up"].T)) @ w["down"].T
    return norm(x, weights[parts["norm"]]) @ weights[parts["head"]].T
