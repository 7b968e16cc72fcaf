"""What stands in the fields when a person asks for a story, and the request that it makes of a checkpoint. Plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from engine.settings import GenerationRequest, SamplingSettings
from tinytales_tui.story import StoryRecord


@dataclass(frozen=True)
class Asked:
    """The fields; which of them count depends on the checkpoint's prompt style."""

    topic: str = ""
    opening: str = ""
    ending: str = "none"
    """`happy`, `sad` or `none`."""
    words: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    sentence: str = ""

    @property
    def empty(self) -> bool:
        return not (self.topic or self.opening.strip() or self.words or self.features or self.sentence)

    @property
    def _about(self) -> bool:
        """Whether there is anything that an ending could be asked for."""
        return bool(self.topic or self.words or self.features or self.sentence)

    def for_style(self, style: str | None) -> Asked:
        """What a checkpoint of this style is asked; None: which one it will be is not known yet."""
        if style == "plain":
            return Asked(topic="" if self.opening.strip() else self.topic, opening=self.opening)
        if style == "instruct-fields":
            return self if self.ending != "none" else Asked(self.topic, self.opening, "none")
        if style is None and self.ending != "none":
            return self
        return Asked(self.topic, self.opening, self.ending)

    def request(self, sampling: SamplingSettings, style: str | None) -> GenerationRequest:
        """The request (UsageError for what it cannot be)."""
        asked = self.for_style(style)
        ending = asked.ending if asked.ending != "none" and asked._about else None
        return GenerationRequest(
            topic=asked.topic,
            ending=ending,  # type: ignore[arg-type]
            opening=asked.opening,
            sampling=sampling,
            words=asked.words,
            features=asked.features,
            sentence=asked.sentence,
        )

    def notice(self, style: str | None) -> str:
        """What a person should know of how their words are taken; mostly nothing."""
        if style == "instruct-fields" and self.ending == "none" and (self.words or self.features or self.sentence):
            return "With the ending none, words, features and the sentence are left out: the story goes on as it stands."
        if style == "plain" or not self.opening.strip():
            return ""
        if self.ending == "none" and self.topic:
            return "With the ending none, only Begin with is used: the story goes on from those words."
        if self.ending != "none" and not self.for_style(style)._about:
            return "Without a topic no ending can be asked for: the story goes on from your words as they stand."
        return ""

    @classmethod
    def of(cls, record: StoryRecord) -> Self:
        """What a story was asked for with."""
        return cls(record.prompt, record.opening, record.ending or "none", record.words, record.features, record.sentence)

    def to_form(self) -> dict[str, Any]:
        """For the file that keeps a story."""
        form: dict[str, Any] = {"topic": self.topic, "opening": self.opening, "ending": self.ending}
        more = {"words": list(self.words), "features": list(self.features), "sentence": self.sentence}
        return form | {name: value for name, value in more.items() if value}

    @classmethod
    def from_form(cls, form: dict[str, Any], ending: str) -> Self:
        """The fields as they were kept, whatever the file makes of them; `ending` where it names none."""
        kept = form.get("ending")
        return cls(
            str(form.get("topic", "")),
            str(form.get("opening", "")),
            kept if kept in ("happy", "sad", "none") else ending,
            _texts(form.get("words")),
            _texts(form.get("features")),
            str(form.get("sentence", "")),
        )


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()


def going_on(record: StoryRecord) -> Asked:
    """What goes on from the end of a story."""
    before = Asked.of(record)
    topic = before.topic if record.ending else ""
    return Asked(topic, record.full_text, before.ending, before.words, before.features, before.sentence)
