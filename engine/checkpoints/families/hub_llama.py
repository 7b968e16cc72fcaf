"""Llama models in the Hub's own layout (`LlamaForCausalLM`), such as the tinyllamas that were converted for transformers.

Their query and key rows are permuted, so that positions turn dimension i together with i + n/2. What the decoder has no switch
for (scaled rotary positions, another activation, another type of model with the same names) is refused. Knows names, no containers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from engine.checkpoints.families.llama_shape import PUBLISHED, Names, Told, build, matrix, positive, whole
from engine.checkpoints.foreign import Adapted, Family, Taking, Weights
from engine.errors import CheckpointError
from engine.prompts import PromptStyle

NAMES = Names(
    embedding="model.embed_tokens",
    head="lm_head",
    norm="model.norm",
    layer="model.layers",
    attention_norm="input_layernorm",
    query="self_attn.q_proj",
    key="self_attn.k_proj",
    value="self_attn.v_proj",
    out="self_attn.o_proj",
    mlp_norm="post_attention_layernorm",
    gate="mlp.gate_proj",
    up="mlp.up_proj",
    down="mlp.down_proj",
)
_BIASES = {"attention_bias": ("query", "key", "value", "out"), "mlp_bias": ("gate", "up", "down")}
"""Which matrices get a bias from which setting of `LlamaConfig`."""


def adapt(weights: Weights) -> Adapted:
    """A Llama of the Hub. Raises `CheckpointError`."""
    taking, config, file = Taking(weights), weights.config, weights.path.name
    rope = _rope(config, file)
    width = matrix(taking, f"{NAMES.of(0, 'query')}.weight")[1]
    published = (None, None) if config else PUBLISHED.get(width, (None, None))
    context = whole(weights, "max_position_embeddings") or published[1]
    if context is None:
        raise CheckpointError(f"Nothing says how long the context of {file} is; put its config.json beside it.")
    told = Told(
        heads=whole(weights, "num_attention_heads") or published[0],
        kv_heads=whole(weights, "num_key_value_heads"),
        head_dim=whole(weights, "head_dim"),
        context=context,
        layers=whole(weights, "num_hidden_layers"),
        tied=_switch(config, "tie_word_embeddings", file),
        biased=frozenset(_biased(config, taking, file)),
    )
    shape, state, warnings = build(
        weights,
        taking,
        NAMES,
        told,
        rope_style="half",
        rope_theta=positive(weights, positive(weights, 1e4, "rope_theta"), "rope_theta", rope),
        norm_eps=positive(weights, 1e-6 if config else 1e-5, "rms_norm_eps"),  # LlamaConfig's default, llama2.c's
    )
    if not config:
        warnings.append("There is no config.json beside it; the settings of the published tinyllamas were taken.")
    tables = [f"model.layers.{i}.self_attn.rotary_emb.inv_freq" for i in range(shape.layers)]
    ignored = taking.ignore([*tables, "model.rotary_emb.inv_freq"])
    taking.finish()
    begin = _ids(config.get("bos_token_id", 1), shape.vocab_size, file)
    ends = _ids(config.get("eos_token_id", 2), shape.vocab_size, file)
    return Adapted(
        family="Llama (Hub)",
        config=shape,
        state=state,
        vocabulary="llama",
        prompt_style=PromptStyle("plain"),
        end_ids=tuple(sorted({*begin, *ends})),  # tinyllamas write BOS where a story ends
        begin_id=begin[0] if begin else None,
        ignored=ignored,
        warnings=tuple(warnings),
    )


FAMILY = Family("Llama (Hub)", lambda shapes: "model.layers.0.self_attn.q_proj.weight" in shapes, adapt)


def _rope(config: Mapping[str, Any], file: str) -> Mapping[str, Any]:
    """The settings of rotary positions, after refusing what would compute something else than a plain Llama."""
    kind = config.get("model_type", "llama")
    if kind != "llama":
        raise CheckpointError(f"{file} is a model of type {str(kind)[:40]!r}, which cannot be read; only plain Llama can.")
    if config.get("hidden_act", "silu") not in ("silu", "swish"):
        raise CheckpointError(f"{file} has another activation than SiLU and cannot be read.")
    both = [config.get("rope_parameters") or {}, config.get("rope_scaling") or {}]
    if not all(isinstance(rope, dict) for rope in both):
        raise CheckpointError(f"The config of {file} describes its rotary positions in a way that makes no sense.")
    rope = {**both[1], **both[0]}
    scaled = rope.get("rope_type", rope.get("type", "default")) != "default"
    partial = any(part.get("partial_rotary_factor", 1.0) != 1.0 for part in (rope, config))
    if scaled or partial or config.get("sliding_window"):
        raise CheckpointError(f"{file} has scaled or partial rotary positions or a sliding window and cannot be read.")
    return rope


def _biased(config: Mapping[str, Any], taking: Taking, file: str) -> Iterable[str]:
    """Which matrices have a bias: what the config says, else what the file holds."""
    for key, parts in _BIASES.items():
        says = _switch(config, key, file)
        for part in parts:
            if says or (says is None and f"{NAMES.of(0, part)}.bias" in taking):
                yield part


def _switch(config: Mapping[str, Any], key: str, file: str) -> bool | None:
    value = config.get(key)
    if value is not None and not isinstance(value, bool):
        raise CheckpointError(f"The config of {file} gives {key} as {str(value)[:40]!r}, not as true or false.")
    return value


def _ids(value: Any, vocab_size: int, file: str) -> tuple[int, ...]:
    """Token ids of a setting that holds one, several or none; those that the model has rows for."""
    ids = () if value is None else value if isinstance(value, list) else (value,)
    if not all(type(id) is int for id in ids):
        raise CheckpointError(f"The config of {file} gives {str(value)[:40]!r} where the number of a token belongs.")
    return tuple(id for id in ids if 0 <= id < vocab_size)
