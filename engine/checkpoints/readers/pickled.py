"""Files of `torch.save`: a zip archive with a pickle and the bytes of the tensors, or (before PyTorch 1.6) one after the other.

A pickle can hold code. None is run: the file's own directory and the pickle's instructions are checked first (`pickle_files`), and
only then does `torch.load` open it with `weights_only=True`. Knows no model; of a training checkpoint it takes out the weights.
"""

from __future__ import annotations

import contextlib
import math
import pickle
import warnings
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from engine.checkpoints.foreign import Weights
from engine.checkpoints.readers.common import LONGEST_NAME, damaged, listed, reason, shown
from engine.checkpoints.readers.pickle_check import NUMPY_SCALARS
from engine.checkpoints.readers.pickle_files import INSIDE, MOST_SETTINGS, SETTINGS, plain_name, rehearse
from engine.errors import CheckpointError

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_DTYPES = (*_FLOATS, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.bool)


def read_pickled(path: Path) -> Weights:
    """The tensors of a file of `torch.save`, on the CPU, mapped into memory where the file is a zip; raises `CheckpointError`.

    `config` is `model_args` or `config` as the file holds it, `about` its other plain values. `safe` is False.
    """
    rehearsed = rehearse(path)
    return _unwrap(path, _open(path, rehearsed.legacy, rehearsed.names))


def _open(path: Path, legacy: bool, names: Set[str]) -> Any:
    """`torch.load` without code; numpy's scalars are let through where the pickle mentions them, and nothing else ever is."""
    allowed: Any = contextlib.nullcontext()
    if names.intersection(NUMPY_SCALARS):
        scalar = numpy._core.multiarray.scalar  # type: ignore[attr-defined]
        both = [(scalar, name) for name in NUMPY_SCALARS]
        allowed = torch.serialization.safe_globals([numpy.dtype, numpy.dtypes.Float64DType, *both])
    try:
        with warnings.catch_warnings(), allowed:
            warnings.simplefilter("ignore")
            if not legacy:
                return torch.load(_not_by_name(path), map_location="cpu", mmap=True, weights_only=True)
            with path.open("rb") as file:  # as an open file: torch then tells no kind by the name's ending
                return torch.load(file, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:  # torch's own message tells how to open it with its code, which is no advice
        raise damaged(path, "PyTorch refuses its instructions") from error
    except Exception as error:  # what a damaged file makes torch raise is of no common kind
        raise damaged(path, f"PyTorch cannot open it ({reason(error)})") from error


def _not_by_name(path: Path) -> str:
    """The path, refused where torch would go by its ending and read it as something else than was checked."""
    if path.name.endswith(".safetensors"):
        raise CheckpointError(f"{shown(path, 300)} is a file of torch.save under a wrong name; rename it to end in .pt.")
    return str(path)


def _unwrap(path: Path, found: Any) -> Weights:
    if not isinstance(found, dict):
        raise CheckpointError(f"{shown(path, 300)} holds {type(found).__name__}, where a table of tensors belongs.")
    outer = dict(dict.items(found))  # the type's own method: a pickle can put another one on the object
    inner = next((outer[name] for name in INSIDE if isinstance(outer.get(name), dict)), None)
    if inner is None:
        return Weights(_state(path, outer), {}, "PyTorch", path, safe=False)
    settings = next((plain for name in SETTINGS if isinstance(plain := _plain(outer.get(name)), dict) and plain), {})
    about = {name: value for name, raw in outer.items() if isinstance(name, str) and (value := _one_value(raw)) is not None}
    return Weights(_state(path, dict(dict.items(inner))), settings, "PyTorch", path, about=about, safe=False)


def _state(path: Path, state: Mapping[Any, Any]) -> dict[str, Tensor]:
    """The tensors of a state dict under their plain names; whatever else is in it is refused."""
    strange = [str(name)[:LONGEST_NAME] for name, value in state.items() if not isinstance(name, str) or not _is_weight(value)]
    if strange or not state:
        held = f"holds {listed(strange)} beside its weights" if strange else "holds no weights"
        raise CheckpointError(f"{shown(path, 300)} {held}; a table of plain tensors is needed, so save the model's state_dict.")
    tensors: dict[str, Tensor] = {}
    for name, value in state.items():
        plain = plain_name(name)
        if plain in tensors or len(plain) > LONGEST_NAME:
            raise CheckpointError(f"{shown(path, 300)} names {shown(plain)} twice or beyond all length, so it cannot be read.")
        tensors[plain] = value.detach()
    return tensors


def _is_weight(value: Any) -> bool:
    return (
        type(value) in (Tensor, torch.nn.Parameter)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and value.dtype in _DTYPES
    )


def _one_value(value: Any) -> Any:
    """A number or a text as a plain value, also where a tensor without dimensions holds it; None for whatever else."""
    if _is_weight(value) and value.dim() == 0:
        value = value.item()
    return _plain(value) if isinstance(value, (bool, int, float, str)) else None


def _plain(value: Any) -> Any:
    """A copy of numbers, texts, lists and tables; None for whatever else, or where there is too much of it."""
    try:
        return _copied(value, iter(range(MOST_SETTINGS)), 0)
    except OverflowError:
        return None


def _copied(value: Any, left: Iterator[int], depth: int) -> Any:
    if next(left, None) is None or depth > 12:
        raise OverflowError
    if value is None or isinstance(value, (bool, str)):
        return value[:10_000] if isinstance(value, str) else value
    if isinstance(value, int):
        return int(value) if abs(value) < 2**63 else None
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, (list, tuple)):
        return [_copied(part, left, depth + 1) for part in value]
    if isinstance(value, dict):
        return {name: _copied(part, left, depth + 1) for name, part in dict.items(value) if isinstance(name, str)}
    return str(value) if isinstance(value, (torch.dtype, torch.device)) else None
