"""The engine worker as a real process, driven through its pipes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from worker_process import Process

from engine.protocol import (
    PROTOCOL,
    Cancel,
    Done,
    Failed,
    Finished,
    Generate,
    Hello,
    Load,
    Loaded,
    Loading,
    Quit,
    Started,
    Status,
    StatusReport,
    Token,
)
from engine.settings import GenerationRequest, SamplingSettings

LONG = SamplingSettings(max_tokens=4096, min_tokens=4096, stop_loops=False, seed=1)


@pytest.fixture
def worker() -> Iterator[Process]:
    made = Process()
    try:
        yield made
    finally:
        made.close()


def test_a_session(worker: Process, tiny_checkpoint: Path, plain_checkpoint: Path) -> None:
    hello = worker.event()
    assert isinstance(hello, Hello) and hello.protocol == PROTOCOL and hello.pid == worker.process.pid
    request = GenerationRequest(topic="a kite", ending="sad", sampling=SamplingSettings(seed=3, max_tokens=20), count=2)

    worker.send(Generate(1, request))
    assert worker.event() == Failed(1, "No checkpoint is loaded yet.", "usage")

    worker.send(Load(2, str(tiny_checkpoint), device="cpu"))
    loading, loaded = worker.until(Loaded)
    assert isinstance(loading, Loading) and isinstance(loaded, Loaded)
    assert (loaded.checkpoint.name, loaded.checkpoint.prompt_style, loaded.checkpoint.context) == ("tiny", "topic-ending", 256)

    worker.send(Generate(3, request))
    first = worker.until(Done)
    assert isinstance(first[0], Started) and sum(isinstance(event, Finished) for event in first) == 2
    worker.send(Generate(4, request))
    again = worker.until(Done)
    texts = [[e.text for e in events if isinstance(e, Token | Finished)] for events in (first, again)]
    assert texts[0] == texts[1]

    worker.send(Load(5, "nowhere"), Status(6))
    failed = next(event for event in worker.until(Failed) if isinstance(event, Failed))
    assert failed.id == 5 and failed.kind == "checkpoint" and "nowhere" in failed.message
    worker.send(Generate(7, request))  # the checkpoint that was held is still there
    worker.until(Done)

    worker.send(Load(8, str(plain_checkpoint), device="cpu"))
    worker.until(Loaded)
    worker.send(Generate(9, request))
    assert isinstance(refused := worker.event(), Failed) and refused.kind == "usage"

    worker.send(Quit())
    assert worker.process.wait(10) == 0


def test_cancel_and_status_while_it_writes(worker: Process, tiny_checkpoint: Path) -> None:
    worker.send(Load(1, str(tiny_checkpoint), device="cpu"), Generate(2, GenerationRequest(opening="Mia", sampling=LONG)))
    worker.until(Token)
    worker.send(Status(3))
    report = worker.until(StatusReport)[-1]
    assert isinstance(report, StatusReport) and report.generating == 2 and report.memory_bytes > 1e7 and report.checkpoint
    worker.send(Cancel(2))
    ended = worker.until(Done)
    finished = next(event for event in ended if isinstance(event, Finished))
    assert finished.reason == "cancelled" and finished.tokens < 4096
    worker.send(
        Cancel(2), Cancel(99), Generate(4, GenerationRequest(opening="Mia", sampling=SamplingSettings(max_tokens=3, seed=1)))
    )
    assert any(isinstance(event, Finished) and event.id == 4 and event.reason == "length" for event in worker.until(Done))


def test_a_generation_cancelled_before_its_turn_writes_nothing(worker: Process, tiny_checkpoint: Path) -> None:
    request = GenerationRequest(opening="Mia", sampling=LONG)
    worker.send(Load(1, str(tiny_checkpoint), device="cpu"), Generate(2, request), Generate(3, request))
    worker.until(Token)
    worker.send(Cancel(3), Cancel(2))
    worker.until(Done)
    assert not any(isinstance(event, Token) for event in worker.until(Done))


def test_lines_that_are_no_messages(worker: Process) -> None:
    assert worker.process.stdin
    worker.event()
    junk_lines = [
        *(b"hello\n", b"{}\n", b"[" * 100_000 + b"\n", b"\xff\xfe\n", b'{"type":"Load"}\n', b'{"type":"Cancel","id":[1]}\n'),
        *(b'{"type":"Generate","id":1}\n', b'{"type":"Generate","id":1,"request":{"topic":5}}\n'),
        b'{"type":"Generate","id":1,"request":{"topic":"x","sampling":{"top_k":1e400}}}\n',
    ]
    for junk in junk_lines:
        worker.process.stdin.write(junk)
        worker.process.stdin.flush()
        answer = worker.event()
        assert isinstance(answer, Failed) and answer.id == -1 and "\n" not in answer.message
    worker.send(Status(1))
    assert isinstance(worker.event(), StatusReport)


def test_it_ends_when_the_terminal_goes_away(worker: Process, tiny_checkpoint: Path) -> None:
    worker.send(Load(1, str(tiny_checkpoint), device="cpu"), Generate(2, GenerationRequest(opening="Mia", sampling=LONG)))
    worker.until(Token)
    assert worker.process.stdin
    worker.process.stdin.close()
    assert worker.process.wait(10) == 0


def test_ctrl_c_in_the_terminal_does_not_end_it(worker: Process) -> None:
    worker.event()
    time.sleep(0.2)
    os.kill(worker.process.pid, signal.SIGINT)
    worker.send(Status(1))
    assert isinstance(worker.event(), StatusReport)


def test_what_one_request_asks_for_is_not_what_the_next_gets() -> None:
    from engine.held import Holder

    holder = Holder()
    assert holder.load(Load(0, precision="bf16")).info.precision == "bf16"
    held = holder.load(Load(0))
    assert held.info.precision == "fp32" and holder.load(Load(0)) is held
    assert holder.load(Load(0, precision="bf16", lasting=True)).info.precision == "bf16"
    assert holder.load(Load(0, precision="fp32")).info.precision == "fp32"
    assert holder.load(Load(0)).info.precision == "bf16"  # as it was started
    assert holder.load(Load(0, lasting=True)).open
    assert holder.load(Load(0)).info.precision == "fp32"
