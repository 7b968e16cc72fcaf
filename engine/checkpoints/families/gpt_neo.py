"""GPT-Neo as the first TinyStories models use it (roneneldan/TinyStories-*, `GPTNeoForCausalLM`): separate projections, local layers.

Queries meet keys unscaled, and every other layer sees only the newest 256 tokens. Only the settings tell which layers these are and
how many heads there are. Source: `modeling_gpt_neo.py` of transformers. Knows no container and no tokenizer.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from engine.checkpoints.families.gpt_shape import (
    Sizes,
    activation_of,
    disagreements,
    drop_masks,
    end_ids_of,
    epsilon_of,
    expect_type,
    heads_of,
    layers_of,
    matrix,
    model_config,
    prefix_of,
    put,
    take_ends,
    take_linear,
    take_norm,
    tied_warnings,
    vocabulary_of,
    whole_number,
)
from engine.checkpoints.foreign import Adapted, Family, Taking, Weights, join
from engine.errors import CheckpointError
from engine.prompts import PromptStyle

if TYPE_CHECKING:
    from torch import Tensor

TRAINED_CONTEXT = 512
"""Tokens that the published models were trained on, though they have positions for 2,048 (Eldan and Li 2023, arXiv:2305.07759)."""
USUAL_HEADS = 16
USUAL_WINDOW = 256


def _recognises(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    return f"{prefix_of(shapes)}h.0.attn.attention.q_proj.weight" in shapes


def _adapt(weights: Weights) -> Adapted:
    expect_type(weights, "gpt_neo")
    taking, stem = Taking(weights), prefix_of(weights.tensors)
    state: dict[str, Tensor] = {}
    layers = layers_of(weights.tensors, f"{stem}h.")
    rows, width, context, tied, ignored = take_ends(weights, taking, state, stem)
    hidden = matrix(taking, f"{stem}h.0.mlp.c_fc.weight")[0]
    heads, warnings = heads_of(weights, width, USUAL_HEADS if width % USUAL_HEADS == 0 else None)
    for layer in range(layers):
        ours, theirs = f"blocks.{layer}", f"{stem}h.{layer}"
        attention = f"{theirs}.attn.attention"
        take_norm(taking, state, f"{ours}.attention_norm", f"{theirs}.ln_1", width)
        parts = [taking.take(f"{attention}.{name}_proj.weight", (width, width)).float() for name in "qkv"]
        put(state, f"{ours}.attention.qkv.weight", join(parts))
        take_linear(taking, state, f"{ours}.attention.out", f"{attention}.out_proj", width, width)
        take_norm(taking, state, f"{ours}.mlp_norm", f"{theirs}.ln_2", width)
        take_linear(taking, state, f"{ours}.mlp.up", f"{theirs}.mlp.c_fc", hidden, width)
        take_linear(taking, state, f"{ours}.mlp.down", f"{theirs}.mlp.c_proj", width, hidden)
    masks = [f"{stem}h.{layer}.attn.attention.{name}" for layer in range(layers) for name in ("bias", "masked_bias")]
    ignored += drop_masks(taking, masks)
    taking.finish()
    windows, silent = attention_windows(weights, layers, context)
    config = model_config(
        weights,
        Sizes(rows, width, layers, heads, context, hidden, tied),
        mlp=activation_of(weights, "gelu_tanh"),
        norm_eps=epsilon_of(weights),
        qkv_bias=False,
        attention_scale=1.0,
        windows=windows,
    )
    if context > TRAINED_CONTEXT:
        warnings += (
            f"The model has positions for {context:,} tokens, but the TinyStories models of its kind were trained on "
            f"{TRAINED_CONTEXT}; a text that grows longer gets worse.",
        )
    told = {"num_layers": layers, "hidden_size": width, "max_position_embeddings": context, "intermediate_size": hidden}
    return Adapted(
        FAMILY.name,
        config,
        state,
        vocabulary_of(rows),
        PromptStyle("instruct-fields" if is_instruct(weights.path) else "plain"),
        end_ids=end_ids_of(weights, rows),
        ignored=ignored,
        warnings=warnings + silent + disagreements(weights, told) + tied_warnings(weights, tied),
    )


FAMILY = Family("GPT-Neo (TinyStories)", _recognises, _adapt)


def attention_windows(weights: Weights, layers: int, context: int) -> tuple[tuple[int | None, ...], tuple[str, ...]]:
    """(the window of every layer, warnings), from `attention_layers` or `attention_types`; else global and local in turn.

    `attention_types` is [[kinds, times], …]. Where the two differ `attention_layers` counts, as it does in transformers. A window as
    long as the context is none. Raises `CheckpointError` where they name another kind, or are not as many as the layers.
    """
    window = whole_number(weights, "window_size") or USUAL_WINDOW
    named, grouped = weights.config.get("attention_layers"), weights.config.get("attention_types")
    spelled = _kinds_of_groups(grouped, layers)
    kinds, warnings = spelled if named is None else named, ()
    if named is None and grouped is None:
        kinds = [("global", "local")[layer % 2] for layer in range(layers)]
        warnings = (
            f"The file does not say which layers see the whole text; every other one is taken to see {window} tokens, as in the "
            "TinyStories models.",
        )
    if (
        not isinstance(kinds, list | tuple)
        or len(kinds) < layers
        or any(kind not in ("global", "local") for kind in kinds[:layers])
    ):
        raise CheckpointError(
            f"The config.json of {weights.path.name} does not say for each of the {layers} layers whether its attention is global or "
            "local."
        )
    kinds = list(kinds[:layers])
    if grouped is not None and spelled != kinds:
        warnings = ("The settings name the layers with local attention in two ways that differ; attention_layers was followed.",)
    return tuple(window if kind == "local" and window < context else None for kind in kinds), warnings


def _kinds_of_groups(groups: object, layers: int) -> list[object] | None:
    """`attention_types` written out; None where it is not made as it should be, or not for this many layers."""
    kinds: list[object] = []
    for group in groups if isinstance(groups, list | tuple) else ():
        if not isinstance(group, list | tuple) or len(group) != 2 or not isinstance(group[0], list | tuple):
            return None
        # A count is not believed before it is compared with the layers there are: it could ask for any amount of memory.
        if type(group[1]) is not int or not 0 <= group[1] <= layers or len(group[0]) * group[1] > layers - len(kinds):
            return None
        kinds.extend([*group[0]] * group[1])
    return kinds if len(kinds) == layers else None


def is_instruct(path: Path) -> bool:
    """Whether file, folder or Hub repository are named after the Instruct models; the Hub spells one of them `Instuct`."""
    path = path.absolute()
    names = [path.name, path.parent.name, *(part for part in path.parts if part.startswith("models--"))]
    return any("instruct" in name.lower() or "instuct" in name.lower() for name in names)
