"""Several requests at once: each writes what it writes alone, whatever becomes of the others."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from small import tiny_loaded
from worker_process import Process

from engine.checkpoints.native import Checkpoint
from engine.decode.graphs import GraphedStep
from engine.errors import UsageError
from engine.generation import generate
from engine.protocol import (
    Cancel,
    Done,
    Event,
    Failed,
    Finished,
    Generate,
    Load,
    Look,
    Prospect,
    Score,
    Scored,
    Started,
    Together,
    Token,
)
from engine.settings import GenerationRequest, SamplingSettings
from engine.together import together

FIRST = GenerationRequest(
    topic="a kite",
    ending="sad",
    sampling=SamplingSettings(temperature=1.3, seed=3, max_tokens=40, min_tokens=40, stop_loops=False),
)
REQUESTS = [
    FIRST,
    dataclasses.replace(FIRST, ending="happy", sampling=dataclasses.replace(FIRST.sampling, temperature=0.0)),
    GenerationRequest(opening="Mia found", count=3, sampling=SamplingSettings(temperature=1.5, top_k=0, seed=8, max_tokens=30)),
    GenerationRequest(opening="Mia", sampling=dataclasses.replace(FIRST.sampling, favoured_words=("kite",), max_tokens=50)),
]


def told(events: list[Event], number: int) -> list[object]:
    """What came of one request, but for the times."""
    found: list[object] = []
    for event in events:
        if isinstance(event, Token) and event.id == number:
            found.append((event.story, event.token, event.text))
        elif isinstance(event, Finished) and event.id == number:
            found.append((event.story, event.reason, event.text, event.seed, event.tokens))
        elif getattr(event, "id", None) == number:
            found.append(type(event))
    return found


def parts(requests: list[GenerationRequest]) -> list[Generate]:
    return [Generate(number, request) for number, request in enumerate(requests, start=1)]


def loaded(way: str, compiled: Path) -> Checkpoint:
    checkpoint = tiny_loaded("rope", context=32)
    if way.startswith("compiled"):
        pytest.importorskip("numba")
        from engine.decode.compiled import CompiledStep

        threads = int(way[-1])
        checkpoint.compiled = CompiledStep.build(checkpoint.network, "fp32", threads, compiled, checkpoint.tokenizer.vocab_size)
    elif way == "graphed":
        checkpoint.compiled = GraphedStep(checkpoint.network, checkpoint.tokenizer.vocab_size)
    return checkpoint


@pytest.mark.parametrize("way", ["plain", "compiled 1", "compiled 2", "graphed"])
def test_each_writes_what_it_writes_alone(way: str, compiled: Path) -> None:
    checkpoint = loaded(way, compiled)
    events = list(together(checkpoint, parts(REQUESTS)))
    for number, request in enumerate(REQUESTS, start=1):
        assert told(events, number) == told(list(generate(checkpoint, request, id=number)), number), number
    order = [event.id for event in events if isinstance(event, Token) and event.story == 0]
    assert order[:8] == [1, 2, 3, 4] * 2  # a token of each in turn
    assert told(list(together(checkpoint, parts(REQUESTS[:1]))), 1) == told(events, 1)  # the step is left as it was


@pytest.mark.parametrize("way", ["plain", "compiled 1"])
def test_what_goes_wrong_with_one_ends_only_that_one(way: str, compiled: Path) -> None:
    checkpoint = loaded(way, compiled)
    wrong = GenerationRequest(opening="Mia", tail=(5000,))
    asked = parts([FIRST, wrong, REQUESTS[3]])
    seen: list[Event] = []
    for event in together(
        checkpoint,
        asked,
        lambda number: number == 3 and len(seen) > 12,
        lambda number, error: Failed(number, str(error)),
    ):
        seen.append(event)
    assert told(seen, 1) == told(list(generate(checkpoint, FIRST, id=1)), 1)
    assert told(seen, 2) == [Failed]
    assert next(event for event in seen if isinstance(event, Finished) and event.id == 3).reason == "cancelled"
    with pytest.raises(UsageError):
        list(together(checkpoint, asked))


def test_the_worker_writes_looks_and_scores_in_turn(tiny_checkpoint: Path) -> None:
    worker = Process()
    try:
        worker.event()
        opened = dataclasses.replace(FIRST, opening="Mia found a kite. ")
        worker.send(Together(tuple(parts(REQUESTS[:2]))), Look(8, opened), Score(9, opened))
        assert [type(worker.event()) for _ in range(4)] == [Failed] * 4  # nothing is loaded
        long = dataclasses.replace(FIRST.sampling, max_tokens=4000, min_tokens=4000)
        endless = dataclasses.replace(FIRST, sampling=long)
        wrong = dataclasses.replace(FIRST, opening="Mia", tail=(1,))
        worker.send(Load(1, str(tiny_checkpoint), device="cpu"))
        worker.send(
            Together(tuple(Generate(*one) for one in ((2, FIRST), (3, endless), (4, wrong)))),
            Look(5, opened, 7),
            Score(6, opened),
        )
        events: list[Event] = []
        while not any(isinstance(event, Done) for event in events):
            events.append(worker.event())
        worker.send(Cancel(3))
        events += worker.until(Done)
        failed = [event for event in events if isinstance(event, Failed)]
        assert [(event.id, event.kind) for event in failed] == [(4, "usage")] and "end of the opening" in failed[0].message
        reasons = {event.id: event.reason for event in events if isinstance(event, Finished)}
        assert reasons == {2: "length", 3: "cancelled"}
        assert {event.id: event.step for event in events if isinstance(event, Started)} == {2: "plain", 3: "plain"}
        looked, scored = worker.event(), worker.event()
        assert isinstance(looked, Prospect) and (looked.id, len(looked.chances)) == (5, 7)
        assert isinstance(scored, Scored) and sum(letters for _, letters, _ in scored.tokens) == len(opened.opening)
        worker.send(Generate(7, FIRST))
        again = worker.until(Done)
        assert told(events, 2)[1:-1] == told(again, 7)[1:-1]
    finally:
        worker.close()
