"""Reading story files: plain text with `<|endoftext|>` between stories, and JSON lines with topic, ending and story.

Gzipped files are read as they are. What cannot be read is refused with one sentence. Knows no torch.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.errors import UsageError
from engine.settings import Ending
from engine.tokenizer import END_OF_TEXT


@dataclass(frozen=True)
class Record:
    """One story, with its topic and ending where they are known."""

    story: str
    topic: str | None = None
    ending: Ending | None = None


def read_records(paths: list[Path]) -> list[Record]:
    """All stories of all files, in order; a story that stands in several files is kept once, with its labels.

    Raises `UsageError` where a file is missing, cannot be read or holds no story.
    """
    by_story: dict[str, Record] = {}
    for path in paths:
        found = 0
        for record in _read(path):
            found += 1
            known = by_story.get(record.story)
            if known is None or (known.topic is None and record.topic is not None):
                by_story[record.story] = record
        if not found:
            raise UsageError(f"{path} holds no story.")
    return list(by_story.values())


def fingerprint(paths: list[Path]) -> str:
    """sha256 over the contents of the files, in order: what a run was trained on."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _read(path: Path) -> Iterator[Record]:
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8")
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text.") from error
    lines = ".jsonl" in path.suffixes
    yield from _json_lines(path, text) if lines else _plain(text)


def _plain(text: str) -> Iterator[Record]:
    for part in text.split(END_OF_TEXT):
        if story := part.strip():
            yield Record(story)


def _json_lines(path: Path, text: str) -> Iterator[Record]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            data = json.loads(line)
            story, topic, ending = data["story"], data.get("topic"), data.get("ending")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"{path}, line {number}, is not a JSON object with a story.") from error
        if not isinstance(story, str) or not story.strip():
            raise UsageError(f"{path}, line {number}, has no text in its story.")
        story = story.encode("utf-8", "replace").decode()  # JSON can hold half a surrogate pair, which no tokenizer takes
        yield Record(
            story.strip(),
            topic.encode("utf-8", "replace").decode().strip() if isinstance(topic, str) and topic.strip() else None,
            ending if ending in ("happy", "sad") else None,
        )
