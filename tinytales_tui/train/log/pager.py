"""The reader's place in a log: following its end or standing still, filtering it, and going to what was found.

The place is a line and a row in it, so only what is in sight is ever laid out. Knows no Textual: it answers with a `Page` that a
widget paints as it is. Its methods may wait for a disk; use one object from one thread at a time, never from one that draws.
"""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from pathlib import Path

from tinytales_tui.train.log.file import LogFile
from tinytales_tui.train.log.layout import LogLayout, Place, Row
from tinytales_tui.train.log.search import KEPT, BadPattern, Both, Hunt, Matcher, Query, Scan, Serious, parse_query, rank

FILTERS = {"": "", "warnings": "warnings and errors", "errors": "errors"}
"""What is left of the log, and the words for it; the first shows all."""
_COPIED = 4096
"""Characters of a line that are copied at most."""


@dataclass(frozen=True, slots=True)
class Page:
    """All there is to paint."""

    rows: tuple[Row, ...] = ()
    empty: str = ""
    """What to say in place of rows."""
    following: bool = True
    new_lines: int = 0
    """Lines that came since the reader left the end."""
    number: int | None = None
    """Of the first line in sight, from 1; None until it is counted."""
    total: int | None = None
    thumb: tuple[float, float] = (0.0, 1.0)
    """The part of the log in sight, as fractions of it."""
    wrap: bool = False
    filter: str = ""
    """Words for what is left out; empty when all is shown."""
    search: str = ""
    """How the search stands."""
    notice: str = ""
    """A few words about what was just done."""
    warning: str = ""
    """One sentence about why something cannot be done."""


class LogPager:
    """A log and the reader's place in it."""

    def __init__(self, path: Path, *, ascii: bool = False) -> None:
        self.file = LogFile(path)
        self._layout = LogLayout(self.file, ascii)
        self._following = True
        self._top: Place = (0, 0)
        self._left_at = (0, 0)  # lines added so far and bytes of the log when the reader left the end
        self._filter = ""
        self._query: Query | None = None
        self._scan: Scan | None = None
        self._hunt: Hunt | None = None
        self._first_hunt = False
        self._match: int | None = None
        self._notice = self._warning = ""

    # Looking at the file

    def poll(self) -> bool:
        """Look at the file again; whether there is anything new to show."""
        change = self.file.poll()
        if change.restarted:
            self._layout.forget()
            self._following, self._hunt, self._match = True, None, None
            self._scan_again()
            self._notice = "the log began again"
        return change.grown or change.restarted

    def work(self, seconds: float) -> bool:
        """Search, filter and count for about this long; False when there is nothing left to do."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._hunt:
                self._hunt_on(self._hunt)
            elif not any(scan and scan.step() for scan in (self._layout.scan, self._scan)) and not self.file.count_on():
                return False
        return True

    # What a reader does

    def resize(self, width: int, height: int) -> None:
        """The page has this many columns and rows of text now."""
        if (width, height) != (self._layout.width, self._layout.height):
            self._top = self._layout.change(self._place(), width=max(1, width), height=max(1, height))

    def move(self, rows: int) -> None:
        """Go down, or up with a negative number."""
        self._act()
        if rows < 0:
            top = self._layout.up(self._place(), -rows)
            if top != self._place():
                self._stand_at(top)
        elif not self._following:
            self._top = self._layout.down(self._place(), rows)
            self._following = self._top >= self._layout.bottom()

    def move_pages(self, pages: float) -> None:
        """Go down so many pages, or up with a negative number; a row stays in sight."""
        self.move(round(pages * max(1, self._layout.height - 1)))

    def home(self) -> None:
        """Go to the beginning of the log."""
        self._act()
        self._layout.left = 0
        self._stand_at((self._layout.first(), 0))

    def end(self) -> None:
        """Follow the log from now on."""
        self._act()
        self._following, self._layout.left = True, 0

    def freeze(self) -> None:
        """Stand still, as when the reader selects something."""
        self._stand_at(self._place())

    def sideways(self, columns: int) -> None:
        """Go right, or left with a negative number, where lines are cut."""
        self._act()
        goes_on = any(row.cut[1] for row in self._rows())
        if not self._layout.wrap and (columns < 0 or goes_on):
            self._layout.left = max(0, self._layout.left + columns)

    def to_fraction(self, fraction: float) -> None:
        """Go to a place in the whole log: 0 is its beginning, 1 its end."""
        self._act()
        if fraction >= 1:
            self.end()
        elif self._layout.scan:
            starts = self._layout.scan.starts
            self._stand_at((starts[int(max(0.0, fraction) * len(starts))], 0) if starts else (0, 0))
        else:
            self._stand_at((self.file.start_of(int(max(0.0, fraction) * self.file.size)), 0))

    def toggle_wrap(self) -> None:
        """Wrap long lines, or cut them."""
        self._act()
        self._layout.left = 0
        self._top = self._layout.change(self._place(), wrap=not self._layout.wrap)

    def toggle_codes(self) -> None:
        """Show colour codes, or leave them out again."""
        self._act()
        self._top = self._layout.change(self._place(), codes=not self._layout.codes)
        self._notice = "colour codes shown" if self._layout.codes else "colour codes left out"

    def next_filter(self) -> None:
        """Show all lines, then only warnings and errors, then only errors."""
        self._act()
        names = list(FILTERS)
        self._filter = names[(names.index(self._filter) + 1) % len(names)]
        self._top = self._place()
        self._layout.scan = Scan(self.file, Serious(self._filter == "warnings")) if self._filter else None
        if self._scan and self._query:
            self._scan = Scan(self.file, self._matcher(self._query))

    def search(self, words: str) -> None:
        """Look for these words, or go to the next match where they are looked for already.

        Goes to the first match from the top of the page on, else to the nearest one above.
        """
        if self._query and self._query.words == words:
            self.next_match(True)
            return
        self.clear_search()
        if not words:
            return
        try:
            self._query = parse_query(words)
        except BadPattern as error:
            self._warning = str(error)
            return
        matcher = self._matcher(self._query)
        self._scan = Scan(self.file, matcher)
        self._hunt, self._first_hunt = Hunt(self.file, matcher, max(0, self._place()[0]), True, inclusive=True), True

    def next_match(self, down: bool) -> None:
        """Go to the next match, or to the one before; from the top of the page on where the last one is out of sight."""
        self._act()
        if self._query is None:
            self._notice = "press / and type a word first"
            return
        rows = self._rows()
        seen = self._match is not None and any(row.start == self._match for row in rows)
        start = self._match if seen and self._match is not None else max(0, self._place()[0])
        self._hunt = Hunt(self.file, self._matcher(self._query), start, down, inclusive=down and not seen)
        self._first_hunt = False

    def clear_search(self) -> None:
        """Search for nothing any more."""
        self._act()
        self._query = self._scan = self._match = None

    def copyable(self) -> tuple[str, str]:
        """(what it is, the text) of the matched line where it is in sight, else of the lines in sight."""
        starts = list(dict.fromkeys(row.start for row in self._rows()))
        what = "the lines on the page"
        if self._match in starts:
            starts, what = [self._match], "the matched line"
        texts = [self._layout.shown(start).text for start in starts]
        return what, "\n".join(text if len(text) <= _COPIED else text[: _COPIED - 1] + "…" for text in texts)

    # How it is done

    def _act(self) -> None:
        """Whatever the reader does ends the last notice and a search that is on its way."""
        self._notice, self._warning, self._hunt = "", "", None

    def _place(self) -> Place:
        return self._layout.bottom() if self._following else self._layout.near(self._top)

    def _stand_at(self, place: Place) -> None:
        if self._following:
            self._following, self._left_at = False, (self.file.added, self.file.size)
        self._top = place

    def _matcher(self, query: Query) -> Matcher:
        return Both(Serious(self._filter == "warnings"), query) if self._filter else query

    def _scan_again(self) -> None:
        if self._layout.scan:
            self._layout.scan = Scan(self.file, Serious(self._filter == "warnings"))
        if self._scan and self._query:
            self._scan = Scan(self.file, self._matcher(self._query))

    def _hunt_on(self, hunt: Hunt) -> None:
        goes_on = hunt.step()
        if hunt.found is not None:
            self._hunt = None
            self._show_match(hunt.found)
            if hunt.wrapped and not self._first_hunt:
                self._notice = "went on at the other end"
        elif self._first_hunt and hunt.wrapped and self._query:
            self._first_hunt = False
            self._hunt = Hunt(self.file, self._matcher(self._query), max(0, self._place()[0]), False)
        elif not goes_on:
            self._hunt = None

    def _show_match(self, start: int) -> None:
        """Bring a matched line into sight, and its first match, too."""
        layout, query = self._layout, self._query
        span = next(iter(query.spans(layout.shown(start).text)), (0, 0)) if query else (0, 0)
        row = max(0, bisect_right(layout.shown(start).starts, span[0]) - 1)
        self._match = start
        top = self._place()
        if not top <= (start, row) <= layout.down(top, layout.height - 1):
            top = layout.up((start, row), layout.height // 3)
        self._stand_at(top)
        if not layout.wrap and not layout.left <= span[0] <= span[1] <= layout.left + layout.width:
            layout.left = 0 if span[1] <= layout.width else max(0, span[0] - layout.width // 3)

    # The page

    def page(self) -> Page:
        """What there is to see now."""
        rows, file = self._rows(), self.file
        number = file.number_of(max(0, rows[0].start)) if rows else None
        return Page(
            rows=tuple(rows),
            empty="" if rows else self._empty(),
            following=self._following,
            new_lines=0 if self._following else self._new_lines(),
            number=number,
            total=file.total,
            thumb=self._thumb(rows),
            wrap=self._layout.wrap,
            filter=self._filter_words(),
            search=self._search_words(),
            notice=self._notice,
            warning=self._warning or (f"The log cannot be read: {file.trouble}." if file.trouble else ""),
        )

    def _filter_words(self) -> str:
        words, scan = FILTERS[self._filter], self._layout.scan
        if scan is None or (scan.complete and not scan.truncated):
            return words
        return f"{words} (the newest {KEPT:,})" if scan.truncated else f"{words} ({scan.progress:.0%} looked through)"

    def _new_lines(self) -> int:
        added, size = self._left_at
        starts = self._layout.scan.starts if self._layout.scan else None
        return max(0, self.file.added - added) if starts is None else len(starts) - bisect_left(starts, size)

    def _thumb(self, rows: list[Row]) -> tuple[float, float]:
        if not rows:
            return 0.0, 1.0
        first, last = rows[0].start, rows[-1].start
        if self._layout.scan:
            starts = self._layout.scan.starts
            begin, end, whole = bisect_left(starts, first), bisect_right(starts, last), len(starts)
        else:
            begin, end, whole = max(0, first), self._layout.shown(last).line.end + 1, self.file.size
        return min(1.0, begin / max(1, whole)), 1.0 if self._following else min(1.0, end / max(1, whole))

    def _rows(self) -> list[Row]:
        """The rows in sight."""
        return self._layout.rows(self._place(), self._query, self._match)

    def _search_words(self) -> str:
        if self._query is None or self._scan is None:
            return ""
        scan, count = self._scan, len(self._scan.starts)
        if self._hunt:
            return "searching …"
        if scan.truncated:
            return f"{KEPT:,}+ matches"
        if not scan.complete:
            return f"{count:,} so far …"
        place = rank(scan, self._match) if self._match is not None else None
        if place:
            return f"{place:,} of {count:,}"
        return f"{count:,} match{'es' * (count != 1)}" if count or self._match is not None else "not found"

    def _empty(self) -> str:
        if self.file.trouble:
            return f"The log cannot be read: {self.file.trouble}."
        if not self.file.exists:
            return "There is no log yet. What the run prints is shown here as soon as there is some."
        if not self.file.size:
            return "The log is still empty."
        looking = self._layout.scan is not None and not self._layout.scan.complete
        return f"Looking for {FILTERS[self._filter]} …" if looking else f"There are no {FILTERS[self._filter]} in the log."
