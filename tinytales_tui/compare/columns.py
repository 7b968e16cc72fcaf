"""What the columns of a comparison differ in, and one column as it is written. Plain data; knows no Textual and no torch.

A `Plan` is what a person chose to compare; `columns_of` makes columns of it, and `Column.request` what each asks of its checkpoint.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from engine.checkpoints.choices import Choices
from engine.errors import UsageError
from engine.protocol import CheckpointInfo
from engine.settings import SAMPLING_PRESETS, GenerationRequest, SamplingSettings, ranges
from tinytales_tui.compare.question import Question
from tinytales_tui.generation import Generation
from tinytales_tui.settings import RECOMMENDED
from tinytales_tui.text import one_line
from tinytales_tui.write.asking import Asked

LEAST, MOST = 2, 4
"""Columns."""
Kind = Literal["endings", "presets", "temperatures", "checkpoints"]
KINDS: tuple[tuple[Kind, str], ...] = (
    ("endings", "Endings"),
    ("presets", "Presets"),
    ("temperatures", "Temperatures"),
    ("checkpoints", "Models"),
)
ENDINGS = ("happy", "sad", "none")
PRESET_NAMES = (*SAMPLING_PRESETS, RECOMMENDED)
_OF_A_PRESET = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "no_repeat_ngram")
"""What a preset says of how words are drawn; length, stops and words stay as the person has set them."""
State = Literal["waiting", "loading", "writing", "ended", "failed"]


@dataclass(frozen=True)
class Model:
    """A checkpoint to write with."""

    source: str | None
    """As `Load.source`: None is the one in the package."""
    name: str
    choices: Choices = field(default_factory=Choices)
    path: str = ""
    """The folder or the file that it lies in."""

    def is_held(self, held: CheckpointInfo | None) -> bool:
        """Whether the app holds this one already, used in the same way."""
        if held is None or (held.choices or Choices()) != self.choices:
            return False
        return held.source == (self.source or "default") or bool(self.path and held.path == self.path)


@dataclass(frozen=True)
class Plan:
    """What is compared."""

    kind: Kind = "endings"
    values: tuple[str, ...] = ("happy", "sad")
    """Endings, presets or temperatures, one a column; empty for checkpoints."""
    models: tuple[Model, ...] = ()
    """The checkpoints, one a column; else empty."""


@dataclass(frozen=True)
class Column:
    """One story of the comparison, as far as it has come."""

    name: str
    asked: Asked
    sampling: SamplingSettings
    """With the seed."""
    preset: str = ""
    """`recommended`: what the checkpoint recommends is only known with the checkpoint."""
    model: Model | None = None
    """None: the checkpoint that the app holds."""
    checkpoint: CheckpointInfo | None = None
    state: State = "waiting"
    generation: Generation | None = None
    message: str = ""
    """Why there is no story, or no more of it, in one sentence."""

    def request(self, plainly: bool = False) -> GenerationRequest:
        """What its checkpoint is asked (`UsageError` for what cannot be); `plainly`: to go on from the words as they stand."""
        sampling = self.sampling
        if self.preset == RECOMMENDED and self.checkpoint is not None:
            sampling = with_preset(sampling, self.checkpoint.sampling)
        style = self.checkpoint.prompt_style if self.checkpoint is not None else None
        return self.asked.request(sampling, "plain" if plainly else style)

    @property
    def ended(self) -> bool:
        return self.state in ("ended", "failed")

    @property
    def text(self) -> str:
        """What the model wrote."""
        return self.generation.text if self.generation is not None else ""

    @property
    def given(self) -> str:
        """The words that the story begins with and that the model did not write."""
        request = self.generation.request if self.generation is not None else None
        return "" if request is None else request.opening or (request.topic if request.ending is None else "")


def columns_of(question: Question, plan: Plan) -> list[Column]:
    """The columns that a plan stands for, all of one seed."""
    asked, sampling = question.asked, dataclasses.replace(question.sampling, seed=question.seed)
    match plan.kind:
        case "endings":
            return [Column(ending_words(ending), dataclasses.replace(asked, ending=ending), sampling) for ending in plan.values]
        case "presets":
            return [
                Column(name, asked, with_preset(sampling, SAMPLING_PRESETS.get(name, sampling)), name) for name in plan.values
            ]
        case "temperatures":
            return [
                Column(f"temperature {value}", asked, dataclasses.replace(sampling, temperature=float(value)))
                for value in plan.values
            ]
        case _:
            return [Column(one_line(model.name, 60), asked, sampling, model=model) for model in plan.models]


def ending_words(ending: str) -> str:
    return "no ending asked" if ending == "none" else f"{ending} ending"


def with_preset(sampling: SamplingSettings, preset: SamplingSettings) -> SamplingSettings:
    """`sampling` drawing its words as a preset does."""
    return dataclasses.replace(sampling, **{name: getattr(preset, name) for name in _OF_A_PRESET})


def temperatures(words: str) -> tuple[str, ...]:
    """The temperatures that a person typed, as `0.4 0.8 1.2` (`UsageError` with what to type instead)."""
    limits = ranges(SamplingSettings)["temperature"]
    found: list[str] = []
    for part in re.split(r"[\s;,]+", words.strip()):
        try:
            value = float(part)
        except ValueError:
            raise UsageError("Temperatures are numbers with blanks between them, such as 0.4 0.8 1.2.") from None
        if not (math.isfinite(value) and limits.low <= value <= limits.high):
            raise UsageError(f"A temperature lies between {limits.low:g} and {limits.high:g}, and {part[:12]} does not.")
        if f"{value:g}" not in found:
            found.append(f"{value:g}")
    check_count(len(found))
    return tuple(found)


def check_count(count: int) -> None:
    """`UsageError` where that many cannot be compared."""
    if count < LEAST:
        raise UsageError("A comparison needs at least two different ones.")
    if count > MOST:
        raise UsageError(f"At most {MOST} fit side by side; leave {count - MOST} out.")


def obstacle(kind: Kind, question: Question) -> str:
    """Why this cannot be compared with what is asked, in one sentence with a way out; mostly nothing."""
    if kind != "endings":
        return ""
    style = question.checkpoint.prompt_style if question.checkpoint is not None else None
    if style == "plain":
        return "This model takes no ending: compare something else, or write with another model (F4)."
    asked = question.asked
    if not (asked.topic or (style != "topic-ending" and (asked.words or asked.features or asked.sentence))):
        return "Without a topic no ending can be asked for: say what the story is about first, or compare something else."
    return ""


def common_ground(columns: Sequence[Column]) -> tuple[bool, str]:
    """Whether all have to go on plainly from the same words, and the sentence that says why.

    Called once it is known what each checkpoint is; those that could not be loaded do not count.
    """
    known = [column for column in columns if column.checkpoint is not None and column.state != "failed"]
    plain = [column.name for column in known if column.checkpoint is not None and column.checkpoint.prompt_style == "plain"]
    if not plain or columns[0].model is None:
        return False, ""
    asked = columns[0].asked.for_style("plain")
    words = one_line(asked.opening or asked.topic, 40)
    who = plain[0] if len(plain) == 1 else f"{', '.join(plain[:-1])} and {plain[-1]}"
    takes = "takes" if len(plain) == 1 else "take"
    return True, f"{one_line(who, 60)} {takes} no topic and no ending, so all go on from the same words: “{words}”"


def asked_words(question: Question, plan: Plan) -> str:
    """What all columns are asked, in a few words."""
    asked = question.asked
    parts = [f"“{one_line(asked.topic, 60)}”" if asked.topic else ""]
    parts += [f"with {', '.join(asked.words)}" if asked.words else "", ", ".join(asked.features)]
    parts.append(f"begins “{one_line(asked.opening, 40)}”" if asked.opening.strip() else "")
    parts.append(ending_words(asked.ending) if plan.kind != "endings" else "")
    return " · ".join(filter(None, (one_line(part, 80) for part in parts)))
