"""The engines of a comparison: columns of the checkpoint that the app holds are written by its engine, in one request; each other
checkpoint gets an engine of its own. All begin together, once every checkpoint is loaded. Knows no Textual.

The engines of its own stay for another round of the same checkpoints and end with `close`.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from engine import protocol
from engine.errors import TinyTalesError
from tinytales_tui import paths
from tinytales_tui.compare.columns import Column, Model, common_ground
from tinytales_tui.engine_client import ClientEvent, Deliver, EngineClient, EngineUnavailable, WorkerLost
from tinytales_tui.generation import Generation
from tinytales_tui.options import AppOptions

MakeClient = Callable[[Deliver, protocol.Load], EngineClient]
LOADED_S = 2.0
"""How long it is waited for the app's engine to tell what it holds, once it is ready."""


def client_maker(options: AppOptions, interval: float) -> MakeClient:
    """What makes the engines of other checkpoints, with the app's options."""
    # One kind of step for all of them, however long they have been there.
    step = options.step or ("plain" if options.precision == "auto" else None)

    def make(deliver: Deliver, load: protocol.Load) -> EngineClient:
        load = dataclasses.replace(load, device=options.device, precision=options.precision, threads=options.threads, step=step)
        return EngineClient(deliver, load, command=options.worker_command, log=paths.worker_log(), interval=interval)

    return make


class Running:
    """`columns` is what is compared at present; `on_change` is called on the loop with the places of those that are others now.

    `take` wants what the app's engine says; `held` is what that holds.
    """

    def __init__(
        self,
        engine: EngineClient,
        make: MakeClient,
        on_change: Callable[[set[int]], None],
        held: protocol.CheckpointInfo | None = None,
    ) -> None:
        self.columns: list[Column] = []
        self.held = held
        self.round = 0
        """Goes up whenever other columns are begun."""
        self.note = ""
        """What a person should know of how all are asked, in one sentence; mostly nothing."""
        self._engine = engine
        self._make = make
        self._on_change = on_change
        self._clients: dict[Model, EngineClient] = {}
        self._infos: dict[Model, protocol.CheckpointInfo] = {}
        self._engines: list[Model | None] = []
        """Of each column: what it is written by; None is the app's engine."""
        self._places: dict[tuple[Model | None, int], int] = {}
        """Of each request: the engine (None: the app's), its id there, and the column."""
        self._latest = 0
        self._turn = asyncio.Lock()

    @property
    def busy(self) -> bool:
        return any(not column.ended for column in self.columns)

    async def begin(self, columns: Sequence[Column]) -> None:
        """Let these be written, after ending what is under way. Never raises for what a checkpoint or an engine does."""
        self._latest += 1
        mine = self._latest
        await self._cancel()
        async with self._turn:
            if mine != self._latest:
                return
            self.columns, self.note, self._places = [replace(column, state="loading") for column in columns], "", {}
            self.round += 1
            self._engines = [column.model for column in columns]
            self._tell()
            await self._let_go(keep={column.model for column in columns})
            if self.held is None:
                await self._load(None)
            held = self.held
            self._engines = [None if model is None or model.is_held(held) else model for model in self._engines]
            await asyncio.gather(*(self._load(model) for model in dict.fromkeys(self._engines)))
            if mine == self._latest:
                await self._ask()

    async def stop(self) -> None:
        """End all stories; the texts so far stay."""
        await self._cancel()
        if any(column.state == "loading" for column in self.columns):
            self._latest += 1  # what is still being loaded will not begin
        for place, column in enumerate(self.columns):
            begun = column.generation is not None and column.generation.started is not None
            if not column.ended and not begun:
                self._put(place, state="failed", message="Stopped before it began.")
        self._tell()

    def kept(self, place: int) -> Generation | None:
        """The story of a column as it stands now; None where there is nothing to keep."""
        column = self.columns[place] if place < len(self.columns) else None
        if column is None or column.generation is None or not column.generation.text.strip():
            return None
        generation = column.generation
        if self._engines[place] is not None:  # an id of another engine: the app's may have given it to something else
            generation = replace(generation, id=self._engine.new_id())
        return generation if generation.ended else replace(generation, stopped=True)

    async def close(self) -> None:
        """End all stories and the engines of other checkpoints."""
        self._latest += 1
        await self._cancel()
        await self._let_go()

    def take(self, batch: list[ClientEvent], model: Model | None = None) -> None:
        """What an engine said; None is the app's."""
        changed: set[int] = set()
        for event in batch:
            if isinstance(event, protocol.Loaded | protocol.StepChanged):
                if model is None:
                    self.held = event.checkpoint
                else:
                    self._infos[model] = event.checkpoint
            elif isinstance(event, WorkerLost):
                changed |= self._lost(model, event.message)
            else:
                place = self._places.get((model, getattr(event, "id", -1)))
                if place is not None and self._on_event(place, event):
                    changed.add(place)
        if changed:
            self._on_change(changed)

    def _on_event(self, place: int, event: ClientEvent) -> bool:
        column = self.columns[place]
        before = column.generation
        if before is None or column.ended:
            return False
        if isinstance(event, protocol.Failed):
            self._put(place, state="failed", message=event.message, generation=replace(before, stopped=True))
            return True
        after = before.on_event(event)
        if after is not before:
            self._put(place, generation=after, state="ended" if after.ended else "writing")
        return after is not before

    def _lost(self, model: Model | None, message: str) -> set[int]:
        changed = set()
        for place, column in enumerate(self.columns):
            if self._engines[place] == model and column.state == "writing":
                assert column.generation is not None
                stopped = replace(column.generation, stopped=True)
                self._put(place, state="ended" if stopped.text else "failed", message=message, generation=stopped)
                changed.add(place)
        return changed

    # Beginning

    async def _load(self, model: Model | None) -> None:
        try:
            if model is None:
                await self._engine.ready()
                for _ in range(int(LOADED_S / 0.02)):
                    if self.held is not None:
                        break
                    await asyncio.sleep(0.02)  # what it holds is on its way to everyone
                return
            client = self._clients.get(model)
            if client is None:
                load = protocol.Load(0, model.source, choices=model.choices)
                client = self._clients[model] = self._make(lambda batch: self.take(batch, model), load)
            await client.ready()
            self.take(client.drain(), model)
        except EngineUnavailable as error:
            for place, column in enumerate(self.columns):
                if self._engines[place] == model and not column.ended:
                    self._put(place, state="failed", message=str(error))

    async def _ask(self) -> None:
        """Ask all at once."""
        for place in range(len(self.columns)):
            engine = self._engines[place]
            self._put(place, checkpoint=self.held if engine is None else self._infos.get(engine))
        plainly, self.note = common_ground(self.columns)
        asked: dict[Model | None, list[tuple[int, Generation]]] = {}
        for place, column in enumerate(self.columns):
            if column.ended:
                continue
            try:
                request = column.request(plainly)
            except TinyTalesError as error:
                self._put(place, state="failed", message=str(error))
                continue
            engine = self._engines[place]
            client = self._client(engine)
            generation = Generation(client.new_id(), request, checkpoint=self.columns[place].checkpoint)
            self._put(place, state="writing", generation=generation)
            self._places[engine, generation.id] = place
            asked.setdefault(engine, []).append((place, generation))
        self._tell()
        await asyncio.gather(*(self._send(engine, parts) for engine, parts in asked.items()))

    async def _send(self, engine: Model | None, parts: list[tuple[int, Generation]]) -> None:
        client = self._client(engine)
        try:
            await client.ready()
            await client.quiet()
            parts = [part for part in parts if not self.columns[part[0]].ended]  # some may have been stopped meanwhile
            if len(parts) == 1:
                await client.generate(parts[0][1].request, parts[0][1].id)
            elif parts:
                await client.generate_together(
                    [generation.request for _, generation in parts], [generation.id for _, generation in parts]
                )
        except EngineUnavailable as error:
            for place, _ in parts:
                if not self.columns[place].ended:
                    self._put(place, state="failed", message=str(error))
            self._tell({place for place, _ in parts})

    def _client(self, engine: Model | None) -> EngineClient:
        return self._engine if engine is None else self._clients[engine]

    # Ending

    async def _cancel(self) -> None:
        """Ask every engine to end the stories of ours that are under way."""
        for (engine, number), place in list(self._places.items()):
            if place < len(self.columns) and not self.columns[place].ended and (engine is None or engine in self._clients):
                await self._client(engine).cancel(number)

    async def _let_go(self, keep: Iterable[Model | None] = ()) -> None:
        kept = set(keep)
        gone = [self._clients.pop(model) for model in list(self._clients) if model not in kept]
        await asyncio.gather(*(asyncio.shield(client.close()) for client in gone))

    def _put(self, place: int, **changes: object) -> None:
        self.columns[place] = replace(self.columns[place], **changes)  # type: ignore[arg-type]

    def _tell(self, places: Iterable[int] | None = None) -> None:
        self._on_change(set(range(len(self.columns)) if places is None else places))
