"""Going on with the very tokens that were drawn, and what is told of how a story ended."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from small import SHAPES, tiny_loaded

from engine.decode.stepping import stepping
from engine.errors import UsageError
from engine.generation import generate
from engine.protocol import Finished, Token
from engine.reading import reading
from engine.settings import GenerationRequest, SamplingSettings
from engine.story import Story, Words
from engine.text_stream import LoopDetector, shown

SAMPLING = SamplingSettings(
    temperature=1.3, top_k=0, seed=6, max_tokens=40, min_tokens=40, stop_loops=False, repetition_penalty=1.3
)
REQUESTS = [
    GenerationRequest(opening="Mia found", sampling=SAMPLING),
    GenerationRequest(topic="Mia found", sampling=SAMPLING),
    GenerationRequest(topic="a kite", ending="sad", sampling=SAMPLING),
]


def drawn(checkpoint: object, request: GenerationRequest) -> list[Token]:
    return [event for event in generate(checkpoint, request) if isinstance(event, Token)]  # type: ignore[arg-type]


def further(request: GenerationRequest, tokens: list[Token], **changes: object) -> GenerationRequest:
    """Going on after these tokens."""
    before = request.opening or (request.topic if request.ending is None else "")
    text = before + "".join(token.text for token in tokens)
    return dataclasses.replace(request, opening=text, tail=tuple(token.token for token in tokens), **changes)


@pytest.mark.parametrize("request_", REQUESTS)
@pytest.mark.parametrize("way", ["plain", "compiled"])
def test_going_on_is_as_if_it_had_never_stopped(request_: GenerationRequest, way: str, compiled: Path) -> None:
    for shape in SHAPES if way == "plain" else ("rope", "learned"):
        checkpoint = tiny_loaded(shape, context=128)
        if way == "compiled":
            pytest.importorskip("numba")
            from engine.decode.compiled import CompiledStep

            checkpoint.compiled = CompiledStep.build(checkpoint.network, "fp32", 1, compiled, checkpoint.tokenizer.vocab_size)
        whole = drawn(checkpoint, request_)
        for at in range(1, 30, 3 if way == "plain" else 9):
            on = further(request_, whole[:at])
            first, went_on = reading(checkpoint, request_), reading(checkpoint, on)
            assert went_on.ids == first.ids + [token.token for token in whole[:at]]
            assert went_on.own == first.own + [token.token for token in whole[:at]]
            assert went_on.data == first.data + b"".join(checkpoint.tokenizer.token_bytes(token.token) for token in whole[:at])
            settings = on.sampling
            story = Story(0, 0, 0, went_on, checkpoint, settings, Words(settings, checkpoint), 0.0)
            steps = stepping(checkpoint, len(went_on.ids) + 40, [story], settings)
            found = steps.read([went_on.ids])[0].log_probability(whole[at].token)
            assert found == pytest.approx(whole[at].logprob, abs=1e-4)


@pytest.mark.parametrize("way", ["plain", "compiled"])
def test_the_next_logits_are_the_same(way: str, compiled: Path) -> None:
    checkpoint = tiny_loaded("rope", context=64)
    if way == "compiled":
        pytest.importorskip("numba")
        from engine.decode.compiled import CompiledStep

        checkpoint.compiled = CompiledStep.build(checkpoint.network, "fp32", 1, compiled, checkpoint.tokenizer.vocab_size)
    greedy = dataclasses.replace(
        REQUESTS[0], sampling=SamplingSettings(temperature=0.0, max_tokens=30, min_tokens=30, stop_loops=False)
    )
    whole = drawn(checkpoint, greedy)
    ids = reading(checkpoint, greedy).ids
    for at in range(1, 29, 3):
        on = further(greedy, whole[:at])
        uninterrupted = checkpoint.network(torch.tensor([ids + [token.token for token in whole[:at]]]))[0, -1]
        story = Story(0, 0, 0, reading(checkpoint, on), checkpoint, on.sampling, Words(on.sampling, checkpoint), 0.0)
        logits = stepping(checkpoint, 64, [story], on.sampling).read([reading(checkpoint, on).ids])[0].logits()
        assert torch.allclose(logits, uninterrupted, atol=1e-4)
        rest = dataclasses.replace(on, sampling=dataclasses.replace(on.sampling, max_tokens=30 - at, min_tokens=30 - at))
        assert [(token.token, token.text) for token in drawn(checkpoint, rest)] == [
            (token.token, token.text) for token in whole[at:]
        ]


def test_a_tail_that_cannot_be_read_is_refused_in_a_sentence() -> None:
    checkpoint = tiny_loaded("rope", context=64)
    tokenizer = checkpoint.tokenizer
    opening = "Mia found a café"
    ids = tokenizer.encode(opening)
    right = GenerationRequest(opening=opening, tail=tuple(ids[-3:]))
    assert reading(checkpoint, right).ids[-len(ids) :] == ids
    half = ids[-1:] if b"caf" not in tokenizer.token_bytes(ids[-1]) else ids[-2:]
    broken = dataclasses.replace(
        right, tail=tuple(token for token in tokenizer.encode("é")[-1:] if len(tokenizer.token_bytes(token)) == 1)
    )
    for tail, says in (
        ((320,), "no token 320"),
        ((tokenizer.end_id,), "ends a story"),
        (tuple(ids[:2]), "not the end of the opening"),
    ):
        with pytest.raises(UsageError, match=says):
            reading(checkpoint, dataclasses.replace(right, tail=tail))
    if broken.tail:  # the second half of a letter
        with pytest.raises(UsageError):
            reading(checkpoint, broken)
    assert reading(checkpoint, dataclasses.replace(right, tail=tuple(half))).ids[-len(half) :] == half
    for wrong in (
        {"tail": (-1,)},
        {"tail": ("a",)},
        {"tail": [1]},
        {"tail": (True,)},
        {"tail": (2**40,)},
        {"opening": "", "topic": "x", "tail": (1,)},
    ):
        with pytest.raises(UsageError):
            dataclasses.replace(right, **wrong)
    assert GenerationRequest.from_json(right.to_json()) == right
    assert GenerationRequest.from_json({"opening": "Mia"}).tail == ()


def test_a_loop_and_a_stop_string_are_named() -> None:
    checkpoint = tiny_loaded("learned, exact gelu, own head", context=64)
    checkpoint.network.head.bias[42] = 1e6
    looping = GenerationRequest(opening="Mia", sampling=SamplingSettings(temperature=0.0, max_tokens=200))
    end = next(event for event in generate(checkpoint, looping) if isinstance(event, Finished))
    piece = checkpoint.tokenizer.token_bytes(42).decode()
    assert end.reason == "loop" and end.detail == f"{shown(piece)} came 24 times in a row"
    stopped = dataclasses.replace(looping, sampling=dataclasses.replace(looping.sampling, stop=("\0never", piece * 3)))
    end = next(event for event in generate(checkpoint, stopped) if isinstance(event, Finished))
    assert end.reason == "stop string" and end.detail == f"{shown(piece * 3)} came"
    long = dataclasses.replace(looping, sampling=dataclasses.replace(looping.sampling, max_tokens=2))
    assert next(event for event in generate(checkpoint, long) if isinstance(event, Finished)).detail == ""


def test_what_repeats_and_how_often() -> None:
    for ids, found in (
        ([1, 2, 3, *([4, 5, 6, 7, 8, 9, 10, 11] * 3)], ([4, 5, 6, 7, 8, 9, 10, 11], 3)),
        ([9, *([1, 2, 3, 4] * 6)], ([1, 2, 3, 4], 6)),
        ([7] * 24, ([7], 24)),
    ):
        detector = LoopDetector()
        assert [detector.feed(token) for token in ids].index(True) == len(ids) - 1 and detector.found == found
    assert shown(" and\nthe \x1b[31mdog  ran\u202e ") == "“and the [31mdog ran”" and shown(" \n") == "blank space"
    assert len(shown("word " * 40)) < 45
