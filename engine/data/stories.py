"""Reading story files into memory at once, for what needs all of them: `evaluate`, small trainings, tests.

It is a thin list over `engine.data.sources`, which streams. Knows no torch.
"""

from __future__ import annotations

from pathlib import Path

from engine.data.records import Record
from engine.data.sources import open_sources
from engine.errors import UsageError

__all__ = ["Record", "read_records"]


def read_records(paths: list[Path]) -> list[Record]:
    """All stories of all files, in order; a story that stands in several files is kept once, with its labels.

    Raises `UsageError` where a file is missing, cannot be read or holds no story.
    """
    by_story: dict[str, Record] = {}
    for path in paths:
        found = 0
        for source in open_sources([str(path)]):
            for record in source.records():
                found += 1
                known = by_story.get(record.story)
                if known is None or (known.topic is None and record.topic is not None):
                    by_story[record.story] = record
        if not found:
            raise UsageError(f"{path} holds no story.")
    return list(by_story.values())
