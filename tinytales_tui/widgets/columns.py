"""What a table shows: its columns, and headings between its rows. Knows no Textual."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Column(Generic[T]):
    """One column of a table."""

    title: str
    width: int
    """Cells; of the first column, the least that it may be cut down to: it takes what the others leave."""
    text: Callable[[T], str]
    spare: int = 0
    """The column with the highest is left out first where the screen is narrow; 0: the last one to go."""
    left: bool = False
    must: bool = True
    """False: left out where it is empty in every row; only for tables of few rows."""
    tone: Callable[[T], str] | None = None
    """Which of the tones `good`, `odd`, `bad`, `note`, `muted` the words have; empty: that of the row."""


@dataclass(frozen=True)
class Heading:
    """A line between the items that the cursor passes over."""

    words: str
