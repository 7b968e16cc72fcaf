"""What a story source gives: records, and how a row of a table becomes one.

A row is a dictionary as JSON, CSV, Parquet or a Hub data set hold it. Which of its columns is the story, and where its topic and
ending stand, is decided here and nowhere else. Knows no files and no torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from engine.settings import Ending
from engine.tokenizer import END_OF_TEXT

TEXT_FIELDS = ("text", "story", "content", "response", "output")
"""Columns that may hold the story, the likelier ones first."""

Divide = Literal["auto", "end-of-text", "blank-line", "file"]
"""What stands between two stories of a text file; auto takes the end-of-text line where the first MiB has one, else blank lines."""

_WHOLE_PROMPT = re.compile(r"\s*Write a story about: (.*?)\n\s*With: (?:happy|sad) ending\b", re.DOTALL)


@dataclass(frozen=True)
class Record:
    """One story, with its topic and ending where they are known."""

    story: str
    topic: str | None = None
    ending: Ending | None = None
    synthetic: bool = False
    """Made by a program (`engine.data.storybook`), not written by anybody."""


class NoTextField(Exception):
    """A row has none of the columns that could hold a story; `str(error)` names those that it has."""


def clean(text: str) -> str:
    """A story without what only its file needs: blanks and end-of-text tokens around it, carriage returns, half surrogate pairs."""
    text = text.encode("utf-8", "replace").decode()  # JSON can hold half a surrogate pair, which no tokenizer takes
    text = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    while text.endswith(END_OF_TEXT) or text.startswith(END_OF_TEXT):
        text = text.removesuffix(END_OF_TEXT).removeprefix(END_OF_TEXT).strip()
    return text


def record_from_row(row: Any, text_field: str | None) -> Record | None:
    """The record in a row (a dictionary, or a bare string that is the story); None where its story is empty.

    Raises `NoTextField` where `text_field`, or without one all of `TEXT_FIELDS`, is missing or no string.
    """
    row, field = _with_field(row, text_field)
    story = clean(row[field]) if field else ""
    if not story:
        return None
    topic = _words(row.get("topic"))
    if topic is None and field != "instruction" and "ending" in row and isinstance(row.get("instruction"), str):
        prompt = _WHOLE_PROMPT.match(row["instruction"])
        topic = _words(prompt[1] if prompt else row["instruction"])
    return Record(story, topic, _ending(row.get("ending")), row.get("synthetic") is True)


def text_of_row(row: Any, text_field: str | None) -> str:
    """The text in a row as it stands there, blanks and end-of-text tokens too; raises `NoTextField` as above."""
    row, field = _with_field(row, text_field)
    return row[field] if field else ""


def _with_field(row: Any, text_field: str | None) -> tuple[Mapping[str, Any], str | None]:
    """The row as a dictionary, and its column with the text; None where that column is empty."""
    if isinstance(row, str) and text_field is None:
        row = {"text": row}
    if not isinstance(row, Mapping):
        raise NoTextField("nothing with names")
    wanted = (text_field,) if text_field else TEXT_FIELDS
    field = next((name for name in wanted if isinstance(row.get(name), str)), None)
    if field is None and not any(name in row and row[name] is None for name in wanted):
        raise NoTextField(shown_columns(list(row)))
    return row, field


def shown_columns(names: Sequence[object]) -> str:
    """The names of columns for an error message."""
    shown = ", ".join(str(name)[:40] for name in names[:12])
    return (shown + (" and more" if len(names) > 12 else "")) or "no columns"


def _words(value: object) -> str | None:
    """A topic on one line, or None for none."""
    words = " ".join(clean(value).split()) if isinstance(value, str) else ""
    return words or None


def _ending(value: object) -> Ending | None:
    word = value.strip().lower() if isinstance(value, str) else ""
    return "happy" if word == "happy" else "sad" if word == "sad" else None
