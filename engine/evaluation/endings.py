"""Happy or sad: a small judge of how a story ends, learnt from stories whose endings people have marked.

A logistic regression over the words and word pairs of a story's last sentences, nearer ones apart from farther ones. It is used
twice: to label plain stories for training, and to measure how often a model's story ends as it was asked to. Deterministic; it
needs a second for a few thousand stories. `ending_judge.npz` beside this file is one that was learnt from TinyStories marked by
people (`engine.evaluation.make_judge` made it); it says itself from what, and how often it agrees with them. Knows no torch.
"""

from __future__ import annotations

import io
import itertools
import json
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from engine import files
from engine.errors import CheckpointError

SHIPPED = Path(__file__).with_name("ending_judge.npz")
LARGEST = 1_000_000
"""Bytes; a file of weights that is larger is none of ours."""
_BUCKETS = 1 << 16
_ROUND = 32
"""Stored weights are rounded to 1/32, which halves the file and turns no verdict."""
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
    about: dict[str, Any] = field(default_factory=dict)
    """Where it comes from: data, licence, agreement with people, date; empty for one that was just learnt."""

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

    def agreement(self, stories: Sequence[str], happy: Sequence[bool]) -> float:
        """Share of the stories on whose ending it agrees with people."""
        return float(np.mean((self.happiness(stories) > 0.5) == np.array(happy, dtype=bool)))

    def rounded(self) -> EndingJudge:
        """The judge as a file holds it."""
        return EndingJudge(
            (np.round(self.weights * _ROUND) / _ROUND).astype(np.float16).astype(np.float64), self.bias, self.about
        )

    def save(self, path: Path) -> None:
        """Write it whole or not at all (OSError)."""
        about = np.frombuffer(json.dumps(self.about, sort_keys=True).encode(), dtype=np.uint8)
        packed = io.BytesIO()
        np.savez_compressed(packed, weights=self.rounded().weights.astype(np.float16), bias=np.float64(self.bias), about=about)
        files.write_bytes(path, packed.getvalue())

    @classmethod
    def load(cls, path: Path = SHIPPED) -> EndingJudge:
        """The judge in a file, or the one in the package; raises `CheckpointError` for what is not one."""
        try:
            if path.stat().st_size > LARGEST:
                raise ValueError("it is far too large")
            with np.load(path, allow_pickle=False) as file:
                if sum(member.file_size for member in file.zip.infolist()) > LARGEST:
                    raise ValueError("it unpacks to far too much")
                for name, shape, kind in (("weights", (_BUCKETS,), np.float16), ("bias", (), np.float64)):
                    if file[name].shape != shape or file[name].dtype != kind:
                        raise ValueError(f"its {name} are not as they should be")
                weights, bias = file["weights"].astype(np.float64), float(file["bias"])
                about = json.loads(file["about"].astype(np.uint8).tobytes())
            if not np.isfinite(weights).all() or not np.isfinite(bias) or not isinstance(about, dict):
                raise ValueError("it holds numbers that are not finite")
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise CheckpointError(f"{path} is missing or damaged, so endings cannot be judged ({error}).") from error
        return cls(weights, bias, about)


def cross_validate(stories: Sequence[str], happy: Sequence[bool], folds: int = 5, seed: int = 0) -> float:
    """How often judges agree with people on stories they have not seen: each fold is judged by one learnt from the others."""
    order = np.random.default_rng(seed).permutation(len(stories))
    agreed = 0.0
    for fold in np.array_split(order, folds):
        held = set(fold.tolist())
        learn = [at for at in range(len(stories)) if at not in held]
        judge = EndingJudge.learn([stories[at] for at in learn], [happy[at] for at in learn]).rounded()
        agreed += judge.agreement([stories[at] for at in fold], [happy[at] for at in fold]) * len(fold)
    return agreed / len(stories)
