"""A log that another process is writing, of any size, read a few lines at a time from any place in it.

Lines are told by the byte they begin at, so the end can be read at once; how many lines lie before it is counted later, in slices.
Of a line that is very long only a part is read. Knows nothing of what the lines mean or how they are shown. Every method but
`__init__` may wait for a disk: none belongs on a thread that draws. One object must be used by one thread at a time.
"""

from __future__ import annotations

import os
from array import array
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from engine.growing_files import open_plain
from tinytales_tui.paths import reason

LIMIT = 1 << 16
"""Bytes of a line that are read at most."""
_BLOCK = 1 << 16
_BLOCKS = 32
"""Blocks that are kept in memory: 2 MiB."""
_STRIDE = 1 << 18
"""Bytes between two places where the number of lines before them is known: 8 bytes of memory for 256 KiB of log."""
_SEAM = 64
"""Bytes before the end that must be the same at the next look, or the log has begun again."""
_BUDGET = 1 << 24
"""Bytes that one call of `poll` or `count_on` counts at most."""
_LONG = 64
"""Long lines whose extent is remembered."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a log."""

    start: int
    """Byte at which it begins."""
    end: int
    """Byte after its last one; the newline is not part of it."""
    next: int | None
    """Where the next line begins; None while this one has no newline."""
    raw: bytes
    """Its bytes, the first `LIMIT` at most; of a line that was drawn over itself with carriage returns, the last."""
    more: int
    """Bytes that follow `raw` in the line."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a look at the file found."""

    grown: bool = False
    """There is more to read, or there is a file where none was."""
    restarted: bool = False
    """The log was cut back, replaced or removed: nothing that was read before holds any longer."""


class LogFile:
    """The lines of a file. Call `poll` first, and again to see what was added; `count_on` until it answers False to number them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        """Bytes there were at the last look."""
        self.exists = False
        self.trouble: str | None = None
        """Why the file cannot be read, in a few words; None where it can be or where there is none."""
        self.restarts = 0
        """How often the log began again while it was watched."""
        self._forget()

    def _forget(self) -> None:
        self.size, self._seam, self._inode = 0, b"", -1
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._long: OrderedDict[int, tuple[int, int]] = OrderedDict()  # start: (no newline before this byte, the newline or -1)
        self._head, self._tail = _Counter(0), _Counter(0)

    # Looking

    def poll(self) -> Change:
        """See how the file stands now. Raises nothing: what keeps it from being read is in `trouble`."""
        try:
            with open_plain(self.path) as file:
                found = os.fstat(file.fileno())
                restarted = self._inode >= 0 and not self._goes_on(file, found)
                if restarted:
                    self._forget()
                    self.restarts += 1
                if self._inode < 0:
                    # Two counters meet here: the one of the end begins at once, the one of the rest when there is time.
                    self._tail = _Counter(found.st_size // _STRIDE * _STRIDE)
                self._inode = found.st_ino
                grown = restarted or not self.exists or found.st_size > self.size or self.trouble is not None
                self.exists, self.trouble, self.size = True, None, found.st_size
                file.seek(max(0, self.size - _SEAM))
                self._seam = file.read(min(_SEAM, self.size))
                self._tail.read_on(file, self.size)
                return Change(grown, restarted)
        except FileNotFoundError:
            restarted = self.size > 0
            self.restarts += restarted
            changed, self.exists, self.trouble = self.exists or self.trouble is not None, False, None
            self._forget()
            return Change(changed, restarted)
        except OSError as error:
            # A network file system that is away for a moment: what was read still holds.
            words = reason(error) if error.errno else "it is no plain file"
            changed, self.trouble = words != self.trouble, words
            return Change(changed)

    def _goes_on(self, file: BinaryIO, found: os.stat_result) -> bool:
        if found.st_ino != self._inode or found.st_size < self.size:
            return False
        file.seek(self.size - len(self._seam))
        return file.read(len(self._seam)) == self._seam

    # Lines by the byte they begin at

    def last_start(self) -> int | None:
        """Where the last line begins, finished or not; None for an empty log."""
        return self.start_of(self.size - 1) if self.size else None

    def complete_end(self) -> int:
        """Where the lines that have their newline end."""
        start = self.last_start()
        line = self.line_at(start) if start is not None else None
        return 0 if line is None else line.start if line.next is None else line.next

    def start_of(self, offset: int) -> int:
        """Where the line with the byte at `offset` begins."""
        end = at = max(0, min(offset, self.size))
        start = 0
        while at > 0:
            known = next((s for s, (clear, _) in self._long.items() if s < at <= clear), None)
            if known is not None:
                start = known
                break
            near = end - at < 2 * LIMIT
            begin = (at - 1) // _BLOCK * _BLOCK if near else max(0, at - _STRIDE)
            newline = (self._cached(begin, at) if near else self.read(begin, at)).rfind(b"\n")
            if newline >= 0:
                start = begin + newline + 1
                break
            at = begin
        if end - start > LIMIT:
            self._remember(start, end, -1)
        return start

    def before(self, start: int) -> int | None:
        """Where the line before the one at `start` begins; None at the beginning of the log."""
        return self.start_of(start - 1) if start > 0 else None

    def line_at(self, start: int) -> LogLine | None:
        """The line that begins at `start`, which must be the beginning of one; None behind the last."""
        if not 0 <= start < self.size:
            return None
        clear, newline = self._long.get(start, (start, -1))
        if newline < 0:
            newline = self._newline_from(clear)
        end = newline if newline >= 0 else self.size
        after = newline + 1 if newline >= 0 else None
        if end - start <= LIMIT:
            return LogLine(start, end, after, self._cached(start, end), 0)
        self._remember(start, end, newline)
        tail = self._cached(end - LIMIT, end)
        if b"\r" in tail.rstrip(b"\r"):
            return LogLine(start, end, after, tail, 0)
        return LogLine(start, end, after, self._cached(start, start + LIMIT), end - start - LIMIT)

    def window(self, start: int, count: int) -> list[LogLine]:
        """At most `count` lines from the one that begins at `start` on."""
        lines: list[LogLine] = []
        at: int | None = start
        while at is not None and len(lines) < count and (line := self.line_at(at)) is not None:
            lines.append(line)
            at = line.next
        return lines

    def _newline_from(self, at: int) -> int:
        begin = at
        while at < self.size:
            near = at - begin < 2 * LIMIT
            stop = min((at // _BLOCK + 1) * _BLOCK if near else at + _STRIDE, self.size)
            data = self._cached(at, stop) if near else self.read(at, stop)
            newline = data.find(b"\n")
            if newline >= 0:
                return at + newline
            if not data:
                break
            at += len(data)
        return -1

    def _remember(self, start: int, clear: int, newline: int) -> None:
        known = self._long.pop(start, (0, -1))
        self._long[start] = (max(clear, known[0]), max(newline, known[1]))
        if len(self._long) > _LONG:
            self._long.popitem(last=False)

    # Bytes

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from `start` to `stop`, or fewer where the file ends or cannot be read."""
        try:
            with open_plain(self.path) as file:
                file.seek(start)
                return file.read(max(0, min(stop, self.size) - start))
        except OSError:
            return b""

    def _cached(self, start: int, stop: int) -> bytes:
        """The same for a few blocks, which are kept."""
        parts = []
        for number in range(start // _BLOCK, -(-stop // _BLOCK)):
            base = number * _BLOCK
            block = self._blocks.pop(number, b"")
            if len(block) < min(_BLOCK, self.size - base):
                block = self.read(base, base + _BLOCK)
            self._blocks[number] = block
            parts.append(block[max(0, start - base) : stop - base])
        while len(self._blocks) > _BLOCKS:
            self._blocks.popitem(last=False)
        return b"".join(parts)

    # Numbers of lines

    def count_on(self) -> bool:
        """Count some more lines; False once every line has its number, or where the file cannot be read for now."""
        before = self._tail.at, self._head.at
        try:
            with open_plain(self.path) as file:
                self._tail.read_on(file, self.size)
                self._head.read_on(file, self._tail.base)
        except OSError:
            return False
        return before != (self._tail.at, self._head.at)

    @property
    def added(self) -> int:
        """Newlines counted so far in the part that grows: only the difference of two looks means anything."""
        return self._tail.lines

    @property
    def total(self) -> int | None:
        """Lines in the whole log, an unfinished one included; None until they are counted."""
        if self._head.at < self._tail.base or self._tail.at < self.size:
            return None
        return self._head.lines + self._tail.lines + (self.size > 0 and not self._seam.endswith(b"\n"))

    def number_of(self, start: int) -> int | None:
        """The number, from 1, of the line that begins at `start`; None until it is counted."""
        if start < self._tail.base:
            counter, before = self._head, 0
        else:
            counter, before = self._tail, self._head.lines
            if self._head.at < self._tail.base:
                return None
        mark = counter.mark_before(start)
        if mark is None:
            return None
        place, lines = mark
        return 1 + before + lines + self._cached(place, start).count(b"\n")


class _Counter:
    """Newlines from `base` on, with the count noted at every stride."""

    def __init__(self, base: int) -> None:
        self.base = self.at = base
        self.lines = 0
        self._marks = array("Q", [0])

    def read_on(self, file: BinaryIO, end: int) -> None:
        """Count up to `end`, or as far as the budget of one call goes."""
        end = min(end, self.at + _BUDGET)
        file.seek(self.at)
        while self.at < end:
            mark = self.base + len(self._marks) * _STRIDE
            data = file.read(min(mark, end) - self.at)
            if not data:
                return
            self.at += len(data)
            self.lines += data.count(b"\n")
            if self.at == mark:
                self._marks.append(self.lines)

    def mark_before(self, offset: int) -> tuple[int, int] | None:
        """The nearest place before `offset` and the newlines up to it; None where it was not counted yet."""
        if offset > self.at:
            return None
        number = min((offset - self.base) // _STRIDE, len(self._marks) - 1)
        return self.base + number * _STRIDE, self._marks[number]
