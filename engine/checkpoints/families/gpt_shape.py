"""What the GPT-2-shaped families share: names and shapes, taking tensors under the decoder's names, and what settings may say.

Layers, widths and positions are read off the tensors; the settings are asked only for what no shape tells: heads, activation, epsilon.
Knows no container, no tokenizer, and no family.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from engine.checkpoints.foreign import Taking, Vocabulary, Weights, equal
from engine.errors import CheckpointError, UsageError
from engine.settings import ModelConfig

if TYPE_CHECKING:
    from torch import Tensor

Activation = Literal["gelu", "gelu_tanh"]
GPT2_TOKENS = 50_257
GPT2_MOST_ROWS = 51_200
"""Rows that a GPT-2 vocabulary is padded to at most: the next multiple of 1,024."""
USUAL_HEAD = 64
"""Dimensions a head in every size of GPT-2 (Radford et al. 2019), nanoGPT and the notebooks made from it."""
_ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_fast": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh",
}  # fmt: skip


def fused_shape(shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    """Shape of the first layer's fused projection, (d, 3d) on the Hub and (3d, d) in nanoGPT; () where there is none."""
    return shapes.get(f"{prefix_of(shapes)}h.0.attn.c_attn.weight", ())


# Names and shapes


def prefix_of(names: Iterable[str]) -> str:
    """`transformer.` where the blocks are called so, else nothing."""
    return "transformer." if any(name.startswith("transformer.") for name in names) else ""


def layers_of(names: Iterable[str], stem: str) -> int:
    """How many different layer numbers follow `stem`; a gap among them is found when the missing layer is taken."""
    number = re.compile(re.escape(stem) + r"(\d{1,6})\.")
    return len({int(found[1]) for name in names if (found := number.match(name))})


def matrix(taking: Taking, name: str) -> tuple[int, int]:
    """The shape of a tensor that must have two dimensions."""
    shape = taking.shape(name)
    if len(shape) != 2 or min(shape) < 1:
        raise CheckpointError(
            f"{name} has the shape {list(shape)}, where a matrix belongs; the file is damaged or no story model."
        )
    return shape[0], shape[1]


# Taking


def take_ends(
    weights: Weights, taking: Taking, state: dict[str, Tensor], stem: str, norm_bias: bool = True
) -> tuple[int, int, int, bool, tuple[str, ...]]:
    """Embeddings, last norm and head into `state`; gives (rows, width, positions, whether the head is tied, what was ignored).

    Of a pair that shares its memory safetensors keeps either name, so the embedding may stand there as `lm_head.weight` alone.
    """
    embedding, head = f"{stem}wte.weight", "lm_head.weight"
    alone = embedding not in taking and head in taking
    if weights.config.get("tie_word_embeddings") is False and (alone or head not in taking):
        lost = embedding if alone else head
        raise CheckpointError(
            f"{weights.path.name} has no {lost}, though its settings say that head and embedding are not shared."
        )
    rows, width = matrix(taking, head if alone else embedding)
    positions = matrix(taking, f"{stem}wpe.weight")[0]
    put(state, "embedding.weight", taking.take(head if alone else embedding, (rows, width)))
    put(state, "position_embedding.weight", taking.take(f"{stem}wpe.weight", (positions, width)))
    take_norm(taking, state, "norm", f"{stem}ln_f", width, norm_bias)
    tied, ignored = take_head(taking, state, head, rows, width)
    return rows, width, positions, tied, ignored


def take_head(taking: Taking, state: dict[str, Tensor], name: str, rows: int, width: int) -> tuple[bool, tuple[str, ...]]:
    """The head into `state`: whether it is the embedding, and the name of the copy that was ignored for it.

    A matrix that differs from the embedding is a head of its own, whatever the settings call it.
    """
    state["head.weight"] = state["embedding.weight"]
    if name not in taking:
        return True, ()
    head = taking.take(name, (rows, width)).float()
    if equal(head, state["embedding.weight"]):
        return True, (name,)
    put(state, "head.weight", head)
    return False, ()


def take_norm(taking: Taking, state: dict[str, Tensor], ours: str, theirs: str, width: int, bias: bool = True) -> None:
    """Weight and bias of a layer normalisation into `state`."""
    for part in ("weight", "bias") if bias else ("weight",):
        put(state, f"{ours}.{part}", taking.take(f"{theirs}.{part}", (width,)))


def take_linear(
    taking: Taking,
    state: dict[str, Tensor],
    ours: str,
    theirs: str,
    outs: int,
    ins: int,
    *,
    bias: bool = True,
    turned: bool = False,
) -> None:
    """A projection into `state` as (out, in), and its bias; `turned` where the file has (in, out)."""
    weight = taking.take(f"{theirs}.weight", (ins, outs) if turned else (outs, ins))
    put(state, f"{ours}.weight", weight.T if turned else weight)
    if bias:
        put(state, f"{ours}.bias", taking.take(f"{theirs}.bias", (outs,)))


@dataclass(frozen=True)
class Biases:
    """Which parts of a block have one; the same in every layer."""

    norm: bool = True
    qkv: bool = True
    out: bool = True
    mlp: bool = True


def take_fused_blocks(
    taking: Taking,
    state: dict[str, Tensor],
    stem: str,
    layers: int,
    width: int,
    hidden: int,
    *,
    norm: str = "ln_",
    biases: Biases = Biases(),
    turned: bool = False,
) -> None:
    """All blocks of GPT-2's own layout, `h.0.attn.c_attn` and so on, into `state`; `turned` where matrices are (in, out)."""
    for layer in range(layers):
        ours, theirs = f"blocks.{layer}", f"{stem}h.{layer}"
        take_norm(taking, state, f"{ours}.attention_norm", f"{theirs}.{norm}1", width, biases.norm)
        take_norm(taking, state, f"{ours}.mlp_norm", f"{theirs}.{norm}2", width, biases.norm)
        for part, name, outs, ins, bias in (
            ("attention.qkv", "attn.c_attn", 3 * width, width, biases.qkv),
            ("attention.out", "attn.c_proj", width, width, biases.out),
            ("mlp.up", "mlp.c_fc", hidden, width, biases.mlp),
            ("mlp.down", "mlp.c_proj", width, hidden, biases.mlp),
        ):
            take_linear(taking, state, f"{ours}.{part}", f"{theirs}.{name}", outs, ins, bias=bias, turned=turned)


def put(state: dict[str, Tensor], name: str, tensor: Tensor) -> None:
    """Into the decoder's state, in float32 and contiguous; what is so already stays mapped."""
    state[name] = tensor.detach().float().contiguous()


def drop_masks(taking: Taking, names: Iterable[str]) -> tuple[str, ...]:
    """Leave out those of `names` that have the shape of a mask (a square, or one number); others are left to be refused."""
    return taking.ignore(name for name in names if name in taking and _is_mask(taking.shape(name)))


def _is_mask(shape: tuple[int, ...]) -> bool:
    leading = shape[:-2] if len(shape) > 1 and shape[-1] == shape[-2] else shape
    return all(size == 1 for size in leading)


# Settings


def whole_number(weights: Weights, *keys: str) -> int | None:
    """The first of these settings that is there and not null; raises `CheckpointError` where it is no number above zero."""
    for key in keys:
        value = weights.config.get(key)
        if value is not None:
            if type(value) is not int or value < 1:
                raise CheckpointError(
                    f"The settings of {weights.path.name} say {key} is {shown(value)}, not a number above zero."
                )
            return value
    return None


def heads_of(weights: Weights, width: int, usual: int | None) -> tuple[int, tuple[str, ...]]:
    """(heads, warnings): from the settings, else `usual`; raises `CheckpointError` where neither can be."""
    heads = whole_number(weights, "n_head", "num_heads", "num_attention_heads", "n_heads")
    warnings: tuple[str, ...] = ()
    if heads is None:
        if usual is None:
            raise CheckpointError(
                f"{weights.path.name} does not say how many attention heads it has, and its width of {width} gives no hint: put a "
                'config.json with "n_head" beside it.'
            )
        heads = usual
        warnings = (
            f"The file does not say how many attention heads the model has; {heads} were assumed. If the stories make no sense, put "
            'a config.json with the right "n_head" beside it.',
        )
    if width % heads:
        raise CheckpointError(
            f"{weights.path.name} is {width} wide, which cannot be divided into the {heads} heads it should have."
        )
    return heads, warnings


def activation_of(weights: Weights, usual: Activation) -> Activation:
    """Exact GELU or its tanh approximation; any other is refused."""
    name = weights.config.get("activation_function")
    if name is None:
        return usual
    if not isinstance(name, str) or name not in _ACTIVATIONS:
        raise CheckpointError(
            f"{weights.path.name} uses the activation {shown(name)}; only GELU can be read in a model of its kind."
        )
    return _ACTIVATIONS[name]


def epsilon_of(weights: Weights) -> float:
    """What the layer normalisations add to the variance; 1e-5 where the settings are silent."""
    value = weights.config.get("layer_norm_epsilon", 1e-5)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise CheckpointError(f"The settings of {weights.path.name} say layer_norm_epsilon is {shown(value)}, which cannot be.")
    return float(value)


def expect_type(weights: Weights, kind: str) -> None:
    """Refuse settings of another kind of network than the tensors are of."""
    found = weights.config.get("model_type")
    if found is not None and found != kind:
        raise CheckpointError(
            f"{weights.path.name} has the tensors of a {kind} model, but its config.json says {shown(found)}: the two do not belong "
            "together."
        )


def disagreements(weights: Weights, found: Mapping[str, int]) -> tuple[str, ...]:
    """A warning for every setting that says another number than the tensors."""
    told = {key: weights.config.get(key) for key in found}
    return tuple(
        f"The settings say {key} is {shown(told[key])}, but the tensors say {value}; the tensors are believed."
        for key, value in found.items()
        if told[key] is not None and told[key] != value
    )


def tied_warnings(weights: Weights, tied: bool) -> tuple[str, ...]:
    """A warning where the settings call a head shared that the tensors show to be one of its own."""
    if tied or weights.config.get("tie_word_embeddings") is not True:
        return ()
    return ("The settings say that head and embedding are shared, but the file holds two different ones; both are used.",)


def end_ids_of(weights: Weights, rows: int) -> tuple[int, ...]:
    """End tokens that the settings name, those that the model has rows for; not the one that GPT-2's table has anyhow."""
    named = weights.config.get("eos_token_id")
    known = GPT2_TOKENS - 1 if vocabulary_of(rows) == "gpt2" else None
    ids = named if isinstance(named, list | tuple) else [named]
    return tuple(i for i in ids if type(i) is int and 0 <= i < rows and i != known)


def vocabulary_of(rows: int) -> Vocabulary:
    """GPT-2's own table for as many rows as it has tokens, or a few more that pad it; else the folder's `tokenizer.json`."""
    return "gpt2" if GPT2_TOKENS <= rows <= GPT2_MOST_ROWS else "tokenizer.json"


@dataclass(frozen=True)
class Sizes:
    """What the tensors of a model tell of its shape."""

    rows: int
    width: int
    layers: int
    heads: int
    context: int
    hidden: int
    tied: bool


def model_config(weights: Weights, sizes: Sizes, **switches: Any) -> ModelConfig:
    """The shape of the decoder; raises `CheckpointError` where it makes no sense."""
    try:
        return ModelConfig(
            vocab_size=sizes.rows,
            width=sizes.width,
            layers=sizes.layers,
            heads=sizes.heads,
            context=sizes.context,
            mlp_width=None if sizes.hidden == 4 * sizes.width else sizes.hidden,
            tied_head=sizes.tied,
            **switches,
        )
    except UsageError as error:
        raise CheckpointError(f"{weights.path.name} does not describe a model: {error}") from error


def shown(value: object) -> str:
    """A value from a file in a message: short and on one line."""
    return repr(value)[:40] if isinstance(value, str | int | float | bool | None) else f"a {type(value).__name__}"
