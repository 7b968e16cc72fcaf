"""TensorBoard event files, followed while they grow: the scalars of one file, or of a folder in which more files may appear.

The records are cut out of the file here, with a check of their lengths; what is in them is read by the optional package `tensorboard`,
without TensorFlow and torch. Knows nothing of other logs and of screens.
"""

from __future__ import annotations

import array
import os
import re
import struct
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import UsageError
from engine.growing_files import open_plain
from engine.watching.feed import SLICE
from engine.watching.foreign.base import ForeignFeed
from engine.watching.foreign.names import Columns, key_of
from engine.watching.foreign.steps import Row

MARK = "tfevents"
FIRST_RECORD = b"brain.Event:"
NO_PACKAGE = "TensorBoard files need the extra `tensorboard`: pip install 'tinytales-tui[tensorboard]'."
_LARGEST = 1 << 22
"""Bytes of a record that is read; a larger one holds a picture or the like and is passed over."""
_LOOK_EVERY = 1.0
_DEPTH = 4
"""Folders within folders that are looked through."""
_MOST_FOLDERS, _MOST_TAGS = 2000, 500
_SPLITS = frozenset("train training val valid validation eval evaluation test dev".split())


def load_reader() -> tuple[Any, Any]:
    """What turns a record into an event, and the check of four bytes over a length. Raises `UsageError` without the extra."""
    try:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c
    except ImportError as error:
        raise UsageError(NO_PACKAGE) from error
    return Event, masked_crc32c


class _File:
    """How far one event file has been read."""

    def __init__(self, path: Path, prefix: str) -> None:
        self.path, self.prefix = path, prefix
        self.offset = self.inode = 0
        self.damaged_at: int | None = None
        self.behind = True


class TensorBoardFeed(ForeignFeed):
    """The scalars of a run as TensorBoard tells runs apart: the event files of one folder (and its `train` and `validation`)."""

    kind = "TensorBoard"

    def __init__(self, path: Path, columns: Columns | None = None, name: str = "") -> None:
        self._event, self._check = load_reader()
        self._open: dict[Path, _File] = {}
        self._look_due = 0.0
        self._others = 0
        self._place = path
        super().__init__(path, columns, name)

    def _begin_again(self) -> None:
        super()._begin_again()
        # One entry a value: which tag, at which step, when, and what.
        self._tags: dict[str, int] = {}
        self._tag, self._step = array.array("i"), array.array("q")
        self._wall, self._value = array.array("d"), array.array("d")
        self._told_up_to = 0
        self._scrambled = False
        self._last_of: dict[int, int] = {}
        self._highest: int | None = None
        for path, file in list(getattr(self, "_open", {}).items()):
            self._open[path] = _File(path, file.prefix)

    def _files(self) -> Sequence[Path]:
        if time.monotonic() >= self._look_due:
            self._look_due = time.monotonic() + _LOOK_EVERY
            self._find()
        return list(self._open)

    def _find(self) -> None:
        if not self.path.is_dir():
            self._open.setdefault(self.path, _File(self.path, ""))
            return
        place, files, self._others = event_files(self.path)
        if place != self._place and self._open:  # a newer run came up beside the one that was shown
            self._open = {}
            self._begin_again()
        self._place = place
        for path, prefix in files:
            self._open.setdefault(path, _File(path, prefix))

    def _read(self) -> bool:
        budget = SLICE // 4
        for file in list(self._open.values()):
            if budget <= 0:
                break
            used = self._read_file(file, budget)
            if used is None:
                self._begin_again()
                return True
            budget -= used
        more = any(file.behind for file in self._open.values())
        if not (more and self._scrambled):
            self._tell()
        return more

    def _read_file(self, file: _File, most: int) -> int | None:
        """Bytes that were read; None where the file is another one than before."""
        if file.damaged_at is not None:
            file.behind = False
            return 0
        try:
            with open_plain(file.path) as opened:
                found = os.fstat(opened.fileno())
                if file.offset and (found.st_ino != file.inode or found.st_size < file.offset):
                    return None
                file.inode = found.st_ino
                opened.seek(file.offset)
                data = opened.read(max(most, 1))
                used = self._records(file, data)
                if not used and len(data) >= 12 and file.damaged_at is None:  # one record that is longer than the slice
                    used = self._long_record(file, opened, found.st_size)
                file.offset += used
                file.behind = used > 0 and file.offset < found.st_size
        except OSError:
            file.behind = False
            return 0
        return max(used, 1)

    def _records(self, file: _File, data: bytes) -> int:
        at = 0
        while at + 12 <= len(data):
            length, check = struct.unpack_from("<QI", data, at)
            if self._check(data[at : at + 8]) != check:
                file.damaged_at = file.offset + at
                break
            if at + 16 + length > len(data):
                break
            self._see(data[at + 12 : at + 12 + length], file.prefix)
            at += 16 + length
        return at

    def _long_record(self, file: _File, opened: Any, size: int) -> int:
        opened.seek(file.offset)
        (length,) = struct.unpack("<Q", opened.read(12)[:8])
        if file.offset + 16 + length > size:
            return 0  # not all of it is written yet
        if length <= _LARGEST:
            self._see(opened.read(length), file.prefix)
        return int(16 + length)

    def _see(self, record: bytes, prefix: str) -> None:
        try:
            event = self._event.FromString(record)
        except Exception:  # the package's own kinds of error, for a record that is damaged
            return
        if event.HasField("session_log") and event.session_log.status == 1:
            self._purge(event.step, prefix)
        for value in event.summary.value if event.HasField("summary") else ():
            number = _scalar(value)
            if number is None:
                continue
            tag = prefix + value.tag
            if tag not in self._tags and len(self._tags) >= _MOST_TAGS:
                continue
            at = self._tags.setdefault(tag, len(self._tags))
            self._note(at, event.step, event.wall_time, number)

    def _note(self, tag: int, step: int, wall: float, number: float) -> None:
        if step <= self._last_of.get(tag, step - 1) or (self._highest is not None and step < self._highest):
            self._scrambled = True
        self._last_of[tag] = step
        self._highest = step if self._highest is None else max(step, self._highest)
        self._tag.append(tag)
        self._step.append(step)
        self._wall.append(wall)
        self._value.append(number)

    def _purge(self, step: int, prefix: str) -> None:
        """A training that was taken up at this step: what came after it before does not hold."""
        gone = {at for tag, at in self._tags.items() if tag.startswith(prefix)}
        keep = ~(np.isin(np.array(self._tag, dtype=np.int32), list(gone)) & (np.array(self._step, dtype=np.int64) >= step))
        if keep.all():
            return
        for name in ("_tag", "_step", "_wall", "_value"):
            column = getattr(self, name)
            setattr(self, name, array.array(column.typecode, np.array(column)[keep].tobytes()))
        self._scrambled = True

    def _tell(self) -> None:
        """What was read goes into the table: at its end, or all of it in order where some of it belongs further up."""
        if self._scrambled:
            self._steps = type(self._steps)()
            self._told_up_to, self._scrambled = len(self._tag), False
            self._take_anew(self._rows_from(0))
        if self._told_up_to < len(self._tag):
            start, self._told_up_to = self._told_up_to, len(self._tag)
            self._take(self._rows_from(start))

    def _rows_from(self, start: int) -> list[Row]:
        tags, steps = np.array(self._tag[start:]), np.array(self._step[start:])
        kept = np.ones(len(tags), dtype=bool)
        for tag in np.unique(tags):  # a step that comes again takes the place of the later ones
            at = np.flatnonzero(tags == tag)
            later = np.minimum.accumulate(steps[at][::-1])[::-1]
            kept[at[:-1]] = steps[at[:-1]] < later[1:]
        order = np.flatnonzero(kept)
        order = order[np.argsort(steps[order], kind="stable")]
        names = [self._naming.name(tag) for tag in self._tags]
        rows: list[Row] = []
        for at in order.tolist():
            step = self._step[start + at]
            if not rows or rows[-1]["step"] != step:
                rows.append({"step": step, "time": self._wall[start + at]})
            rows[-1][names[self._tag[start + at]]] = self._value[start + at]
        return rows

    def _share(self) -> float:
        return min(1.0, sum(file.offset for file in self._open.values()) / self._bytes) if self._bytes else 1.0

    def _problem(self) -> str:
        damaged = [file.path.name for file in self._open.values() if file.damaged_at is not None]
        if damaged:
            return f"{damaged[0]} is damaged; what comes after the damage is left out."
        if self._open and not self._tags and not any(file.behind for file in self._open.values()):
            return f"{self.name} holds no figures yet."
        if self._others:
            place = self._place.name
            return (
                f"Of the {self._others + 1} runs in {self.path.name} this is the newest, {place}; for another, name its folder."
            )
        return ""


def event_files(folder: Path) -> tuple[Path, list[tuple[Path, str]], int]:
    """The folder of the newest run, its files with what is put before their tags, and how many other runs there are."""
    found: dict[Path, list[Path]] = {}
    for count, (root, folders, names) in enumerate(os.walk(folder)):
        if len(Path(root).relative_to(folder).parts) >= _DEPTH or count >= _MOST_FOLDERS:
            folders.clear()
        if files := [Path(root) / name for name in names if MARK in name]:
            found[Path(root)] = sorted(files, key=_order)
    runs: dict[Path, list[tuple[Path, str]]] = {}
    for place, files in found.items():
        split = place != folder and key_of(place.name) in _SPLITS
        runs.setdefault(place.parent if split else place, []).extend((path, f"{place.name}/" if split else "") for path in files)
    if not runs:
        return folder, [], 0
    newest = max(runs, key=lambda place: max(_changed(path) for path, _ in runs[place]))
    return newest, runs[newest], len(runs) - 1


def _order(path: Path) -> tuple[int, str]:
    match = re.search(MARK + r"\.(\d{1,15})", path.name)
    return (int(match[1]) if match else 0), path.name


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _scalar(value: Any) -> float | None:
    """The number of a scalar, as it was written by older and by newer writers; None for everything else."""
    kind = value.WhichOneof("value")
    if kind == "simple_value":
        return float(value.simple_value)
    if kind != "tensor" or value.metadata.plugin_data.plugin_name not in ("scalars", ""):
        return None
    tensor = value.tensor
    if any(dimension.size != 1 for dimension in tensor.tensor_shape.dim):
        return None
    for numbers in (tensor.float_val, tensor.double_val):
        if len(numbers) == 1:
            return float(numbers[0])
    form = {(1, 4): "<f", (2, 8): "<d"}.get((tensor.dtype, len(tensor.tensor_content)))
    return float(struct.unpack(form, tensor.tensor_content)[0]) if form else None
