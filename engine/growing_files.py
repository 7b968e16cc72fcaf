"""Reading files that another process is writing: JSON lines and logs, from where the last look ended.

A line counts once its newline is there, so a half-written one is simply not seen yet. Whatever is no JSON object is passed over and
counted. A file that was cut back or replaced is read again from its start. Nothing here raises for what a file holds, or for a file
that is missing. Knows no torch, and nothing of what the lines mean.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

_SEAM = 64
"""Bytes before the place where reading ended that must be unchanged for reading to go on from there."""
LARGEST = 1 << 24
"""Bytes; a small JSON file that is larger than this is taken for damaged."""


class GrowingFile:
    """The complete lines that were added to a file since the last look."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        self._seam = b""
        self._inode = 0

    def new_lines(self) -> tuple[list[bytes], bool]:
        """Lines without their newlines, and whether reading began again at the start (what was read before no longer holds)."""
        try:
            with open_plain(self.path) as file:
                found = os.fstat(file.fileno())
                restarted = self._offset > 0 and not self._goes_on(file, found)
                if restarted or not self._offset:
                    self._offset, self._seam = 0, b""
                self._inode = found.st_ino
                file.seek(self._offset)
                data = file.read()
        except OSError:
            restarted, self._offset, self._seam = self._offset > 0, 0, b""
            return [], restarted
        whole = data.rfind(b"\n") + 1
        self._offset += whole
        self._seam = (self._seam + data[max(0, whole - _SEAM) : whole])[-_SEAM:]
        return data[:whole].split(b"\n")[:-1], restarted

    def rest(self) -> bytes:
        """What stands after the last newline that was read: a line that is not finished, and perhaps never will be."""
        try:
            with open_plain(self.path) as file:
                file.seek(self._offset)
                return file.read(LARGEST)
        except OSError:
            return b""

    def skip_to_tail(self, lines: int) -> None:
        """Begin with the last `lines` lines of the file as it is now."""
        self._offset, self._seam = 0, b""
        try:
            with open_plain(self.path) as file:
                found = os.fstat(file.fileno())
                start = _tail_start(file, found.st_size, lines)
                file.seek(max(0, start - _SEAM))
                self._seam, self._offset, self._inode = file.read(min(start, _SEAM)), start, found.st_ino
        except OSError:
            pass

    def _goes_on(self, file: Any, found: os.stat_result) -> bool:
        if found.st_ino != self._inode or found.st_size < self._offset:
            return False
        file.seek(self._offset - len(self._seam))
        return file.read(len(self._seam)) == self._seam


class JsonLines:
    """The JSON objects that were added to a file since the last look."""

    def __init__(self, path: Path) -> None:
        self._file = GrowingFile(path)
        self.damaged = 0
        """Lines so far that were no JSON object."""

    def new_rows(self) -> tuple[list[dict[str, Any]], bool]:
        """Objects in order, and whether reading began again at the start of the file."""
        lines, restarted = self._file.new_lines()
        if restarted:
            self.damaged = 0
        lines = [line for line in lines if line.strip(b" \t\r\0")]  # zeros are what a power cut leaves
        rows = _parse(lines)
        self.damaged += len(lines) - len(rows)
        return rows, restarted


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in a small file; None where it is missing, damaged or no object."""
    try:
        with open_plain(path) as file:
            data = json.loads(file.read(LARGEST))
    except (OSError, ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def open_plain(path: Path) -> Any:
    """Open a plain file for reading in binary; OSError for anything else, so that a pipe in its place cannot hang the reader."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is no plain file")
    return os.fdopen(descriptor, "rb")


def _parse(lines: list[bytes]) -> list[dict[str, Any]]:
    """The JSON objects among lines; hundreds at once, which is three times as fast as one by one, where none of them is damaged."""
    found: list[dict[str, Any]] = []
    for start in range(0, len(lines), 500):
        part = lines[start : start + 500]
        rows = _loads(b"[" + b",".join(part) + b"]")
        if not isinstance(rows, list) or len(rows) != len(part):
            rows = [_loads(line) for line in part]
        found.extend(row for row in rows if type(row) is dict)
    return found


def _loads(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _tail_start(file: Any, size: int, lines: int) -> int:
    """Where the last `lines` complete lines begin; reads blocks from the end."""
    wanted, end = max(0, lines) + 1, size
    while end > 0:
        start = max(0, end - 65_536)
        file.seek(start)
        block = file.read(end - start)
        at = len(block)
        while wanted and (at := block.rfind(b"\n", 0, at)) >= 0:
            wanted -= 1
        if not wanted:
            return start + at + 1
        end = start
    return 0
