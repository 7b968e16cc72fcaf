"""Finding lines in a log of any size: by words, by a pattern, or by how serious they are.

Everything is done in slices, so that whoever calls can stop between two of them and a gigabyte blocks nobody. What is searched
is the text as it is shown, so a word with a colour code in it is found. Knows no Textual and no screen.
"""

from __future__ import annotations

import re
import sys
from bisect import bisect_left
from dataclasses import dataclass
from typing import Protocol

from tinytales_tui.train.log.file import LogFile
from tinytales_tui.train.log.text import levels, may_hold_level, shown_text

KEPT = 10_000
"""Lines found that are kept; of more, the newest."""
SLICE = 1 << 18
"""Bytes that are looked at in one step."""
_BEFORE = 1 << 13
"""Bytes before a slice in which a traceback may have begun."""
_LONGEST = 4096
"""Characters of a line that a regular expression looks at."""


class BadPattern(ValueError):
    """A regular expression that cannot be used; the words say why in one sentence."""


class Matcher(Protocol):
    """Tells the lines that are looked for."""

    def hits(self, before: bytes, at: int, data: bytes) -> list[int]:
        """Where in the log the lines begin that are looked for. `data` are whole lines from byte `at` on, `before` what precedes."""


@dataclass(frozen=True)
class Query:
    """Words (their case does not matter), or a regular expression written as `/…/`. Made by `parse_query`."""

    words: str
    """As it was typed."""
    pattern: re.Pattern[str]
    needle: bytes | None
    """The words in small letters where a plain search of bytes finds them."""
    longest: int
    """Characters of a line that are looked at."""

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where the matches are in a line as it is shown; empty matches do not count."""
        return [found.span() for found in self.pattern.finditer(text, 0, self.longest) if found.end() > found.start()]

    def matches(self, raw: bytes) -> bool:
        """Whether the line with these bytes is one of those that are looked for."""
        if self.needle is not None and b"\x1b" not in raw and b"\r" not in raw:
            return self.needle in raw.lower()
        return any(end > start for start, end in self.spans(shown_text(raw)))

    def hits(self, before: bytes, at: int, data: bytes) -> list[int]:
        if self.needle is None or b"\x1b" in data or b"\r" in data:
            return [start for start, raw in _lines(at, data) if self.matches(raw)]
        low, found, place = data.lower(), [], 0
        while (place := low.find(self.needle, place)) >= 0:
            found.append(at + low.rfind(b"\n", 0, place) + 1)
            place = low.find(b"\n", place) + 1
            if place <= 0:
                break
        return found


@dataclass(frozen=True)
class Serious:
    """Lines that are errors, or with `warnings` errors and warnings."""

    warnings: bool

    def hits(self, before: bytes, at: int, data: bytes) -> list[int]:
        if not may_hold_level(before + data, self.warnings):
            return []
        wanted = {"error", "warning"} if self.warnings else {"error"}
        lines = [*_lines(at - len(before), before), *_lines(at, data)]
        found = levels(shown_text(raw) for _, raw in lines)
        return [start for (start, _), level in zip(lines, found, strict=True) if level in wanted and start >= at]


@dataclass(frozen=True)
class Both:
    """Lines that two matchers tell."""

    one: Matcher
    other: Matcher

    def hits(self, before: bytes, at: int, data: bytes) -> list[int]:
        found = self.one.hits(before, at, data)
        return sorted(set(found).intersection(self.other.hits(before, at, data))) if found else []


def parse_query(words: str) -> Query:
    """What a person typed into the search field. Raises `BadPattern`, which says what is wrong, for a pattern that cannot be used."""
    if len(words) > 2 and words.startswith("/") and words.endswith("/"):
        source = words[1:-1]
        if _may_take_for_ever(source):
            raise BadPattern("A repetition around another one, or around |, may take for ever: write the pattern without it.")
        try:
            return Query(words, re.compile(source, re.IGNORECASE), None, _LONGEST)
        except (re.error, OverflowError, RecursionError) as error:
            raise BadPattern(f"This is no regular expression: {error}. Leave out the slashes to look for the words.") from None
    plain = words.isascii() and words.isprintable()
    needle = words.lower().encode() if plain else None
    return Query(words, re.compile(re.escape(words), re.IGNORECASE), needle, sys.maxsize)


class Scan:
    """All lines of a log that a matcher tells, the newest first looked for; keeps up with a log that grows."""

    def __init__(self, file: LogFile, matcher: Matcher) -> None:
        self._file, self._matcher = file, matcher
        self._low = self._high = file.complete_end()
        self._tried = file.size
        self.starts: list[int] = []
        """Where the lines begin that were found, in the order of the log."""
        self.truncated = False
        """More than `KEPT` were found: only the newest are in `starts`."""

    @property
    def complete(self) -> bool:
        """Whether everything that is kept of the log so far was looked at."""
        return self.truncated or self._low == 0

    @property
    def progress(self) -> float:
        """The part of the log that was looked at, from 0 to 1."""
        return 1.0 if self.complete or not self._high else min(1.0, 1 - self._low / self._high)

    def step(self) -> bool:
        """Look at one more slice; False when there is nothing left to do until the log grows."""
        if self._tried < self._file.size:
            at, stop, data = slice_after(self._file, self._high)
            if stop > at:
                self.starts += self._matcher.hits(_context(self._file, at), at, data)
                self._high = stop
            else:
                self._tried = self._file.size
        elif not self.complete:
            at, stop, data = slice_before(self._file, self._low)
            self.starts[:0] = self._matcher.hits(_context(self._file, at), at, data)
            self._low = at
        else:
            return False
        if len(self.starts) > KEPT:
            self.truncated = True
            del self.starts[:-KEPT]
        return True


class Hunt:
    """The way to the next line that a matcher tells, down or up from a place, beginning again at the other end once."""

    def __init__(self, file: LogFile, matcher: Matcher, start: int, down: bool, inclusive: bool = False) -> None:
        """From the line at `start`; unless `inclusive`, that line itself is looked at after all others."""
        self._file, self._matcher, self._down, self._start = file, matcher, down, start
        line = None if inclusive else file.line_at(start)
        after = start if inclusive else file.size if line is None or line.next is None else line.next
        self._at = max(0, after if down else start)
        self._limit = self._at
        self.wrapped = False
        """Whether it went on at the other end of the log."""
        self.found: int | None = None

    def step(self) -> bool:
        """Look at one more slice; False when the hunt is over."""
        at, stop, data = slice_after(self._file, self._at) if self._down else slice_before(self._file, self._at)
        if stop > at:
            hits = self._matcher.hits(_context(self._file, at), at, data)
            if hits:
                self.found = hits[0] if self._down else hits[-1]
                return False
            self._at = stop if self._down else at
            if not self.wrapped:
                return True
        elif not self.wrapped:
            self.wrapped = True
            end = self._file.complete_end()
            self._at = 0 if self._down else end
            # The last line may never get its newline: what a program said when it was killed.
            last = self._file.line_at(end)
            if last is not None and end != self._start and self._matcher.hits(_context(self._file, end), end, last.raw):
                self.found = end
            return self.found is None
        return stop > at and (self._at < self._limit if self._down else self._at > self._limit)


def slice_after(file: LogFile, at: int) -> tuple[int, int, bytes]:
    """Whole lines from the one at `at` on: (begin, end, bytes); begin and end are the same where there are none yet."""
    data = file.read(at, at + SLICE)
    cut = data.rfind(b"\n") + 1
    if cut:
        return at, at + cut, data[:cut]
    line = file.line_at(at) if len(data) == SLICE else None
    return (at, line.next, line.raw) if line is not None and line.next is not None else (at, at, b"")


def slice_before(file: LogFile, stop: int) -> tuple[int, int, bytes]:
    """Whole lines that end at `stop`, which is the end of one: (begin, end, bytes)."""
    at = max(0, stop - SLICE)
    data = file.read(at, stop)
    skip = 0 if at == 0 else data.find(b"\n") + 1
    if at == 0 or 0 < skip < len(data):
        return at + skip, stop, data[skip:]
    start = file.start_of(stop - 1)
    line = file.line_at(start)
    return start, stop, line.raw if line is not None else b""


def rank(scan: Scan, start: int) -> int | None:
    """The number, from 1, of a line among those that were found; None where it is not one of them."""
    at = bisect_left(scan.starts, start)
    return at + 1 if at < len(scan.starts) and scan.starts[at] == start else None


def _context(file: LogFile, at: int) -> bytes:
    """Whole lines before `at`, a few."""
    begin = max(0, at - _BEFORE)
    data = file.read(begin, at)
    return data if begin == 0 else data[data.find(b"\n") + 1 :]


def _lines(at: int, data: bytes) -> list[tuple[int, bytes]]:
    """(where it begins, its bytes) a line."""
    found = []
    for raw in data.removesuffix(b"\n").split(b"\n") if data else []:
        found.append((at, raw))
        at += len(raw) + 1
    return found


def _may_take_for_ever(source: str) -> bool:
    """Whether a repeated group holds a repetition or an alternative: matching can then take exponential time, and cannot be stopped."""
    source = re.sub(r"\\.", "a", source, flags=re.DOTALL)
    source = re.sub(r"\[\^?\]?[^\]]*\]", "a", source)
    inner: list[bool] = [False]
    for at, letter in enumerate(source):
        if letter == "(":
            inner.append(False)
        elif letter == ")" and len(inner) > 1:
            risky = inner.pop()
            if risky and re.match(r"[*+]|\{\d*,?\d*\}", source[at + 1 :]):
                return True
            inner[-1] |= risky
        elif (
            letter in "*+|"
            or (letter == "?" and source[at - 1 : at] != "(")
            or (letter == "{" and re.match(r"\{\d*,\d*\}", source[at:]))
        ):
            inner[-1] = True
    return False
