"""How well a vocabulary fits stories: bytes a token, what it cannot say, which tokens do the work.

It is also where a vocabulary is learnt from sources alone, without preparing them. Knows no torch.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.data.preparation import BATCH, LEARN_BYTES
from engine.data.progress import Meter, Report
from engine.data.sources import Source
from engine.errors import UsageError
from engine.tokenizer import BytePairTokenizer, Tokenizer, encode_stories, tokenizer_sha256


@dataclass(frozen=True)
class VocabularyReport:
    """Figures of a tokenizer on stories."""

    tokenizer: Tokenizer
    stories: int
    text_bytes: int
    tokens: int
    lost_bytes: int
    """Bytes of text that do not come back when the tokens are decoded; a byte-level vocabulary loses none."""
    counts: np.ndarray
    """How often each id was used, (vocab_size,)."""

    def to_json(self) -> dict[str, Any]:
        pieces = sum(int(self.counts[token]) for token in np.flatnonzero(self.counts) if not _is_text(self.tokenizer, token))
        return {
            "tokenizer": self.tokenizer.name,
            "vocab_size": self.tokenizer.vocab_size,
            "sha256": tokenizer_sha256(self.tokenizer),
            "stories": self.stories,
            "text_bytes": self.text_bytes,
            "tokens": self.tokens,
            "bytes_per_token": round(self.text_bytes / max(1, self.tokens), 4),
            "tokens_per_story": round(self.tokens / max(1, self.stories), 1),
            "unknown_share": self.lost_bytes / max(1, self.text_bytes),
            "partial_character_share": round(pieces / max(1, self.tokens), 6),
            "tokens_never_used": int((self.counts == 0).sum()),
            "commonest": [
                {"token": token, "text": self.tokenizer.token_bytes(token).decode("utf-8", "replace"), "share": round(share, 6)}
                for token, share in self._commonest(30)
            ],
        }

    def _commonest(self, count: int) -> list[tuple[int, float]]:
        order = np.argsort(-self.counts, kind="stable")[:count]
        return [(int(token), float(self.counts[token]) / max(1, self.tokens)) for token in order if self.counts[token]]


def learn_vocabulary(sources: list[Source], vocab_size: int, report: Report | None = None) -> BytePairTokenizer:
    """Byte-level BPE of `vocab_size` tokens from the first 200 MB of stories; `UsageError` where there is none."""
    meter = Meter("learning a vocabulary", sources, report)

    def texts() -> Iterator[str]:
        for record in meter.watch(itertools.chain.from_iterable(source.records() for source in sources)):
            yield record.story
            if meter.text_bytes >= LEARN_BYTES:
                return

    learnt = BytePairTokenizer.train(texts(), vocab_size)
    if not meter.stories:
        raise UsageError(f"{' and '.join(source.name for source in sources[:3])} hold no story.")
    return learnt


def measure_vocabulary(tokenizer: Tokenizer, sources: list[Source], report: Report | None = None) -> VocabularyReport:
    """Tokenize all stories of the sources and count; `UsageError` where there is none."""
    meter = Meter("measuring", sources, report)
    counts = np.zeros(tokenizer.vocab_size, np.int64)
    lost = 0
    stories = (record.story for source in sources for record in meter.watch(source.records()))
    while batch := list(itertools.islice(stories, BATCH)):
        encoded = encode_stories(tokenizer, batch)
        counts += np.bincount(np.fromiter(itertools.chain.from_iterable(encoded), np.int64), minlength=tokenizer.vocab_size)
        for story, ids in zip(batch, encoded, strict=True):
            if (back := tokenizer.decode(ids)) != story:
                lost += sum(a != b for a, b in itertools.zip_longest(story.encode(), back.encode()))
    if not meter.stories:
        raise UsageError(f"{' and '.join(source.name for source in sources[:3])} hold no story.")
    return VocabularyReport(tokenizer, meter.stories, meter.text_bytes, int(counts.sum()), lost, counts)


def _is_text(tokenizer: Tokenizer, token: int) -> bool:
    """Whether a token stands for whole characters, not for a piece of one."""
    try:
        tokenizer.token_bytes(int(token)).decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
