"""Prompt styles: what a checkpoint wants to read before it writes. Knows no torch.

`topic-ending` is the story prompt of the instruction-tuned TinyStories models, `instruct-fields` the lines that the models of the
TinyStories-Instruct data were trained on (Eldan and Li 2023, arXiv:2305.07759), `plain` continues a text as it stands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from engine.errors import CheckpointError, UsageError
from engine.settings import STORY_FEATURES, Ending, GenerationRequest
from engine.tokenizer import Tokenizer

StyleName = Literal["topic-ending", "instruct-fields", "plain"]
STYLES: tuple[StyleName, ...] = get_args(StyleName)


@dataclass(frozen=True)
class PromptStyle:
    """How text becomes the tokens that a model reads first."""

    name: StyleName = "plain"
    start_with_end: bool = False
    """Put the end-of-text token before everything, where the model was trained with it between stories."""

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "start_with_end": self.start_with_end}

    @classmethod
    def from_json(cls, data: Any) -> PromptStyle:
        if not isinstance(data, dict) or data.get("name") not in STYLES:
            raise CheckpointError("The checkpoint's tinytales.json names a prompt style that this version does not know.")
        return cls(data["name"], bool(data.get("start_with_end")))


def split_sample_prompt(text: str) -> tuple[Ending | None, str]:
    """A sample prompt of a training run: (`happy` or `sad`, the topic) for `sad: a lost dog`, else (None, the opening)."""
    head, _, topic = text.partition(":")
    if head in ("happy", "sad") and topic.strip():
        return head, topic.strip()  # type: ignore[return-value]
    return None, text


def story_prompt(topic: str, ending: Ending) -> str:
    """The story prompt, exactly as the models were tuned on it; the story follows its last newline."""
    return f"Write a story about: {topic}\nWith: {ending} ending\n\n### Story:\n"


def instruct_prompt(request: GenerationRequest) -> str:
    """The fields of a TinyStories-Instruct prompt, those that were given; a sad ending is the feature that the data mark it with."""
    sad = ("BadEnding",) if request.ending == "sad" else ()
    asked = {*request.features, *sad}
    fields = {
        "Features": ", ".join(feature for feature in STORY_FEATURES if feature in asked),
        "Words": ", ".join(" ".join(word.split()) for word in request.words),
        "Summary": " ".join(request.topic.split()),
        "Random sentence": " ".join(request.sentence.split()),
    }
    return "".join(f"{name}: {value}\n" for name, value in fields.items() if value) + "Story: \n\n"


def prompt_text(request: GenerationRequest, style: PromptStyle) -> str:
    """The text that the model reads. Raises `UsageError` where the checkpoint does not know what was asked for."""
    if request.has_fields and style.name != "instruct-fields":
        raise UsageError(
            "Words, features and a sentence can only be asked of a TinyStories-Instruct checkpoint, which this is not."
        )
    if request.has_fields and request.ending is None:
        raise UsageError("Words, features and a sentence are asked of a story with an ending; ask for happy or sad.")
    if request.ending is None:
        return request.opening or request.topic
    if style.name == "plain":
        raise UsageError(
            "This checkpoint was not trained on topics and endings; ask for no ending and give it words to go on from."
        )
    if style.name == "instruct-fields":
        return instruct_prompt(request) + request.opening
    return story_prompt(" ".join(request.topic.split()), request.ending) + request.opening


def prompt_ids(text: str, style: PromptStyle, tokenizer: Tokenizer) -> list[int]:
    """Token ids of a prompt text."""
    return [tokenizer.end_id] * style.start_with_end + tokenizer.encode(text)
