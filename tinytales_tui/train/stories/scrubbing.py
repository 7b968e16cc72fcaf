"""The stories that a run wrote along the way, found by step: for the same prompt and seed each time. Knows no Textual."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.run_status import whole


@dataclass(frozen=True)
class Sitting:
    """What was written at one step: story by prompt."""

    step: int
    stories: dict[str, str]


def sittings(samples: Sequence[dict[str, Any]]) -> list[Sitting]:
    """By step, ascending; where steps were done again, the later stories stand in place of the earlier ones."""
    found: dict[int, dict[str, str]] = {}
    for row in samples:
        step, story = row.get("step"), row.get("story")
        if whole(step) is None or not isinstance(story, str):
            continue
        prompt = row.get("prompt")
        found.setdefault(step, {})[prompt if isinstance(prompt, str) else ""] = story
    return [Sitting(step, found[step]) for step in sorted(found)]


def at_step(found: Sequence[Sitting], step: float | None) -> Sitting | None:
    """The last sitting at or before a step; before the first one, that; None where there is none at all. No step: the newest."""
    if not found:
        return None
    if step is None:
        return found[-1]
    place = bisect.bisect_right([sitting.step for sitting in found], step)
    return found[max(0, place - 1)]


def prompts(found: Sequence[Sitting]) -> list[str]:
    """All prompts, in the order in which they first came."""
    return list(dict.fromkeys(prompt for sitting in found for prompt in sitting.stories))
