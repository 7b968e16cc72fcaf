"""How far a long reading of stories has come, for whoever shows it. Knows no screen and no torch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from engine.data.records import Record
from engine.data.sources import Source


@dataclass(frozen=True)
class Progress:
    """One report; all figures are of the present stage."""

    stage: str
    """A few words: what is being done."""
    stories: int
    text_bytes: int
    """UTF-8 bytes of the stories so far."""
    share: float | None
    """How much is done, 0 to 1; None: not known."""
    bytes_per_s: float
    """Of text, since this start of the program."""
    remaining_s: float | None
    """How long it will take from here on; None: not known yet."""


Report = Callable[[Progress], None]


class Meter:
    """Counts stories of several sources and reports at most every `every` seconds."""

    def __init__(self, stage: str, sources: list[Source], report: Report | None, every: float = 0.2) -> None:
        self._stage, self._sources, self._report, self._every = stage, sources, report, every
        self._begun = self._told = time.monotonic()
        self.stories = self.text_bytes = self._skipped_bytes = 0
        self._skipped_share = 0.0

    def begin_here(self) -> None:
        """What was counted so far was skipped, not done: speed and the time that remains are reckoned from here."""
        self._begun, self._skipped_bytes, self._skipped_share = time.monotonic(), self.text_bytes, self._share() or 0.0

    def count(self, record: Record) -> None:
        self.stories += 1
        self.text_bytes += len(record.story) if record.story.isascii() else len(record.story.encode())
        if self._report and time.monotonic() - self._told >= self._every:
            self.tell()

    def tell(self) -> None:
        """Report now."""
        self._told = time.monotonic()
        if self._report is None:
            return
        seconds, share = max(self._told - self._begun, 1e-6), self._share()
        gained = (share or 0.0) - self._skipped_share
        remaining = (1 - share) / gained * seconds if share is not None and gained > 0.002 and seconds > 0.5 else None
        speed = (self.text_bytes - self._skipped_bytes) / seconds
        self._report(Progress(self._stage, self.stories, self.text_bytes, share, speed, remaining))

    def watch(self, records: Iterable[Record]) -> Iterator[Record]:
        """Hand records on and count them."""
        for record in records:
            self.count(record)
            yield record

    def _share(self) -> float | None:
        """Over all sources, each weighed by its bytes (a story without a file counts as 700)."""
        if not all(source.size for source in self._sources):
            return None
        weights = [source.bytes or source.size * 700 for source in self._sources]
        done = sum(weight * min(1.0, s.done / s.size) for weight, s in zip(weights, self._sources, strict=True))
        return done / sum(weights)
