"""Weights that lie in several files, with an index that says which tensor is where. Knows no model and no torch.

The index names files, so it is not trusted with paths: a name must be a plain one, and what it leads to must lie in the folder, or in
the same repository of the Hub's cache (where every file of a snapshot is a link into `blobs`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from engine.checkpoints.foreign import Weights
from engine.checkpoints.readers.common import LARGEST_INDEX, MOST_TENSORS, MOST_VALUES, listed, read_json, shown
from engine.checkpoints.readers.pickle_files import plain_name
from engine.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

MOST_FILES = 1000


def read_sharded(index: Path, read_file: Callable[[Path], Weights]) -> Weights:
    """The tensors of all files that `….index.json` names, each read by `read_file`; raises `CheckpointError`.

    The index and the files must name the same tensors: one that is missing or there twice is refused.
    """
    table = read_json(index, LARGEST_INDEX).get("weight_map")
    if not isinstance(table, dict) or not table or not all(isinstance(name, str) for name in table.values()):
        raise CheckpointError(f"{shown(index, 300)} is damaged: it has no table of files called weight_map.")
    names = sorted(set(table.values()))
    if len(names) > MOST_FILES or len(table) > MOST_TENSORS:
        raise CheckpointError(f"{shown(index, 300)} names {len(names):,} files and {len(table):,} tensors; it is damaged.")
    paths = [_within(index.parent, name) for name in names]  # all of them before any is read
    tensors: dict[str, Tensor] = {}
    parts = []
    for name, path in zip(names, paths, strict=True):
        part = read_file(path)
        twice = sorted(set(part.tensors) & set(tensors))
        if twice:
            raise CheckpointError(
                f"{shown(name)} holds tensors that another file holds too: {listed(twice)}; fetch the model again."
            )
        tensors |= part.tensors
        parts.append(part)
        if sum(tensor.numel() for tensor in tensors.values()) >= MOST_VALUES:
            raise CheckpointError(f"{shown(index, 300)} leads to more than {MOST_VALUES:,} numbers; it is no story model.")
    wanted = {plain_name(name) for name in table}
    different = sorted(wanted ^ set(tensors))
    if different:
        raise CheckpointError(
            f"{shown(index, 300)} does not fit its files: they differ in {listed(different)}; fetch the model again."
        )
    return Weights(
        tensors,
        {},
        parts[0].format,
        index,
        about={key: value for part in parts for key, value in part.about.items()},
        safe=all(part.safe for part in parts),
    )


def _within(folder: Path, name: str) -> Path:
    """The file of that name in the folder; `CheckpointError` where the name or a link leads out of it."""
    if not name or name in (".", "..") or any(sign in name for sign in "/\\\0") or name != shown(name, 255):
        raise CheckpointError(
            f"{shown(folder, 300)} has an index that names {shown(name)}, which is not the plain name of a file."
        )
    path = folder / name
    if not path.is_file():
        raise CheckpointError(
            f"{shown(folder, 300)} lacks {shown(name)}, one of the files that its index names; fetch the model again."
        )
    try:
        root, real = folder.resolve(), path.resolve(strict=True)
    except (OSError, RuntimeError) as error:  # a link that leads to itself
        raise CheckpointError(f"{shown(path, 300)} is a link that leads nowhere; fetch the model again.") from error
    if not any(real.is_relative_to(place) for place in (root, *_cache_places(root))):
        raise CheckpointError(f"{shown(path, 300)} is a link that leads out of its folder; put the file itself there.")
    return path


def _cache_places(root: Path) -> list[Path]:
    """Where links of a snapshot in the Hub's cache may lead: the repository's blobs, those that all share, and its other snapshots."""
    for parent in (root, *root.parents):
        if parent.parent.name == "snapshots" and (parent.parent.parent / "blobs").is_dir():
            repository = parent.parent.parent
            shared = [repository.parent / "blobs"] if repository.name.startswith("models--") else []
            return [repository / "blobs", parent.parent, *shared]
    return []
