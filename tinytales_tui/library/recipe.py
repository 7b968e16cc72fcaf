"""What it takes to write one generated part of a story again: the request, the checkpoint and the surroundings."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from engine.errors import UsageError
from engine.settings import GenerationRequest, SamplingSettings
from tinytales_tui.story import StoryRecord

_OF_A_RECORD = (
    "ending", "seed", "checkpoint", "choices", "words", "features", "sentence", "step", "precision", "threads", "precision_loss",
    "ttft_s", "tokens_per_s",
)  # fmt: skip
"""What has the same name and meaning in a `StoryRecord`."""
_TEXTS = ("topic", "sentence", "checkpoint", "revision", "sha256", "step", "precision", "device", "torch", "program")
_USUAL = {"tail": 0, "batch": 1, "row": 0}
"""What is left out of the JSON, and was not there before there were tails and batches."""
_NUMBERS = ("precision_loss", "ttft_s", "tokens_per_s")
_COUNTS = ("tail", "batch", "row", "tokens")


@dataclass(frozen=True)
class Recipe:
    """One generation. The text that the model went on from is the story up to the node, so it is not repeated here."""

    topic: str = ""
    ending: str | None = None
    """`happy`, `sad`, or None where the text was continued as it stood."""
    words: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    sentence: str = ""
    sampling: dict[str, Any] = field(default_factory=dict)
    """`SamplingSettings.to_json()` as it was used."""
    seed: int | None = None
    checkpoint: str = ""
    """Where it was loaded from: a folder, a file, a Hub id, or `default`."""
    revision: str = ""
    """Commit of the checkpoint on the Hub, where it came from there."""
    sha256: str = ""
    """Digest of its weights; empty where they could not be read (an engine on another machine)."""
    choices: dict[str, Any] = field(default_factory=dict)
    """What was chosen about the checkpoint against its files (`Choices`), as plain JSON."""
    step: str = ""
    """`plain` or `compiled`; empty: not told, so the plain one in fp32."""
    precision: str = ""
    threads: int | None = None
    """CPU threads, where that is known."""
    precision_loss: float | None = None
    device: str = ""
    """Torch device; empty where it was not told."""
    torch: str = ""
    """Version of torch; empty where it was not told."""
    program: str = ""
    """Version of this program."""
    tail: int = 0
    """How many of the last tokens before it were read as they were drawn; what stood before them was encoded."""
    batch: int = 1
    """How many stories were written at once, of which this is number `row`, from 0; `seed` is its own."""
    row: int = 0
    tokens: int = 0
    """How many were drawn, where it is not known which."""
    ttft_s: float | None = None
    tokens_per_s: float | None = None

    def __post_init__(self) -> None:
        # As JSON would give it back, so that a recipe that was kept and read equals the one that was written.
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in self.sampling.items()}
        object.__setattr__(self, "sampling", plain)
        for name in ("words", "features"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    def request(self, before: str, tail: Sequence[int] = ()) -> GenerationRequest:
        """What to ask of the checkpoint where the story up to there reads `before`; of a batch, all of it.

        `tail` are the last `self.tail` tokens before it. Raises UsageError where the recipe cannot say, or where it needs others.
        """
        if len(tail) != self.tail:
            raise UsageError(
                f"it was written after {self.tail} tokens that were read as they were drawn, and {len(tail)} of them are known."
            )
        sampling = SamplingSettings.from_json(self.sampling)
        return GenerationRequest(
            topic=self.topic,
            ending=self.ending,  # type: ignore[arg-type]
            opening=before,
            sampling=dataclasses.replace(sampling, seed=None if self.seed is None else self.seed - self.row),
            count=self.batch,
            words=self.words,
            features=self.features,
            sentence=self.sentence,
            tail=tuple(tail),
        )

    @classmethod
    def of(cls, record: StoryRecord, **more: Any) -> Self:
        """The recipe of (the latest part of) a story, with what a record does not tell: `revision`, `sha256`, `device`, `torch` ..."""
        shared = {name: getattr(record, name) for name in _OF_A_RECORD}
        return cls(topic=record.prompt, sampling=record.sampling, tokens=record.tokens, **(shared | more))

    def record(self, before: str, story: str, tokens: int, stop_reason: str | None, part: StoryRecord | None) -> StoryRecord:
        """The story so far as batch mode and the Write pane know it; `part`: the record of what was written before."""
        shared = {name: getattr(self, name) for name in _OF_A_RECORD}
        unusual = (self.step or "plain", self.precision or "fp32") not in (("plain", "fp32"), ("plain", "float32"))
        if not unusual:
            shared |= {"step": "", "precision": "", "threads": None, "precision_loss": None}
        return StoryRecord(
            prompt=self.topic, story=story, tokens=tokens or self.tokens, stop_reason=stop_reason, sampling=self.sampling,
            opening=before, before=part, **shared,
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON values; what is empty is left out."""
        data = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        kept = {name: list(value) if isinstance(value, tuple) else value for name, value in data.items()}
        usual = {f.name: f.default for f in dataclasses.fields(self)}
        return {name: value for name, value in kept.items() if value not in ("", None, [], {}, usual[name])}

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """The recipe from what `to_json` gave; unknown keys are left out, a wrong shape raises `UsageError`."""
        if not isinstance(data, dict):
            raise UsageError("a recipe is not a table")
        values = {f.name: data[f.name] for f in dataclasses.fields(cls) if f.name in data}
        checks = {
            **{name: lambda value: isinstance(value, str) for name in _TEXTS},
            **{name: lambda value: type(value) in (int, float) for name in _NUMBERS},
            **{name: lambda value: isinstance(value, dict) for name in ("sampling", "choices")},
            **{name: lambda value: type(value) is int and 0 <= value < 2**63 for name in ("seed", "threads", *_COUNTS)},
            **dict.fromkeys(("words", "features"), _are_texts),
            "ending": lambda value: value in ("happy", "sad", None),
            "tail": lambda value: type(value) is int and value >= 0,
            "batch": lambda value: type(value) is int and 1 <= value <= 64,
            "row": lambda value: type(value) is int and 0 <= value < values.get("batch", 1),
        }
        for name, value in values.items():
            optional = name in ("seed", "threads", *_NUMBERS) and value is None
            if not optional and not checks[name](value):
                raise UsageError(f"{name} of a recipe is of the wrong kind")
        if values.get("seed") is not None and values["seed"] < values.get("row", 0):
            raise UsageError("row of a recipe is of the wrong kind")
        return cls(**values)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(text, str) for text in value)
