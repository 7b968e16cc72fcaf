"""Generation against its plain twin: no cache, the whole text through the model at every step."""

from __future__ import annotations

import dataclasses
import itertools
import re

import pytest
import torch
from small import SHAPES, tiny_loaded, tiny_tokenizer

from engine.checkpoints.native import Checkpoint
from engine.errors import UsageError
from engine.generation import fit_to_context, generate
from engine.prompts import PromptStyle, prompt_ids
from engine.protocol import Done, Finished, Started, Token
from engine.settings import GenerationRequest, SamplingSettings

GREEDY = SamplingSettings(temperature=0.0, max_tokens=40, stop_loops=False, min_tokens=40)


def tokens_of(events: list[object], story: int = 0) -> list[int]:
    return [event.token for event in events if isinstance(event, Token) and event.story == story]


def text_of(events: list[object], story: int = 0) -> str:
    return "".join(event.text for event in events if isinstance(event, Token | Finished) and event.story == story)


def finish(events: list[object], story: int = 0) -> Finished:
    return next(event for event in events if isinstance(event, Finished) and event.story == story)


@torch.inference_mode()
def plain_greedy(checkpoint: Checkpoint, text: str, steps: int) -> list[int]:
    """Greedy tokens without a cache; where learned positions run out, from the newest three quarters of the context."""
    context, learned = checkpoint.config.context, checkpoint.config.positions == "learned"
    ids = fit_to_context(prompt_ids(text, checkpoint.prompt_style, checkpoint.tokenizer), context)
    read, written = list(ids), []
    for _ in range(steps):
        logits = checkpoint.network(torch.tensor([read]))[0, -1].clone()
        logits[checkpoint.tokenizer.end_id] = -torch.inf
        written.append(int(logits.argmax()))
        ids.append(written[-1])
        read = ids[-context * 3 // 4 :] if learned and len(read) == context else [*read, written[-1]]
    return written


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", [0, 1])
def test_cached_text_equals_uncached_text_past_the_context(shape: str, seed: int) -> None:
    checkpoint = tiny_loaded(shape, context=16, seed=seed)
    events = list(generate(checkpoint, GenerationRequest(opening="Mia found", sampling=GREEDY)))
    assert tokens_of(events) == plain_greedy(checkpoint, "Mia found", 40)


@pytest.mark.parametrize("shape", ["learned", "rope"])
def test_a_prompt_longer_than_the_context_is_cut_to_its_newest_part(shape: str) -> None:
    checkpoint = tiny_loaded(shape, context=16)
    text = "The old fox lost a blue kite in the snow, and nobody knew why. " * 3
    events = list(generate(checkpoint, GenerationRequest(opening=text, sampling=GREEDY)))
    assert tokens_of(events) == plain_greedy(checkpoint, text, 40)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_batch_writes_what_single_stories_write(shape: str) -> None:
    checkpoint = tiny_loaded(shape, context=24)
    sampling = SamplingSettings(temperature=1.5, top_k=20, max_tokens=30, seed=11)
    request = GenerationRequest(topic="a kite", ending="sad", sampling=sampling, count=4)
    together = list(generate(checkpoint, request))
    for story in range(4):
        alone = dataclasses.replace(request, count=1, sampling=dataclasses.replace(sampling, seed=11 + story))
        events = list(generate(checkpoint, alone))
        assert tokens_of(together, story) == tokens_of(events)
        assert finish(together, story).reason == finish(events).reason
        assert finish(together, story).seed == 11 + story


def test_the_same_seed_writes_the_same_story_and_another_does_not() -> None:
    checkpoint = tiny_loaded("rope", context=64)
    request = GenerationRequest(opening="Mia", sampling=SamplingSettings(temperature=1.0, max_tokens=40, seed=5))
    first, second = list(generate(checkpoint, request)), list(generate(checkpoint, request))
    assert text_of(first) == text_of(second) != ""
    other = dataclasses.replace(request, sampling=dataclasses.replace(request.sampling, seed=6))
    assert text_of(list(generate(checkpoint, other))) != text_of(first)


def test_a_rolled_seed_is_told_and_repeats_the_story() -> None:
    checkpoint = tiny_loaded("rope", context=64)
    request = GenerationRequest(opening="Mia", sampling=SamplingSettings(temperature=1.0, max_tokens=20))
    events = list(generate(checkpoint, request))
    seed = next(event.seed for event in events if isinstance(event, Started))
    again = dataclasses.replace(request, sampling=dataclasses.replace(request.sampling, seed=seed))
    assert tokens_of(list(generate(checkpoint, again))) == tokens_of(events)


def test_the_order_and_contents_of_events() -> None:
    checkpoint = tiny_loaded("rope", context=64)
    sampling = SamplingSettings(max_tokens=12, min_tokens=12, seed=1, stop_loops=False)
    events = list(generate(checkpoint, GenerationRequest(topic="a kite", ending="happy", sampling=sampling), id=7))
    started, last, done = events[0], events[-2], events[-1]
    assert isinstance(started, Started) and started.prompt == "Write a story about: a kite\nWith: happy ending\n\n### Story:\n"
    assert started.prompt_tokens == 1 + len(checkpoint.tokenizer.encode(started.prompt))
    assert isinstance(last, Finished) and isinstance(done, Done) and {event.id for event in events} == {7}
    drawn = [event for event in events if isinstance(event, Token)]
    assert last.tokens == len(drawn) == 12 and last.reason == "length"
    assert all(event.logprob <= 0 for event in drawn)
    assert all(a.time <= b.time for a, b in itertools.pairwise(drawn))
    assert last.ttft_s > 0 and last.tokens_per_s > 0


def test_log_probabilities_are_those_of_the_model() -> None:
    checkpoint = tiny_loaded("rope", context=64)
    sampling = SamplingSettings(temperature=0.7, top_k=5, repetition_penalty=1.5, max_tokens=6, seed=2)
    events = list(generate(checkpoint, GenerationRequest(opening="Mia", sampling=sampling)))
    ids = prompt_ids("Mia", checkpoint.prompt_style, checkpoint.tokenizer)
    for event in (event for event in events if isinstance(event, Token)):
        expected = checkpoint.network(torch.tensor([ids]))[0, -1].log_softmax(-1)[event.token]
        assert event.logprob == pytest.approx(float(expected), abs=1e-3)
        ids.append(event.token)


def leaning(token: int) -> Checkpoint:
    """A model whose head finds one token by far the likeliest, whatever it reads."""
    checkpoint = tiny_loaded("learned, exact gelu, own head", context=64)
    checkpoint.network.head.bias[token] = 1e6
    return checkpoint


def test_end_of_text_ends_a_story_and_is_no_text() -> None:
    checkpoint = leaning(tiny_tokenizer().end_id)
    sampling = SamplingSettings(max_tokens=20, seed=1)
    events = list(generate(checkpoint, GenerationRequest(opening="Mia", sampling=sampling)))
    assert tokens_of(events) == [checkpoint.tokenizer.end_id] and text_of(events) == ""
    assert finish(events).reason == "end of text" and finish(events).tokens == 1
    longer = dataclasses.replace(sampling, min_tokens=3)
    events = list(generate(checkpoint, GenerationRequest(opening="Mia", sampling=longer)))
    assert tokens_of(events).index(checkpoint.tokenizer.end_id) == 3


def test_a_stop_string_ends_the_story_and_is_not_part_of_it() -> None:
    checkpoint = tiny_loaded("rope", context=64)
    free = GenerationRequest(opening="Mia", sampling=SamplingSettings(temperature=1.0, max_tokens=60, seed=4, stop_loops=False))
    text = text_of(list(generate(checkpoint, free)))
    stop = text[20:23]
    events = list(generate(checkpoint, dataclasses.replace(free, sampling=dataclasses.replace(free.sampling, stop=(stop,)))))
    assert text_of(events) == text[: text.index(stop)] and finish(events).reason == "stop string"
    never = dataclasses.replace(free.sampling, stop=(stop + "\0never",))
    assert text_of(list(generate(checkpoint, dataclasses.replace(free, sampling=never)))) == text


def test_cancelling_takes_effect_within_one_token() -> None:
    checkpoint = tiny_loaded("rope", context=64)
    seen: list[object] = []
    request = GenerationRequest(
        opening="Mia", sampling=SamplingSettings(max_tokens=100, min_tokens=100, stop_loops=False), count=2
    )
    for event in generate(checkpoint, request, cancelled=lambda: len(tokens_of(seen)) >= 5):
        seen.append(event)
    assert len(tokens_of(seen)) == len(tokens_of(seen, 1)) == 5
    assert [finish(seen, story).reason for story in (0, 1)] == ["cancelled", "cancelled"] and isinstance(seen[-1], Done)
    before = list(generate(checkpoint, request, cancelled=lambda: True))
    assert [type(event) for event in before] == [Started, Finished, Finished, Done]


def test_a_looping_story_is_ended() -> None:
    checkpoint = leaning(42)
    looping = GenerationRequest(opening="Mia", sampling=SamplingSettings(temperature=0.0, max_tokens=200))
    events = list(generate(checkpoint, looping))
    assert finish(events).reason == "loop" and len(tokens_of(events)) < 60
    on = dataclasses.replace(looping, sampling=dataclasses.replace(looping.sampling, stop_loops=False))
    assert finish(list(generate(checkpoint, on))).reason == "length"


def test_banned_words_never_appear() -> None:
    checkpoint = tiny_loaded("rope", context=64)
    request = GenerationRequest(
        opening="Mia", sampling=SamplingSettings(temperature=2.0, top_k=0, top_p=1.0, max_tokens=400, seed=3)
    )
    letters = {letter for letter in text_of(list(generate(checkpoint, request))).lower() if letter.isalpha()}
    word = sorted(letters)[0]
    banned = dataclasses.replace(request, sampling=dataclasses.replace(request.sampling, banned_words=(word,)))
    assert not re.search(rf"(?<![^\W_]){word}(?![^\W_])", text_of(list(generate(checkpoint, banned))).lower()[3:])


def test_no_run_of_tokens_stands_twice_when_that_is_asked() -> None:
    checkpoint = tiny_loaded("rope", context=64)
    sampling = SamplingSettings(temperature=0.0, max_tokens=120, no_repeat_ngram=2, min_tokens=120)
    ids = tokens_of(list(generate(checkpoint, GenerationRequest(opening="Mia", sampling=sampling))))
    pairs = list(itertools.pairwise(ids))
    assert len(pairs) == len(set(pairs))


def test_penalties_see_the_given_words_whichever_field_they_came_in() -> None:
    checkpoint = tiny_loaded("rope", context=64)
    sampling = SamplingSettings(temperature=0.0, repetition_penalty=1.9, no_repeat_ngram=2, max_tokens=30)
    texts = [
        text_of(list(generate(checkpoint, GenerationRequest(sampling=sampling, **{field: "Mia found a kite. Mia found"}))))
        for field in ("topic", "opening")
    ]
    assert texts[0] == texts[1]


def test_requests_that_cannot_be_carried_out() -> None:
    plain = tiny_loaded("learned", style="plain")
    with pytest.raises(UsageError, match="not trained on topics"):
        list(generate(plain, GenerationRequest(topic="a kite", ending="sad")))
    for wrong in ({}, {"ending": "sad", "opening": "Once"}, {"topic": "x", "count": 0}, {"topic": "x", "ending": "funny"}):
        with pytest.raises(UsageError):
            GenerationRequest(**wrong)  # type: ignore[arg-type]


def test_the_end_token_written_by_a_person_is_plain_text() -> None:
    checkpoint = tiny_loaded("rope", context=64)
    ids = prompt_ids("a <|endoftext|> b", PromptStyle(), checkpoint.tokenizer)
    assert checkpoint.tokenizer.end_id not in ids and checkpoint.tokenizer.decode(ids) == "a <|endoftext|> b"
