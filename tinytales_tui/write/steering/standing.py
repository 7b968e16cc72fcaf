"""How a story will probably end, by what there is of it so far: the shipped judge of beginnings, where it is sure. No Textual.

What it says is told with how often it was right on stories that it had not seen. Needs numpy, so it is asked in a thread.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

SENTENCES = 3
"""So many whole ones have to be there first."""
_END = re.compile(r"[.!?][\"')]*(?=\s|$)")


@dataclass(frozen=True)
class Standing:
    """An estimate that is sure enough to be told."""

    ending: str
    """`happy` or `sad`."""
    probability: float
    method: str = ""
    """How it is known, in a sentence or two."""

    @property
    def words(self) -> str:
        return f"heads for a {self.ending} end"


class Judge:
    """Reads the judge's file the first time that it is asked."""

    def __init__(self) -> None:
        self._judge: object = None
        self._method = ""

    def standing(self, text: str) -> Standing | None:
        """None where there is too little to go by, or the judge is not sure (CheckpointError where the judge is damaged)."""
        if len(_END.findall(text)) < SENTENCES:
            return None
        from engine.evaluation.beginnings import SHIPPED, SURE
        from engine.evaluation.endings import EndingJudge

        if self._judge is None:
            judge = EndingJudge.load(SHIPPED)
            self._judge, self._method = judge, _method(judge.about)
        happy = float(self._judge.happiness([text])[0])  # type: ignore[attr-defined]
        ending, probability = ("happy", happy) if happy >= 0.5 else ("sad", 1 - happy)
        return Standing(ending, probability, self._method) if probability >= SURE else None


def _method(about: dict) -> str:
    """How the judge is known to do, from what its file says."""
    told = {row.get("share"): row for row in about.get("measured", ()) if isinstance(row, dict)}
    stories = about.get("happy", 0) + about.get("sad", 0)
    parts = []
    for share, words in ((0.5, "halfway"), (0.75, "at three quarters"), (1.0, "at the end")):
        if share in told:
            parts.append(f"{told[share]['right']:.0%} {words}")
    figures = ", ".join(parts) or "never measured"
    return (
        f"A small judge of words, learnt from {stories:,} stories whose endings people marked, says so where it is sure. On stories "
        f"that it had not seen it was right in {figures}."
    )
