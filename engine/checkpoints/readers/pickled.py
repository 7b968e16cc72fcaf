"""Files of `torch.save`: a zip archive with a pickle and the bytes of the tensors, or (before PyTorch 1.6) one after the other.

A pickle can hold code. None is run: the file's own directory and the pickle's instructions are checked first (`pickle_check`), and
only then does `torch.load` open it with `weights_only=True`. Knows no model; of a training checkpoint it takes out the weights.
"""

from __future__ import annotations

import contextlib
import io
import math
import pickle
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy
import torch
from torch import Tensor

from engine.checkpoints.foreign import Weights
from engine.checkpoints.readers.common import LONGEST_NAME, MOST_TENSORS, damaged, listed, reason, shown, unreadable
from engine.checkpoints.readers.pickle_check import NUMPY_SCALARS, NotWeights, Rehearsal, WouldRunCode
from engine.errors import CheckpointError

ZIP_START = b"PK\x03\x04"
LEGACY_START = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""The first pickle of an old file: PyTorch's magic number."""
LARGEST_LEGACY = 2_000_000_000
"""Bytes; an old file cannot be mapped into memory, so it is read as a whole."""
LARGEST_PICKLE = 8_000_000
"""Bytes of instructions; those of a model with a thousand tensors and its optimizer take some 600 kB."""
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_DTYPES = (*_FLOATS, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.bool)
_INSIDE = ("model_state_dict", "model", "state_dict")
"""Where training checkpoints keep their weights."""
_SETTINGS = ("model_args", "model_config", "config")
"""Where they keep the shape of the model, the surest first."""
_PREFIXES = ("_orig_mod.", "module.")
"""Put before names by torch.compile and by DistributedDataParallel."""
_FULL_PLAIN = 20_000
"""Plain values taken out of a checkpoint's settings at most; a few memo references in a pickle can stand for millions."""


def read_pickled(path: Path) -> Weights:
    """The tensors of a file of `torch.save`, on the CPU, mapped into memory where the file is a zip; raises `CheckpointError`.

    `config` is `model_args` or `config` as the file holds it, `about` its other plain values. `safe` is False.
    """
    try:
        with path.open("rb") as file:
            legacy = file.read(4) != ZIP_START
            file.seek(0)
            names = (_check_legacy if legacy else _check_zip)(path, file)
    except OSError as error:
        raise unreadable(path, error) from error
    except WouldRunCode as found:
        raise CheckpointError(
            f"{shown(path, 300)} wants to run code ({found}) when it is opened; ask its author for a safetensors file."
        ) from found
    except NotWeights as found:
        raise CheckpointError(
            f"{shown(path, 300)} cannot be read as weights: {found}; fetch it again or ask for safetensors."
        ) from found
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        raise damaged(path, reason(error)) from error
    return _unwrap(path, _open(path, legacy, names))


def _check_zip(path: Path, file: BinaryIO) -> set[str]:
    """Check the archive's directory and rehearse its pickle; the names that the pickle mentions."""
    size = path.stat().st_size
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if archive.comment or not 0 < len(members) <= 4 * MOST_TENSORS:
            raise NotWeights("its directory makes no sense")
        records: dict[str, int] = {}
        for member in members:
            if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size or member.flag_bits & 1:
                raise NotWeights("it is compressed or encrypted, which files of weights are not")
            if member.file_size > size or member.header_offset + member.file_size > size:
                raise NotWeights("its directory claims more than the file holds")
            if records.setdefault(member.filename.casefold(), member.file_size) != member.file_size:
                raise NotWeights("a name occurs twice in its directory")
        if len(records) != len(members):
            raise NotWeights("a name occurs twice in its directory")
        if sum(records.values()) > size:
            raise NotWeights("its directory claims more than the file holds")
        pickles = [member for member in members if member.filename.casefold().endswith("data.pkl")]
        if len(pickles) != 1 or any(name.endswith("constants.pkl") for name in records):
            raise NotWeights("it is a zip archive, but not of the kind that torch.save writes")
        if pickles[0].file_size > LARGEST_PICKLE:
            raise NotWeights("it holds far too many instructions")
        instructions = archive.read(pickles[0])
    rehearsal = Rehearsal()
    rehearsal.run(io.BytesIO(instructions))
    folder = pickles[0].filename.casefold().removesuffix("data.pkl")
    for key, needed in rehearsal.storages.items():
        if records.get(f"{folder}data/{key}".casefold()) != needed:
            raise NotWeights(f"it lacks the bytes of storage {shown(key, 20)}, or has other ones")
    _check_views(rehearsal, size)
    return rehearsal.names


def _check_legacy(path: Path, file: BinaryIO) -> set[str]:
    """Rehearse the five pickles of an old file: magic number, version, system, the object, the keys of its storages."""
    size = path.stat().st_size
    if size > LARGEST_LEGACY:
        raise NotWeights("it is of PyTorch's old kind, which is read up to 2 GB")
    instructions = io.BytesIO(file.read(LARGEST_PICKLE))
    if not instructions.getvalue().startswith(LEGACY_START):
        raise NotWeights("it is not of the kind that torch.save writes")
    rehearsal = Rehearsal()
    for _ in range(5):
        rehearsal.run(instructions)
    if instructions.tell() + sum(rehearsal.storages.values()) + 8 * len(rehearsal.storages) != size:
        raise NotWeights("its tensors do not agree with its size")
    _check_views(rehearsal, size)
    return rehearsal.names


def _check_views(rehearsal: Rehearsal, size: int) -> None:
    """Shared matrices count more than once, but not without end: thousands of views of one storage would fill the memory."""
    if rehearsal.tensor_bytes > 4 * size:
        raise NotWeights("its tensors are many times as large as the file")


def _open(path: Path, legacy: bool, names: set[str]) -> Any:
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
    inner = next((outer[name] for name in _INSIDE if isinstance(outer.get(name), dict)), None)
    if inner is None:
        return Weights(_state(path, outer), {}, "PyTorch", path, safe=False)
    settings = next((plain for name in _SETTINGS if isinstance(plain := _plain(outer.get(name)), dict) and plain), {})
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


def plain_name(name: str) -> str:
    """A tensor's name without what torch.compile and DistributedDataParallel put before it."""
    while name.startswith(_PREFIXES):
        name = name.split(".", 1)[1]
    return name


def _one_value(value: Any) -> Any:
    """A number or a text as a plain value, also where a tensor without dimensions holds it; None for whatever else."""
    if _is_weight(value) and value.dim() == 0:
        value = value.item()
    return _plain(value) if isinstance(value, (bool, int, float, str)) else None


def _plain(value: Any) -> Any:
    """A copy of numbers, texts, lists and tables; None for whatever else, or where there is too much of it."""
    try:
        return _copied(value, iter(range(_FULL_PLAIN)), 0)
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
