"""What a file or folder of weights holds, by its headers alone: `Weights` with outlines in place of tensors. Knows no torch.

The same files are chosen, the same sentences refuse what is damaged, and a pickle is rehearsed and never opened; only whether all
numbers are finite is not known before they are read.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from engine.checkpoints.foreign import Weights
from engine.checkpoints.outline import Outline, Place
from engine.checkpoints.readers.common import LONGEST_NAME, listed, shown, unreadable
from engine.checkpoints.readers.kinds import chosen_file, config_beside, kind_of
from engine.checkpoints.readers.llama2c_header import outlined, read_header
from engine.checkpoints.readers.pickle_check import Cut, Made
from engine.checkpoints.readers.pickle_files import INSIDE, MOST_SETTINGS, SETTINGS, Rehearsed, plain_name, rehearse
from engine.checkpoints.readers.sharded import read_sharded
from engine.checkpoints.readers.tensors_header import read_header as read_tensors_header
from engine.errors import CheckpointError

_FLOATS = ("Double", "Float", "Half", "BFloat16")
_DEEPEST = 12
"""How far settings in a pickle are followed inwards."""


def read_outlines(path: Path) -> Weights:
    """As `read_weights` (engine.checkpoints.readers), with an `Outline` for each tensor; raises `CheckpointError`."""
    chosen, warnings = chosen_file(path)
    weights = read_sharded(chosen, _read_file) if chosen.name.endswith(".index.json") else _read_file(chosen)
    config = weights.config or config_beside(chosen)
    return dataclasses.replace(weights, config=config, warnings=(*weights.warnings, *warnings))


def _read_file(path: Path) -> Weights:
    try:
        return {"safetensors": _safetensors, "pickled": _pickled, "llama2c": _llama2c}[kind_of(path)](path)
    except OSError as error:
        raise unreadable(path, error) from error


def _safetensors(path: Path) -> Weights:
    header = read_tensors_header(path)
    tensors = {}
    for name, entry in header.tensors.items():
        begin, end = entry["data_offsets"]
        place = Place(path, header.start + begin, end - begin)
        tensors[name] = Outline(tuple(entry["shape"]), entry["dtype"], "F" in entry["dtype"], place)
    return Weights(tensors, {}, "safetensors", path, about=header.metadata)  # type: ignore[arg-type]


def _llama2c(path: Path) -> Weights:
    header = read_header(path)
    tensors = {
        name: Outline(shape, "F32" if size == 4 * math.prod(shape) else "Q8_0", True, Place(path, begin, size))
        for name, shape, begin, size in outlined(header)
    }
    return Weights(tensors, header.config, "llama2.c", path)  # type: ignore[arg-type]


def _pickled(path: Path) -> Weights:
    rehearsed = rehearse(path)
    outer = _table(rehearsed.found)
    if outer is None:
        kind = rehearsed.found.kind if isinstance(rehearsed.found, Made) else type(rehearsed.found).__name__
        raise CheckpointError(f"{shown(path, 300)} holds {kind}, where a table of tensors belongs.")
    inner = next((table for name in INSIDE if (table := _table(outer.get(name))) is not None), None)
    if inner is None:
        return Weights(_state(path, outer, rehearsed), {}, "PyTorch", path, safe=False)  # type: ignore[arg-type]
    settings: dict[str, Any] = next(
        (plain for name in SETTINGS if (plain := _plain(outer.get(name))) and isinstance(plain, dict)), {}
    )
    return Weights(_state(path, inner, rehearsed), settings, "PyTorch", path, safe=False)  # type: ignore[arg-type]


def _state(path: Path, state: Mapping[Any, Any], rehearsed: Rehearsed) -> dict[str, Outline]:
    """The tensors of a state dict under their plain names; whatever else is in it is refused."""
    cuts = {name: _cut(value) for name, value in state.items()}
    strange = [str(name)[:LONGEST_NAME] for name, cut in cuts.items() if not isinstance(name, str) or cut is None]
    if strange or not cuts:
        held = f"holds {listed(strange)} beside its weights" if strange else "holds no weights"
        raise CheckpointError(f"{shown(path, 300)} {held}; a table of plain tensors is needed, so save the model's state_dict.")
    tensors: dict[str, Outline] = {}
    for name, cut in cuts.items():
        plain = plain_name(name)
        if plain in tensors or len(plain) > LONGEST_NAME:
            raise CheckpointError(f"{shown(path, 300)} names {shown(plain)} twice or beyond all length, so it cannot be read.")
        if cut is not None:
            tensors[plain] = Outline(cut.shape, cut.dtype, cut.dtype in _FLOATS, _place(path, cut, rehearsed))
    return tensors


def _place(path: Path, cut: Cut, rehearsed: Rehearsed) -> Place | None:
    """Where a tensor lies that is not turned or strided, else None."""
    steps, expected = [], 1
    for size in reversed(cut.shape):
        steps.append(expected)
        expected *= size
    plain = all(size == 1 or step == at for size, step, at in zip(cut.shape, cut.strides, reversed(steps), strict=True))
    return Place(path, rehearsed.starts[cut.storage] + cut.offset, cut.size) if plain and len(cut.shape) > 1 else None


def _table(found: Any) -> dict[Any, Any] | None:
    return found.holds if isinstance(found, Made) and found.kind == "dict" else None


def _cut(found: Any) -> Cut | None:
    return found.holds if isinstance(found, Made) and found.kind == "tensor" else None


def _plain(found: Any) -> Any:
    """Numbers, texts, lists and tables of settings as plain values; None for whatever else, or where there is too much of it."""
    try:
        return _copied(found, iter(range(MOST_SETTINGS)), 0)
    except OverflowError:
        return None


def _copied(found: Any, left: Iterator[int], depth: int) -> Any:
    if next(left, None) is None or depth > _DEEPEST:
        raise OverflowError
    table = _table(found)
    if table is not None:
        return {name: _copied(value, left, depth + 1) for name, value in table.items() if isinstance(name, str)}
    parts = found.holds if isinstance(found, Made) and found.kind == "list" else found
    if isinstance(parts, (list, tuple)):
        return [_copied(value, left, depth + 1) for value in parts]
    if isinstance(found, float):
        return found if math.isfinite(found) else None
    if isinstance(found, int) and not isinstance(found, bool):
        return found if abs(found) < 2**63 else None
    return found if isinstance(found, (bool, str)) else None
