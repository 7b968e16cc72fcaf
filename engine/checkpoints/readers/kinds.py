"""Which file of a folder holds the weights, and what kind of file it is: by what is in it, not by its name. Knows no torch.

Names such as `.bin` stand for several kinds, so the first bytes decide.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from engine.checkpoints.readers.common import LARGEST_CONFIG, damaged, listed, read_json, shown, unreadable
from engine.checkpoints.readers.llama2c_header import looks_like_llama2c
from engine.checkpoints.readers.pickle_files import LEGACY_START, ZIP_START
from engine.errors import CheckpointError

Kind = Literal["safetensors", "pickled", "llama2c"]

USUAL = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""What a Hub folder calls its weights, the surest first."""
ENDINGS = (".safetensors", ".pt", ".pth", ".bin")
"""Of files that may hold weights."""
_NO_WEIGHTS = re.compile(
    r"(tok(enizer)?[\w-]*|training_args|optimizer.*|scheduler.*|scaler.*|rng_state.*|trainer_state|random_states.*)\.\w+"
)
"""Files with such an ending that hold a vocabulary or the state of a training run."""
_EPOCH = re.compile(r"(?P<stem>.*epoch[_-]?)(?P<epoch>\d{1,9})\.\w+")

_WEB_PAGE = re.compile(rb"\s*<(!doctype|html|head|\?xml)", re.IGNORECASE)


def chosen_file(path: Path) -> tuple[Path, tuple[str, ...]]:
    """The file of weights that a path stands for, or an index of several, and what a person should know about the choice.

    In a folder: `model.safetensors`, its index, `pytorch_model.bin`, its index, or else the one file that can hold weights; of several
    epochs (`model_epoch_3.pt`) the newest, which a warning says. Raises `CheckpointError` with one sentence.
    """
    try:
        folder = path.is_dir()
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{shown(path, 300)} is no path that can be read.") from error
    return _choose(path) if folder else (path, ())


def may_hold_weights(name: str) -> bool:
    """Whether a file (`name` may have folders before it) is called as weights are, and not as a vocabulary or a training state."""
    name = name.rpartition("/")[2]
    return name.endswith(ENDINGS) and not name.startswith(".") and not _NO_WEIGHTS.fullmatch(name)


def newest_epoch(names: Sequence[str]) -> str | None:
    """The last of several files of weights that are one model after each epoch; None where they are anything else."""
    epochs = [match for name in names if (match := _EPOCH.fullmatch(name))]
    if not epochs or len(epochs) != len(names) or len({match["stem"] for match in epochs}) != 1:
        return None
    return max(epochs, key=lambda match: int(match["epoch"])).string


def kind_of(path: Path) -> Kind:
    """What kind of container a file is; raises `CheckpointError` for what is none."""
    if not path.is_file():  # a pipe or a device could be read for ever
        raise CheckpointError(f"There is no file of weights at {shown(path, 300)}; give a folder or a file.")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise unreadable(path, error) from error
    if not start:
        raise damaged(path, "it is empty")
    if start.startswith((ZIP_START, LEGACY_START)):
        return "pickled"
    if looks_like_llama2c(start, size):
        return "llama2c"
    if start.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{shown(path, 300)} is a Git LFS pointer and not the weights; run `git lfs pull` in its folder.")
    if _WEB_PAGE.match(start):
        raise CheckpointError(f"{shown(path, 300)} is a web page and not the weights; download the file itself.")
    if path.suffix == ".safetensors" or start[8:9] == b"{":
        return "safetensors"
    if start[:1] == b"\x80" and start[1:2] in b"\2\3\4\5" and start[2:3] != b"\0":
        raise CheckpointError(
            f"{shown(path, 300)} is a pickle that torch.save did not write, and such a file can run code when it is opened; "
            "ask its author for a safetensors file."
        )
    if path.suffix == ".bin" and start[2:4] == b"\0\0":
        raise damaged(path, "its size does not agree with a llama2.c header, and it is no PyTorch file")
    raise CheckpointError(
        f"{shown(path, 300)} holds no weights that can be read (safetensors, PyTorch or llama2.c), or is damaged."
    )


def config_beside(path: Path) -> dict[str, object]:
    """The `config.json` in the folder of a file; empty where there is none."""
    config = path.parent / "config.json"
    return read_json(config, LARGEST_CONFIG) if config.is_file() else {}


def _choose(folder: Path) -> tuple[Path, tuple[str, ...]]:
    """The file of weights in a folder, and what a person should know about the choice."""
    try:
        names = sorted(path.name for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise unreadable(folder, error) from error
    for name in USUAL:
        if name in names:
            return folder / name, ()
    found = [name for name in names if may_hold_weights(name)]
    if not found:
        raise CheckpointError(f"{shown(folder, 300)} holds no weights (no .safetensors, .pt, .pth or .bin file).")
    if len(found) == 1:
        return folder / found[0], ()
    if newest := newest_epoch(found):
        return folder / newest, (f"There are {len(found)} epochs; {shown(newest)} is the newest and was taken.",)
    raise CheckpointError(f"{shown(folder, 300)} holds several files of weights ({listed(found)}); name the one you mean.")
