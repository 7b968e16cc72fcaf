"""Our own checkpoints: a folder in the Hub's layout, with `tinytales.json` beside the weights.

    config.json            model_type llama or gpt2: transformers opens the folder as it is
    model.safetensors      weights in float32 or float16
    tokenizer.json         byte-level BPE; for GPT-2's vocabulary it is there for others, and the package's own table is used
    tinytales.json         prompt style, recommended sampling, losses, provenance

Nothing in a folder is executed or believed: sizes are checked against the shape before any memory is taken, weights must be
finite, and every refusal is one sentence.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from engine import files
from engine.checkpoints import layout
from engine.devices import one_thread
from engine.errors import CheckpointError, TinyTalesError
from engine.llama_tokenizer import read_json
from engine.model import Decoder
from engine.prompts import PromptStyle
from engine.settings import ModelConfig, SamplingSettings
from engine.tokenizer import GPT2Tokenizer, Tokenizer

LARGEST = 4_000_000_000
"""Parameters; a config that claims more is taken for damaged. The largest TinyStories model has 0.16 billion."""
MOST_LAYERS = 256


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

    @property
    def config(self) -> ModelConfig:
        return self.network.config


def save_checkpoint(
    folder: Path,
    network: Decoder,
    tokenizer: Tokenizer,
    style: PromptStyle,
    card: dict[str, Any],
    sampling: SamplingSettings | None = None,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a checkpoint folder whole or not at all: made aside, fsynced, renamed; one that stands there is replaced.

    A crash in the instant between the two renames leaves the old one as a hidden `.….old` folder beside; it is never deleted before
    the new one has its name.

    `card` becomes `tinytales.json` beside prompt style and sampling. Raises OSError where the disk says no.
    """
    config = network.config
    tensors = {name: tensor.to("cpu", dtype) for name, tensor in layout.to_hub(config, network.state_dict()).items()}
    kind = "gpt2" if isinstance(tokenizer, GPT2Tokenizer) else "bpe"
    contents = {
        "format": 1,
        "tokenizer": kind,
        "prompt_style": style.to_json(),
        "sampling": sampling.to_json() if sampling else None,
        **card,
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".part"))
    old = aside.with_suffix(".old")
    try:
        files.write_json(aside / "config.json", layout.hub_config(config, tokenizer.end_id))
        files.write_bytes(aside / "model.safetensors", save(tensors, metadata={"format": "pt"}))
        files.write_text(aside / "tokenizer.json", tokenizer.to_json())
        files.write_json(aside / "tokenizer_config.json", _tokenizer_config(config))
        files.write_json(aside / "tinytales.json", contents)
        aside.chmod(0o755)
        if folder.exists():
            folder.rename(old)
        aside.rename(folder)
    except BaseException:
        if old.exists() and not folder.exists():
            old.rename(folder)
        shutil.rmtree(aside, ignore_errors=True)
        raise
    finally:
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
    files.sync_folder(folder.parent)


def _tokenizer_config(config: ModelConfig) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|endoftext|>",
        "eos_token": "<|endoftext|>",
        "model_max_length": config.context,
        "clean_up_tokenization_spaces": False,
    }


def is_native(folder: Path) -> bool:
    return (folder / "tinytales.json").is_file()


@one_thread()
def read_checkpoint(folder: Path, name: str, source: str, tokenizer: Tokenizer | None = None) -> Checkpoint:
    """The checkpoint in a folder, on the CPU in float32; raises `CheckpointError` with one sentence for anything that is wrong.

    `tokenizer` is used in place of the folder's own.
    """
    card = _read_json(folder / "tinytales.json")
    shape = _read_json(folder / "config.json")
    try:
        config = layout.config_from_hub(shape)
        refuse_absurd(config, folder / "config.json")
    except CheckpointError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, TinyTalesError) as error:
        raise CheckpointError(f"{folder / 'config.json'} does not describe a model ({_reason(error)}).") from error
    style = PromptStyle.from_json(card.get("prompt_style"))
    try:
        sampling = SamplingSettings.from_json(card["sampling"]) if card.get("sampling") else None
    except (TinyTalesError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / 'tinytales.json'} recommends sampling that makes no sense ({error}).") from error
    if tokenizer is None:
        tokenizer = GPT2Tokenizer() if card.get("tokenizer") == "gpt2" else read_json(folder / "tokenizer.json")
    if tokenizer.vocab_size > config.vocab_size:
        raise CheckpointError(
            f"The tokenizer in {folder} has {tokenizer.vocab_size:,} tokens, but the model has rows for {config.vocab_size:,}."
        )
    tensors = read_tensors(folder / "model.safetensors", layout.hub_shapes(config))
    with torch.device("meta"):
        network = Decoder(config)
    network.load_state_dict(layout.from_hub(config, tensors), assign=True)
    if config.tied_head:
        network.head.weight = network.embedding.weight
    network.eval().requires_grad_(False)
    spare = config.vocab_size - tokenizer.vocab_size
    warnings = [f"The model has {spare:,} rows that its tokenizer has no token for; they are never written."] * (spare > 0)
    return Checkpoint(network, tokenizer, style, name, source, shape["model_type"], sampling, warnings=warnings, card=card)


def read_tensors(path: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The tensors of a safetensors file in float32, after checking that it holds just those `shapes`; else `CheckpointError`."""
    try:
        header = _header_length(path)
        if header > path.stat().st_size:
            raise CheckpointError(f"{path} is cut off or damaged: its header claims more than the file holds.")
        with safe_open(path, framework="pt", device="cpu") as file:
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            _compare(path, found, shapes)
            tensors = {name: file.get_tensor(name) for name in shapes}
    except (SafetensorError, OSError, struct.error, ValueError) as error:
        raise CheckpointError(
            f"{path} cannot be read as weights: it is missing, cut off or damaged ({_reason(error)})."
        ) from error
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise CheckpointError(f"{path} holds {name} as {tensor.dtype}; weights must be floating-point numbers.")
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{path} holds numbers that are not finite in {name}; it is damaged or its training failed.")
    return {name: tensor.float() for name, tensor in tensors.items()}


def _compare(path: Path, found: dict[str, tuple[int, ...]], expected: dict[str, tuple[int, ...]]) -> None:
    missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if missing or extra:
        what = [f"lacks {_some(missing)}"] * bool(missing) + [f"has {_some(extra)} that no part of the model takes"] * bool(extra)
        raise CheckpointError(f"{path} does not fit its config.json: it {' and '.join(what)}.")
    for name, shape in expected.items():
        if found[name] != shape:
            raise CheckpointError(f"{path} does not fit its config.json: {name} is {found[name]}, not {shape}.")


def _some(names: list[str]) -> str:
    return ", ".join(" ".join(name.split()) for name in names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _header_length(path: Path) -> int:
    with path.open("rb") as file:
        return struct.unpack("<Q", file.read(8))[0]


def refuse_absurd(config: ModelConfig, path: Path) -> None:
    """Refuse a shape that no story model has, before anything is made of it."""
    block = config.width * (config.hidden * 2 + config.heads * config.dim_per_head * 2)
    parameters = config.layers * block + (config.vocab_size + config.context) * config.width
    if parameters > LARGEST or config.layers > MOST_LAYERS:
        raise CheckpointError(
            f"{path} claims {config.layers:,} layers and some {parameters:,} parameters; it is damaged or no story model."
        )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > 1 << 24:
            raise CheckpointError(f"{path} is far too large for what it should be.")
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is missing or damaged ({_reason(error)}).") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} is damaged: it is not a JSON object.")
    return data


def _reason(error: BaseException) -> str:
    if isinstance(error, KeyError):
        return f"{error} is missing"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
