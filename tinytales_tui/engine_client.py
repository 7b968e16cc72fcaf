"""The terminal's end of the engine worker: starts it, talks to it, notices its death, starts it again. Knows no Textual or torch.

Everything runs on one asyncio loop. What the worker says is gathered and handed on in batches, at most twenty times a second,
with runs of tokens merged, so that a fast model cannot drown the screen. A worker that died is started again by the next
request, with the checkpoint that was held.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

from engine import protocol
from engine.checkpoints.choices import Choices
from engine.errors import TinyTalesError
from engine.settings import GenerationRequest
from tinytales_tui.engine_events import ClientEvent, Gathering, WorkerLost, Written
from tinytales_tui.engine_process import ErrorLog, ended, kill, next_chunk
from tinytales_tui.engine_start import command_line, fault_of_greeting

__all__ = ["ClientEvent", "Deliver", "EngineClient", "EngineUnavailable", "WorkerLost", "Written"]

LINES_BEFORE_HELLO = 200
"""Greetings of a remote shell that are passed over before the worker's first message."""
LONGEST_LINE = 64 * 1024 * 1024
QUIT_SECONDS = 0.5
"""How long a worker may take to end by itself before it is killed."""
CANCEL_SECONDS = 10.0
"""How long a worker may take to obey a cancel, which is promised within one token."""


Deliver = Callable[[list[ClientEvent]], None]


class EngineUnavailable(TinyTalesError):
    """The worker cannot be started or refuses the checkpoint; the sentence has been delivered as an event too."""


class EngineClient:
    """One worker, held for as long as the app runs.

    `deliver` gets batches of events in the order they came: the worker's own, with `Written` for its tokens, and `WorkerLost`.
    `load` says which checkpoint to hold (its id is filled in here). `warm` is the socket of an engine that may have been left running.
    """

    def __init__(
        self,
        deliver: Deliver,
        load: protocol.Load,
        *,
        command: Sequence[str] = (),
        log: Path | None = None,
        warm: Path | None = None,
        interval: float = 0.05,
    ) -> None:
        self.interval = interval
        self.load = load
        self._deliver = deliver
        self._command = list(command)
        self._log = ErrorLog(log)
        self._warm = warm
        self._ids = itertools.count(1)
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._hello: asyncio.Future[None] | None = None
        self._loaded: asyncio.Future[None] | None = None
        self._load_id = 0
        self._writing: set[int] = set()
        """Ids of the generations under way."""
        self._answers: dict[int, asyncio.Future[protocol.Prospect | protocol.Scored]] = {}
        """Of what was looked at or scored and is not answered yet, by id; who asked may not wait any more."""
        self._idle = asyncio.Event()
        self._idle.set()
        self._gathering = Gathering()
        self._flush_timer: asyncio.TimerHandle | None = None
        self._closing = False

    @property
    def pid(self) -> int | None:
        """Process id of the running worker; None if there is none."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def ready(self) -> None:
        """Have a worker that holds the checkpoint, starting and loading as needed (`EngineUnavailable`)."""
        async with self._starting:
            if self.pid is None and self._reader is not None and not self._reader.done():
                await asyncio.wait({self._reader})  # it has just died: its loss is told before another is started
            if self.pid is None or self._reader is None or self._reader.done():
                await self._start()
            if self._loaded is None or (self._loaded.done() and self._loaded.exception() is not None):
                self._loaded = asyncio.get_running_loop().create_future()
                self._load_id = next(self._ids)
                await self._send(dataclasses.replace(self.load, id=self._load_id))
            loaded = self._loaded
        await asyncio.shield(loaded)

    async def hold(self, source: str | None, choices: Choices | None = None) -> None:
        """Have the worker hold another checkpoint, with what was chosen about it, after ending a story under way.

        Where that cannot be read (`EngineUnavailable`), the one that was held stays.
        """
        with contextlib.suppress(EngineUnavailable):
            await self.ready()
        await self.quiet()
        before, held = self.load, self._loaded
        self.load, self._loaded = dataclasses.replace(before, source=source, choices=choices), None
        try:
            await self.ready()
        except EngineUnavailable:
            self.load = before
            if self.pid is not None:
                self._loaded = held
            raise

    def new_id(self) -> int:
        """An id for the next generation, so that its events are known before they come."""
        return next(self._ids)

    async def quiet(self) -> None:
        """Cancel the generations under way, if there are any, and wait for their end; a worker that will not stop is killed."""
        if self._idle.is_set():
            return
        await self.cancel()
        try:
            await asyncio.wait_for(self._idle.wait(), CANCEL_SECONDS)
        except TimeoutError:
            if self._process is not None:
                kill(self._process)
            await self._idle.wait()

    async def generate(self, request: GenerationRequest, number: int | None = None) -> int:
        """Ask for a story, after ending one under way. Returns the id that its events carry (`EngineUnavailable`)."""
        number = self.new_id() if number is None else number
        await self._write(protocol.Generate(number, request), [number])
        return number

    async def generate_together(self, requests: Sequence[GenerationRequest], numbers: Sequence[int]) -> None:
        """Ask for several stories at once, after ending those under way; each has its own id (`new_id`), events and end."""
        parts = tuple(protocol.Generate(number, request) for number, request in zip(numbers, requests, strict=True))
        if parts:
            await self._write(protocol.Together(parts), numbers)

    async def _write(self, command: protocol.Generate | protocol.Together, numbers: Sequence[int]) -> None:
        await self.ready()
        await self.quiet()
        await self.ready()
        self._writing.update(numbers)
        self._idle.clear()
        try:
            await self._send(command)
        except EngineUnavailable:
            self._at_rest()
            raise

    async def cancel(self, number: int | None = None) -> None:
        """Stop this generation, or all that are under way; their `Finished` and `Done` still come."""
        if self.pid is None:
            return
        for going in sorted(self._writing):
            if number in (None, going):
                with contextlib.suppress(EngineUnavailable):
                    await self._send(protocol.Cancel(going))

    async def look(self, request: GenerationRequest, count: int = 10, also: int | None = None) -> protocol.Prospect:
        """What may come next; waits for the checkpoint, and for the end of a story under way (`EngineUnavailable`)."""
        number = self.new_id()
        return await self._ask(protocol.Look(number, request, count, also), number)  # type: ignore[return-value]

    async def score(self, request: GenerationRequest) -> protocol.Scored:
        """How likely the model finds the request's opening; waits as `look` does (`EngineUnavailable`)."""
        number = self.new_id()
        return await self._ask(protocol.Score(number, request), number)  # type: ignore[return-value]

    async def _ask(self, command: protocol.Look | protocol.Score, number: int) -> protocol.Prospect | protocol.Scored:
        loaded = self._loaded
        if loaded is not None and loaded.done() and (error := loaded.exception()) is not None:
            raise error  # told already: whoever only looks does not try again what failed
        await self.ready()
        while not self._idle.is_set():  # another story may have begun before we had our turn
            await self._idle.wait()
            if self.pid is None:  # it died while it wrote: whoever only looks does not start it again
                raise EngineUnavailable("The engine stopped before it could answer.")
            await self.ready()
        self._answers[number] = answer = asyncio.get_running_loop().create_future()
        try:
            await self._send(command)
        except EngineUnavailable:
            self._answers.pop(number, None)
            raise
        try:
            return await answer
        except asyncio.CancelledError:
            with contextlib.suppress(EngineUnavailable):
                await self._send(protocol.Cancel(number))
            raise

    async def close(self) -> None:
        """End the worker: politely, then firmly."""
        self._closing = True
        if self._flush_timer:
            self._flush_timer.cancel()
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            with contextlib.suppress(Exception):
                await self._send(protocol.Quit())
            if process.stdin:
                process.stdin.close()
            await ended(process, QUIT_SECONDS)
        if self._reader:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)

    # Starting

    async def _start(self) -> None:
        command, environment = command_line(self._command, self._warm)
        self._log.last_words = ""
        loop = asyncio.get_running_loop()
        self._hello = loop.create_future()
        self._loaded = None
        self._at_rest()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=environment,
                start_new_session=True,  # a key such as Ctrl-\ at the terminal must not reach it
            )
        except OSError as error:
            message = f"The engine cannot be started: {command[0]} cannot be run ({(error.strerror or str(error)).lower()})."
            self._put(WorkerLost(message))
            raise EngineUnavailable(message) from error
        self._reader = asyncio.create_task(self._read(self._process), name="engine-reader")
        await self._hello

    async def _send(self, command: protocol.Command) -> None:
        process = self._process
        if process is None or process.stdin is None or process.returncode is not None:
            raise EngineUnavailable("The engine is not running.")
        try:
            process.stdin.write(protocol.encode(command))
            await process.stdin.drain()
        except (OSError, RuntimeError) as error:  # a broken pipe: the reader reports the death itself
            raise EngineUnavailable("The engine stopped before it could take the request.") from error

    # Listening

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        """Everything from hello to the end of one worker; whatever way it ends, nobody is left waiting."""
        refusal = ""
        errors = asyncio.create_task(self._log.keep(process), name="engine-errors")
        try:
            refusal = await self._read_lines(process)
        finally:
            if refusal or self._closing:
                kill(process)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(errors), 0.3)
            errors.cancel()
            await ended(process, 0.5)  # its output is over: if it goes on nevertheless, it is of no use to anyone
            greeted = self._hello is None or self._hello.done()
            self._lost(refusal or self._log.death(process.returncode, greeted))

    async def _read_lines(self, process: asyncio.subprocess.Process) -> str:
        """Read until the output ends; returns why the worker is refused, or nothing."""
        assert process.stdout is not None
        greeted, passed, pending = False, 0, bytearray()
        while chunk := await next_chunk(process.stdout, process):
            pending += chunk
            if b"\n" not in chunk:
                if len(pending) > LONGEST_LINE:
                    return "The engine sent a line without end, so it was stopped."
                continue
            *lines, rest = bytes(pending).split(b"\n")
            pending = bytearray(rest)
            for line in filter(bytes.strip, lines):
                if greeted:
                    self._take(line)
                    continue
                refusal = fault_of_greeting(line)
                passed += 1
                if refusal is None:
                    greeted = True
                    if self._hello and not self._hello.done():
                        self._hello.set_result(None)
                elif refusal or passed > LINES_BEFORE_HELLO:
                    return refusal or "What was started does not speak like the engine, so it was stopped."
        return ""

    def _take(self, line: bytes) -> None:
        try:
            event = protocol.decode_event(line)
        except TinyTalesError as error:
            self._put(protocol.Failed(-1, str(error)))
            return
        match event:
            case protocol.Loaded(id=self._load_id):
                self._settle(None)
            case protocol.Failed(id=self._load_id, message=message):
                self._settle(EngineUnavailable(message))
            case protocol.Prospect(id=number) | protocol.Scored(id=number) | protocol.Failed(id=number) if (
                number in self._answers
            ):
                self._answer(number, EngineUnavailable(event.message) if isinstance(event, protocol.Failed) else event)
                return
            case protocol.Prospect() | protocol.Scored():
                return
            case protocol.Done(id=number) | protocol.Failed(id=number) if number in self._writing:
                self._writing.discard(number)
                if not self._writing:
                    self._idle.set()
        self._put(event)

    def _answer(self, number: int, answer: protocol.Prospect | protocol.Scored | EngineUnavailable) -> None:
        future = self._answers.pop(number)
        if future.done():  # nobody waits any more
            return
        if isinstance(answer, EngineUnavailable):
            future.set_exception(answer)
        else:
            future.set_result(answer)

    def _at_rest(self) -> None:
        """Nothing is being written."""
        self._writing.clear()
        self._idle.set()

    def _settle(self, error: EngineUnavailable | None) -> None:
        for future in (self._loaded,) if error is None else (self._hello, self._loaded):
            if future is None or future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)
                future.exception()  # it may be that nobody waits

    def _lost(self, message: str) -> None:
        self._process = None
        self._settle(EngineUnavailable(message))
        self._loaded = None
        for number in list(self._answers):
            self._answer(number, EngineUnavailable(message))
        if not self._closing:
            self._put(WorkerLost(message))
        self._at_rest()

    # Handing on

    def _put(self, event: ClientEvent) -> None:
        self._gathering.put(event)
        if self._flush_timer is None and not self._closing:
            self._flush_timer = asyncio.get_running_loop().call_later(self.interval, self._flush)

    def drain(self) -> list[ClientEvent]:
        """What has been said and not been delivered yet."""
        return self._gathering.drain()

    def _flush(self) -> None:
        self._flush_timer = None
        batch = self.drain()
        if batch and not self._closing:
            self._deliver(batch)
