"""The engine that checkpoints are tried on: a second worker, so that the Write pane keeps its model and its story.

It starts with the first try and ends a while after the last. One checkpoint is held at a time; two that are compared write one after
the other, each with the machine to itself, so that their rates can be compared.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from engine import protocol
from engine.errors import TinyTalesError
from tinytales_tui.checkpoints.trial.probe import Attempt, Probe
from tinytales_tui.engine_client import ClientEvent, Deliver, EngineClient, WorkerLost

MakeClient = Callable[[Deliver, protocol.Load], EngineClient]


class Bench:
    """`attempts` is what is tried at present; `on_change` is called on the loop whenever it is another."""

    def __init__(self, make: MakeClient, on_change: Callable[[], None]) -> None:
        self.attempts: list[Attempt] = []
        self.probe = Probe()
        self._make = make
        self._on_change = on_change
        self._client: EngineClient | None = None
        self._at = 0
        self._number = -1
        self._ended = asyncio.Event()
        self._turn = asyncio.Lock()
        self._latest = 0

    @property
    def running(self) -> bool:
        return any(not attempt.ended for attempt in self.attempts)

    async def run(self, attempts: Sequence[Attempt], probe: Probe) -> None:
        """Let these write, one after the other; what was under way is ended first. Never raises for what a checkpoint does."""
        self._latest += 1
        mine = self._latest
        await self.stop()
        async with self._turn:
            if mine != self._latest:
                return
            self.attempts, self.probe = list(attempts), probe
            for place in range(len(self.attempts)):
                self._at = place
                await self._try(mine)
                if mine != self._latest:
                    return

    async def stop(self) -> None:
        """End the sample that is being written; the text so far stays."""
        if self._client is not None:
            await self._client.cancel()

    async def close(self) -> None:
        """Let the engine and its memory go; the next try starts another."""
        self._latest += 1
        client, self._client = self._client, None
        self._ended.set()
        if client is not None:
            await client.close()

    async def _try(self, mine: int) -> None:
        self._put(replace(self.attempts[self._at], state="loading"))
        self._number = -1
        try:
            client = await self._hold(self.attempts[self._at])
            self._take(client.drain())  # `Loaded` among it: which prompt style it has
            attempt = self.attempts[self._at]
            if mine != self._latest or attempt.checkpoint is None:
                return
            request = self.probe.request(attempt.checkpoint, alike=len(self.attempts) > 1)
            self._put(replace(attempt, state="writing", given=request.opening))
            self._ended.clear()
            self._number = client.new_id()
            await client.generate(request, self._number)
            await self._ended.wait()
        except TinyTalesError as error:
            self._put(replace(self.attempts[self._at], state="failed", message=str(error)))

    async def _hold(self, attempt: Attempt) -> EngineClient:
        client = self._client
        if client is None:
            client = self._client = self._make(self._take, protocol.Load(0, attempt.source, choices=attempt.choices))
            await client.ready()
        else:
            await client.hold(attempt.source, attempt.choices)
        return client

    def _take(self, batch: list[ClientEvent]) -> None:
        for event in batch:
            if not self.attempts or self._at >= len(self.attempts):
                return
            attempt = self.attempts[self._at]
            if isinstance(event, WorkerLost):
                if attempt.state in ("loading", "writing"):
                    self._put(replace(attempt, state="failed", message=event.message))
                self._ended.set()
                continue
            changed = attempt.on_event(event, self._number)
            if changed is not attempt:
                self._put(changed)
            if changed.ended:
                self._ended.set()

    def _put(self, attempt: Attempt) -> None:
        self.attempts[self._at] = attempt
        self._on_change()
