"""What the Llama-shaped families share: their parts by name, and building the decoder's state from them.

Sizes come from the tensors; only the number of heads cannot be seen in them and comes from the config, from a stored table of rotations,
or from the sizes that were published. Knows no container, no tokenizer, and no family.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.checkpoints.foreign import Taking, Weights, equal, join
from engine.errors import CheckpointError, UsageError
from engine.settings import ModelConfig, llama_config

if TYPE_CHECKING:
    from torch import Tensor

PUBLISHED = {64: (8, 512), 288: (6, 256), 512: (8, 1024), 768: (12, 1024)}
"""Heads and context by width: stories260K, 15M, 42M and 110M of the tinyllamas (llama2.c's README)."""


@dataclass(frozen=True)
class Names:
    """What a family calls the tensors of a Llama, without `.weight`; those of a layer follow `layer` and its number."""

    embedding: str
    head: str
    norm: str
    layer: str
    attention_norm: str
    query: str
    key: str
    value: str
    out: str
    mlp_norm: str
    gate: str
    up: str
    down: str

    def of(self, layer: int, part: str) -> str:
        return f"{self.layer}.{layer}.{getattr(self, part)}"


@dataclass(frozen=True)
class Told:
    """What the config of a family says of a model's shape; None where it says nothing."""

    heads: int | None
    kv_heads: int | None
    head_dim: int | None
    context: int
    layers: int | None
    tied: bool | None = None
    biased: Set[str] = frozenset()
    """Fields of `Names` whose matrices have a bias."""


def build(
    weights: Weights, taking: Taking, names: Names, told: Told, **switches: Any
) -> tuple[ModelConfig, dict[str, Tensor], list[str]]:
    """Shape, state under the decoder's names in float32, and warnings, of a model with a Llama's parts; raises `CheckpointError`."""
    file, warnings = weights.path.name, list[str]()
    embedding, head, tied = _ends(file, taking, names, told.tied, warnings)
    vocab_size, width = embedding.shape
    layers = _layers(weights, names)
    if told.layers and layers < told.layers:
        raise CheckpointError(f"{file} holds {layers} of the {told.layers} layers of its config; it is only a part of the model.")
    query_rows = matrix(taking, f"{names.of(0, 'query')}.weight")[0]
    key_rows = matrix(taking, f"{names.of(0, 'key')}.weight")[0]
    hidden = matrix(taking, f"{names.of(0, 'gate')}.weight")[0]
    heads, kv_heads, size = _heads(file, told, query_rows, key_rows, width)
    try:
        config = llama_config(
            width,
            layers,
            heads,
            told.context,
            vocab_size,
            hidden,
            kv_heads=None if kv_heads == heads else kv_heads,
            head_dim=None if size * heads == width else size,
            tied_head=tied,
            qkv_bias="query" in told.biased,
            attention_out_bias="out" in told.biased,
            mlp_bias="up" in told.biased,
            **switches,
        )
    except UsageError as error:
        raise CheckpointError(f"{file} does not hold a model that makes sense: {error}") from error
    state = {
        "embedding.weight": embedding,
        "head.weight": head,
        "norm.weight": taking.take(f"{names.norm}.weight", (width,)).float(),
    }
    shapes = {
        "query": (query_rows, width),
        "key": (key_rows, width),
        "value": (key_rows, width),
        "out": (width, query_rows),
        "gate": (hidden, width),
        "up": (hidden, width),
        "down": (width, hidden),
        "attention_norm": (width,),
        "mlp_norm": (width,),
    }
    for layer in range(layers):
        for ours, parts in _PARTS.items():
            weight = [taking.take(f"{names.of(layer, part)}.weight", shapes[part]).float() for part in parts]
            state[f"blocks.{layer}.{ours}.weight"] = join(weight) if len(weight) > 1 else weight[0].contiguous()
            if parts[0] in told.biased:
                bias = [taking.take(f"{names.of(layer, part)}.bias", shapes[part][:1]).float() for part in parts]
                state[f"blocks.{layer}.{ours}.bias"] = join(bias)
    return config, state, warnings


_PARTS = {
    "attention_norm": ("attention_norm",),
    "attention.qkv": ("query", "key", "value"),
    "attention.out": ("out",),
    "mlp_norm": ("mlp_norm",),
    "mlp.up": ("gate", "up"),
    "mlp.down": ("down",),
}
"""The decoder's matrices, and which of a family's make each up, in this order."""


def _ends(file: str, taking: Taking, names: Names, says: bool | None, warnings: list[str]) -> tuple[Tensor, Tensor, bool]:
    """Embedding, head, and whether they are one matrix, of which a file may hold one copy or two."""
    there = [name for name in (f"{names.embedding}.weight", f"{names.head}.weight") if name in taking]
    if not there or (len(there) == 1 and says is False):
        missing = f"{names.embedding if f'{names.embedding}.weight' not in there else names.head}.weight"
        raise CheckpointError(f"{file} has no {missing}, which a model of its kind needs.")
    shape = matrix(taking, there[0])
    found = [taking.take(name, shape).float().contiguous() for name in there]
    if len(found) == 1 or equal(*found):
        return found[0], found[0], True
    if says:
        warnings.append("Its config calls the output head tied, but the file holds another matrix for it, and that one is used.")
    return found[0], found[1], False


def _heads(file: str, told: Told, query_rows: int, key_rows: int, width: int) -> tuple[int, int, int]:
    """Query heads, key/value heads and dimensions a head."""
    heads = told.heads or (query_rows // told.head_dim if told.head_dim else None)
    if heads is None:
        raise CheckpointError(f"Nothing says how many heads {file} has (its width is {width}); put its config.json beside it.")
    size = told.head_dim or query_rows // heads
    if size == 0 or heads * size != query_rows:
        raise CheckpointError(f"{file} has {query_rows} query rows, which do not divide into {heads} heads.")
    shared, rest = divmod(key_rows, size)
    if rest or not shared or heads % shared or (told.kv_heads or shared) != shared:
        raise CheckpointError(
            f"{file} has {key_rows} key rows, which do not make up {told.kv_heads or 'a number of'} key/value heads of {size} "
            f"dimensions for {heads} query heads."
        )
    return heads, shared, size


def _layers(weights: Weights, names: Names) -> int:
    """How many layers a file speaks of; those that are not numbered from 0 on are missed or left over later."""
    numbers = {name.split(".")[names.layer.count(".") + 1] for name in weights.tensors if name.startswith(f"{names.layer}.")}
    return sum(number.isdecimal() for number in numbers)


def matrix(taking: Taking, name: str) -> tuple[int, int]:
    """Rows and columns; raises `CheckpointError` where a tensor is missing or no matrix."""
    shape = taking.shape(name)
    if len(shape) != 2 or not all(shape):
        raise CheckpointError(f"{name} has the shape {list(shape)}, where a matrix belongs.")
    return shape[0], shape[1]


def whole(weights: Weights, *keys: str, within: Mapping[str, Any] | None = None) -> int | None:
    """The first of these settings that is there, a whole number above zero; None where none is."""
    config = weights.config if within is None else within
    key = next((key for key in keys if config.get(key) is not None), None)
    if key is None:
        return None
    value = config[key]
    if type(value) is not int or value < 1:
        raise CheckpointError(
            f"The config of {weights.path.name} gives {key} as {str(value)[:40]!r}, not as a whole number above zero."
        )
    return value


def positive(weights: Weights, default: float, key: str, within: Mapping[str, Any] | None = None) -> float:
    """A setting that is a number above zero; a text such as 1e-6, which YAML does not take for a number, counts as one."""
    value = (weights.config if within is None else within).get(key)
    try:
        number = default if value is None else math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0.0 < number < math.inf:
        raise CheckpointError(
            f"The config of {weights.path.name} gives {key} as {str(value)[:40]!r}, not as a number above zero."
        )
    return number
