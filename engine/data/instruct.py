"""Instruction data: records of topic, ending and story out of the formats in which people publish them.

The raw format of TinyStoriesInstruct has fields in any order (`Summary:`, `Features:`, `Words:`, `Random sentence:`, `Story:`), one
record up to each end-of-text token. The summary becomes the topic, and the ending is sad where the features name BadEnding. Tables
(JSON lines and the like with topic or instruction, ending, and story or response) come through `engine.data.sources` as they are.
Knows no torch.
"""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from engine.data.progress import Meter, Report
from engine.data.records import Record, clean
from engine.data.sources import Source
from engine.errors import UsageError
from engine.settings import Ending

FIELD = re.compile(r"[ \t]*(summary|features|words|random sentence|story)[ \t]*:[ \t]*(.*)", re.IGNORECASE | re.DOTALL)
"""A line that begins a field; wherever it stands, it never is part of a story."""


@dataclass(frozen=True)
class Fields:
    """One story of a raw record with the fields that belong to it."""

    story: str
    summary: str = ""
    features: tuple[str, ...] = ()

    @property
    def ending(self) -> Ending:
        return "sad" if any(feature.lower() == "badending" for feature in self.features) else "happy"


def parse_raw(text: str) -> list[Fields]:
    """The stories in one raw record, usually one, each with its fields.

    A story takes the fields between it and the story before; of several alike the nearest counts. Fields behind the last story fill
    in what that one still lacks.
    """
    parts: list[tuple[str, list[str]]] = []
    for line in text.replace("\r\n", "\n").split("\n"):
        if found := FIELD.fullmatch(line):
            parts.append((found[1].lower(), [found[2]]))
        elif parts:
            parts[-1][1].append(line)
    stories: list[Fields] = []
    before: dict[str, str] = {}
    for name, lines in parts:
        if name == "story":
            stories.append(_with(Fields(clean("\n".join(lines))), before))
            before = {}
        elif name == "words" or name == "random sentence":
            continue
        elif words := " ".join(" ".join(lines).split()):
            before[name] = words
    if stories:
        stories[-1] = _with(stories[-1], before)
    return [one for one in stories if one.story]


def _with(story: Fields, found: dict[str, str]) -> Fields:
    features = tuple(word.strip() for word in found.get("features", "").split(",") if word.strip())
    return replace(story, summary=story.summary or found.get("summary", ""), features=story.features or features)


@dataclass
class InstructReport:
    """What became of the records."""

    records: int = 0
    """Records that the sources hold."""
    happy: int = 0
    """Happy ones that can be used."""
    sad: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    """How many were left out, by reason."""
    balanced: bool = False
    written_happy: int = 0
    written_sad: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "records": self.records,
            "before": {"happy": self.happy, "sad": self.sad},
            "after": {"happy": self.written_happy, "sad": self.written_sad},
            "balanced": self.balanced,
            "dropped": dict(self.dropped),
        }


def instruct_records(
    sources: list[Source], report: InstructReport, progress: Report | None = None, stage: str = "reading"
) -> Iterator[Record]:
    """Records with topic, ending and story out of all sources, in order; `report` counts them and what is left out, and why."""
    meter = Meter(stage, sources, progress)
    for source in sources:
        _look_for_lines(source)
        for record in meter.watch(source.records()):
            for found in _usable(record):
                report.records += 1
                if isinstance(found, str):
                    report.dropped[found] += 1
                    continue
                report.happy += found.ending == "happy"
                report.sad += found.ending == "sad"
                yield found
        report.records += sum(source.dropped.values())
        report.dropped.update(source.dropped)


def balanced(sources: list[Source], seed: int, report: InstructReport, progress: Report | None = None) -> Iterator[Record]:
    """Every sad record and as many happy ones, drawn with the seed, in the order of the sources.

    The sources are read twice, once to count; nothing is held. Raises `UsageError` where there are no sad ones or no happy ones.
    """
    counted = InstructReport()
    for _ in instruct_records(sources, counted, progress, "counting"):
        pass
    if not (counted.happy and counted.sad):
        raise UsageError(
            f"There is nothing to balance: {counted.happy:,} records end happily and {counted.sad:,} sadly. "
            "Sad ones are known by BadEnding among their Features, or by an ending column."
        )
    draw, left, wanted = random.Random(seed), counted.happy, min(counted.happy, counted.sad)
    report.balanced = True
    for record in instruct_records(sources, report, progress, "drawing"):
        if record.ending == "happy":
            taken = draw.random() * left < wanted  # of those that are left, each has the same chance
            left -= 1
            if not taken:
                continue
            wanted -= 1
        yield record


def _usable(record: Record) -> Iterator[Record | str]:
    """The records in a source's record, or the reason why it is none."""
    if record.topic and record.ending:
        yield record
        return
    if not any(FIELD.fullmatch(line) for line in record.story.split("\n")):
        yield "no topic" if not record.topic else "no ending"
        return
    found = parse_raw(record.story)
    if not found:
        yield "no story"
    for one in found:
        yield Record(one.story, one.summary, one.ending) if one.summary else "no summary"


def _look_for_lines(source: Source) -> None:
    """Tables in which a row is one line of a record are read by records."""
    if source.kind in ("text", "storybook") or source.options.rows_are_lines:
        return
    first = source.records()
    looked_at = [record.story for record in itertools.islice(first, 64)]
    first.close()  # type: ignore[attr-defined]  # a generator
    fields = [FIELD.match(text) for text in looked_at]
    if (
        sum(
            found is not None and found[1].lower() != "story" and "\n" not in text
            for found, text in zip(fields, looked_at, strict=True)
        )
        > 1
    ):
        source.options = replace(source.options, rows_are_lines=True)
