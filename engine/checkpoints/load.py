"""Finding a checkpoint: the one in the package, a folder, a file in a folder, or a Hub id."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

import torch

from engine.checkpoints.choices import Choices, apply, load_tokenizer
from engine.checkpoints.hub_names import hub_name
from engine.checkpoints.native import Checkpoint, is_native, read_checkpoint
from engine.decode.choose import ONLY_COMPILED, check_step, compile_step, step_for
from engine.devices import choose_device
from engine.errors import CheckpointError, UsageError

PRECISIONS = {"auto": torch.float32, "fp32": torch.float32, "bf16": torch.bfloat16}


def default_folder() -> Path:
    """The folder of the checkpoint that travels with the package."""
    return Path(str(resources.files("engine").joinpath("default_checkpoint")))


def load_checkpoint(
    source: str | Path | None = None,
    *,
    device: str | None = None,
    precision: str = "auto",
    choices: Choices | None = None,
    step: str | None = None,
    threads: int | None = None,
) -> Checkpoint:
    """A checkpoint from a folder, a file or a Hub id (`None` or "default": the one in the package), ready to write.

    `choices` are what a person wants to be otherwise than it is found: prompt style, tokenizer, the tokens that end a story and the
    one before everything. `precision` is `auto`, `fp32` or `bf16`; auto is fp32, the precision that changes nothing. `step`
    `compiled` writes with compiled code, on the CPU with so many `threads`; there it also knows `int8` and `int4`, and these two mean it
    where no step is named. Raises `CheckpointError` for what cannot be read, `NetworkError` where the Hub cannot be reached,
    `UsageError` for a device or precision that does not exist.
    """
    step = step_for(step, precision)
    check_step(step, precision)
    if step == "plain" and precision not in PRECISIONS:
        hint = f"; {precision} goes with --step compiled" if precision in ONLY_COMPILED else ""
        raise UsageError(f"There is no precision {precision!r}; choose {', '.join(PRECISIONS)}{hint}.")
    choices = choices or Choices()
    where = choose_device(device)
    tokenizer = load_tokenizer(choices.tokenizer) if choices.tokenizer else None
    if source is None or str(source) == "default":
        path = default_folder()
        checkpoint = read_checkpoint(path, "tinytales (default)", "default", tokenizer)
    else:
        path, name = locate(str(source))
        if is_native(path):
            checkpoint = read_checkpoint(path, name, str(source), tokenizer)
        else:
            from engine.checkpoints.adapting import read_foreign

            checkpoint = read_foreign(path, name, str(source), tokenizer)
    checkpoint.path = path
    apply(checkpoint, choices)
    checkpoint.network.to(where, torch.float32 if step == "compiled" else PRECISIONS[precision])
    checkpoint.device = str(where)
    if step == "compiled":
        compile_step(checkpoint, precision, threads)
        return checkpoint
    checkpoint.precision = "bf16" if precision == "bf16" else "fp32"
    return checkpoint


def locate(source: str) -> tuple[Path, str]:
    """The folder or file that holds a checkpoint, and a short name for it; downloads what is named by a Hub id and not yet there."""
    path = Path(os.path.expanduser(source))  # noqa: PTH111 (Path.expanduser raises for an unknown ~name)
    if path.is_file():
        return (path.parent, _short_name(path.parent)) if is_native(path.parent) else (path, path.name)
    if path.is_dir():
        if not is_native(path) and is_native(path / "checkpoints" / "best"):  # a run directory stands for its best checkpoint
            return path / "checkpoints" / "best", path.resolve().name
        return path, _short_name(path)
    if named := hub_name(source):
        from engine.hub.fetching import fetch

        found = fetch(named.repo, named.file, named.revision)
        return found.parent if named.file and is_native(found.parent) else found, source
    raise CheckpointError(f"There is no checkpoint at {source}; give a folder, a file, or a Hub id such as owner/name.")


def _short_name(folder: Path) -> str:
    """The folder's name; of a run's checkpoint (`runs/mine/checkpoints/best`) the run's, and which one it is."""
    folder = folder.resolve()
    if folder.parent.name == "checkpoints" and (folder.parent.parent / "status.json").is_file():
        return f"{folder.parent.parent.name} {folder.name}"
    return folder.name
