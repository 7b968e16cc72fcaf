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
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from engine import protocol
from engine.checkpoints.choices import Choices
from engine.errors import TinyTalesError
from engine.settings import GenerationRequest
from tinytales_tui.engine_start import command_line

LINES_BEFORE_HELLO = 200
"""Greetings of a remote shell that are passed over before the worker's first message."""
LONGEST_LINE = 64 * 1024 * 1024
QUIT_SECONDS = 0.5
"""How long a worker may take to end by itself before it is killed."""
CANCEL_SECONDS = 10.0
"""How long a worker may take to obey a cancel, which is promised within one token."""


@dataclass(frozen=True)
class WorkerLost:
    """The worker is gone; `message` is one sentence for a person."""

    message: str


@dataclass(frozen=True)
class Written:
    """Tokens of one story that came close together, merged into one piece of text."""

    id: int
    story: int
    text: str
    tokens: int
    first_time: float
    """Seconds from the start of the generation to the first of the tokens."""
    last_time: float
    """The same for the last of them."""
    drawn: tuple[tuple[int, int, float], ...] = ()
    """Of each token: its id, how many characters of the text came out with it, and its log probability."""


ClientEvent = protocol.Event | Written | WorkerLost
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
        self._log_path = log
        self._warm = warm
        self._ids = itertools.count(1)
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._hello: asyncio.Future[None] | None = None
        self._loaded: asyncio.Future[None] | None = None
        self._load_id = 0
        self._generation = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._queue: deque[ClientEvent] = deque()
        self._flush_timer: asyncio.TimerHandle | None = None
        self._closing = False
        self._last_words = ""

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
        """Cancel the generation under way, if there is one, and wait for its end; a worker that will not stop is killed."""
        if self._idle.is_set():
            return
        await self.cancel()
        try:
            await asyncio.wait_for(self._idle.wait(), CANCEL_SECONDS)
        except TimeoutError:
            if self._process is not None:
                _kill(self._process)
            await self._idle.wait()

    async def generate(self, request: GenerationRequest, number: int | None = None) -> int:
        """Ask for a story, after ending one under way. Returns the id that its events carry (`EngineUnavailable`)."""
        await self.ready()
        await self.quiet()
        await self.ready()
        number = self.new_id() if number is None else number
        self._generation = number
        self._idle.clear()
        try:
            await self._send(protocol.Generate(number, request))
        except EngineUnavailable:
            self._idle.set()
            raise
        return number

    async def cancel(self, number: int | None = None) -> None:
        """Stop the generation under way (if it is this one); its `Finished` and `Done` still come."""
        if not self._idle.is_set() and self.pid is not None and number in (None, self._generation):
            with contextlib.suppress(EngineUnavailable):
                await self._send(protocol.Cancel(self._generation))

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
            await _ended(process, QUIT_SECONDS)
        if self._reader:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)

    # Starting

    async def _start(self) -> None:
        command, environment = command_line(self._command, self._warm)
        self._last_words = ""
        loop = asyncio.get_running_loop()
        self._hello = loop.create_future()
        self._loaded = None
        self._idle.set()
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
        errors = asyncio.create_task(self._keep_errors(process), name="engine-errors")
        try:
            refusal = await self._read_lines(process)
        finally:
            if refusal or self._closing:
                _kill(process)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(errors), 0.3)
            errors.cancel()
            await _ended(process, 0.5)  # its output is over: if it goes on nevertheless, it is of no use to anyone
            self._lost(refusal or self._death(process.returncode))

    async def _read_lines(self, process: asyncio.subprocess.Process) -> str:
        """Read until the output ends; returns why the worker is refused, or nothing."""
        assert process.stdout is not None
        greeted, passed, pending = False, 0, bytearray()
        while chunk := await self._next_chunk(process.stdout, process):
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
                refusal = self._greet(line)
                passed += 1
                if refusal is None:
                    greeted = True
                elif refusal or passed > LINES_BEFORE_HELLO:
                    return refusal or "What was started does not speak like the engine, so it was stopped."
        return ""

    @staticmethod
    async def _next_chunk(stream: asyncio.StreamReader, process: asyncio.subprocess.Process) -> bytes:
        """The next bytes; none once the worker has ended, even if a child of its own still holds the pipe open."""
        read = asyncio.create_task(stream.read(1 << 16))
        while not read.done():
            ended = process.returncode is not None
            await asyncio.wait({read}, timeout=0.2 if ended else 1.0)
            if ended and not read.done():
                read.cancel()
                return b""
        return read.result()

    def _greet(self, line: bytes) -> str | None:
        """None if the line is a hello of our protocol, words if it must be refused, nothing if it is a shell's greeting."""
        try:
            event = protocol.decode_event(line)
        except protocol.ProtocolError:
            return "The engine's greeting is of another version of this program." if line.lstrip().startswith(b'{"type"') else ""
        if not isinstance(event, protocol.Hello):
            return "The engine spoke before it said hello, so it was stopped."
        if event.protocol != protocol.PROTOCOL:
            return (
                f"The engine (version {event.version}) speaks protocol {event.protocol} and this terminal {protocol.PROTOCOL}: "
                "install the same version of tinytales-tui on both sides."
            )
        if self._hello and not self._hello.done():
            self._hello.set_result(None)
        return None

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
            case protocol.Done(id=self._generation) | protocol.Failed(id=self._generation):
                self._idle.set()
        self._put(event)

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
        if not self._closing:
            self._put(WorkerLost(message))
        self._idle.set()

    def _death(self, code: int | None) -> str:
        log = f" (what it said is in {self._log_path})" if self._log_path and self._last_words else ""
        if self._hello is not None and not self._hello.done():
            words = f": {self._last_words}" if self._last_words else f" (exit code {code})"
            return f"The engine could not start{words.rstrip('.')}.{log and f' The rest is in {self._log_path}.'}"
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                return f"The engine was stopped from outside ({signal.Signals(-code).name}); your next request starts it again."
        return f"The engine stopped unexpectedly (exit code {code}){log}; your next request starts it again."

    async def _keep_errors(self, process: asyncio.subprocess.Process) -> None:
        """Standard error goes to the log, begun anew once it has grown large; the last line is remembered."""
        assert process.stderr is not None
        with contextlib.ExitStack() as stack:
            log: IO[bytes] | None = None
            with contextlib.suppress(OSError):
                if self._log_path:
                    self._log_path.parent.mkdir(parents=True, exist_ok=True)
                    large = self._log_path.exists() and self._log_path.stat().st_size > 1_000_000
                    log = stack.enter_context(open(self._log_path, "wb" if large else "ab"))
            while chunk := await process.stderr.read(1 << 16):
                words = [line.strip() for line in chunk.decode("utf-8", "replace").splitlines() if line.strip()]
                if words:
                    self._last_words = words[-1][:300]
                if log:
                    with contextlib.suppress(OSError):  # a full disk must not stop the listening
                        log.write(chunk)
                        log.flush()

    # Handing on

    def _put(self, event: ClientEvent) -> None:
        if isinstance(event, protocol.Token):
            drawn = ((event.token, len(event.text), event.logprob),)
            event = Written(event.id, event.story, event.text, 1, event.time, event.time, drawn)
            last = self._queue[-1] if self._queue else None
            if isinstance(last, Written) and (last.id, last.story) == (event.id, event.story):
                self._queue.pop()
                event = dataclasses.replace(
                    last,
                    text=last.text + event.text,
                    tokens=last.tokens + 1,
                    last_time=event.last_time,
                    drawn=last.drawn + drawn,
                )
        self._queue.append(event)
        if self._flush_timer is None and not self._closing:
            self._flush_timer = asyncio.get_running_loop().call_later(self.interval, self._flush)

    def drain(self) -> list[ClientEvent]:
        """What has been said and not been delivered yet."""
        batch = list(self._queue)
        self._queue.clear()
        return batch

    def _flush(self) -> None:
        self._flush_timer = None
        batch = self.drain()
        if batch and not self._closing:
            self._deliver(batch)


async def _ended(process: asyncio.subprocess.Process, seconds: float) -> None:
    """Wait for the process to end, and end it if that takes longer.

    `process.wait` would wait for its pipes as well, which a child of the process may hold open.
    """
    deadline = time.monotonic() + seconds
    while process.returncode is None:
        if time.monotonic() > deadline:
            _kill(process)
        await asyncio.sleep(0.005)


def _kill(process: asyncio.subprocess.Process) -> None:
    """End the process now. Not by `process.kill`, which may take its exit code away from the loop that waits for it."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.kill(process.pid, signal.SIGKILL)
