"""Happy or sad: a small judge of how a story ends, learnt from stories whose endings people have marked.

A logistic regression over the words and word pairs of a story's last sentences, nearer ones apart from farther ones. It is used
twice: to label plain stories for training, and to measure how often a model's story ends as it was asked to. Deterministic; it
needs a second for a few thousand stories. Knows no torch.
"""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_BUCKETS = 1 << 16
_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?|[!?]")
_SENTENCE = re.compile(r"(?<=[.!?\"])\s+")
_NEGATION = {"not", "never", "no", "without", "didn't", "couldn't", "wasn't", "weren't", "don't", "can't"}


def features(story: str) -> np.ndarray:
    """Hashed indices of what the judge looks at, one array of unique int64s."""
    sentences = [s for s in _SENTENCE.split(story.strip().lower()) if s]
    found: set[int] = set()
    for distance, sentence in enumerate(reversed(sentences[-7:])):
        place = "z" if distance == 0 else "y" if distance < 3 else "x"
        words = _WORD.findall(sentence)
        negated = False
        marked = []
        for word in words:
            marked.append(f"not_{word}" if negated else word)
            negated = word in _NEGATION or (negated and len(marked) % 4 != 0)
        pairs = [f"{a}_{b}" for a, b in itertools.pairwise(words)]
        for gram in (*marked, *pairs):
            found.add(zlib.crc32(f"{place} {gram}".encode()) % _BUCKETS)
            found.add(zlib.crc32(f"all {gram}".encode()) % _BUCKETS)
    return np.fromiter(sorted(found), dtype=np.int64, count=len(found))


@dataclass(frozen=True)
class EndingJudge:
    """`judge.happiness(stories)`: the probability that each ends happily."""

    weights: np.ndarray
    bias: float

    @classmethod
    def learn(cls, stories: Sequence[str], happy: Sequence[bool], passes: int = 12, seed: int = 0) -> EndingJudge:
        """From stories and whether each ends happily, by AdaGrad on the logistic loss with a small L2 pull to zero."""
        rows = [features(story) for story in stories]
        order, random = np.arange(len(rows)), np.random.default_rng(seed)
        weights, squares, bias = np.zeros(_BUCKETS), np.full(_BUCKETS, 1e-2), 0.0
        for _ in range(passes):
            random.shuffle(order)
            for index in order:
                row = rows[index]
                size = 1.0 / np.sqrt(max(1, len(row)))
                error = 1.0 / (1.0 + np.exp(-(weights[row].sum() * size + bias))) - float(happy[index])
                gradient = error * size + 2e-4 * weights[row]
                squares[row] += gradient**2
                weights[row] -= 0.15 * gradient / np.sqrt(squares[row])
                bias -= 0.01 * error
        return cls(weights, bias)

    def happiness(self, stories: Sequence[str]) -> np.ndarray:
        """Probabilities, float64, one a story."""
        scores = []
        for story in stories:
            row = features(story)
            scores.append(self.weights[row].sum() / np.sqrt(max(1, len(row))) + self.bias)
        return 1.0 / (1.0 + np.exp(-np.array(scores)))
