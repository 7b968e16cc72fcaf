"""Our own checkpoints: a folder in the Hub's layout, with `tinytales.json` beside the weights.

    config.json             one of the layouts in `engine.checkpoints.layout`: transformers opens the folder as it is
    generation_config.json the tokens at which transformers stops
    model.safetensors      weights in float32, float16 or bfloat16; or in 8 bits (`layout.int8`), which transformers refuses
    tokenizer.json         the vocabulary; for GPT-2's it is there for others, and the package's own table is used
    tokenizer.model        SentencePiece's own file, where the vocabulary came from one; then it is the one that is used
    tinytales.json         prompt style, recommended sampling, special tokens, losses, provenance

Nothing in a folder is executed or believed: sizes are checked against the shape before any memory is taken, weights must be
finite, and every refusal is one sentence.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from engine import files
from engine.checkpoints import layout
from engine.checkpoints.layout import int8, words
from engine.checkpoints.outline import usual_kind
from engine.checkpoints.own import Own, read_own, refuse_other_tensors
from engine.checkpoints.readers.common import reason
from engine.devices import one_thread
from engine.errors import CheckpointError
from engine.growing_files import open_plain
from engine.llama_tokenizer import read_json, read_model
from engine.model import Decoder
from engine.prompts import PromptStyle
from engine.settings import ModelConfig, SamplingSettings
from engine.tokenizer import GPT2Tokenizer, Tokenizer

if TYPE_CHECKING:
    from engine.decode.compiled import CompiledStep
    from engine.decode.graphs import GraphedStep


@dataclass
class Checkpoint:
    """A model that is ready to write, with all that belongs to it."""

    network: Decoder
    """Callable: int64 token ids (batch, time) → float32 logits (batch, time, vocab)."""
    tokenizer: Tokenizer
    prompt_style: PromptStyle
    name: str
    source: str
    family: str
    sampling: SamplingSettings | None = None
    """What reads best with this model, if it says so."""
    device: str = "cpu"
    precision: str = "fp32"
    warnings: list[str] = field(default_factory=list)
    card: dict[str, Any] = field(default_factory=dict)
    """`tinytales.json` as it was read; of another program's checkpoint, what its file says of its training."""
    end_ids: tuple[int, ...] = ()
    """Tokens that end a story besides the tokenizer's own end token."""
    begin_id: int | None = None
    """A token that the model was trained to find before everything."""
    path: Path | None = None
    """The folder or the file that was opened."""
    stored_as: str = ""
    """Kind of number of our own file (`float32`, `float16`, `bfloat16`, `int8`); empty for another program's. The network is float32."""
    compiled: CompiledStep | GraphedStep | None = None
    """What writes in place of the network, where that was asked for; prompts are read by the network."""

    @property
    def config(self) -> ModelConfig:
        return self.network.config


def save_checkpoint(
    folder: Path,
    network: Decoder,
    tokenizer: Tokenizer,
    style: PromptStyle,
    card: Mapping[str, Any],
    sampling: SamplingSettings | None = None,
    dtype: torch.dtype = torch.float32,
    *,
    end_ids: Sequence[int] = (),
    begin_id: int | None = None,
) -> None:
    """Write a checkpoint folder whole or not at all (`files.whole_folder`); one that stands there is replaced.

    `card` becomes `tinytales.json` beside prompt style, sampling and special tokens, which it cannot overrule. `dtype` int8 keeps
    matrices as whole numbers with a scale a row. Raises `CheckpointError` for a shape that no layout holds, OSError where the disk
    says no.
    """
    config, state = layout.canonical(network.config, network.state_dict())
    layout.model_type(config)  # refused before a file is made
    with files.whole_folder(folder) as aside:
        write_checkpoint(aside, config, state, tokenizer, style, card, sampling, dtype, end_ids=end_ids, begin_id=begin_id)


def write_checkpoint(
    folder: Path,
    config: ModelConfig,
    state: dict[str, Tensor],
    tokenizer: Tokenizer,
    style: PromptStyle,
    card: Mapping[str, Any],
    sampling: SamplingSettings | None,
    dtype: torch.dtype,
    *,
    end_ids: Sequence[int],
    begin_id: int | None,
) -> None:
    """The files of `save_checkpoint`, for a model in canonical form, into a folder that is there."""
    if dtype == torch.int8:
        tensors = int8.to_stored(config, state)
    else:
        tensors = {name: tensor.to("cpu", dtype) for name, tensor in layout.to_hub(config, state).items()}
    own = {
        "format": 1,
        "tokenizer": words.kind_of(tokenizer),
        "prompt_style": style.to_json(),
        "sampling": sampling.to_json() if sampling else None,
        "end_ids": list(end_ids),
        "begin_id": begin_id,
    }
    first, ends = words.first_tokens(tokenizer, style, begin_id), words.end_tokens(tokenizer, end_ids)
    begin = first[0] if first else tokenizer.end_id
    shape = layout.hub_config(config, begin, ends)
    files.write_json(folder / "config.json", int8.marked(shape) if dtype == torch.int8 else shape)
    files.write_json(folder / "generation_config.json", layout.token_ids(begin, ends))
    files.write_bytes(folder / "model.safetensors", save(tensors, metadata={"format": "pt"}))
    for name, contents in words.vocabulary_files(tokenizer, first, config.context).items():
        files.write_bytes(folder / name, contents)
    files.write_json(folder / "tinytales.json", own | {key: value for key, value in card.items() if key not in own})


def is_native(folder: Path) -> bool:
    return (folder / "tinytales.json").is_file()


@one_thread()
def read_checkpoint(folder: Path, name: str, source: str, tokenizer: Tokenizer | None = None) -> Checkpoint:
    """The checkpoint in a folder, on the CPU in float32; raises `CheckpointError` with one sentence for anything that is wrong.

    `tokenizer` is used in place of the folder's own.
    """
    own = read_own(folder)
    config = own.config
    tokenizer = tokenizer or _read_tokenizer(folder, own.card.get("tokenizer"))
    if tokenizer.vocab_size > config.vocab_size:
        raise CheckpointError(
            f"The tokenizer in {folder} has {tokenizer.vocab_size:,} tokens, but the model has rows for {config.vocab_size:,}."
        )
    state, stored_as = read_state(folder / "model.safetensors", own)
    with torch.device("meta"):
        network = Decoder(config)
    network.load_state_dict(state, assign=True)
    if config.tied_head:
        network.head.weight = network.embedding.weight
    network.eval().requires_grad_(False)
    spare = config.vocab_size - tokenizer.vocab_size
    warnings = [f"The model has {spare:,} rows that its tokenizer has no token for; they are never written."] * (spare > 0)
    return Checkpoint(
        network,
        tokenizer,
        own.style,
        name,
        source,
        own.kind,
        own.sampling,
        warnings=warnings,
        card=own.card,
        end_ids=own.end_ids,
        begin_id=own.begin_id,
        stored_as=stored_as,
    )


def _read_tokenizer(folder: Path, kind: object) -> Tokenizer:
    if kind == "gpt2":
        return GPT2Tokenizer()
    model, table = folder / "tokenizer.model", folder / "tokenizer.json"
    if kind == "sentencepiece" and model.is_file():
        return read_model(model)
    if table.exists() and not table.is_file():  # a pipe could be read for ever
        raise CheckpointError(f"{table} is no plain file; put the vocabulary itself there.")
    return read_json(table)


def read_state(path: Path, own: Own) -> tuple[dict[str, Tensor], str]:
    """(the decoder's state in float32, the kind of number that it lies in), of a safetensors file that holds just that.

    Raises `CheckpointError` for any other, before a tensor is read where its header tells.
    """
    try:
        header = _header_length(path)
        if header > path.stat().st_size:
            raise CheckpointError(f"{path} is cut off or damaged: its header claims more than the file holds.")
        with safe_open(path, framework="pt", device="cpu") as file:
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            found = {name: (tuple(part.get_shape()), str(part.get_dtype())) for name, part in parts.items()}
            refuse_other_tensors(path, found, own)
            tensors = {name: file.get_tensor(name) for name in found}
    except (SafetensorError, OSError, struct.error, ValueError) as error:
        raise CheckpointError(
            f"{path} cannot be read as weights: it is missing, cut off or damaged ({reason(error)})."
        ) from error
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{path} holds numbers that are not finite in {name}; it is damaged or its training failed.")
    stored_as = usual_kind((kind, math.prod(shape)) for shape, kind in found.values())
    if own.int8:
        return int8.from_stored(own.config, tensors, path), stored_as
    return layout.from_hub(own.config, {name: tensor.float() for name, tensor in tensors.items()}), stored_as


def _header_length(path: Path) -> int:
    with open_plain(path) as file:  # a pipe could be read for ever
        return struct.unpack("<Q", file.read(8))[0]
