"""llama2.c: `model.bin` for its run.c (version 0, float32) or runq.c (version 2, 8-bit), and `tokenizer.bin`.

run.c begins every text with token 1 and stops at it, takes bytes for tokens 3 to 258, turns neighbouring dimensions, and has its epsilon
and its rotary base fixed. So a vocabulary is put in that order, and the rows of the embedding and the head with it; a model that
computes otherwise is refused. Formats after llama2.c's export.py; `engine.checkpoints.readers.llama2c_bin` is the way back.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import torch
from torch import Tensor

from engine import files
from engine.checkpoints import layout
from engine.checkpoints.exporting import llama2c_words
from engine.checkpoints.exporting.vocabulary import vocabulary_of
from engine.checkpoints.layout import words
from engine.checkpoints.layout.canonical import halves_to_neighbours
from engine.errors import CheckpointError
from engine.settings import ModelConfig

if TYPE_CHECKING:
    from engine.checkpoints.native import Checkpoint

EPSILON, BASE = 1e-5, 10_000.0
"""What run.c has written into it."""
MAGIC = 0x616B3432
_HEADER = 256
"""Bytes of the header of version 2."""
_GROUPS = (64, 32)
"""Values that share a scale in version 2: the first that divides the model's matrices."""


def write(checkpoint: Checkpoint, folder: Path, stored_as: str) -> list[str]:
    """Fill the folder; gives the notes. Raises `CheckpointError` for what run.c cannot compute."""
    config, state = layout.canonical(checkpoint.config, checkpoint.network.state_dict())
    refuse(config)
    vocabulary = vocabulary_of(checkpoint.tokenizer)
    first = words.first_tokens(checkpoint.tokenizer, checkpoint.prompt_style, checkpoint.begin_id)
    ends = words.end_tokens(checkpoint.tokenizer, checkpoint.end_ids)
    order, notes = llama2c_words.arrange(vocabulary, first, ends)
    parts = _parts(config, {name: tensor.detach().to("cpu", torch.float32) for name, tensor in state.items()}, order)
    with files.whole(folder / "model.bin") as file:
        if stored_as == "float32":
            _write_plain(file, config, len(order), parts)
        else:
            _write_quantised(file, config, len(order), parts, _group(config))
    files.write_bytes(folder / "tokenizer.bin", llama2c_words.tokenizer_bin(vocabulary, order))
    if vocabulary.byte_level:  # tokenizer.bin has no merges; with these this program divides texts as before
        files.write_text(folder / "tokenizer.json", llama2c_words.reordered_json(checkpoint.tokenizer.to_json(), order))
    return notes


def refuse(config: ModelConfig) -> None:
    """Raises `CheckpointError` with the reason for a canonical shape that run.c cannot compute."""
    kind, reason = layout.model_type(config), None
    if kind not in ("llama", "phi3"):
        reason = "run.c knows only Llama models, and this one is not"
    elif kind == "phi3":
        reason = "run.c turns all dimensions of a head, and this model turns a share of them"
    elif config.qkv_bias or config.mlp_bias:
        reason = "run.c knows no biases, and this model has some"
    elif config.dim_per_head * config.heads != config.width:
        reason = "run.c takes heads to be as wide together as the model, and these are not"
    elif config.norm_eps != EPSILON or config.rope_theta != BASE:
        reason = (
            f"run.c has an epsilon of {EPSILON:g} and a rotary base of {BASE:g} written into it, and this model has {config.norm_eps:g} "
            f"and {config.rope_theta:g}"
        )
    if reason:
        raise CheckpointError(f"This model cannot be written for llama2.c: {reason}; export it to hf.")


def _group(config: ModelConfig) -> int:
    """Values that share a scale; raises `CheckpointError` where none fits."""
    for size in _GROUPS:
        if config.width % size == 0 and config.hidden % size == 0:
            return size
    raise CheckpointError(
        f"The rows of this model ({config.width} and {config.hidden} numbers) do not divide into blocks of {_GROUPS[-1]}, so it "
        "cannot be written as q8_0; export it as float32."
    )


def _parts(config: ModelConfig, state: dict[str, Tensor], order: list[int]) -> dict[str, list[Tensor]]:
    """Every tensor by llama2.c's name for its kind, those of all layers one after another, in the order of version 0."""
    heads, shared, size = config.heads, config.key_value_heads, config.dim_per_head
    split = (heads * size, shared * size, shared * size)
    fused = [state[f"blocks.{layer}.attention.qkv.weight"].split(split) for layer in range(config.layers)]
    gated = [state[f"blocks.{layer}.mlp.up.weight"].chunk(2) for layer in range(config.layers)]

    def each(name: str) -> list[Tensor]:
        return [state[f"blocks.{layer}.{name}.weight"] for layer in range(config.layers)]

    return {
        "embedding": [state["embedding.weight"][order]],
        "attention_norm": each("attention_norm"),
        "wq": [halves_to_neighbours(query, heads) for query, _, _ in fused],
        "wk": [halves_to_neighbours(key, shared) for _, key, _ in fused],
        "wv": [value for _, _, value in fused],
        "wo": each("attention.out"),
        "ffn_norm": each("mlp_norm"),
        "w1": [gate for gate, _ in gated],
        "w2": each("mlp.down"),
        "w3": [up for _, up in gated],
        "norm": [state["norm.weight"]],
        "head": [] if config.tied_head else [state["head.weight"][order]],
    }


def _numbers(config: ModelConfig, rows: int) -> tuple[int, ...]:
    return config.width, config.hidden, config.layers, config.heads, config.key_value_heads, rows, config.context


def _write_plain(file: BinaryIO, config: ModelConfig, rows: int, parts: dict[str, list[Tensor]]) -> None:
    """Version 0: seven numbers, of which a negative vocabulary marks a head of its own, then all tensors in float32."""
    file.write(struct.pack("<7i", *_numbers(config, rows if config.tied_head else -rows)))
    for name, tensors in parts.items():
        if name == "head":
            _put(file, _rotations(config))
        _put(file, tensors)


def _rotations(config: ModelConfig) -> Iterator[Tensor]:
    """Cosines and sines of all positions, (context, dim / 2) each; run.c skips them and works them out itself."""
    size = config.dim_per_head
    angles = torch.outer(torch.arange(config.context).float(), BASE ** (-torch.arange(0, size, 2).float() / size))
    yield angles.cos()
    yield angles.sin()


def _write_quantised(file: BinaryIO, config: ModelConfig, rows: int, parts: dict[str, list[Tensor]], group: int) -> None:
    """Version 2: a padded header, the norms in float32, then of every matrix its 8-bit values and their scales."""
    header = struct.pack("<Ii7iBi", MAGIC, 2, *_numbers(config, rows), config.tied_head, group)
    file.write(header.ljust(_HEADER, b"\0"))
    for name in ("attention_norm", "ffn_norm", "norm"):
        _put(file, parts[name])
    for name in ("embedding", "wq", "wk", "wv", "wo", "w1", "w2", "w3", "head"):
        for matrix in parts[name]:
            values = matrix.reshape(-1, group)
            scales = values.abs().amax(dim=1) / 127.0
            whole = (values / scales.where(scales > 0, 1.0)[:, None]).round().to(torch.int8)
            file.write(whole.numpy().tobytes())
            _put(file, [scales])


def _put(file: BinaryIO, tensors: Iterator[Tensor] | list[Tensor]) -> None:
    for tensor in tensors:
        file.write(tensor.contiguous().numpy().astype("<f4", copy=False).tobytes())
