"""Names and shapes: the Hub's Llama and GPT-2 layouts ↔ the one decoder's.

Our own checkpoints are written in the Hub's layout, so `transformers` opens them as they are. Each direction is a plain mapping
of tensors; fused matrices are split on the way out and joined on the way in. Raises `CheckpointError` for a model that neither
layout can express.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from engine.errors import CheckpointError
from engine.settings import ModelConfig, gpt2_config, llama_config

_NOT_EXPRESSIBLE = (
    "A model of this shape has no Hub layout (it is neither a plain Llama nor a plain GPT-2), so it cannot be saved."
)


def model_type(config: ModelConfig) -> str:
    """`llama` or `gpt2`, whichever layout holds this shape exactly."""
    plain = config.attention_scale is None and not any(config.windows) and not config.head_bias
    part_biases = (config.qkv_bias, config.attention_out_bias, config.mlp_bias)
    llama = (config.positions, config.rope_style, config.rope_fraction, config.norm, config.mlp) == (
        "rope",
        "half",
        1.0,
        "rmsnorm",
        "swiglu",
    )
    if plain and llama and not any(part_biases):
        return "llama"
    gpt2 = (config.positions, config.norm, config.norm_bias) == ("learned", "layernorm", True) and config.mlp != "swiglu"
    if plain and gpt2 and all(part_biases) and config.key_value_heads == config.heads and config.head_dim is None:
        return "gpt2"
    raise CheckpointError(_NOT_EXPRESSIBLE)


def hub_config(config: ModelConfig, end_id: int) -> dict[str, Any]:
    """The `config.json` with which `transformers` builds the same network, in float32."""
    common = {
        "bos_token_id": end_id,
        "eos_token_id": end_id,
        "tie_word_embeddings": config.tied_head,
        "vocab_size": config.vocab_size,
        "dtype": "float32",
    }
    if model_type(config) == "llama":
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": config.width,
            "intermediate_size": config.hidden,
            "num_hidden_layers": config.layers,
            "num_attention_heads": config.heads,
            "num_key_value_heads": config.key_value_heads,
            "head_dim": config.dim_per_head,
            "hidden_act": "silu",
            "max_position_embeddings": config.context,
            "rms_norm_eps": config.norm_eps,
            "rope_theta": config.rope_theta,
            "attention_bias": False,
            "mlp_bias": False,
            "initializer_range": 0.02,
            **common,
        }
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "n_embd": config.width,
        "n_inner": config.hidden,
        "n_layer": config.layers,
        "n_head": config.heads,
        "n_positions": config.context,
        "activation_function": "gelu" if config.mlp == "gelu" else "gelu_new",
        "layer_norm_epsilon": config.norm_eps,
        "embd_pdrop": config.dropout,
        "resid_pdrop": config.dropout,
        "attn_pdrop": 0.0,
        **common,
    }


def config_from_hub(data: dict[str, Any]) -> ModelConfig:
    """The decoder's shape from a `config.json` of type llama or gpt2; KeyError, TypeError or ValueError where it makes no sense."""
    kind = data.get("model_type")
    if kind == "llama":
        rope = data.get("rope_parameters") or data.get("rope_scaling") or {}
        if data.get("hidden_act", "silu") != "silu" or rope.get("rope_type", "default") != "default":
            raise CheckpointError("A Llama with another activation than SiLU or with scaled rotary positions cannot be read.")
        width, heads = data["hidden_size"], data["num_attention_heads"]
        shared, size = data.get("num_key_value_heads"), data.get("head_dim")
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
        )
    if kind == "gpt2":
        activation = {"gelu": "gelu", "gelu_new": "gelu_tanh"}[data.get("activation_function", "gelu_new")]
        return gpt2_config(
            data["n_embd"],
            data["n_layer"],
            data["n_head"],
            data["n_positions"],
            data["vocab_size"],
            mlp=activation,
            mlp_width=None if data.get("n_inner") == 4 * data["n_embd"] else data.get("n_inner"),
            norm_eps=float(data.get("layer_norm_epsilon", 1e-5)),
            tied_head=bool(data.get("tie_word_embeddings", True)),
        )
    raise CheckpointError(f"A network of type {kind!r} is not one that tinytales-tui writes (llama or gpt2).")


def hub_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor of the Hub layout and its shape: what a file must hold, no more and no less."""
    c, v, f, n = config.width, config.vocab_size, config.hidden, config.context
    q, kv = config.heads * config.dim_per_head, config.key_value_heads * config.dim_per_head
    shapes: dict[str, tuple[int, ...]] = {}
    if model_type(config) == "llama":
        shapes |= {"model.embed_tokens.weight": (v, c), "model.norm.weight": (c,)}
        for i in range(config.layers):
            layer = f"model.layers.{i}"
            shapes |= {
                f"{layer}.input_layernorm.weight": (c,),
                f"{layer}.self_attn.q_proj.weight": (q, c),
                f"{layer}.self_attn.k_proj.weight": (kv, c),
                f"{layer}.self_attn.v_proj.weight": (kv, c),
                f"{layer}.self_attn.o_proj.weight": (c, q),
                f"{layer}.post_attention_layernorm.weight": (c,),
                f"{layer}.mlp.gate_proj.weight": (f, c),
                f"{layer}.mlp.up_proj.weight": (f, c),
                f"{layer}.mlp.down_proj.weight": (c, f),
            }
    else:
        shapes |= {"transformer.wte.weight": (v, c), "transformer.wpe.weight": (n, c)}
        shapes |= {"transformer.ln_f.weight": (c,), "transformer.ln_f.bias": (c,)}
        for i in range(config.layers):
            layer = f"transformer.h.{i}"
            for name, ins, outs in (("attn.c_attn", c, 3 * c), ("attn.c_proj", c, c), ("mlp.c_fc", c, f), ("mlp.c_proj", f, c)):
                shapes |= {f"{layer}.{name}.weight": (ins, outs), f"{layer}.{name}.bias": (outs,)}
            for name in ("ln_1", "ln_2"):
                shapes |= {f"{layer}.{name}.weight": (c,), f"{layer}.{name}.bias": (c,)}
    if not config.tied_head:
        shapes["lm_head.weight"] = (v, c)
    return shapes


def to_hub(config: ModelConfig, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The decoder's state in the Hub's names and shapes; contiguous, the tied head left out."""
    out: dict[str, Tensor] = {}
    if model_type(config) == "llama":
        q, kv = config.heads * config.dim_per_head, config.key_value_heads * config.dim_per_head
        out["model.embed_tokens.weight"], out["model.norm.weight"] = state["embedding.weight"], state["norm.weight"]
        for i in range(config.layers):
            ours, theirs = f"blocks.{i}", f"model.layers.{i}"
            query, key, value = state[f"{ours}.attention.qkv.weight"].split((q, kv, kv))
            gate, up = state[f"{ours}.mlp.up.weight"].chunk(2)
            out |= {f"{theirs}.self_attn.{n}_proj.weight": t for n, t in zip("qkv", (query, key, value), strict=True)}
            out |= {f"{theirs}.mlp.gate_proj.weight": gate, f"{theirs}.mlp.up_proj.weight": up}
            out |= {f"{theirs}.{t}.weight": state[f"{ours}.{o}.weight"] for o, t in _LLAMA_PLAIN}
    else:
        out |= {"transformer.wte.weight": state["embedding.weight"], "transformer.wpe.weight": state["position_embedding.weight"]}
        out |= {f"transformer.ln_f.{part}": state[f"norm.{part}"] for part in ("weight", "bias")}
        _gpt2_blocks(config, lambda ours, theirs, turn: out.__setitem__(theirs, state[ours].T if turn else state[ours]))
    if not config.tied_head:
        out["lm_head.weight"] = state["head.weight"]
    return {name: tensor.detach().contiguous() for name, tensor in out.items()}


def from_hub(config: ModelConfig, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The decoder's state from tensors in the Hub's layout; the opposite of `to_hub`."""
    state: dict[str, Tensor] = {}
    if model_type(config) == "llama":
        state["embedding.weight"], state["norm.weight"] = tensors["model.embed_tokens.weight"], tensors["model.norm.weight"]
        for i in range(config.layers):
            ours, theirs = f"blocks.{i}", f"model.layers.{i}"
            state[f"{ours}.attention.qkv.weight"] = torch.cat([tensors[f"{theirs}.self_attn.{n}_proj.weight"] for n in "qkv"])
            state[f"{ours}.mlp.up.weight"] = torch.cat([tensors[f"{theirs}.mlp.{n}_proj.weight"] for n in ("gate", "up")])
            state |= {f"{ours}.{o}.weight": tensors[f"{theirs}.{t}.weight"] for o, t in _LLAMA_PLAIN}
    else:
        state |= {
            "embedding.weight": tensors["transformer.wte.weight"],
            "position_embedding.weight": tensors["transformer.wpe.weight"],
        }
        state |= {f"norm.{part}": tensors[f"transformer.ln_f.{part}"] for part in ("weight", "bias")}
        _gpt2_blocks(
            config,
            lambda ours, theirs, turn: state.__setitem__(ours, tensors[theirs].T.contiguous() if turn else tensors[theirs]),
        )
    state["head.weight"] = state["embedding.weight"] if config.tied_head else tensors["lm_head.weight"]
    return state


_LLAMA_PLAIN = (
    ("attention_norm", "input_layernorm"),
    ("attention.out", "self_attn.o_proj"),
    ("mlp_norm", "post_attention_layernorm"),
    ("mlp.down", "mlp.down_proj"),
)
_GPT2_PLAIN = (
    ("attention_norm", "ln_1", False),
    ("attention.qkv", "attn.c_attn", True),
    ("attention.out", "attn.c_proj", True),
    ("mlp_norm", "ln_2", False),
    ("mlp.up", "mlp.c_fc", True),
    ("mlp.down", "mlp.c_proj", True),
)


def _gpt2_blocks(config: ModelConfig, put: Callable[[str, str, bool], None]) -> None:
    """Call `put(our name, their name, transposed?)` for every tensor of every block; Conv1D keeps weights as (in, out)."""
    for i in range(config.layers):
        for ours, theirs, conv in _GPT2_PLAIN:
            for part in ("weight", "bias"):
                put(f"blocks.{i}.{ours}.{part}", f"transformer.h.{i}.{theirs}.{part}", conv and part == "weight")
