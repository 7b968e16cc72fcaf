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

import msgspec

_SEAM = 64
"""Bytes before the place where reading ended that must be unchanged for reading to go on from there."""
LARGEST = 1 << 24
"""Bytes; a small JSON file that is larger than this is taken for damaged, and a line is cut short."""
_SHOWN_OF_CUT = 1000


_quick = msgspec.json.Decoder().decode


class GrowingFile:
    """The complete lines that were added to a file since the last look."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        self._seam = b""
        self._seen: tuple[int, int, int] | None = None
        self._inode = self._size = 0
        self._skipping = False
        self.behind = False
        """Whether the last look, held to so many bytes, left some unread."""
        self.trouble = ""
        """Why the last look could read nothing; empty where it could, or the file is not there."""

    def new_lines(self, most: int | None = None) -> tuple[list[bytes], bool]:
        """Lines without their newlines, and whether reading began again at the start (what was read before no longer holds).

        With `most`, the lines of about that many bytes; `behind` says whether there is more. A line of over 16 MB is cut short.
        """
        try:
            with open_plain(self.path) as file:
                found = os.fstat(file.fileno())
                now = found.st_ino, found.st_size, found.st_mtime_ns
                if now == self._seen:
                    return [], False  # a line that is not finished need not be read again and again
                restarted = self._offset > 0 and not self._goes_on(file, found)
                if restarted or not self._offset:
                    self._offset, self._seam, self._skipping = 0, b"", False
                self._inode, self._size = found.st_ino, found.st_size
                data = self._read(file, most)
                self.behind = file.read(1) != b""
                self._seen = None if self.behind else now
                self.trouble = ""
        except FileNotFoundError:
            restarted, self._offset, self._seam, self._seen = self._offset > 0, 0, b"", None
            self.behind, self.trouble = False, ""
            return [], restarted
        except OSError as error:  # a network that is away for a moment, or a permission: what was read still holds
            self._seen, self.behind = None, False
            self.trouble = (error.strerror or str(error) or "the system refused").lower()
            return [], False
        whole = data.rfind(b"\n") + 1
        if not whole and len(data) > LARGEST:
            lines = [] if self._skipping else [data[:_SHOWN_OF_CUT]]
            whole, self._skipping = len(data), True
        else:
            lines = data[:whole].split(b"\n")[:-1]
            if self._skipping and lines:  # the end of the line that was cut short
                del lines[0]
                self._skipping = False
        self._offset += whole
        self._seam = (self._seam + data[max(0, whole - _SEAM) : whole])[-_SEAM:]
        return lines, restarted

    @property
    def share(self) -> float:
        """How much of the file, as it was at the last look, has been read: 0 to 1."""
        return min(1.0, self._offset / self._size) if self._size else 1.0

    def _read(self, file: Any, most: int | None) -> bytes:
        """From where reading ended, `most` bytes or up to the end of the line that those end in."""
        file.seek(self._offset)
        if most is None:
            return file.read()
        data = file.read(most)
        while len(data) <= LARGEST and b"\n" not in data and (more := file.read(most)):
            data += more
        return data

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
        self._offset, self._seam, self._seen = 0, b"", None
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

    @property
    def behind(self) -> bool:
        """Whether the last look, held to so many bytes, left some unread."""
        return self._file.behind

    @property
    def trouble(self) -> str:
        """Why the last look could read nothing; empty where it could, or the file is not there."""
        return self._file.trouble

    @property
    def share(self) -> float:
        """How much of the file, as it was at the last look, has been read: 0 to 1."""
        return self._file.share

    def new_rows(self, most: int | None = None) -> tuple[list[dict[str, Any]], bool]:
        """Objects in order, those of about `most` bytes if that is given, and whether reading began again at the start."""
        lines, restarted = self._file.new_lines(most)
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
    """The JSON objects among lines; hundreds at once, which is three times as fast as one by one, where none of them is damaged.

    msgspec takes a third of the time of the standard library, which is asked where it refuses: for NaN, above all.
    """
    found: list[dict[str, Any]] = []
    for start in range(0, len(lines), 500):
        part = lines[start : start + 500]
        try:
            # Each for itself looks like an object, so that two halves do not pass for one.
            alone = all(line[:1] == b"{" and line.rstrip()[-1:] == b"}" for line in part)
            rows = _quick(b"[" + b",".join(part) + b"]") if alone else None
        except (ValueError, RecursionError):
            rows = None
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
