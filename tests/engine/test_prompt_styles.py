"""How each kind of model is asked for a story, and where its stories begin and end."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from small import tiny_loaded

from engine.errors import CheckpointError, UsageError
from engine.generation import generate
from engine.prompts import PromptStyle, prompt_text
from engine.protocol import Finished, Started, Token
from engine.settings import GenerationRequest, SamplingSettings

SAD = GenerationRequest(topic="a  lost\ndog", ending="sad", opening="Once")
HAPPY = GenerationRequest(topic="a kite", ending="happy")


def test_the_prompt_of_each_style() -> None:
    told = PromptStyle("topic-ending")
    assert prompt_text(SAD, told) == "Write a story about: a lost dog\nWith: sad ending\n\n### Story:\nOnce"
    fields = PromptStyle("instruct-fields")
    assert prompt_text(SAD, fields) == "Features: BadEnding\nSummary: a lost dog\nStory: \n\nOnce"
    assert prompt_text(HAPPY, fields) == "Summary: a kite\nStory: \n\n"
    with pytest.raises(UsageError, match="not trained on topics"):
        prompt_text(HAPPY, PromptStyle("plain"))
    for style in (told, fields, PromptStyle("plain")):
        assert prompt_text(GenerationRequest(opening="Once upon"), style) == "Once upon"


def test_a_style_comes_back_from_its_json_and_an_unknown_one_is_refused() -> None:
    for name in ("topic-ending", "instruct-fields", "plain"):
        style = PromptStyle(name, True)  # type: ignore[arg-type]
        assert PromptStyle.from_json(style.to_json()) == style
    with pytest.raises(CheckpointError):
        PromptStyle.from_json({"name": "haiku"})


def test_a_token_that_begins_everything_is_read_first() -> None:
    checkpoint = tiny_loaded()
    request = GenerationRequest(opening="Mia found", sampling=SamplingSettings(max_tokens=1, seed=1))
    plain = next(iter(generate(checkpoint, request)))
    checkpoint.begin_id = 5
    begun = next(iter(generate(checkpoint, request)))
    assert isinstance(plain, Started) and isinstance(begun, Started)
    assert begun.prompt_tokens == plain.prompt_tokens + 1
    seen: list[torch.Tensor] = []
    hook = checkpoint.network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    list(generate(checkpoint, request))
    hook.remove()
    assert seen[0][0, 0].item() == 5


def test_any_of_the_end_tokens_ends_a_story_and_none_may_come_too_early() -> None:
    checkpoint = tiny_loaded(context=64)
    request = GenerationRequest(
        opening="Mia", sampling=SamplingSettings(max_tokens=40, seed=3, temperature=1.5, stop_loops=False)
    )
    drawn = [event.token for event in generate(checkpoint, request) if isinstance(event, Token)]
    assert len(drawn) > 3
    checkpoint.end_ids = (drawn[2],)
    events = list(generate(checkpoint, request))
    finished = next(event for event in events if isinstance(event, Finished))
    assert finished.reason == "end of text"
    assert [event.token for event in events if isinstance(event, Token)] == drawn[: drawn.index(drawn[2]) + 1]
    later = dataclasses.replace(request, sampling=request.sampling.with_changes(min_tokens=20))
    tokens = [event.token for event in generate(checkpoint, later) if isinstance(event, Token)]
    assert drawn[2] not in tokens[:19]


def test_the_fields_of_instruct_models_and_who_takes_them() -> None:
    asked = GenerationRequest(topic="a kite", ending="happy", words=("rain",), features=("Twist",), sentence="It was  red.")
    text = prompt_text(asked, PromptStyle("instruct-fields"))
    assert text == "Features: Twist\nWords: rain\nSummary: a kite\nRandom sentence: It was red.\nStory: \n\n"
    assert prompt_text(GenerationRequest(ending="sad", words=("rain",)), PromptStyle("instruct-fields")).startswith(
        "Features: BadEnding\n"
    )
    for name in ("plain", "topic-ending"):
        with pytest.raises(UsageError, match="TinyStories-Instruct"):
            prompt_text(dataclasses.replace(asked, ending=None), PromptStyle(name))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="with an ending"):
        prompt_text(dataclasses.replace(asked, ending=None), PromptStyle("instruct-fields"))
    for wrong in ({"features": None}, {"words": "rain"}, {"features": ["Song"]}, {"sentence": 3}):
        with pytest.raises(UsageError):
            GenerationRequest.from_json(asked.to_json() | wrong)
