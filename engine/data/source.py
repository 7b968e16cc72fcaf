"""What every source of stories is: something that can be read again and again, and says what it left out.

Where stories lie (files, the Hub, the storybook) is in the modules beside this one. Knows nothing of tokens. Knows no torch.
"""

from __future__ import annotations

import importlib
import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, get_args

from engine.data.records import Divide, NoTextField, Record, clean, record_from_row, text_of_row
from engine.errors import UsageError
from engine.tokenizer import END_OF_TEXT


@dataclass(frozen=True)
class ReadingOptions:
    """How files are read; what `prepare` records among its settings."""

    text_field: str | None = None
    """The column with the story; None takes the first of `engine.data.records.TEXT_FIELDS` that a row has."""
    divide: Divide = "auto"
    skip_bad: bool = False
    """Leave out what cannot be read (not UTF-8, not JSON, no story column) and count it, rather than stop."""
    rows_are_lines: bool = False
    """A row is only a line of a record, and the record ends at an end-of-text token, as in `roneneldan/TinyStoriesInstruct`."""

    def __post_init__(self) -> None:
        if self.divide not in get_args(Divide):
            raise UsageError(f"divide must be {', '.join(get_args(Divide))}, not {self.divide!r}.")


@dataclass
class Source:
    """One place with stories. `records` may be called again; `dropped`, `synthetic` and `done` tell of the latest reading."""

    name: str
    """As a person named it, or the path of the file."""
    kind: str
    options: ReadingOptions = ReadingOptions()
    size: int = 0
    """What `done` runs up to, in the source's own unit (bytes of the file, or stories); 0: not known."""
    dropped: Counter[str] = field(default_factory=Counter)
    """How many records were left out, by reason."""
    synthetic: bool = False
    """Whether a program made the stories (seen so far)."""
    bytes: int = 0
    """Bytes on disk; 0 for what lies in no file."""
    _lines_held: list[str] = field(default_factory=list)

    def records(self) -> Iterator[Record]:
        """The stories in order. Raises `UsageError` for what cannot be read, `NetworkError` for a Hub that does not answer."""
        self.dropped, self.synthetic, self._lines_held = Counter(), False, []
        for record in itertools.chain(self._read(), self._last_lines()):
            if record is None:
                self.dropped["empty"] += 1
            else:
                self.synthetic |= record.synthetic
                yield record

    def fingerprint(self) -> str:
        """A hash that changes whenever the stories change."""
        raise TypeError(f"A {self.kind} source has no fingerprint.")

    @property
    def done(self) -> int:
        """How far the latest reading has come, in units of `size`."""
        return 0

    def labelled(self) -> bool:
        """Whether its first records have topics and endings."""
        stories = self.records()
        try:
            return any(record.topic and record.ending for record in itertools.islice(stories, 64))
        finally:
            stories.close()  # type: ignore[attr-defined]  # it is a generator; the file is closed now, not at some later time

    def _read(self) -> Iterator[Record | None]:
        raise TypeError(f"A {self.kind} source cannot be read.")

    def _row(self, row: Any, where: str) -> Iterator[Record | None]:
        """The record of a row, or nothing where it is bad and bad ones are left out."""
        try:
            if self.options.rows_are_lines:
                yield from self._joined(text_of_row(row, self.options.text_field))
            else:
                yield record_from_row(row, self.options.text_field)
        except NoTextField as error:
            if not self.options.skip_bad:
                wanted = f"no text column {self.options.text_field}" if self.options.text_field else "no column with stories"
                raise UsageError(f"{self.name}, {where}, has {wanted}; there is {error}. --text-field names one.") from error
            self.dropped["no text"] += 1

    def _joined(self, line: str) -> Iterator[Record]:
        """Lines gathered into records."""
        *ends, rest = line.split(END_OF_TEXT)
        for end in ends:
            yield from self._last_lines(end)
        self._lines_held.append(rest)

    def _last_lines(self, end: str = "") -> Iterator[Record]:
        text = clean("\n".join([*self._lines_held, end]))
        self._lines_held.clear()
        if text:
            yield Record(text)

    def _bad(self, reason: str, sentence: str) -> None:
        """Count something that cannot be read, or stop at it."""
        if not self.options.skip_bad:
            raise UsageError(sentence)
        self.dropped[reason] += 1


def extra(module: str, need: str) -> Any:
    """A module of the extra `data`; raises `UsageError` where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(f"{need} the extra `data`: pip install 'tinytales-tui[data]'.") from error
