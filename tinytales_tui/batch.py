"""Batch mode: `tinytales-tui --prompt TEXT` writes stories to standard output and ends.

Standard output is data, standard error is narration, exit codes are an interface. The engine runs in this process, or is one that
was left running; Textual is never imported. On a terminal a single story streams token by token.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from engine import openmp
from engine.checkpoints.choices import Choices
from engine.decode import library
from engine.decode.choose import kernel_folder, step_for
from engine.errors import TinyTalesError, UsageError
from engine.interrupt import Interrupt
from engine.protocol import CheckpointInfo, Event, Finished, Load, Started, Token
from engine.settings import SAMPLING_PRESETS, GenerationRequest, SamplingSettings
from tinytales_tui.chosen import SHIPPED, Chosen, absolute, chosen, kept_choices, remember_use, will_be_fetched
from tinytales_tui.fields import parse_features, parse_words
from tinytales_tui.output import json_line, note, quiet
from tinytales_tui.paths import reason, warm_socket
from tinytales_tui.report import INTERRUPTED
from tinytales_tui.story import StoryRecord, step_words, written_with
from tinytales_tui.text import safe_text

if TYPE_CHECKING:
    from engine.warm.client import Connection


@dataclass(frozen=True)
class BatchOptions:
    """What the command line asks for; see `tinytales_tui.cli` for the meaning of each."""

    prompt: str
    ending: str | None = None
    count: int = 1
    preset: str | None = None
    sampling: dict[str, Any] = field(default_factory=dict)
    words: str = ""
    features: str = ""
    sentence: str = ""
    checkpoint: str | None = None
    choices: Choices = field(default_factory=Choices)
    device: str | None = None
    precision: str = "auto"
    threads: int | None = None
    tidy: bool = False
    json_lines: bool = False
    output: Path | None = None
    quiet: bool = False
    step: str | None = None
    warm: bool = True
    """Use an engine that was left running."""


def run_batch(options: BatchOptions) -> int:
    """Write what the options ask for and return the exit code; raises `TinyTalesError` or OSError for what the caller reports."""
    asked = _check(options)
    say = quiet if options.quiet else note
    which = chosen(options.checkpoint, options.choices)
    if which.standing:
        say(
            f"checkpoint: {which.source} (`tinytales-tui checkpoints use default` goes back to the one that comes with the program)"
        )
    if coming := will_be_fetched(which.source):
        say(coming)
    engine = _engine(options, which)
    checkpoint = engine.checkpoint
    if checkpoint.source != SHIPPED:  # a story by the model of the program leaves nothing behind
        remember_use(checkpoint)
    for warning in checkpoint.warnings:
        say(warning)
    ending = _ending(options, checkpoint, say)
    writer = _Writer(options, engine, say)
    with Interrupt(gentle=False) as interrupt:
        for prompt in _prompts(options.prompt):
            request = dataclasses.replace(asked, topic=prompt, ending=ending, sampling=writer.sampling)  # type: ignore[arg-type]
            interrupt.gentle = True
            writer.write(request, interrupt)
            interrupt.gentle = False
            if interrupt.came:
                break
        if not writer.written and not interrupt.came:
            raise UsageError("Standard input held no prompt; give one on each line.")
    if interrupt.came and options.output:
        say("Interrupted: nothing was written to the file.")
    else:
        writer.close()
    return INTERRUPTED if interrupt.came else 0


class _Engine(Protocol):
    """Whatever writes: this process, or an engine that was left running."""

    checkpoint: CheckpointInfo

    def events(self, request: GenerationRequest, cancelled: Callable[[], bool]) -> Iterator[Event]:
        """As `engine.generate`."""


class _Here:
    """The engine in this process."""

    def __init__(self, load: Load) -> None:
        os.environ.update(openmp.turns(openmp.WRITING))  # before torch is imported
        from engine.held import Holder

        self._held = Holder().load(load)
        self.checkpoint = self._held.info

    def events(self, request: GenerationRequest, cancelled: Callable[[], bool]) -> Iterator[Event]:
        from engine.held import write

        return write(self._held, request, cancelled)


class _Warm:
    """One that was left running; torch is never imported here."""

    def __init__(self, connection: Connection, load: Load) -> None:
        self._connection = connection
        self.checkpoint = connection.load(load).checkpoint

    def events(self, request: GenerationRequest, cancelled: Callable[[], bool]) -> Iterator[Event]:
        return self._connection.generate(request, cancelled)


def _engine(options: BatchOptions, which: Chosen) -> _Engine:
    """The engine that waits, if there is one and it is wanted; else one of our own."""
    load = Load(0, which.source, options.device, options.precision, options.threads, which.choices, options.step)
    socket = warm_socket() if options.warm else None
    if socket is not None and socket.exists():
        from engine.warm.client import connect

        if connection := connect(socket):
            return _Warm(connection, dataclasses.replace(load, source=absolute(which.source)))
    compiles = step_for(options.step, options.precision) == "compiled" and options.device in (None, "cpu")
    if compiles and not options.quiet and not library.ready(kernel_folder()):
        note("compiling the step for this machine: about ten seconds, once")
    return _Here(load)


def _check(options: BatchOptions) -> GenerationRequest:
    """Refuse what is wrong before torch is imported and the model loaded; returns a request with all that is known by then."""
    if not options.prompt.strip():
        raise UsageError("The prompt is empty; say what the story is about, as in --prompt 'a brave knight'.")
    if options.ending not in (None, "happy", "sad", "none"):
        raise UsageError(f"An ending is happy, sad or none, not {options.ending!r}.")
    if options.preset is not None and options.preset not in SAMPLING_PRESETS:
        raise UsageError(f"There is no preset {options.preset!r}; choose {', '.join(SAMPLING_PRESETS)}.")
    request = GenerationRequest(
        topic="checked",
        ending="happy" if options.ending in (None, "happy") else "sad" if options.ending == "sad" else None,
        sampling=SamplingSettings().with_changes(**options.sampling),
        count=options.count,
        words=parse_words(options.words),
        features=parse_features(options.features),
        sentence=" ".join(options.sentence.split()),
    )
    if options.output is not None:
        check_writable(options.output)
    return request


def check_writable(path: Path) -> None:
    """Refuse an `--output` that could not be written (`UsageError`), before any work is lost to it."""
    if path.is_dir():
        raise UsageError(f"--output {path} is a folder; name a file.")
    try:
        if path.exists() and not path.is_file():  # a device or a pipe is written to as it is
            return
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, "", str(path))
        with tempfile.TemporaryFile(dir=path.resolve().parent):
            pass
    except OSError as error:
        raise UsageError(f"--output {path} cannot be written: {reason(error)}.") from error


def _ending(options: BatchOptions, checkpoint: CheckpointInfo, say: Any) -> str | None:
    if options.ending is not None:
        return None if options.ending == "none" else options.ending
    if checkpoint.prompt_style != "plain":
        say("ending: happy (choose with --ending happy, sad or none)")
        return "happy"
    say("this model knows no endings: the text is continued as it stands")
    return None


def _prompts(prompt: str) -> Iterator[str]:
    """The prompt, or the lines of standard input as they come; empty lines are passed over."""
    if prompt != "-":
        yield prompt
        return
    for line in sys.stdin.buffer:
        if text := line.decode("utf-8", "replace").strip():
            yield text


class _Writer:
    """Takes requests, runs them, and puts the stories where they belong."""

    def __init__(self, options: BatchOptions, engine: _Engine, say: Any) -> None:
        self.options, self.engine, self.say = options, engine, say
        base = SAMPLING_PRESETS[options.preset] if options.preset else engine.checkpoint.sampling
        self.sampling = base.with_changes(**options.sampling)
        self.streams = sys.stdout.isatty() and not (options.json_lines or options.output or options.tidy)
        self.written = 0
        self.kept: list[str] = []
        self._how: dict[str, Any] = {}
        """What of the engine belongs to the recipes of the stories under way."""

    def write(self, request: GenerationRequest, interrupt: Interrupt) -> None:
        """Generate the stories of a request and put each out in order, as soon as it and those before it are whole."""
        texts: list[list[str]] = [[] for _ in range(request.count)]
        ended: dict[int, Finished] = {}
        nearest = 0  # the story whose turn it is
        for event in self.engine.events(request, lambda: interrupt.came):
            if isinstance(event, Started):
                if self.streams:
                    self._begin(request)
                self.say(f"seed: {event.seed}")
                self._how = written_with(event)
                if how := step_words(event):
                    self.say(f"written with: {how}")
            elif isinstance(event, Token | Finished):
                texts[event.story].append(event.text)
                if self.streams and event.story == nearest:
                    self._put(safe_text(event.text))
                if isinstance(event, Finished):
                    ended[event.story] = event
            while nearest in ended:
                self._finish(request, "".join(texts[nearest]), ended[nearest])
                nearest += 1
                if self.streams and nearest < request.count:
                    self._begin(request)
                    self._put(safe_text("".join(texts[nearest])))

    def close(self) -> None:
        """Write the output file, if one was asked for."""
        if self.options.output is not None:
            from engine import files

            try:
                files.write_text(self.options.output, "".join(self.kept))
            except OSError as error:
                raise TinyTalesError(f"--output {self.options.output} could not be written: {reason(error)}.") from error
            self.say(f"{self.written} {'story' if self.written == 1 else 'stories'} written to {self.options.output}")

    def _begin(self, request: GenerationRequest) -> None:
        """What stands before a story that streams: a blank line between stories, and the text that is continued."""
        given = request.topic if request.ending is None else ""
        self._put(("\n" if self.written else "") + safe_text(given))

    def _finish(self, request: GenerationRequest, story: str, end: Any) -> None:
        if self.options.tidy:
            from engine.postprocess import tidy

            story = tidy(story, end.reason != "end of text", before=request.topic if request.ending is None else "")
        record = StoryRecord(
            prompt=request.topic,
            ending=request.ending,
            story=story,
            tokens=end.tokens,
            stop_reason=end.reason,
            seed=end.seed,
            checkpoint=self.engine.checkpoint.source,
            sampling=request.sampling.to_json() | {"seed": end.seed},
            words=request.words,
            features=request.features,
            sentence=request.sentence,
            choices=kept_choices(self.engine.checkpoint.choices),
            **self._how,
            ttft_s=end.ttft_s,
            tokens_per_s=end.tokens_per_s,
        )
        if self.streams:
            self._put("\n")
        elif self.options.json_lines:
            self._put(json_line(record.to_json()))
        else:
            self._put(("\n" if self.written else "") + safe_text(record.to_text()))
        self.written += 1
        detail = f" ({safe_text(end.detail)})" if end.detail else ""
        self.say(f"{end.tokens} tokens, {end.tokens_per_s:,.0f} a second, ended by: {end.reason}{detail}")

    def _put(self, text: str) -> None:
        if self.options.output is not None:
            self.kept.append(text)
            return
        sys.stdout.buffer.write(text.encode("utf-8", "replace"))
        sys.stdout.buffer.flush()
