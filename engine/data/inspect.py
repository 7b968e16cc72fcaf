"""Looking through stories before they are trained on: how many, how long, how they end, what is double, what looks wrong.

Everything is counted in one streaming pass; which stories were seen is kept in a temporary database, not in memory. Nothing is
changed. Knows no tokens and no torch.
"""

from __future__ import annotations

import random
import re
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.data.instruct import FIELD
from engine.data.ledger import Ledger
from engine.data.progress import Meter, Report
from engine.data.records import Record
from engine.data.sources import Source
from engine.errors import UsageError
from engine.tokenizer import END_OF_TEXT

SHORT, LONG = 25, 1000
"""Words below and above which a story is suspicious."""
BAR = 50
"""Words a bar of the histogram covers."""
SAMPLES = 5

_CHECKS: dict[str, re.Pattern[str]] = {
    "markup": re.compile(
        r"</?[A-Za-z][^<>\n]{0,200}>|&(?:amp|lt|gt|quot|nbsp|#\d+);|```|\*\*\w|^#{1,6} |\[[^\]\n]+\]\(", re.MULTILINE
    ),
    "URL": re.compile(r"https?://|\bwww\.\w", re.IGNORECASE),
    "e-mail": re.compile(r"\b[\w.+-]+@[\w-]+\.[a-z]{2,}\b", re.IGNORECASE),
    "broken encoding": re.compile(
        "[\ufffd\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|â€|Ã[\x80-\xbf©¨¯±¶¼¢ª«]|Â[\xa0-\xbf]|\\\\u[0-9a-f]{4}"
    ),
    "special token": re.compile(r"<\|[a-z_]+\|>|\[(?:PAD|UNK|CLS|SEP|MASK)\]|</?s>"),
}


def suspicions(record: Record) -> list[str]:
    """What looks wrong with a story, in a few words each; empty for a story like any other."""
    words = len(record.story.split())
    found = [reason for reason, pattern in _CHECKS.items() if pattern.search(record.story)]
    if any(FIELD.fullmatch(line) for line in record.story.split("\n")):
        found.append("field name")
    if words < SHORT:
        found.append("too short")
    if words > LONG:
        found.append("too long")
    if END_OF_TEXT in record.story and "special token" not in found:
        found.append("special token")
    return found


@dataclass
class Inspection:
    """What was found in all sources together."""

    sources: list[dict[str, Any]] = field(default_factory=list)
    stories: int = 0
    text_bytes: int = 0
    words: Counter[int] = field(default_factory=Counter)
    """How many stories have so many words."""
    with_topic: int = 0
    endings: Counter[str] = field(default_factory=Counter)
    """happy, sad, none."""
    duplicates: int = 0
    suspicious: int = 0
    """Stories with at least one suspicion."""
    reasons: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    """Up to three places for each reason: source, number of the story there, and its beginning."""
    synthetic: int = 0
    samples: list[Record] = field(default_factory=list)

    def at(self, share: float) -> int:
        """Words of the story that is longer than this share of all stories."""
        left = share * (self.stories - 1)
        for words in sorted(self.words):
            left -= self.words[words]
            if left < 0:
                return words
        return 0

    def histogram(self) -> list[tuple[int, int, int]]:
        """(from words, up to but without words, stories) in steps of `BAR`; the last bar takes all beyond the 99.5th percentile."""
        last = self.at(0.995) // BAR
        bars: Counter[int] = Counter()
        for words, stories in self.words.items():
            bars[min(words // BAR, last)] += stories
        longest = max(self.words, default=0) + 1
        return [(n * BAR, longest if n == last else (n + 1) * BAR, bars[n]) for n in range(min(bars, default=0), last + 1)]

    def to_json(self) -> dict[str, Any]:
        total = sum(words * stories for words, stories in self.words.items())
        return {
            "sources": self.sources,
            "stories": self.stories,
            "text_bytes": self.text_bytes,
            "words": {
                "total": total,
                "mean": round(total / self.stories, 1) if self.stories else 0,
                "least": min(self.words, default=0),
                "median": self.at(0.5),
                "95th percentile": self.at(0.95),
                "most": max(self.words, default=0),
                "histogram": [{"from": low, "below": high, "stories": count} for low, high, count in self.histogram()],
            },
            "with_topic": self.with_topic,
            "endings": {name: self.endings[name] for name in ("happy", "sad", "none")},
            "duplicates": self.duplicates,
            "suspicious": self.suspicious,
            "reasons": dict(self.reasons.most_common()),
            "examples": self.examples,
            "synthetic": self.synthetic,
            "samples": [{"story": r.story, "topic": r.topic, "ending": r.ending} for r in self.samples],
        }


def inspect(sources: list[Source], report: Report | None = None, seed: int = 1) -> Inspection:
    """Look through all sources; the samples are drawn with the seed. Raises `UsageError` where there is no story."""
    found, draw, meter = Inspection(), random.Random(seed), Meter("inspecting", sources, report)
    with tempfile.TemporaryDirectory(prefix="tinytales-") as folder:
        ledger = Ledger(Path(folder) / "seen")
        for source in sources:
            before = found.stories
            for number, record in enumerate(source.records(), 1):
                meter.count(record)
                _count(found, record, f"{source.name}, story {number}", ledger, draw)
            about = {"name": source.name, "kind": source.kind, "bytes": source.bytes, "stories": found.stories - before}
            found.sources.append(about | {"dropped": dict(source.dropped)})
        ledger.close()
    found.text_bytes = meter.text_bytes
    if not found.stories:
        raise UsageError(f"{' and '.join(source.name for source in sources[:3])} hold no story.")
    return found


def _count(found: Inspection, record: Record, place: str, ledger: Ledger, draw: random.Random) -> None:
    found.stories += 1
    found.words[len(record.story.split())] += 1
    found.with_topic += record.topic is not None
    found.endings[record.ending or "none"] += 1
    found.synthetic += record.synthetic
    found.duplicates += not ledger.is_new(record.story)
    reasons = suspicions(record)
    found.suspicious += bool(reasons)
    for reason in reasons:
        found.reasons[reason] += 1
        examples = found.examples.setdefault(reason, [])
        if len(examples) < 3:
            pattern = _CHECKS.get(reason)
            at = pattern.search(record.story) if pattern else None
            start = max(0, at.start() - 20) if at else 0
            examples.append(f"{place}: {' '.join(record.story[start : start + 80].split())}")
    if len(found.samples) < SAMPLES:
        found.samples.append(record)
    elif (at_random := draw.randrange(found.stories)) < SAMPLES:
        found.samples[at_random] = record
