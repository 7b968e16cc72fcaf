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
from tinytales_tui.engine_events import Gathering

WORKER = str(Path(__file__).with_name("scripted_worker.py"))
REQUEST = GenerationRequest(topic="a dog", ending="sad", sampling=SamplingSettings(seed=1))

OPENED = GenerationRequest(topic="a dog", ending="sad", opening="Once a dog ran home. ")


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
    with pytest.raises(EngineUnavailable, match="no checkpoint at missing"):
        await desk.client.look(REQUEST)
    assert len((await desk.until(protocol.Failed), *desk.of(protocol.Failed)[1:])) == 1  # which is not told again
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


async def test_several_stories_at_once_come_apart_in_few_pieces() -> None:
    desk = Desk("--tokens", "300")
    requests = [REQUEST, GenerationRequest(topic="fail", ending="sad"), GenerationRequest(topic="a cat", ending="happy", count=2)]
    numbers = [desk.client.new_id() for _ in requests]
    await desk.client.generate_together(requests, numbers)
    await desk.until(protocol.Done, 2)
    assert [event.id for event in desk.of(protocol.Failed)] == [numbers[1]]
    pieces = {}
    for event in desk.of(Written):
        pieces.setdefault((event.id, event.story), []).append(event)
    assert set(pieces) == {(numbers[0], 0), (numbers[2], 0), (numbers[2], 1)}
    assert all(sum(piece.tokens for piece in story) == 300 and len(story) <= desk.batches for story in pieces.values())
    alone = Desk("--tokens", "300")
    await alone.client.generate(REQUEST)
    await alone.until(protocol.Done)
    assert "".join(piece.text for piece in pieces[numbers[0], 0]) == alone.text
    for client in (desk.client, alone.client):
        await client.close()


async def test_one_of_several_is_cancelled_or_all() -> None:
    desk = Desk("--tokens", "4000", "--rate", "200")
    numbers = [desk.client.new_id() for _ in range(3)]
    await desk.client.generate_together([REQUEST] * 3, numbers)
    await desk.until(Written)
    await desk.client.cancel(numbers[1])
    assert (await desk.until(protocol.Finished)).id == numbers[1]
    await desk.until(Written, len(desk.of(Written)) + 2)
    await desk.client.cancel()
    await desk.until(protocol.Done, 3)
    await desk.client.quiet()
    assert {event.reason for event in desk.of(protocol.Finished)} == {"cancelled"}
    await desk.client.close()


async def test_looking_and_scoring_wait_for_a_story_and_are_no_news_for_the_panes() -> None:
    desk = Desk("--tokens", "30", "--rate", "200")
    await desk.client.generate(REQUEST)
    async with asyncio.timeout(20):
        prospect, scored = await asyncio.gather(desk.client.look(REQUEST, 5, 999), desk.client.score(OPENED))
    assert [event.reason for event in desk.of(protocol.Finished) or [await desk.until(protocol.Finished)]] == ["end of text"]
    assert len(prospect.chances) == 6 and prospect.chances[-1].token == 999
    assert sum(letters for _, letters, _ in scored.tokens) == len(OPENED.opening)
    abandoned = asyncio.create_task(desk.client.look(REQUEST))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    abandoned.cancel()
    await desk.client.look(REQUEST)
    assert not desk.of(protocol.Prospect) and not desk.of(protocol.Scored) and not desk.of(protocol.Failed)
    await desk.client.close()


async def test_a_look_at_a_worker_that_dies_is_refused() -> None:
    desk = Desk("--tokens", "4000", "--rate", "200")
    await desk.client.generate(REQUEST)
    await desk.until(Written)
    look = asyncio.create_task(desk.client.look(REQUEST))
    await asyncio.sleep(0.05)
    await desk.client._send(protocol.Look(77, REQUEST))
    answer = desk.client._answers[77] = asyncio.get_running_loop().create_future()
    os.kill(desk.client.pid or 0, signal.SIGKILL)
    with pytest.raises(EngineUnavailable, match="SIGKILL"):
        await answer
    async with asyncio.timeout(20):
        with pytest.raises(EngineUnavailable, match="before it could answer"):
            await look  # it had only waited for the story, and starts no worker again
        assert (await desk.client.look(REQUEST)).chances  # whoever asks anew does
    await desk.client.close()


def test_tokens_join_in_one_piece_a_story_until_it_ends() -> None:
    gathering = Gathering()
    ended = protocol.Finished(1, 0, "length", "", 0, 1, 2, 0.0, 0.0)
    for place in range(6):
        for story in (0, 1):
            gathering.put(protocol.Token(1, story, place, "ab"[story], -1.0, place / 10))
        if place == 3:
            gathering.put(ended)
    first, second, end, rest = gathering.drain()
    assert (first.text, second.text, rest.text) == ("aaaa", "bbbbbb", "aa") and end is ended
    assert (first.tokens, first.first_time, first.last_time, first.drawn[3]) == (4, 0.0, 0.3, (3, 1, -1.0))
    gathering.put(protocol.Token(1, 0, 0, "c", -1.0, 1.0))
    gathering.put(protocol.Done(1))
    gathering.put(protocol.Token(1, 0, 0, "d", -1.0, 1.0))
    assert [getattr(event, "text", "") for event in gathering.drain()] == ["c", "", "d"] and gathering.drain() == []
