"""GGUF for llama.cpp: one file with weights, shape and vocabulary, through the `gguf` library.

Architectures `llama`, `phi3` (a share of each head is turned) and `gpt2`. In its Llama llama.cpp turns neighbouring dimensions, so the
rows of queries and keys are reordered. Checked against llama.cpp itself: the tests compare greedy text wherever `llama_cpp` can be
imported.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from engine.checkpoints import layout
from engine.checkpoints.exporting.vocabulary import Vocabulary, vocabulary_of
from engine.checkpoints.layout import words
from engine.checkpoints.layout.canonical import halves_to_neighbours
from engine.errors import CheckpointError, UsageError
from engine.settings import ModelConfig

if TYPE_CHECKING:
    from engine.checkpoints.native import Checkpoint

NAME = "model.gguf"
_BLOCK = 32
"""Values that share a scale in Q8_0; a matrix whose rows do not divide into such blocks stays float16, as in llama.cpp's own tools."""
_EXACT_GELU = (
    "This model was trained with the exact form of GELU and llama.cpp has only the tanh form; the numbers differ in the fourth digit, "
    "and once in a long while a word does."
)
# Measured with llama.cpp (llama-cpp-python 0.3.36) on seven random models of each kind: logits differ by up to 0.002 with the exact
# form and by as much with the tanh form itself, which llama.cpp looks up in a float16 table. Greedy text was equal for 40 tokens in 13
# of the 14; the one that parted had the tanh form.
_OTHER_SPLIT = "The vocabulary divides texts otherwise than GPT-2's, and llama.cpp will cut prompts a little differently."
_TWO_FIRST = (
    "The model reads two tokens before every text, and llama.cpp puts only the first of them; put the other into the prompt."
)
_MORE_ENDS = "Several tokens end a story, and GGUF has a place for two; llama.cpp will not stop at the others."


def write(checkpoint: Checkpoint, folder: Path, stored_as: str) -> list[str]:
    """Fill the folder; gives the notes. Raises `CheckpointError` for what llama.cpp has no architecture for."""
    try:
        import gguf
    except ImportError as error:
        raise UsageError('Writing GGUF needs the gguf package; install it with pip install "tinytales-tui[gguf]".') from error
    config, state = layout.canonical(checkpoint.config, checkpoint.network.state_dict())
    arch = architecture(config)
    vocabulary = vocabulary_of(checkpoint.tokenizer)
    path = folder / NAME
    writer = gguf.GGUFWriter(path, arch)
    notes = [_EXACT_GELU] if config.mlp == "gelu" else []
    notes += _describe(writer, checkpoint, config, arch, vocabulary, stored_as)
    for name, tensor in _tensors(config, arch, state, len(vocabulary)):
        _add(writer, name, tensor.detach().to("cpu", torch.float32), stored_as)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return notes


def architecture(config: ModelConfig) -> str:
    """llama.cpp's name for a canonical shape; raises `CheckpointError` with the reason where it has none."""
    kind = layout.model_type(config)
    reason = {
        "gpt_neo": "llama.cpp has no architecture for GPT-Neo, whose scores are not scaled and whose layers have windows",
    }.get(kind)
    if kind == "gpt2" and config.attention_scale is not None:
        reason = "llama.cpp's GPT-2 scales the scores of attention, and this model does not"
    if kind == "llama" and (config.qkv_bias or config.mlp_bias):
        reason = "its attention or its feed-forward part has biases, for which a Llama there has no certain place"
    if reason:
        raise CheckpointError(f"This model cannot be written as GGUF: {reason}; export it to hf.")
    return kind


def _describe(
    writer: Any, checkpoint: Checkpoint, config: ModelConfig, arch: str, vocabulary: Vocabulary, stored_as: str
) -> list[str]:
    """Shape and vocabulary into the file; gives notes."""
    import gguf

    types = {
        "float32": gguf.LlamaFileType.ALL_F32,
        "float16": gguf.LlamaFileType.MOSTLY_F16,
        "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
    }
    writer.add_name(checkpoint.name)
    writer.add_file_type(types[stored_as])
    writer.add_context_length(config.context)
    writer.add_embedding_length(config.width)
    writer.add_block_count(config.layers)
    writer.add_feed_forward_length(config.hidden)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.key_value_heads)
    writer.add_vocab_size(len(vocabulary))
    if arch != "gpt2":
        writer.add_layer_norm_rms_eps(config.norm_eps)
        writer.add_rope_dimension_count(config.rotary_dim)
        writer.add_rope_freq_base(config.rope_theta)
        writer.add_key_length(config.dim_per_head)
        writer.add_value_length(config.dim_per_head)
    else:
        writer.add_layer_norm_eps(config.norm_eps)
    return _describe_words(writer, checkpoint, vocabulary)


def _describe_words(writer: Any, checkpoint: Checkpoint, vocabulary: Vocabulary) -> list[str]:
    import gguf

    kinds = {
        "text": gguf.TokenType.NORMAL,
        "byte": gguf.TokenType.BYTE,
        "special": gguf.TokenType.CONTROL,
        "unknown": gguf.TokenType.UNKNOWN,
    }
    writer.add_tokenizer_model("gpt2" if vocabulary.byte_level else "llama")
    writer.add_tokenizer_pre("gpt-2" if vocabulary.byte_level else "default")
    writer.add_token_list(list(vocabulary.spelled))
    writer.add_token_types([int(kinds[kind]) for kind in vocabulary.kinds])
    if vocabulary.byte_level:
        writer.add_token_merges([" ".join(pair) for pair in vocabulary.merges])
    else:
        writer.add_token_scores(list(vocabulary.scores))
        if "unknown" in vocabulary.kinds:
            writer.add_unk_token_id(vocabulary.kinds.index("unknown"))
    first = words.first_tokens(checkpoint.tokenizer, checkpoint.prompt_style, checkpoint.begin_id)
    ends = words.end_tokens(checkpoint.tokenizer, checkpoint.end_ids)
    writer.add_bos_token_id(first[0] if first else vocabulary.end_id)
    writer.add_eos_token_id(ends[0])
    if len(ends) > 1:
        writer.add_eot_token_id(ends[1])
    writer.add_add_bos_token(bool(first))
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(vocabulary.puts_space_first)
    wrong = {
        _OTHER_SPLIT: vocabulary.byte_level and not vocabulary.splits_like_gpt2,
        _TWO_FIRST: len(first) > 1,
        _MORE_ENDS: len(ends) > 2,
    }
    return [note for note, holds in wrong.items() if holds]


def _tensors(config: ModelConfig, arch: str, state: dict[str, Tensor], rows: int) -> Iterator[tuple[str, Tensor]]:
    """Every tensor under llama.cpp's name; rows that no token stands for are left out."""
    yield "token_embd.weight", state["embedding.weight"][:rows]
    if arch == "gpt2":
        yield "position_embd.weight", state["position_embedding.weight"]
    if not config.tied_head:
        yield "output.weight", state["head.weight"][:rows]
    parts = ("weight", "bias") if arch == "gpt2" else ("weight",)
    for part in parts:
        yield f"output_norm.{part}", state[f"norm.{part}"]
    size, shared = config.dim_per_head, config.key_value_heads
    for layer in range(config.layers):
        ours, theirs = f"blocks.{layer}", f"blk.{layer}"
        for part in parts:
            for name, its in _SAME:
                yield f"{theirs}.{its}.{part}", state[f"{ours}.{name}.{part}"]
        if arch != "llama":
            for part in parts:
                yield f"{theirs}.attn_qkv.{part}", state[f"{ours}.attention.qkv.{part}"]
                yield f"{theirs}.ffn_up.{part}", state[f"{ours}.mlp.up.{part}"]
            continue
        split = (config.heads * size, shared * size, shared * size)
        query, key, value = state[f"{ours}.attention.qkv.weight"].split(split)
        yield f"{theirs}.attn_q.weight", halves_to_neighbours(query, config.heads)
        yield f"{theirs}.attn_k.weight", halves_to_neighbours(key, shared)
        yield f"{theirs}.attn_v.weight", value
        gate, up = state[f"{ours}.mlp.up.weight"].chunk(2)
        yield f"{theirs}.ffn_gate.weight", gate
        yield f"{theirs}.ffn_up.weight", up


_SAME = (("attention_norm", "attn_norm"), ("attention.out", "attn_output"), ("mlp_norm", "ffn_norm"), ("mlp.down", "ffn_down"))
"""Parts of a block that are called otherwise and are otherwise the same."""


def _add(writer: Any, name: str, tensor: Tensor, stored_as: str) -> None:
    """One tensor into the file; vectors and positions stay float32, as llama.cpp wants them."""
    import gguf

    values = tensor.contiguous().numpy()
    if tensor.dim() == 1 or stored_as == "float32" or name == "position_embd.weight":
        writer.add_tensor(name, values)
        return
    kind = gguf.GGMLQuantizationType.Q8_0
    if stored_as == "float16" or tensor.shape[-1] % _BLOCK:
        kind = gguf.GGMLQuantizationType.F16
    writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
