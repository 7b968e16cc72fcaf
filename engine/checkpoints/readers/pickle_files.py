"""Files of `torch.save`, looked at from outside: what opening one would do, and which weights are in it. Knows no torch.

A pickle can hold code. The file's own directory and the pickle's instructions (`pickle_check`) are gone through here before anybody
opens it, and that is enough to know names and shapes. Knows no model; of a training checkpoint it points at the weights.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from engine.checkpoints.readers.common import MOST_TENSORS, damaged, reason, shown, unreadable
from engine.checkpoints.readers.pickle_check import NotWeights, Rehearsal, WouldRunCode
from engine.errors import CheckpointError

ZIP_START = b"PK\x03\x04"
LEGACY_START = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""The first pickle of an old file: PyTorch's magic number."""
LARGEST_LEGACY = 2_000_000_000
"""Bytes; an old file cannot be mapped into memory, so it is read as a whole."""
LARGEST_PICKLE = 8_000_000
"""Bytes of instructions; those of a model with a thousand tensors and its optimizer take some 600 kB."""
INSIDE = ("model_state_dict", "model", "state_dict")
"""Where training checkpoints keep their weights."""
SETTINGS = ("model_args", "model_config", "config")
"""Where they keep the shape of the model, the surest first."""
_PREFIXES = ("_orig_mod.", "module.")
"""Put before names by torch.compile and by DistributedDataParallel."""
MOST_SETTINGS = 20_000
"""Plain values taken out of a checkpoint's settings at most; a few memo references in a pickle can stand for millions."""


@dataclass(frozen=True)
class Rehearsed:
    """A file of `torch.save` that holds nothing but weights and plain values."""

    legacy: bool
    """Written by PyTorch before 1.6."""
    names: frozenset[str]
    """What its pickle mentions."""
    found: Any
    """What opening it would give, as `pickle_check.Rehearsal` writes it down."""
    starts: Mapping[str, int]
    """Where the bytes of each storage begin in the file."""


def rehearse(path: Path) -> Rehearsed:
    """What opening a file of `torch.save` would do, found out without opening it; raises `CheckpointError`."""
    try:
        with path.open("rb") as file:
            legacy = file.read(4) != ZIP_START
            file.seek(0)
            return (_check_legacy if legacy else _check_zip)(path, file)
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


def plain_name(name: str) -> str:
    """A tensor's name without what torch.compile and DistributedDataParallel put before it."""
    while name.startswith(_PREFIXES):
        name = name.split(".", 1)[1]
    return name


class _Starts(Mapping[str, int]):
    """Where storages begin in a zip archive, each worked out when it is asked for: behind a header whose length stands in itself."""

    def __init__(self, path: Path, headers: Mapping[str, int]) -> None:
        self._path, self._headers = path, headers

    def __getitem__(self, key: str) -> int:
        begin = self._headers[key]
        with self._path.open("rb") as file:
            file.seek(begin + 26)
            name, extra = struct.unpack("<HH", file.read(4))
        return begin + 30 + name + extra

    def __iter__(self) -> Iterator[str]:
        return iter(self._headers)

    def __len__(self) -> int:
        return len(self._headers)


def _check_zip(path: Path, file: BinaryIO) -> Rehearsed:
    """Check the archive's directory and rehearse its pickle."""
    size = path.stat().st_size
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if archive.comment or not 0 < len(members) <= 4 * MOST_TENSORS:
            raise NotWeights("its directory makes no sense")
        records: dict[str, int] = {}
        places: dict[str, int] = {}
        for member in members:
            if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size or member.flag_bits & 1:
                raise NotWeights("it is compressed or encrypted, which files of weights are not")
            if member.file_size > size or member.header_offset + member.file_size > size:
                raise NotWeights("its directory claims more than the file holds")
            places[member.filename.casefold()] = member.header_offset
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
    found = rehearsal.run(io.BytesIO(instructions))
    folder = pickles[0].filename.casefold().removesuffix("data.pkl")
    for key, needed in rehearsal.storages.items():
        if records.get(f"{folder}data/{key}".casefold()) != needed:
            raise NotWeights(f"it lacks the bytes of storage {shown(key, 20)}, or has other ones")
    _check_views(rehearsal, size)
    begins = {key: places[f"{folder}data/{key}".casefold()] for key in rehearsal.storages}
    return Rehearsed(False, frozenset(rehearsal.names), found, _Starts(path, begins))


def _check_legacy(path: Path, file: BinaryIO) -> Rehearsed:
    """Rehearse the five pickles of an old file: magic number, version, system, the object, the keys of its storages."""
    size = path.stat().st_size
    if size > LARGEST_LEGACY:
        raise NotWeights("it is of PyTorch's old kind, which is read up to 2 GB")
    instructions = io.BytesIO(file.read(LARGEST_PICKLE))
    if not instructions.getvalue().startswith(LEGACY_START):
        raise NotWeights("it is not of the kind that torch.save writes")
    rehearsal = Rehearsal()
    found = [rehearsal.run(instructions) for _ in range(5)][3]
    if instructions.tell() + sum(rehearsal.storages.values()) + 8 * len(rehearsal.storages) != size:
        raise NotWeights("its tensors do not agree with its size")
    _check_views(rehearsal, size)
    at, starts = instructions.tell(), {}
    for key in sorted(rehearsal.storages):  # the order in which torch.save wrote them, each after its count of eight bytes
        starts[key] = at + 8
        at += 8 + rehearsal.storages[key]
    return Rehearsed(True, frozenset(rehearsal.names), found, starts)


def _check_views(rehearsal: Rehearsal, size: int) -> None:
    """Shared matrices count more than once, but not without end: thousands of views of one storage would fill the memory."""
    if rehearsal.tensor_bytes > 4 * size:
        raise NotWeights("its tensors are many times as large as the file")
