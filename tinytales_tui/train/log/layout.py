"""How a log lies on the screen: its lines cut or wrapped to the width, filtered or not, from any place in it on.

Only the lines in sight are read and wrapped; a few hundred are kept. Knows no Textual, and nothing of where the reader wants to go:
that is in `pager`. Its methods may wait for a disk.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass

from tinytales_tui.train.log.file import LogFile, LogLine
from tinytales_tui.train.log.search import Query, Scan
from tinytales_tui.train.log.text import cut_cells, level_of, levels, shown_text, wrap_cells

NOTE = -1
"""Stands for a line before the first, which says that the log began again."""
_NOTE_LINE = LogLine(NOTE, 0, 0, b"(the log begins again)", 0)
_CONTEXT = 40
"""Lines above the page in which a traceback may have begun."""
_CACHED = 512
_CACHED_LETTERS = 4_000_000
Place = tuple[int, int]
"""Where a line begins, and the row in it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row on the screen."""

    start: int
    """The line it belongs to."""
    text: str
    level: str
    """See `log_text.LEVELS`."""
    spans: tuple[tuple[int, int], ...] = ()
    """What was searched for, in `text`."""
    first: bool = True
    """Whether it is the first row of its line."""
    found: bool = False
    """Whether its line is the one that the search went to."""
    cut: tuple[bool, bool] = (False, False)
    """Whether the line goes on to the left and to the right."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A line as it is shown."""

    line: LogLine
    text: str
    more: str
    """Words for what is left out of a very long line; they end `text`, too."""
    starts: list[int]
    """Where its rows begin in `text`."""
    size: int
    """Bytes the log had then: a line without its newline may grow."""


class LogLayout:
    """The lines of a log file for one width and height; `scan` is the filter, or None where every line is shown."""

    def __init__(self, file: LogFile, ascii: bool) -> None:
        self.file = file
        self.scan: Scan | None = None
        self.width, self.height = 80, 24
        self.left = 0
        """Columns that are out of sight on the left."""
        self.wrap = self.codes = False
        self._ascii = ascii
        self._cache: dict[int, Shown] = {}
        self._letters = 0

    def forget(self) -> None:
        """Nothing that was read holds any longer."""
        self._cache.clear()
        self._letters = 0

    def change(self, top: Place, **changes: int | bool) -> Place:
        """Take another width, height, wrap or codes; answers the place of what was at `top`."""
        within = self._within(top)
        for name, value in changes.items():
            setattr(self, name, value)
        self.forget()
        return top[0], max(0, bisect_right(self.shown(top[0]).starts, within) - 1)

    def _within(self, top: Place) -> int:
        starts = self.shown(top[0]).starts
        return starts[min(top[1], len(starts) - 1)]

    # Lines

    def shown(self, start: int) -> Shown:
        """The line that begins at `start`, read and made safe; an empty one where there is none."""
        known = self._cache.get(start)
        if known is not None and (known.line.next is not None or known.size == self.file.size):
            return known
        line = _NOTE_LINE if start == NOTE else self.file.line_at(start) or LogLine(start, start, None, b"", 0)
        text = shown_text(line.raw, codes=self.codes, ascii=self._ascii)
        more = f" … {line.more:,} more bytes" if line.more else ""
        starts = wrap_cells(text + more, self.width) if self.wrap else [0]
        if len(self._cache) >= _CACHED or self._letters > _CACHED_LETTERS:
            self.forget()
        self._letters += len(text)
        self._cache[start] = Shown(line, text + more, more, starts, self.file.size)
        return self._cache[start]

    def first(self) -> int:
        """The first line, or the note before it."""
        if self.scan:
            return self.scan.starts[0] if self.scan.starts else 0
        return NOTE if self.file.restarts else 0

    def last(self) -> int | None:
        """The last line; None where there is none."""
        if self.scan:
            return self.scan.starts[-1] if self.scan.starts else None
        last = self.file.last_start()
        return NOTE if last is None and self.file.restarts and self.file.exists else last

    def next(self, start: int) -> int | None:
        """The line after the one at `start`."""
        if self.scan:
            at = bisect_right(self.scan.starts, start)
            return self.scan.starts[at] if at < len(self.scan.starts) else None
        after = self.shown(start).line.next
        return after if after is not None and after < self.file.size else None

    def before(self, start: int) -> int | None:
        """The line before the one at `start`."""
        if self.scan:
            at = bisect_left(self.scan.starts, start)
            return self.scan.starts[at - 1] if at else None
        if start == 0 and self.file.restarts:
            return NOTE
        return self.file.before(start)

    # Places

    def up(self, place: Place, rows: int) -> Place:
        """The place so many rows above."""
        start, row = place
        while rows > row:
            before = self.before(start)
            if before is None:
                return start, 0
            rows -= row + 1
            start, row = before, len(self.shown(before).starts) - 1
        return start, row - rows

    def down(self, place: Place, rows: int) -> Place:
        """The place so many rows below."""
        start, row = place
        while rows > (left := len(self.shown(start).starts) - 1 - row):
            after = self.next(start)
            if after is None:
                return start, row + left
            rows -= left + 1
            start, row = after, 0
        return start, row + rows

    def bottom(self) -> Place:
        """The place of the first row when the last row is at the bottom of the page."""
        last = self.last()
        if last is None:
            return 0, 0
        return self.up((last, len(self.shown(last).starts) - 1), self.height - 1)

    def near(self, place: Place) -> Place:
        """`place`, or where it was filtered out or is too far down, the nearest there is."""
        if self.last() is None:
            return 0, 0
        if self.scan and self.scan.starts:
            starts = self.scan.starts
            start = starts[min(bisect_left(starts, place[0]), len(starts) - 1)]
            place = place if start == place[0] else (start, 0)
        rows = len(self.shown(place[0]).starts)
        return min((place[0], min(place[1], rows - 1)), self.bottom())

    # Rows

    def rows(self, top: Place, query: Query | None, match: int | None) -> list[Row]:
        """A page of rows from `top` on."""
        if self.last() is None:
            return []
        starts: list[int] = []
        at: int | None = top[0]
        count = -top[1]
        while at is not None and count < self.height:
            starts.append(at)
            count += len(self.shown(at).starts)
            at = self.next(at)
        found: list[Row] = []
        for start, level in zip(starts, self._levels(starts), strict=True):
            shown = self.shown(start)
            spans = query.spans(shown.text) if query and start != NOTE else []
            for number in range(top[1] if start == top[0] else 0, len(shown.starts)):
                if len(found) >= self.height:
                    break
                found.append(self._row(shown, start, number, level, spans, start == match))
        return found

    def _row(self, shown: Shown, start: int, number: int, level: str, spans: list[tuple[int, int]], found: bool) -> Row:
        text, blanks, more, cut = shown.text, 0, "", (False, False)
        if self.wrap:
            begin = shown.starts[number]
            end = shown.starts[number + 1] if number + 1 < len(shown.starts) else len(text)
        else:
            # What is left out of a very long line is said at the right edge: nobody scrolls to its end.
            more = shown.more if self.width > 2 * len(shown.more) else ""
            begin, end, blanks = cut_cells(text, self.left, self.width - len(more) - bool(more))
            cut = (begin > 0, end < len(text) - len(more))
        marked = [(max(a, begin) - begin + blanks, min(b, end) - begin + blanks) for a, b in spans if a < end and b > begin]
        return Row(start, " " * blanks + text[begin:end] + more, level, tuple(marked), number == 0, found, cut)

    def _levels(self, starts: list[int]) -> list[str]:
        texts = [self.shown(start).text for start in starts]
        if self.scan:  # what the filter lets through and says nothing itself is a line of a traceback
            return [said if (said := level_of(text)) in ("error", "warning") else "error" for text in texts]
        above: list[str] = []
        at = self.before(starts[0])
        while at is not None and len(above) < _CONTEXT:
            above.append(self.shown(at).text)
            at = self.before(at)
        return levels([*reversed(above), *texts])[len(above) :]
