"""The engine client against scripted workers: batches, death, restart, refusal."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from engine import protocol
from engine.settings import GenerationRequest, SamplingSettings
from tinytales_tui.engine_client import EngineClient, EngineUnavailable, WorkerLost, Written

WORKER = str(Path(__file__).with_name("scripted_worker.py"))
REQUEST = GenerationRequest(topic="a dog", ending="sad", sampling=SamplingSettings(seed=1))


class Desk:
    """A client and all it delivered."""

    def __init__(
        self, *switches: str, source: str | None = None, log: Path | None = None, command: list[str] | None = None
    ) -> None:
        self.events: list = []
        self.batches = 0
        self.changed = asyncio.Event()
        self.client = EngineClient(
            self.deliver,
            protocol.Load(0, source),
            command=command or [sys.executable, WORKER, *switches],
            log=log,
            interval=0.01,
        )

    def deliver(self, batch: list) -> None:
        self.events.extend(batch)
        self.batches += 1
        self.changed.set()

    async def until(self, kind: type, count: int = 1):
        async with asyncio.timeout(20):
            while len(self.of(kind)) < count:
                self.changed.clear()
                await self.changed.wait()
        return self.of(kind)[count - 1]

    def of(self, kind: type) -> list:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.of(Written))


async def test_a_story_comes_whole_and_in_few_batches() -> None:
    desk = Desk("--tokens", "300")
    number = await desk.client.generate(REQUEST)
    await desk.until(protocol.Done)
    assert sum(event.tokens for event in desk.of(Written)) == 300
    assert len(desk.of(Written)) < 150
    assert {event.id for event in desk.of(Written)} == {number}
    first = desk.text
    await desk.client.generate(REQUEST)
    await desk.until(protocol.Done, 2)
    assert desk.text == first * 2
    assert len(desk.of(protocol.Loaded)) == 1
    await desk.client.close()
    assert desk.client.pid is None


async def test_a_killed_worker_is_noticed_and_the_next_request_starts_another() -> None:
    desk = Desk("--tokens", "4000", "--rate", "200", source="my-model")
    await desk.client.generate(REQUEST)
    await desk.until(Written)
    first = desk.client.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    lost = await desk.until(WorkerLost)
    assert "SIGKILL" in lost.message and "\n" not in lost.message
    assert desk.client.pid is None
    await desk.client.generate(REQUEST)
    loaded = await desk.until(protocol.Loaded, 2)
    assert loaded.checkpoint.name == "my-model"
    assert desk.client.pid not in (None, first)
    await desk.client.close()


async def test_cancel_and_a_request_during_a_story() -> None:
    desk = Desk("--tokens", "4000", "--rate", "200")
    await desk.client.generate(REQUEST)
    await desk.until(Written)
    second = await desk.client.generate(REQUEST)
    assert (await desk.until(protocol.Finished)).reason == "cancelled"
    await desk.until(Written, len(desk.of(Written)) + 1)
    assert desk.of(Written)[-1].id == second
    await desk.client.cancel()
    assert (await desk.until(protocol.Finished, 2)).reason == "cancelled"
    await desk.client.cancel()  # nothing to cancel: nothing happens
    await desk.client.close()


async def test_another_protocol_is_refused_with_a_sentence() -> None:
    desk = Desk("--protocol", "99")
    with pytest.raises(EngineUnavailable, match="protocol 99"):
        await desk.client.generate(REQUEST)
    assert "same version" in (await desk.until(WorkerLost)).message
    await desk.client.close()


async def test_a_greeting_of_a_remote_shell_is_passed_over() -> None:
    desk = Desk("--greeting", "Welcome to this machine")
    await desk.client.ready()
    await desk.client.close()


async def test_what_is_not_an_engine_is_refused() -> None:
    desk = Desk(command=[sys.executable, "-c", "print('hello\\n' * 1000, flush=True); import time; time.sleep(60)"])
    with pytest.raises(EngineUnavailable, match="does not speak like the engine"):
        await desk.client.ready()
    await desk.client.close()


async def test_a_worker_that_cannot_start_says_why(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "worker.log"
    desk = Desk("--fail", "ModuleNotFoundError: No module named 'torch'", log=log)
    with pytest.raises(EngineUnavailable, match="No module named 'torch'"):
        await desk.client.ready()
    assert "torch" in log.read_text()
    missing = Desk(command=["/nowhere/python"])
    with pytest.raises(EngineUnavailable, match="cannot be started"):
        await missing.client.ready()


async def test_a_checkpoint_that_cannot_be_loaded_leaves_the_worker_running() -> None:
    desk = Desk(source="missing")
    with pytest.raises(EngineUnavailable, match="no checkpoint at missing"):
        await desk.client.ready()
    assert desk.client.pid is not None
    desk.client.load = protocol.Load(0, None)
    await desk.client.ready()
    await desk.client.close()


async def test_a_very_long_line_is_read_whole() -> None:
    desk = Desk("--big-line", "3000000")
    await desk.client.ready()
    await desk.until(Written)
    assert len(desk.text) == 3_000_000
    await desk.client.close()


async def test_the_worker_ends_when_the_terminal_is_gone() -> None:
    desk = Desk("--tokens", "4000", "--rate", "50")
    await desk.client.generate(REQUEST)
    await desk.until(Written)
    process = desk.client._process
    process.stdin.close()
    async with asyncio.timeout(10):
        await process.wait()
    await desk.client.close()
