"""What is measured of a column, and how it is said: a small table of facts. What is not known is a dash.

`measure` reads a whole story, and the judge of endings brings numpy: it belongs into a thread. Knows no Textual and no torch.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.errors import CheckpointError
from engine.evaluation.measures import repeated, words
from tinytales_tui.compare.columns import Column
from tinytales_tui.generation import Generation
from tinytales_tui.story import step_words
from tinytales_tui.text import one_line

if TYPE_CHECKING:
    from engine.evaluation.endings import EndingJudge

DASH = "–"
UNSURE = 0.7
"""An estimate below this names no ending."""
ENDED = {
    "end of text": "by itself",
    "length": "at its length",
    "stop string": "at a stop word",
    "cancelled": "stopped",
    "loop": "it repeated itself",
}
"""`engine.settings.StopReason` after the word "ended"."""
METHODS = [
    ("length", "Words (runs of letters) that the model wrote, and the tokens that were drawn for them."),
    ("repeats", "Share of the story's runs of three words that stood in it before."),
    (
        "surprise",
        "Mean of -log2 p over its tokens, p being what the model itself gave each of them, before temperature and cuts. The "
        "perplexity beside it is 2 to that. Models with other vocabularies cannot be compared by it.",
    ),
    ("speed", "Tokens after the first, by the time they took. Columns that are written at once share this machine."),
    ("ended", "What ended it, as the engine says."),
    (
        "ending",
        "How sure a small judge is that the story ends happily or sadly, as far as it goes. It looks at the last sentences, was "
        f"learnt from stories whose endings people marked, and agrees with them on 96 of 100. Below {UNSURE:.2f} it is unsure.",
    ),
    ("written by", "What computed the tokens, where that is not the same for all columns."),
]
"""How each fact is measured."""


@dataclass(frozen=True)
class Measured:
    """What only the whole story can tell; None: not known."""

    words: int | None = None
    repeated: float | None = None
    perplexity: float | None = None
    happy: float | None = None
    """Probability that it ends happily."""


@dataclass(frozen=True)
class Fact:
    """One line of the table."""

    label: str
    words: str
    short: str = ""
    """The same for a narrow column; empty: no shorter than it is."""

    def fitting(self, room: int) -> str:
        return one_line(self.words if len(self.words) <= room or not self.short else self.short, room)


def measure(given: str, generation: Generation) -> Measured:
    """Of a story as it stands; takes some milliseconds, and on first use loads the judge."""
    text = generation.text
    count = len(words(text))
    if count < 3:
        return Measured(count, perplexity=generation.perplexity)
    judge = _judge()
    happy = float(judge.happiness([given + text])[0]) if judge is not None else None
    return Measured(count, repeated(text, 3), generation.perplexity, happy)


@functools.cache
def _judge() -> EndingJudge | None:
    from engine.evaluation.endings import EndingJudge

    try:
        return EndingJudge.load()
    except CheckpointError:
        return None  # a damaged file of the package: endings stay unknown


def ending_estimate(happy: float | None) -> str:
    """`happy 0.93`, `sad 0.88`, `unsure`, or a dash."""
    if happy is None:
        return DASH
    name, sure = ("happy", happy) if happy >= 0.5 else ("sad", 1 - happy)
    if sure < UNSURE:
        return "unsure"
    return f"{name} {sure:.2f}" if sure < 0.995 else f"{name} >0.99"  # it is never certain


def table(column: Column, measured: Measured | None, *, with_step: bool = False) -> list[Fact]:
    """The lines under a column; `measured` is None until it has ended."""
    generation, measured = column.generation, measured or Measured()
    started = generation.started if generation is not None else None
    rate = generation.tokens_per_s if generation is not None else None
    facts = [
        _length(measured.words, len(generation.drawn) if generation is not None else 0),
        Fact("repeats", DASH if measured.repeated is None else f"{100 * measured.repeated:.1f} % said before", _share(measured)),
        _surprise(measured.perplexity),
        Fact("speed", DASH if rate is None else f"{rate:,.0f} tokens/s"),
        _ended(generation),
        _ending(column, measured.happy),
    ]
    if with_step:
        facts.append(Fact("written by", step_words(started, always=True) if started is not None else DASH))
    return facts


def different_steps(columns: list[Column]) -> bool:
    """Whether the columns were computed in more than one way, so that their speeds do not compare."""
    begun = [column.generation.started for column in columns if column.generation is not None]
    return len({step_words(started, always=True) for started in begun if started is not None}) > 1


def _length(count: int | None, tokens: int) -> Fact:
    if not tokens:
        return Fact("length", DASH)
    told = f"{tokens:,} token{'' if tokens == 1 else 's'}"
    return Fact("length", told if count is None else f"{count:,} words, {told}", told if count is None else f"{count:,} words")


def _share(measured: Measured) -> str:
    return "" if measured.repeated is None else f"{100 * measured.repeated:.1f} %"


def _surprise(perplexity: float | None) -> Fact:
    if perplexity is None:
        return Fact("surprise", DASH)
    bits = f"{math.log2(perplexity):.2f} bits"
    return Fact("surprise", f"{bits} a token, perplexity {perplexity:.1f}", f"{bits} ({perplexity:.1f})")


def _ended(generation: Generation | None) -> Fact:
    reason = generation.stop_reason if generation is not None else None
    if generation is None or reason is None:
        return Fact("ended", DASH)
    detail = generation.finished.detail if generation.finished is not None else ""
    words = ENDED.get(reason, reason)
    return Fact("ended", f"{words}: {one_line(detail, 60)}" if detail else words, words)


def _ending(column: Column, happy: float | None) -> Fact:
    estimate = ending_estimate(happy)
    asked = column.generation.request.ending if column.generation is not None else None
    if asked is None or happy is None or estimate == "unsure":
        return Fact("ending", estimate)
    return Fact("ending", f"{estimate}, {'as' if estimate.startswith(asked) else 'not as'} asked", estimate)
