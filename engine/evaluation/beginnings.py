"""How a story will end, by what there is of it so far: a judge as in `endings`, but learnt from beginnings of marked stories.

`standing_judge.npz` is one that was learnt from the same marked stories as the judge of endings (`engine.evaluation.make_judge
--beginnings` made it). The judge of whole endings is of no use here: on the first half of a story it says happy nine times out of
ten, and is right as often as a coin. This one says little before the middle, and what it says is told with how often that was right.
Knows no torch.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from engine.evaluation.endings import EndingJudge

SHIPPED = Path(__file__).with_name("standing_judge.npz")
SURE = 0.85
"""Least probability of either ending from which on the judge is believed."""
LEARNT_AT = (0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 1.0)
"""Shares of a story's sentences that the judge sees when it learns."""
MEASURED_AT = (0.25, 0.5, 0.75, 0.9, 1.0)
PASSES = 6
FOLDS = 4
_SENTENCE = re.compile(r"(?<=[.!?\"])\s+")


def beginning(story: str, share: float) -> str:
    """The first sentences of a story, one at least."""
    sentences = _SENTENCE.split(story.strip())
    return " ".join(sentences[: max(1, round(len(sentences) * share))])


def learn(stories: Sequence[str], happy: Sequence[bool]) -> EndingJudge:
    """A judge of beginnings, from whole stories and whether each ends happily."""
    texts = [beginning(story, share) for story in stories for share in LEARNT_AT]
    return EndingJudge.learn(texts, [ends for ends in happy for _ in LEARNT_AT], passes=PASSES)


def measure(stories: Sequence[str], happy: Sequence[bool], seed: int = 0) -> list[dict[str, float]]:
    """For each share of `MEASURED_AT`: of how many stories a judge that has not seen them is sure, and how often it is right then."""
    told: dict[float, list[tuple[float, bool]]] = {share: [] for share in MEASURED_AT}
    for fold in np.array_split(np.random.default_rng(seed).permutation(len(stories)), FOLDS):
        held = set(fold.tolist())
        others = [at for at in range(len(stories)) if at not in held]
        judge = learn([stories[at] for at in others], [happy[at] for at in others]).rounded()
        for share in MEASURED_AT:
            chances = judge.happiness([beginning(stories[at], share) for at in fold])
            told[share] += [(float(chance), happy[at]) for chance, at in zip(chances, fold, strict=True)]
    found = []
    for share, pairs in told.items():
        sure = [(chance > 0.5) == ends for chance, ends in pairs if max(chance, 1 - chance) >= SURE]
        found.append({"share": share, "sure": round(len(sure) / len(pairs), 3), "right": round(float(np.mean(sure or [0])), 3)})
    return found
