"""What several tests of preparing data need: sources, and a look at what came of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.data.prepare import PrepareSettings, prepare
from engine.data.records import Record
from engine.data.shards import Shards, Split
from engine.errors import UsageError
from engine.tokenizer import END_OF_TEXT


def write_text(path: Path, stories: list[str]) -> Path:
    path.write_text("".join(f"{story}\n{END_OF_TEXT}\n" for story in stories))
    return path


def write_rows(path: Path, records: list[Record]) -> Path:
    rows = [{"story": r.story, "topic": r.topic, "ending": r.ending} for r in records]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def texts(split: Split, shards: Shards) -> list[str]:
    return [shards.tokenizer.decode(split.parts(number)[1]) for number in range(len(split))]


def files(folder: Path) -> dict[str, Any]:
    """Everything in a prepared folder; of the manifest all but when it was written."""
    found: dict[str, Any] = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}
    found["manifest.json"] = {k: v for k, v in json.loads(found["manifest.json"]).items() if k != "created"}
    return found


def refusal(settings: PrepareSettings, folder: Path) -> str:
    with pytest.raises(UsageError) as refused:
        prepare(settings, folder)
    return str(refused.value)
