"""What a run needs beside its checkpoint to go on exactly: float32 weights, optimizer, averages, and where it stood in the data.

    state/step-000500.safetensors    every tensor
    state/step-000500.json           step, cursor and the sha256 of the tensors; written last, so a state is there or it is not

The learning rate and the random numbers of dropout are functions of the step (`schedule`, `loop.seed_step`), so there is nothing of
them to keep. The newest two states stay: where the newest is damaged, the one before is taken.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from engine import files
from engine.errors import CheckpointError

KEPT = 2
_NAME = re.compile(r"step-(\d+)\.json")


@dataclass
class Progress:
    """Where a run stands, as plain numbers."""

    step: int = 0
    tokens: int = 0
    """Targets that were learnt from."""
    epoch: int = 0
    index: int = 0
    """Steps of the epoch that are done."""
    best_step: int | None = None
    best_bits_per_byte: float | None = None
    without_better: int = 0
    """Validations since the best one."""
    validations: list[tuple[int, float, float]] = field(default_factory=list)
    """(step, validation loss, training loss since the last one) of the newest validations, for the watchdog."""
    pending: list[tuple[float, float]] = field(default_factory=list)
    """(loss, gradient norm) of the steps that no line of metrics has told yet."""
    since_validation: list[float] = field(default_factory=lambda: [0.0, 0.0])
    """Sum and number of the training losses since the last validation."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Progress:
        known = cls().to_json()  # a later version of the program may know more of a run, or less
        found = cls(**{key: value for key, value in data.items() if key in known})
        found.validations = [tuple(row) for row in found.validations]  # type: ignore[misc]
        found.pending = [tuple(row) for row in found.pending]  # type: ignore[misc]
        return found


@dataclass
class SavedState:
    """A state as it was read."""

    progress: Progress
    lengths: dict[str, int]
    """Bytes of the run's growing files when it was saved."""
    tensors: dict[str, Tensor]


def save_state(folder: Path, progress: Progress, lengths: dict[str, int], tensors: dict[str, Tensor]) -> None:
    """Write the state of `progress.step` whole or not at all; OSError where the disk says no."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"step-{progress.step:06d}"
    path, aside = folder / f"{name}.safetensors", folder / f".{name}.safetensors.part"
    try:
        save_file({key: tensor.detach().contiguous() for key, tensor in tensors.items()}, aside)
        with aside.open("r+b") as file:
            os.fsync(file.fileno())
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        (folder / f"{name}.json").unlink(missing_ok=True)
        aside.replace(path)
        files.write_json(
            folder / f"{name}.json", {"format": 1, "progress": progress.to_json(), "lengths": lengths, "sha256": digest}
        )
    except SafetensorError as error:  # the library hides what the system said
        aside.unlink(missing_ok=True)
        raise _system_error(error, folder) from error
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    files.sync_folder(folder)


def saved_steps(folder: Path) -> list[int]:
    """Steps with a complete state, newest first."""
    try:
        found = [_NAME.fullmatch(path.name) for path in folder.iterdir()]
    except OSError:
        return []
    return sorted((int(match[1]) for match in found if match), reverse=True)


def newest_state(folder: Path) -> Iterator[SavedState | CheckpointError]:
    """The states from the newest on; for one that cannot be read, the error that says why."""
    for step in saved_steps(folder):
        try:
            yield read_state(folder, step)
        except CheckpointError as error:
            yield error


def read_state(folder: Path, step: int) -> SavedState:
    """The state of a step; raises `CheckpointError` where it is damaged, OSError where the disk does not let it be read now."""
    name = f"step-{step:06d}"
    path = folder / f"{name}.safetensors"
    try:
        about = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != about["sha256"]:
                raise CheckpointError(f"The saved state of step {step} is damaged: {path.name} does not fit its checksum.")
        with safe_open(path, framework="pt", device="cpu") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return SavedState(Progress.from_json(about["progress"]), dict(about["lengths"]), tensors)
    except (FileNotFoundError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise CheckpointError(f"The saved state of step {step} cannot be read ({type(error).__name__}: {error}).") from error


def prune(state_folder: Path, checkpoints: Path, keep_every: int) -> None:
    """Remove what is older than the newest two, but for `best` and the checkpoints of every `keep_every` steps, and all leavings."""
    steps = saved_steps(state_folder)
    for step in steps[KEPT:]:
        for suffix in (".json", ".safetensors"):
            (state_folder / f"step-{step:06d}{suffix}").unlink(missing_ok=True)
    kept = {f"step-{step:06d}" for step in steps[:KEPT]}
    for path in checkpoints.glob("step-*"):
        number = path.name.removeprefix("step-")
        if path.name not in kept and number.isdigit() and not (keep_every and int(number) % keep_every == 0):
            shutil.rmtree(path, ignore_errors=True)


def drop_newer(state_folder: Path, checkpoints: Path, step: int) -> None:
    """Remove the states and checkpoints after `step`: damaged ones, which would otherwise be kept as the newest."""
    for newer in [found for found in saved_steps(state_folder) if found > step]:
        for suffix in (".json", ".safetensors"):
            (state_folder / f"step-{newer:06d}{suffix}").unlink(missing_ok=True)
        shutil.rmtree(checkpoints / f"step-{newer:06d}", ignore_errors=True)


def clear_leavings(state_folder: Path, checkpoints: Path) -> None:
    """Remove what a killed process left half-written; only for the process that holds the run."""
    whole = {f"step-{step:06d}" for step in saved_steps(state_folder)}
    for path in state_folder.glob(".*.part"):
        path.unlink(missing_ok=True)
    for path in state_folder.glob("step-*.safetensors"):
        if path.stem not in whole:
            path.unlink(missing_ok=True)
    for path in checkpoints.glob(".*.part"):
        shutil.rmtree(path, ignore_errors=True)
    for path in checkpoints.glob(".*.old"):  # the old checkpoint, where the crash came between two renames
        with contextlib.suppress(OSError):
            name = path.name[1:].split(".")[0]
            if (checkpoints / name).exists():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.rename(checkpoints / name)


def optimizer_tensors(optimizers: list[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """Every tensor of the optimizers' memories, named `optimizer.<which>.<parameter>.<what>`."""
    found = {}
    for which, optimizer in enumerate(optimizers):
        for number, memory in optimizer.state_dict()["state"].items():
            found |= {f"optimizer.{which}.{number}.{what}": value for what, value in memory.items() if isinstance(value, Tensor)}
    return found


def load_optimizers(optimizers: list[torch.optim.Optimizer], tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave; raises `CheckpointError` where it belongs to other optimizers."""
    for which, optimizer in enumerate(optimizers):
        current = optimizer.state_dict()
        memories: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            kind, *place = key.split(".")
            if kind == "optimizer" and int(place[0]) == which:
                memories.setdefault(int(place[1]), {})[place[2]] = value
        if memories and len(memories) != sum(len(group["params"]) for group in current["param_groups"]):
            raise CheckpointError("The saved optimizer belongs to other parameters than this model has.")
        optimizer.load_state_dict({"state": memories, "param_groups": current["param_groups"]})


def _system_error(error: SafetensorError, folder: Path) -> OSError:
    found = re.search(r"os error (\d+)", str(error))
    number = int(found[1]) if found else 0
    return OSError(number, os.strerror(number) if number else str(error), str(folder))
