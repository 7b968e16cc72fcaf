"""A quick look at a checkpoint before anything is started with it: are its files there, whole, and of the right kind? Knows no torch.

`load_checkpoint` reads and checks everything; this only finds within a moment what a person has mistyped or half-copied.
"""

from __future__ import annotations

import json
import os
import struct
from importlib import resources
from pathlib import Path

from engine.checkpoints.hub_names import hub_name
from engine.checkpoints.readers.kinds import ENDINGS
from engine.errors import CheckpointError, UsageError


def glance(source: str) -> str:
    """The source as an absolute path, or as it is where it names the package's own checkpoint or one on the Hub.

    Raises `UsageError` where there is no such path, `CheckpointError` where its weights are missing, cut off or no weights.
    """
    path = Path(os.path.expanduser(source))  # noqa: PTH111 (Path.expanduser raises for an unknown ~name)
    if source == "default" or (not path.exists() and hub_name(source)):
        return source
    if not path.exists():
        raise UsageError(f"There is no checkpoint at {source}; give a folder, a file, or a Hub id such as owner/name.")
    folder = path if path.is_dir() else path.parent
    if not (folder / "tinytales.json").is_file() and (folder / "checkpoints" / "best").is_dir():
        folder = folder / "checkpoints" / "best"
    if not (folder / "tinytales.json").is_file():
        _glance_at_foreign(path)
        return str(path.absolute())
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise CheckpointError(f"{source} holds no checkpoint of tinytales-tui (there is no {name} in it).")
    _check_weights(folder / "model.safetensors")
    return str(path.absolute())


def folder_of(source: str) -> Path | None:
    """The folder of a checkpoint that `glance` has passed; None for one on the Hub."""
    if source == "default":
        return Path(str(resources.files("engine").joinpath("default_checkpoint")))
    path = Path(source)
    folder = path.parent if path.is_file() else path
    if not (folder / "tinytales.json").is_file() and (folder / "checkpoints" / "best").is_dir():
        return folder / "checkpoints" / "best"
    return folder if folder.is_dir() else None


def _glance_at_foreign(path: Path) -> None:
    """Whether there is a file of weights at all; which kind of model it is, only `load_checkpoint` finds out."""
    inside = path.iterdir() if path.is_dir() else ()
    found = [path] if path.is_file() else sorted(entry for entry in inside if entry.suffix in ENDINGS and entry.is_file())
    if not found or found[0].suffix not in ENDINGS:
        raise CheckpointError(f"{path} holds no checkpoint (no tinytales.json, and no {', '.join(ENDINGS)} file).")
    for file in found:
        if file.suffix == ".safetensors":
            _check_weights(file)


def _check_weights(path: Path) -> None:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = struct.unpack("<Q", file.read(8))[0]
            if length > min(size, 1 << 27):
                raise ValueError("its header claims more than the file holds")
            header = json.loads(file.read(length))
        ends = [about["data_offsets"][1] for name, about in header.items() if name != "__metadata__"]
        if 8 + length + max(ends, default=0) != size:
            raise ValueError("it is cut off")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, struct.error) as error:
        raise CheckpointError(f"{path} cannot be read as weights: it is missing, cut off or damaged ({error}).") from error
