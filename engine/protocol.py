"""The messages between a terminal and the engine worker: one JSON object a line, in both directions.

The terminal sends commands on the worker's standard input, the worker answers with events on its standard output; both are the
dataclasses below. A message is `{"type": "<class name>", ...fields}`. The first line of a worker is `Hello`; a terminal that does
not know its `protocol` number must not go on. Because the door is a byte stream, the worker may run on another machine (`ssh host
python -m engine.worker`). Knows no torch.

    command                 events it brings, each with the command's id
    Load(id, source, …)     Loading …, then Loaded or Failed
    Generate(id, request)   Started, Token …, Finished (one a story), Done; or Failed
    Together(parts)         what each part would bring alone, in turns: a token of each request after the other
    Look(id, request, …)    Prospect or Failed
    Score(id, request)      Scored or Failed
    Cancel(id)              takes effect within one token: the generation's Finished events say "cancelled"
    Status(id)              StatusReport
    Quit()                  the worker ends (as it does when its input closes)

`StepChanged` comes by itself, never within a story: from the next one on, another step writes.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any, get_args

from engine.checkpoints.choices import Choices
from engine.errors import TinyTalesError
from engine.settings import GenerationRequest, SamplingSettings, StopReason

PROTOCOL = 3
"""Raised by one whenever a message changes in a way that the other side would misread."""


class ProtocolError(TinyTalesError):
    """A line that is not a message of this protocol."""


# Commands: terminal → worker


@dataclass(frozen=True)
class Load:
    """Hold this checkpoint from now on, in place of the one held before (which stays if this one cannot be read)."""

    id: int
    source: str | None = None
    """A folder, a file or a Hub id; None: the checkpoint that travels with the package."""
    device: str | None = None
    """A torch device such as `cpu` or `cuda`; None: the best one there is."""
    precision: str = "auto"
    """`auto` with no step leaves both to the worker: plain float32 at first, then on the CPU what was measured to be the fastest."""
    threads: int | None = None
    """CPU threads; None: one for a small model, else torch's own choice."""
    choices: Choices | None = None
    """What a person wants to be otherwise than the checkpoint's files say."""
    step: str | None = None
    """`plain`, the network itself, or `compiled`, compiled code or a CUDA graph; None: as the precision says, or as a shared engine
    holds the checkpoint."""
    lasting: bool = False
    """A shared engine is started like this: whoever asks for nothing later gets the same."""


@dataclass(frozen=True)
class Generate:
    """Write what the request asks for with the checkpoint that is held."""

    id: int
    request: GenerationRequest


@dataclass(frozen=True)
class Together:
    """Write several requests with the checkpoint that is held, all at once; each has its own id, events, end and `Cancel`."""

    parts: tuple[Generate, ...]


@dataclass(frozen=True)
class Look:
    """What may come next, if the request were written; nothing is drawn."""

    id: int
    request: GenerationRequest
    count: int = 10
    """How many of the likeliest tokens are told, up to 256."""
    also: int | None = None
    """A token that is told too, however unlikely it is."""


@dataclass(frozen=True)
class Score:
    """How likely the model finds the request's opening, token by token, after the prompt that the request asks for."""

    id: int
    request: GenerationRequest


@dataclass(frozen=True)
class Cancel:
    """Stop the generation with this id; a no-op if it has ended."""

    id: int


@dataclass(frozen=True)
class Status:
    id: int


@dataclass(frozen=True)
class Quit:
    pass


# Events: worker → terminal


@dataclass(frozen=True)
class Hello:
    """The first line a worker writes, before it has loaded anything."""

    protocol: int
    version: str
    """Version of the package on the worker's side."""
    pid: int


@dataclass(frozen=True)
class Loading:
    """A load is under way; `what` is a few words for the status line."""

    id: int
    what: str


@dataclass(frozen=True)
class CheckpointInfo:
    """What a person wants to know of a checkpoint that was loaded."""

    name: str
    """Short name, as shown in the status line."""
    source: str
    """Where it was loaded from: a folder, a file or a Hub id; `default` for the one that travels with the package."""
    family: str
    """Shape of the network: `llama`, `gpt2`, ..."""
    parameters: int
    context: int
    """Longest sequence in tokens that the model was trained on."""
    tokenizer: str
    """A few words, such as `byte-level BPE, 4,096 tokens`."""
    prompt_style: str
    """How it is asked for a story: `topic-ending` or `instruct-fields` where it knows topics and endings, else `plain`."""
    device: str
    precision: str
    sampling: SamplingSettings
    """What reads best with this checkpoint: its own recommendation, else the balanced preset."""
    warnings: tuple[str, ...] = ()
    path: str = ""
    """The folder or the file that was opened, on the worker's machine."""
    choices: Choices | None = None
    """What a person wanted to be otherwise than its files say."""
    step: str = "plain"
    """What writes after the prompt: `plain` or `compiled`."""
    loss: float | None = None
    """What the precision costs in bits per byte, relatively (0.001: a tenth of a percent); None for float32, or if never measured."""


@dataclass(frozen=True)
class Loaded:
    id: int
    checkpoint: CheckpointInfo
    seconds: float


@dataclass(frozen=True)
class StepChanged:
    """The checkpoint that is held is written with by another step, or in another precision, from the next story on."""

    checkpoint: CheckpointInfo


@dataclass(frozen=True)
class Started:
    """A generation has begun: the prompt is being read."""

    id: int
    prompt_tokens: int
    context: int
    seed: int
    """Seed of the first story; story i has seed + i."""
    prompt: str
    """The exact text that the model reads, the story prompt included."""
    step: str = "plain"
    """What writes these stories, from the first token to the last; as the three below."""
    precision: str = "fp32"
    threads: int | None = None
    """CPU threads; None on another device."""
    loss: float | None = None
    """As `CheckpointInfo.loss`."""


@dataclass(frozen=True)
class Token:
    """One token of one story. `text` may be empty: a character that is not whole yet, or text that a stop string may still claim."""

    id: int
    story: int
    """Which of the `count` stories, from 0."""
    token: int
    text: str
    """New text; the texts of a story, joined, are the story."""
    logprob: float
    """Natural logarithm of the probability that the model itself (before temperature and cuts) gave this token."""
    time: float
    """Seconds since the generation began."""


@dataclass(frozen=True)
class Finished:
    """One story has ended. `text` is whatever was held back and belongs to the story after all."""

    id: int
    story: int
    reason: StopReason
    text: str
    seed: int
    prompt_tokens: int
    tokens: int
    """Tokens that were drawn, an end-of-text token included."""
    ttft_s: float
    """Time to first token: seconds from the request to the first token drawn."""
    tokens_per_s: float
    """Decode rate of this story: tokens after the first, divided by the time they took; 0 for a single token."""
    detail: str = ""
    """More on the reason in a few words for a person: what repeated itself, or which stop string came; mostly nothing."""


@dataclass(frozen=True)
class Done:
    """Every story of the generation has ended."""

    id: int


@dataclass(frozen=True)
class Chance:
    """One token that may come next."""

    token: int
    text: str
    """Its characters; U+FFFD where it is a part of one, nothing for a token that ends the story (see `ends`)."""
    logprob: float
    """As `Token.logprob`: what the model itself gives it."""
    share: float
    """Probability with which it would be drawn, by all settings of the request; 0 where it is cut away."""
    cut: str = ""
    """What takes its chance away: `banned`, `top-k`, `top-p`, `min-p`, or at temperature 0 `temperature`; empty: nothing."""
    ends: bool = False
    """It ends the story."""
    whole: bool = True
    """Its bytes are whole characters, so that a text can go on with exactly it."""


@dataclass(frozen=True)
class Prospect:
    """What may come next: the likeliest tokens by the model itself, likeliest first, and at last the one that was asked for too."""

    id: int
    chances: tuple[Chance, ...]
    kept: int
    """How many tokens of the whole vocabulary may be drawn."""
    left: float
    """Probability, by the model itself, of all tokens that may be drawn."""


@dataclass(frozen=True)
class Scored:
    """The opening's tokens, as they were read."""

    id: int
    tokens: tuple[tuple[int, int, float], ...]
    """Of each: its id, how many characters of the opening come out with it, and its log probability (NaN for the very first token
    of a text that nothing stands before)."""


@dataclass(frozen=True)
class StatusReport:
    id: int
    checkpoint: CheckpointInfo | None
    generating: int | None
    """Id of the generation under way."""
    memory_bytes: int
    """Resident memory of the worker."""


@dataclass(frozen=True)
class Failed:
    """The command with this id could not be carried out; `message` is one sentence for a person. Id -1: the line had no id."""

    id: int
    message: str
    kind: str = "error"
    """`usage`, `checkpoint`, `network` or `error`: which exit code or hint fits."""


Command = Load | Generate | Together | Look | Score | Cancel | Status | Quit
Event = Hello | Loading | Loaded | StepChanged | Started | Token | Finished | Done | Prospect | Scored | StatusReport | Failed

_COMMANDS: dict[str, type] = {cls.__name__: cls for cls in get_args(Command)}
_EVENTS: dict[str, type] = {cls.__name__: cls for cls in get_args(Event)}


def encode(message: Command | Event) -> bytes:
    """A message as one line of UTF-8 JSON, the newline included."""
    data = {"type": type(message).__name__} | dataclasses.asdict(message)
    if isinstance(message, Scored):  # JSON has no NaN
        data["tokens"] = [
            (token, letters, None if math.isnan(logprob) else logprob) for token, letters, logprob in message.tokens
        ]
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"


def decode_command(line: bytes) -> Command:
    """The command that a line holds; raises `ProtocolError` with one sentence if it holds none."""
    return _decode(line, _COMMANDS)


def decode_event(line: bytes) -> Event:
    """The event that a line holds; raises `ProtocolError` with one sentence if it holds none."""
    return _decode(line, _EVENTS)


def _decode(line: bytes, classes: dict[str, type]) -> Any:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("The engine and the terminal lost step: a line was not JSON.") from error
    if not isinstance(data, dict) or data.get("type") not in classes:
        raise ProtocolError("The engine and the terminal lost step: a line was of no known type.")
    cls = classes[data.pop("type")]
    try:
        return _build(cls, data)
    except (TypeError, ValueError, AttributeError, OverflowError, TinyTalesError) as error:
        raise ProtocolError(f"The engine and the terminal lost step: a {cls.__name__} line was malformed.") from error


def _build(cls: type, data: dict[str, Any]) -> Any:
    if cls in (Generate, Look, Score):
        data["request"] = GenerationRequest.from_json(data.get("request"))
    if cls is Together:
        data["parts"] = tuple(_build(Generate, dict(part)) for part in data["parts"])
    if cls is Prospect:
        data["chances"] = tuple(Chance(**chance) for chance in data["chances"])
    if cls is Scored:
        data["tokens"] = tuple(
            (int(token), int(letters), math.nan if logprob is None else float(logprob))
            for token, letters, logprob in data["tokens"]
        )
    if cls is Load and data.get("choices") is not None:
        data["choices"] = Choices.from_json(data["choices"])
    if isinstance(data.get("checkpoint"), dict):
        info = data["checkpoint"]
        info["sampling"] = SamplingSettings.from_json(info.get("sampling"))
        info["warnings"] = tuple(info.get("warnings", ()))
        info["choices"] = Choices.from_json(info["choices"]) if info.get("choices") is not None else None
        data["checkpoint"] = CheckpointInfo(**info)
    for name in ("id", "story"):
        if name in data and type(data[name]) is not int:
            raise TypeError(name)
    return cls(**data)
