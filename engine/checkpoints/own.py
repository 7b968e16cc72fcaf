"""What the small files beside our own weights say, checked: the model's shape, prompt style, sampling, special tokens. Knows no torch.

Loading and the catalogue both ask here, so that what the one refuses the other refuses too, in the same sentence.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.checkpoints import layout
from engine.checkpoints.layout import int8
from engine.checkpoints.outline import kind_in_words
from engine.errors import CheckpointError, TinyTalesError
from engine.growing_files import open_plain
from engine.prompts import PromptStyle
from engine.settings import ModelConfig, SamplingSettings

LARGEST = 4_000_000_000
"""Parameters; a config that claims more is taken for damaged. The largest TinyStories model has 0.16 billion."""
MOST_LAYERS = 256
_LARGEST_JSON = 1 << 24
"""Bytes."""


@dataclass(frozen=True)
class Own:
    """What stands beside the weights."""

    card: dict[str, Any]
    """`tinytales.json` as it is."""
    kind: str
    """`model_type` of `config.json`: the layout that holds the shape."""
    config: ModelConfig
    style: PromptStyle
    sampling: SamplingSettings | None
    end_ids: tuple[int, ...]
    """Tokens that end a story besides the tokenizer's own."""
    begin_id: int | None
    """The token before everything."""
    int8: bool = False
    """Whether matrices are kept as 8-bit whole numbers (`layout.int8`)."""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every tensor that the file of weights must hold, and its shape."""
        return int8.shapes(self.config) if self.int8 else layout.hub_shapes(self.config)


def read_own(folder: Path) -> Own:
    """The files of a checkpoint's folder but for its weights and its vocabulary; raises `CheckpointError` with one sentence."""
    card = _read_json(folder / "tinytales.json")
    shape, in_int8 = int8.unmarked(folder / "config.json", _read_json(folder / "config.json"))
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
    return Own(card, shape["model_type"], config, style, sampling, *_special_tokens(folder, card, config), in_int8)


def refuse_absurd(config: ModelConfig, path: Path) -> None:
    """Refuse a shape that no story model has, before anything is made of it."""
    block = config.width * (config.hidden * 2 + config.heads * config.dim_per_head * 2)
    parameters = config.layers * block + (config.vocab_size + config.context) * config.width
    if parameters > LARGEST or config.layers > MOST_LAYERS:
        raise CheckpointError(
            f"{path} claims {config.layers:,} layers and some {parameters:,} parameters; it is damaged or no story model."
        )


def refuse_other_tensors(path: Path, found: Mapping[str, tuple[tuple[int, ...], str]], own: Own) -> None:
    """Raise `CheckpointError` where a file of weights holds other tensors than such a model has, one for one.

    `found` has shape and kind of number of each by name, the kind as safetensors calls it (`F32`).
    """
    expected = own.shapes()
    missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if missing or extra:
        what = [f"lacks {_some(missing)}"] * bool(missing) + [f"has {_some(extra)} that no part of the model takes"] * bool(extra)
        raise CheckpointError(f"{path} does not fit its config.json: it {' and '.join(what)}.")
    for name, shape in expected.items():
        if found[name][0] != shape:
            raise CheckpointError(f"{path} does not fit its config.json: {name} is {found[name][0]}, not {shape}.")
    for name, (_, kind) in found.items():
        if own.int8 and name.endswith((int8.WHOLE, int8.SCALE)):
            wanted, needed = ("I8", "8-bit whole numbers") if name.endswith(int8.WHOLE) else ("F32", "float32")
            if kind != wanted:
                raise CheckpointError(f"{path} holds {name} as {kind_in_words(kind)}, where {needed} belong.")
        elif "F" not in kind:
            raise CheckpointError(f"{path} holds {name} as {kind_in_words(kind)}; weights must be floating-point numbers.")


def _special_tokens(folder: Path, card: dict[str, Any], config: ModelConfig) -> tuple[tuple[int, ...], int | None]:
    """(tokens that end a story besides the tokenizer's own, the token before everything), as `tinytales.json` says."""
    ends, begin = card.get("end_ids") or [], card.get("begin_id")
    named = [*ends, *([] if begin is None else [begin])] if isinstance(ends, list) else [None]
    if any(type(token) is not int or not 0 <= token < config.vocab_size for token in named):
        raise CheckpointError(
            f"{folder / 'tinytales.json'} names a token that ends or begins a story and that the model does not have."
        )
    return tuple(ends), begin


def _some(names: list[str]) -> str:
    return ", ".join(" ".join(name.split()) for name in names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        with open_plain(path) as file:  # a pipe could be read for ever
            contents = file.read(_LARGEST_JSON + 1)
        data = json.loads(contents.decode()) if len(contents) <= _LARGEST_JSON else None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is missing or damaged ({_reason(error)}).") from error
    if len(contents) > _LARGEST_JSON:
        raise CheckpointError(f"{path} is far too large for what it should be.")
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} is damaged: it is not a JSON object.")
    return data


def _reason(error: BaseException) -> str:
    if isinstance(error, KeyError):
        return f"{error} is missing"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
