"""The 24.5M story model with a vocabulary of 10,000 whose heads turn half of their dimensions (karthyick/tinystories-24.5m-…).

Its settings are the whole YAML file of its training, which names a smaller feed-forward part than the tensors have: they are
believed. Knows names, no containers.
"""

from __future__ import annotations

from engine.checkpoints.families.llama_shape import Names, Told, build, matrix, positive, whole
from engine.checkpoints.foreign import Adapted, Family, Taking, Weights
from engine.errors import CheckpointError
from engine.prompts import PromptStyle

NAMES = Names(
    embedding="token_embedding",
    head="lm_head",
    norm="final_norm",
    layer="blocks",
    attention_norm="attn_norm",
    query="attention.q_proj",
    key="attention.k_proj",
    value="attention.v_proj",
    out="attention.o_proj",
    mlp_norm="ffn_norm",
    gate="ffn.w_gate",
    up="ffn.w_up",
    down="ffn.w_down",
)
WIDTH, HEADS, CONTEXT = 448, 7, 512
"""Of the one model of this kind that was published."""
SKIPS = "This model was trained to predict the token after the next; its stories skip words."
ENDLESS = "This model never learnt where a story ends; it writes until its longest length is reached."


def adapt(weights: Weights) -> Adapted:
    """A model of this kind. Raises `CheckpointError`."""
    taking = Taking(weights)
    inner = weights.config.get("model")
    config = inner if isinstance(inner, dict) else weights.config
    width = matrix(taking, f"{NAMES.of(0, 'query')}.weight")[1]
    heads = whole(weights, "n_heads", within=config) or (HEADS if width == WIDTH else None)
    told = Told(
        heads, None, None, whole(weights, "max_seq_len", within=config) or CONTEXT, whole(weights, "n_layers", within=config)
    )
    share = positive(weights, 0.5, "rope_percentage", config)
    if share > 1.0:
        raise CheckpointError(f"The config of {weights.path.name} turns {share:g} times as many dimensions as a head has.")
    shape, state, warnings = build(
        weights,
        taking,
        NAMES,
        told,
        rope_style="half",
        rope_fraction=share,
        rope_theta=positive(weights, 1e4, "rope_base", config),
        norm_eps=positive(weights, 1e-6, "rms_norm_eps", config),
    )
    rope = [f"blocks.{i}.attention.rope.{part}" for i in range(shape.layers) for part in ("freqs_cos", "freqs_sin")]
    ignored = taking.ignore(rope)
    taking.finish()
    return Adapted(
        family="half-rotary Llama, 24.5M",
        config=shape,
        state=state,
        vocabulary="tokenizer.json",
        prompt_style=PromptStyle("plain"),
        ignored=ignored,
        warnings=(*warnings, SKIPS, ENDLESS),
    )


FAMILY = Family(
    "half-rotary Llama", lambda shapes: "token_embedding.weight" in shapes and "blocks.0.attn_norm.weight" in shapes, adapt
)
