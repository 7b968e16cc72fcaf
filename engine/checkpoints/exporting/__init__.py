"""Exporting: a checkpoint written as another program wants it, whole or not at all. Imports no torch before something is exported.

hub         a folder that transformers opens, with a model card           (`hf`)
            or one in 8 bits that this program alone opens                (`int8`)
llama2c     model.bin and tokenizer.bin for llama2.c's run and runq       (`llama2c`)
gguf        one model.gguf for llama.cpp and what is built on it          (`gguf`)
vocabulary  a tokenizer as a table of tokens, which the last two write out
card        the model card
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from engine import files
from engine.errors import CheckpointError, UsageError
from engine.growing_files import read_json

if TYPE_CHECKING:
    from engine.checkpoints.native import Checkpoint

Format = Literal["hf", "int8", "llama2c", "gguf"]
Number = Literal["float32", "float16", "bfloat16", "int8", "q8_0"]
"""How weights are stored; int8 are 8-bit whole numbers with a scale for each row of a matrix, q8_0 with one for each block of a row."""

FORMATS: dict[Format, tuple[Number, ...]] = {
    "hf": ("float32", "float16", "bfloat16"),
    "int8": ("int8",),
    "llama2c": ("float32", "q8_0"),
    "gguf": ("float32", "float16", "q8_0"),
}
"""What can be exported to, and the kinds of numbers that each can hold, the usual one first."""

_WRITTEN = {
    "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "tokenizer.model",
    "tinytales.json", "README.md", "model.bin", "tokenizer.bin", "model.gguf", "export.json",
}  # fmt: skip
"""Every file that an export may hold. A folder with anything else in it is never replaced."""
MARK = "export.json"
"""Says that a folder was exported, and what. One without it may be anybody's only copy of a checkpoint and is never replaced."""
_BY = "tinytales-tui"


@dataclass(frozen=True)
class Exported:
    """What was written."""

    folder: Path
    files: tuple[str, ...]
    """Names in the folder."""
    notes: tuple[str, ...] = ()
    """One sentence for each thing in which the other program will not do quite what this one does."""

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum((self.folder / name).stat().st_size for name in self.files)


def export(checkpoint: Checkpoint, to: str, folder: Path, *, force: bool = False, stored_as: str | None = None) -> Exported:
    """Write `checkpoint` into the folder as `to` (`FORMATS`) wants it; with `force` in place of an earlier export of this program.

    `stored_as` is the kind of number of the weights; None: the format's usual one. Raises `UsageError` for a format, a kind of number or
    a folder that cannot be, `CheckpointError` with the reason for a model that the format cannot hold, and where the disk is full or
    says no.
    """
    write = _writer(to, stored_as)
    if checkpoint.path is not None:
        _refuse_the_source(folder, checkpoint.path)
    _refuse_what_stands_there(folder, force)
    number = stored_as or FORMATS[to][0]  # type: ignore[index]
    try:
        with files.whole_folder(folder) as aside:
            notes = write(checkpoint, aside, number)
            files.write_json(aside / MARK, {"exported_by": _BY, "format": to, "stored_as": number})
        return Exported(folder, tuple(sorted(path.name for path in folder.iterdir())), tuple(notes))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, None):  # numpy counts what was written, and names no reason
            raise CheckpointError(
                f"The disk of {folder} is full, so nothing was exported; make room or choose another."
            ) from error
        reason = os.strerror(error.errno).lower()
        raise CheckpointError(f"{folder} cannot be written to ({reason}); choose another folder.") from error


def _writer(to: str, stored_as: str | None) -> Callable[[Checkpoint, Path, str], list[str]]:
    """The function that fills a folder and gives the notes."""
    if to not in FORMATS:
        raise UsageError(f"There is no format {to!r} to export to; choose {', '.join(FORMATS)}.")
    numbers = FORMATS[to]  # type: ignore[index]
    if stored_as is not None and stored_as not in numbers:
        other = "; int8 is a format of its own" if stored_as in FORMATS else ""
        raise UsageError(f"{to} cannot hold weights as {stored_as}; choose {', '.join(numbers)}{other}.")
    from engine.checkpoints.exporting import gguf, hub, llama2c

    return {"hf": hub.write, "int8": hub.write, "llama2c": llama2c.write, "gguf": gguf.write}[to]


def _refuse_the_source(folder: Path, source: Path) -> None:
    """A folder that holds the checkpoint itself is not replaced by a conversion of it, and none is put into the checkpoint's folder."""
    target, source = folder.resolve(), source.resolve()
    if target == source or target in source.parents:
        raise UsageError(f"{folder} holds the checkpoint that is to be exported; name another folder.")
    if source in target.parents:
        raise UsageError(f"{folder} lies in the folder of the checkpoint that is to be exported; name one outside of it.")


def _refuse_what_stands_there(folder: Path, force: bool) -> None:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UsageError(f"{folder} is there already and is no folder; name another.")
    there = {entry.name for entry in folder.iterdir()} if folder.exists() else set()
    if there and not force:
        raise UsageError(
            f"{folder} is there already and not empty; name another folder, or replace an earlier export with --force."
        )
    if others := sorted(there - _WRITTEN):
        shown = " ".join(others[0].split())[:60]
        raise UsageError(f"{folder} holds things that are no export, such as {shown}, and is left alone; name another folder.")
    if there and not _is_export(folder):
        raise UsageError(
            f"{folder} is no export that this program made (there is no {MARK} of it in there) and is left alone; name another folder."
        )


def _is_export(folder: Path) -> bool:
    in_cache = folder.parent.name == "snapshots" and folder.parent.parent.name.startswith("models--")
    return not in_cache and (read_json(folder / MARK) or {}).get("exported_by") == _BY
