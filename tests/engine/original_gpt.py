"""Miniatures of the GPT-2-shaped families in their ORIGINAL names, with a literal re-implementation of their ORIGINAL maths.

Each `…_tensors` writes what the program of that family would have saved; each `…_logits` computes (T, vocab) for one text in the
file's own layout: a loop over layers, over heads, over positions. Nothing here knows the one decoder.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

ROWS, WIDTH, LAYERS, HEADS, CONTEXT, HIDDEN = 67, 32, 2, 4, 20, 48
Tensors = dict[str, Tensor]


def numbers(*shape: int, seed: int, around: float = 0.0) -> Tensor:
    return around + 0.25 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def filled(shapes: dict[str, tuple[int, ...]], seed: int) -> Tensors:
    """Random numbers of these shapes; norms around one."""
    return {
        name: numbers(*shape, seed=seed * 1000 + at, around=float("weight" in name and len(shape) == 1))
        for at, (name, shape) in enumerate(shapes.items())
    }


# One small linear layer a head (0rn0/gpt2-*-tinystories)


def per_head_tensors(seed: int = 1, bias: bool = True) -> Tensors:
    size = WIDTH // HEADS
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.token_embedding.weight": (ROWS, WIDTH),
        "embeddings.pos_embedding.weight": (CONTEXT, WIDTH),
    }
    for i in range(LAYERS):
        for head in range(HEADS):
            for name in "qkv":
                shapes[f"blocks.{i}.mha.heads.{head}.{name}.weight"] = (size, WIDTH)
                shapes |= {f"blocks.{i}.mha.heads.{head}.{name}.bias": (size,)} if bias else {}
        shapes |= {f"blocks.{i}.mha.out_proj.weight": (WIDTH, WIDTH), f"blocks.{i}.mha.out_proj.bias": (WIDTH,)}
        for norm in ("layer_norm1", "layer_norm2"):
            shapes |= {f"blocks.{i}.{norm}.weight": (WIDTH,), f"blocks.{i}.{norm}.bias": (WIDTH,)}
        shapes |= {
            f"blocks.{i}.feed_forward.layers.0.weight": (HIDDEN, WIDTH),
            f"blocks.{i}.feed_forward.layers.0.bias": (HIDDEN,),
            f"blocks.{i}.feed_forward.layers.2.weight": (WIDTH, HIDDEN),
            f"blocks.{i}.feed_forward.layers.2.bias": (WIDTH,),
        }
    shapes |= {"layer_norm.weight": (WIDTH,), "layer_norm.bias": (WIDTH,)}
    shapes |= {"output_layer.weight": (ROWS, WIDTH), "output_layer.bias": (ROWS,)}
    tensors = filled(shapes, seed)
    for i in range(LAYERS):
        for head in range(HEADS):
            tensors[f"blocks.{i}.mha.heads.{head}.mask"] = torch.tril(torch.ones(CONTEXT, CONTEXT))
    return tensors


def per_head_logits(t: Tensors, ids: list[int]) -> Tensor:
    length = len(ids)
    x = t["embeddings.token_embedding.weight"][ids] + t["embeddings.pos_embedding.weight"][:length]
    for i in range(LAYERS):
        normed = _norm(t, x, f"blocks.{i}.layer_norm1")
        contexts = []
        for head in range(HEADS):
            here = f"blocks.{i}.mha.heads.{head}"
            q, k, v = (_linear(t, normed, f"{here}.{name}") for name in "qkv")
            scores = q @ k.T / math.sqrt(WIDTH // HEADS)
            scores = scores.masked_fill(t[f"{here}.mask"][:length, :length] == 0, -math.inf)
            contexts.append(scores.softmax(-1) @ v)
        x = x + _linear(t, torch.cat(contexts, dim=-1), f"blocks.{i}.mha.out_proj")
        hidden = _exact_gelu(_linear(t, _norm(t, x, f"blocks.{i}.layer_norm2"), f"blocks.{i}.feed_forward.layers.0"))
        x = x + _linear(t, hidden, f"blocks.{i}.feed_forward.layers.2")
    return _linear(t, _norm(t, x, "layer_norm"), "output_layer")


# nanoGPT and its notebooks


def nanogpt_tensors(seed: int = 2, *, bias: bool = True, norm: str = "ln_", mask: bool = False, width: int = WIDTH) -> Tensors:
    shapes: dict[str, tuple[int, ...]] = {"transformer.wte.weight": (ROWS, width), "transformer.wpe.weight": (CONTEXT, width)}
    for i in range(LAYERS):
        layer = f"transformer.h.{i}"
        shapes |= {
            f"{layer}.{norm}1.weight": (width,),
            f"{layer}.{norm}1.bias": (width,),
            f"{layer}.attn.c_attn.weight": (3 * width, width),
            f"{layer}.attn.c_attn.bias": (3 * width,),
            f"{layer}.attn.c_proj.weight": (width, width),
            f"{layer}.attn.c_proj.bias": (width,),
            f"{layer}.{norm}2.weight": (width,),
            f"{layer}.{norm}2.bias": (width,),
            f"{layer}.mlp.c_fc.weight": (4 * width, width),
            f"{layer}.mlp.c_fc.bias": (4 * width,),
            f"{layer}.mlp.c_proj.weight": (width, 4 * width),
            f"{layer}.mlp.c_proj.bias": (width,),
        }
    shapes |= {"transformer.ln_f.weight": (width,), "transformer.ln_f.bias": (width,)}
    tensors = filled(shapes, seed)
    if not bias:
        tensors = {name: tensor for name, tensor in tensors.items() if not name.endswith(".bias")}
    if mask:
        for i in range(LAYERS):
            tensors[f"transformer.h.{i}.attn.bias"] = torch.tril(torch.ones(CONTEXT, CONTEXT)).view(1, 1, CONTEXT, CONTEXT)
    tensors["lm_head.weight"] = tensors["transformer.wte.weight"]
    return tensors


def nanogpt_logits(t: Tensors, ids: list[int], heads: int = HEADS, norm: str = "ln_") -> Tensor:
    width = t["transformer.wte.weight"].shape[1]
    x = t["transformer.wte.weight"][ids] + t["transformer.wpe.weight"][: len(ids)]
    for i in range(LAYERS):
        layer = f"transformer.h.{i}"
        q, k, v = _linear(t, _norm(t, x, f"{layer}.{norm}1"), f"{layer}.attn.c_attn").split(width, dim=-1)
        y = _by_positions(q, k, v, heads, 1 / math.sqrt(width // heads), None)
        x = x + _linear(t, y, f"{layer}.attn.c_proj")
        hidden = _exact_gelu(_linear(t, _norm(t, x, f"{layer}.{norm}2"), f"{layer}.mlp.c_fc"))
        x = x + _linear(t, hidden, f"{layer}.mlp.c_proj")
    return _norm(t, x, "transformer.ln_f") @ t["lm_head.weight"].T


# GPT-Neo (roneneldan/TinyStories-*)


def neo_config(window: int = 5) -> dict[str, object]:
    return {
        "model_type": "gpt_neo",
        "num_layers": LAYERS,
        "num_heads": HEADS,
        "hidden_size": WIDTH,
        "intermediate_size": None,
        "max_position_embeddings": CONTEXT,
        "window_size": window,
        "attention_types": [[["global", "local"], LAYERS // 2]],
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "vocab_size": ROWS,
    }


def neo_tensors(seed: int = 3, masks: bool = True) -> Tensors:
    shapes: dict[str, tuple[int, ...]] = {"transformer.wte.weight": (ROWS, WIDTH), "transformer.wpe.weight": (CONTEXT, WIDTH)}
    for i in range(LAYERS):
        layer = f"transformer.h.{i}"
        shapes |= {f"{layer}.attn.attention.{name}_proj.weight": (WIDTH, WIDTH) for name in ("q", "k", "v", "out")}
        shapes[f"{layer}.attn.attention.out_proj.bias"] = (WIDTH,)
        for norm in ("ln_1", "ln_2"):
            shapes |= {f"{layer}.{norm}.weight": (WIDTH,), f"{layer}.{norm}.bias": (WIDTH,)}
        shapes |= {f"{layer}.mlp.c_fc.weight": (4 * WIDTH, WIDTH), f"{layer}.mlp.c_fc.bias": (4 * WIDTH,)}
        shapes |= {f"{layer}.mlp.c_proj.weight": (WIDTH, 4 * WIDTH), f"{layer}.mlp.c_proj.bias": (WIDTH,)}
    shapes |= {"transformer.ln_f.weight": (WIDTH,), "transformer.ln_f.bias": (WIDTH,)}
    tensors = filled(shapes, seed)
    if masks:
        for i in range(LAYERS):
            square = torch.tril(torch.ones(CONTEXT, CONTEXT, dtype=torch.uint8)).view(1, 1, CONTEXT, CONTEXT)
            tensors[f"transformer.h.{i}.attn.attention.bias"] = square
            tensors[f"transformer.h.{i}.attn.attention.masked_bias"] = torch.tensor(-1e9)
        tensors["lm_head.weight"] = tensors["transformer.wte.weight"].clone()
    return tensors


def neo_logits(t: Tensors, ids: list[int], window: int = 5) -> Tensor:
    x = t["transformer.wte.weight"][ids] + t["transformer.wpe.weight"][: len(ids)]
    for i in range(LAYERS):
        layer = f"transformer.h.{i}"
        normed = _norm(t, x, f"{layer}.ln_1")
        q, k, v = (_linear(t, normed, f"{layer}.attn.attention.{name}_proj") for name in "qkv")
        y = _by_positions(q, k, v, HEADS, 1.0, window if i % 2 else None)
        x = x + _linear(t, y, f"{layer}.attn.attention.out_proj")
        hidden = _tanh_gelu(_linear(t, _norm(t, x, f"{layer}.ln_2"), f"{layer}.mlp.c_fc"))
        x = x + _linear(t, hidden, f"{layer}.mlp.c_proj")
    return _norm(t, x, "transformer.ln_f") @ t.get("lm_head.weight", t["transformer.wte.weight"]).T


# GPT-2 on the Hub


def hub_config() -> dict[str, object]:
    return {"model_type": "gpt2", "n_layer": LAYERS, "n_head": HEADS, "n_embd": WIDTH, "n_positions": CONTEXT, "n_inner": None}


def hub_tensors(seed: int = 4, stem: str = "transformer.", masks: bool = True) -> Tensors:
    linear = nanogpt_tensors(seed)
    tensors = {
        name.replace("transformer.", stem): (tensor.T.contiguous() if ".c_" in name and tensor.dim() == 2 else tensor)
        for name, tensor in linear.items()
        if name != "lm_head.weight"
    }
    if masks:
        for i in range(LAYERS):
            tensors[f"{stem}h.{i}.attn.bias"] = torch.tril(torch.ones(CONTEXT, CONTEXT)).view(1, 1, CONTEXT, CONTEXT)
            tensors[f"{stem}h.{i}.attn.masked_bias"] = torch.tensor(-1e4)
    return tensors


def hub_logits(t: Tensors, ids: list[int], stem: str = "transformer.") -> Tensor:
    def conv(x: Tensor, name: str) -> Tensor:
        return x @ t[f"{name}.weight"] + t[f"{name}.bias"]

    x = t[f"{stem}wte.weight"][ids] + t[f"{stem}wpe.weight"][: len(ids)]
    for i in range(LAYERS):
        layer = f"{stem}h.{i}"
        q, k, v = conv(_norm(t, x, f"{layer}.ln_1"), f"{layer}.attn.c_attn").split(WIDTH, dim=-1)
        x = x + conv(_by_positions(q, k, v, HEADS, 1 / math.sqrt(WIDTH // HEADS), None), f"{layer}.attn.c_proj")
        x = x + conv(_tanh_gelu(conv(_norm(t, x, f"{layer}.ln_2"), f"{layer}.mlp.c_fc")), f"{layer}.mlp.c_proj")
    return _norm(t, x, f"{stem}ln_f") @ t.get("lm_head.weight", t[f"{stem}wte.weight"]).T


# The design that is refused


def inverted_tensors(seed: int = 5) -> Tensors:
    shapes: dict[str, tuple[int, ...]] = {
        "token_embedding_table.weight": (ROWS, WIDTH),
        "position_embedding_table.weight": (CONTEXT, WIDTH),
        "blocks.0.sa.mha.in_proj_weight": (3 * WIDTH, WIDTH),
        "blocks.0.sa.mha.out_proj.weight": (WIDTH, WIDTH),
        "blocks.0.sa.proj.weight": (WIDTH, WIDTH),
        "blocks.0.ff.net.0.weight": (4 * WIDTH, WIDTH),
        "blocks.0.ff.net.2.weight": (WIDTH, 4 * WIDTH),
        "lm_head.weight": (ROWS, WIDTH),
    }
    return filled(shapes, seed) | {"blocks.0.sa.mask": torch.tril(torch.ones(CONTEXT, CONTEXT)).bool()}


# The same two kinds as transformers makes them


def with_numbers(model: Any, seed: int) -> Any:
    """A model of transformers with every parameter away from its first value."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.25)
    return model.eval()


def from_transformers(name: str) -> Any:
    """A miniature of a class of transformers, GPT-Neo or GPT-2; the test is skipped where there is no transformers."""
    transformers = pytest.importorskip("transformers")
    common: dict[str, Any] = {"vocab_size": ROWS, "eos_token_id": 0, "bos_token_id": 0}
    if name.startswith("GPTNeo"):
        config = transformers.GPTNeoConfig(
            hidden_size=32, num_layers=3, num_heads=4, max_position_embeddings=20, window_size=5,
            attention_types=[[["global", "local"], 1], [["local"], 1]], **common,
        )  # fmt: skip
    else:
        config = transformers.GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=20, n_inner=48, **common)
    return with_numbers(getattr(transformers, name)(config), 7)


# Maths


def _linear(t: Tensors, x: Tensor, name: str) -> Tensor:
    y = x @ t[f"{name}.weight"].T
    return y + t[f"{name}.bias"] if f"{name}.bias" in t else y


def _norm(t: Tensors, x: Tensor, name: str) -> Tensor:
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    y = (x - mean) / torch.sqrt(variance + 1e-5) * t[f"{name}.weight"]
    return y + t[f"{name}.bias"] if f"{name}.bias" in t else y


def _exact_gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def _tanh_gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def _by_positions(q: Tensor, k: Tensor, v: Tensor, heads: int, scale: float, window: int | None) -> Tensor:
    """Causal attention, one head and one position at a time; key j is seen from i where i - window < j <= i."""
    size, out = q.shape[1] // heads, torch.zeros_like(q)
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        for i in range(len(q)):
            seen = [j for j in range(i + 1) if window is None or j > i - window]
            out[i, part] = torch.softmax(k[seen, part] @ q[i, part] * scale, 0) @ v[seen, part]
    return out


Miniature = tuple[Callable[[], Tensors], dict[str, Any], Callable[[Tensors, list[int]], Tensor]]
"""What was saved, the settings beside it, and the original maths."""
_HEADS = {"n_head": HEADS}
MINIATURES: dict[str, Miniature] = {
    "separate heads": (per_head_tensors, {}, per_head_logits),
    "separate heads without biases": (lambda: per_head_tensors(bias=False), {}, per_head_logits),
    "nanoGPT": (nanogpt_tensors, _HEADS, nanogpt_logits),
    "nanoGPT without biases": (lambda: nanogpt_tensors(bias=False), _HEADS, nanogpt_logits),
    "notebook": (lambda: nanogpt_tensors(norm="ln", mask=True), _HEADS, lambda t, ids: nanogpt_logits(t, ids, norm="ln")),
    "GPT-Neo": (neo_tensors, neo_config(), neo_logits),
    "GPT-Neo without masks": (lambda: neo_tensors(masks=False), neo_config(3), lambda t, ids: neo_logits(t, ids, 3)),
    "Hub": (hub_tensors, hub_config(), hub_logits),
    "Hub without prefix": (lambda: hub_tensors(stem="", masks=False), hub_config(), lambda t, ids: hub_logits(t, ids, "")),
}
