"""A story with its recipe: what was asked, what was written, and everything needed to write the same story again.

Batch mode prints these records, the Write pane saves and autosaves them. Knows no Textual and no torch.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, Self

from engine.errors import UsageError
from engine.protocol import CheckpointInfo, Started
from engine.settings import GenerationRequest, SamplingSettings
from tinytales_tui.text import one_line

_OF_A_PART = ("story", "tokens", "stop_reason", "seed", "checkpoint", "sampling", "ttft_s", "tokens_per_s")
"""What each part of a continued story has of its own."""
_HOW = ("step", "precision", "threads", "precision_loss")
"""The same, where it was not written in the usual way."""
_FIELDS = ("words", "features", "sentence", "choices")
"""What few stories have; left out of a record's JSON where it is empty, as `_HOW` is."""


@dataclass(frozen=True)
class StoryRecord:
    """One story, or the latest part of one that was continued."""

    prompt: str
    """What the story is about, as the person typed it; may be empty where only an opening was given."""
    ending: str | None
    """`happy`, `sad`, or None where the text was continued as it stood."""
    story: str
    """What the model wrote in this part, exactly."""
    tokens: int = 0
    stop_reason: str | None = None
    """See `engine.settings.StopReason`; None: the story was cut short before the engine could say."""
    seed: int | None = None
    checkpoint: str = ""
    """Where the checkpoint was loaded from: a folder, a file, a Hub id, or `default`."""
    sampling: dict[str, Any] = field(default_factory=dict)
    """`SamplingSettings.to_json()` as it was used."""
    ttft_s: float | None = None
    tokens_per_s: float | None = None
    opening: str = ""
    """Text that the model went on from; for a continued story all of the story so far."""
    words: tuple[str, ...] = ()
    """Words that were asked for; as the two below only of a TinyStories-Instruct model."""
    features: tuple[str, ...] = ()
    sentence: str = ""
    step: str = ""
    """What wrote it, from the first token to the last: `plain` or `compiled`; this and the three below only where it was not the
    plain step in float32."""
    precision: str = ""
    threads: int | None = None
    """CPU threads."""
    precision_loss: float | None = None
    """What the precision costs this model in bits per byte, relatively, where it was measured."""
    choices: dict[str, Any] = field(default_factory=dict)
    """What was chosen about the checkpoint against its files (`Choices`), as plain JSON; mostly nothing."""
    before: StoryRecord | None = None
    """The part whose full text is this part's opening, where the story was continued; each part has a recipe of its own."""

    def __post_init__(self) -> None:
        # As JSON would give it back, so that a record that was saved and read equals the one that was written.
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in self.sampling.items()}
        object.__setattr__(self, "sampling", plain)

    @property
    def given(self) -> str:
        """The words of the story that the person gave, not the model."""
        if self.before is not None:
            return self.before.given
        return self.opening or (self.prompt if self.ending is None else "")

    @property
    def full_text(self) -> str:
        """The whole story as a reader sees it: the given words and everything written since."""
        if self.before is not None:
            return self.opening + self.story
        return self.given + self.story

    @property
    def first(self) -> StoryRecord:
        """The part that the story began with; itself where the story was never continued."""
        return self.before.first if self.before is not None else self

    def request(self) -> GenerationRequest:
        """What to ask of the same checkpoint to get this part again, word for word (UsageError if the record cannot say)."""
        sampling = SamplingSettings.from_json(self.sampling)
        return GenerationRequest(
            topic=self.prompt,
            ending=self.ending,  # type: ignore[arg-type]
            opening=self.opening,
            sampling=dataclasses.replace(sampling, seed=self.seed),
            words=self.words,
            features=self.features,
            sentence=self.sentence,
        )

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON values.

        A continued story is told once, as a whole, with the recipe of each part (what it added, its seed and settings) in `parts`.
        """
        data = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "before"}
        data = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in data.items()
            if value or name not in (*_FIELDS, *_HOW) or (name == "precision_loss" and value is not None)
        }
        if self.before is None:
            return data
        parts = self.parts()
        whole = {
            "prompt": self.first.prompt,
            "opening": self.first.opening,
            "story": self.full_text[len(self.given) :],
            "tokens": sum(part.tokens for part in parts),
        }
        return data | whole | {"parts": [part._own() for part in parts]}

    def _own(self) -> dict[str, Any]:
        """What this part of a story has of its own."""
        how = {name: getattr(self, name) for name in _HOW if getattr(self, name) not in ("", None)}
        return {name: getattr(self, name) for name in _OF_A_PART} | how

    def parts(self) -> list[StoryRecord]:
        """The parts in the order they were written; one where the story was never continued."""
        return [*(self.before.parts() if self.before is not None else ()), self]

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """The record from what `to_json` gave; unknown keys are left out, a wrong shape raises `UsageError`."""
        if not isinstance(data, dict) or not isinstance(data.get("story"), str) or not isinstance(data.get("prompt"), str):
            raise UsageError("This is not a story record: it has no prompt and story in it.")
        parts = data.get("parts") or [data]
        if not isinstance(parts, list) or not all(
            isinstance(part, dict) and isinstance(part.get("story"), str) for part in parts
        ):
            raise UsageError("This is not a story record: its parts are of the wrong kind.")
        shared = {"prompt": data["prompt"], "ending": data.get("ending"), "opening": data.get("opening", "")}
        shared |= {name: tuple(data[name]) if isinstance(data[name], list) else data[name] for name in _FIELDS if name in data}
        record: Self | None = None
        for part in parts:
            values = {name: part[name] for name in (*_OF_A_PART, *_HOW) if name in part}
            if record is not None:  # what goes on without an ending has no topic either: it is the text itself
                shared |= {"opening": record.full_text, "prompt": data["prompt"] if shared["ending"] else ""}
            record = cls(**shared, **cls._checked(shared, values), before=record)
        assert record is not None
        return record

    @staticmethod
    def _checked(shared: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
        if shared["ending"] not in ("happy", "sad", None):
            raise UsageError(f"A story ends happy, sad or without an asked ending, not {shared['ending']!r}.")
        if not isinstance(shared["opening"], str) or not isinstance(values.get("sampling", {}), dict):
            raise UsageError("This is not a story record: its opening or its sampling settings are of the wrong kind.")
        words, features = shared.get("words", ()), shared.get("features", ())
        lists = isinstance(words, tuple) and isinstance(features, tuple)
        if not lists or not all(isinstance(text, str) for text in (*words, *features, shared.get("sentence", ""))):
            raise UsageError("This is not a story record: its words, features or sentence are of the wrong kind.")
        kinds = {"step": str, "precision": str, "threads": int, "precision_loss": int | float}
        if any(values.get(name) is not None and not isinstance(values[name], kind) for name, kind in kinds.items()):
            raise UsageError("This is not a story record: its step, precision or threads are of the wrong kind.")
        return values

    def to_text(self) -> str:
        """The story alone, with one newline at its end."""
        return self.full_text.strip() + "\n"

    def to_markdown(self) -> str:
        """The story under its topic, and its recipe in a block at the end."""
        title = " ".join(self.prompt.split()) or "A story"
        asked = f"*With a {self.ending} ending.*\n\n" if self.ending else ""
        paragraphs = "\n\n".join(escape_markdown(part.strip()) for part in self.full_text.split("\n") if part.strip())
        recipe = json.dumps(self.to_json(), ensure_ascii=False, indent=2)
        return (
            f"# {escape_markdown(title)}\n\n{asked}{paragraphs}\n\n---\n\n"
            f"The recipe: the same checkpoint, settings, seed and step write the same story again.\n\n```json\n{recipe}\n```\n"
        )


def written_with(started: Started) -> dict[str, Any]:
    """What of the engine belongs to a story's recipe, beside its checkpoint; nothing of it for the plain step in float32."""
    if not _unusual(started):
        return {"step": "", "precision": "", "threads": None, "precision_loss": None}
    return {
        "step": started.step,
        "precision": started.precision,
        "threads": started.threads,
        "precision_loss": started.loss,
    }


def step_words(how: CheckpointInfo | Started, *, always: bool = False) -> str:
    """`compiled, int8, +0.012 % loss`: what writes, in which precision, and what that costs; empty for the plain step in float32."""
    if not _unusual(how):
        return how.precision if always else ""
    step = ["compiled"] if how.step == "compiled" else []
    cost = [] if how.precision == "fp32" else [cost_words(how.loss)]
    return one_line(", ".join((*step, how.precision, *cost)), 60)


def cost_words(loss: float | None) -> str:
    """`+0.012 % loss`: what a precision costs in bits per byte."""
    if loss is None:
        return "loss not measured"
    percent = 100 * loss
    return f"{percent:+.{3 if abs(percent) < 0.1 else 2 if abs(percent) < 10 else 0}f} % loss"


def _unusual(how: CheckpointInfo | Started) -> bool:
    return (how.step, how.precision) not in (("plain", "fp32"), ("plain", "float32"))


def escape_markdown(text: str) -> str:
    """Plain prose for Markdown: a character that would be read as markup stands behind a backslash."""
    escaped = "".join("\\" + letter if letter in "\\`*_[]<>" else letter for letter in text)
    head, dot, rest = escaped.partition(". ")
    if dot and head.isdigit():  # "1. " would become a list
        return f"{head}\\. {rest}"
    return "\\" + escaped if escaped[:1] in ("#", "+", "-", "=", "|", "~") else escaped
