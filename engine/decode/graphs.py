"""The compiled step of a GPU: the static step, captured once as a graph of the device's work and replayed for each token.

A small network's step on a GPU is mostly the time in which the host starts its kernels one by one; a graph starts them all at once.
Where the settings leave the draw to probabilities alone the device draws too, and goes some steps ahead before its tokens are read back:
`GraphStepping` has them ready when they are asked for. Where no graph can be captured the static step is run as it is.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from engine import sampling
from engine.cache import KeyValueCache
from engine.checkpoints.readers.common import reason
from engine.decode.static import AHEAD, Seen, StaticStep, Work, rows_for, slots_for
from engine.decode.stepping import DrawnOutlook, LookedOutlook, Outlook, Story, WholeOutlook, picked_out
from engine.model import Decoder
from engine.settings import SamplingSettings

WARM_UP = 2
"""Runs before a capture, in which libraries load their kernels and take their memory; no more than `AHEAD`."""

BOUNDS = {"fp32": 1e-4, "bf16": 0.25}
"""How far a logit may be off, over the logits' spread: sums in another order. A wrong mask or position makes more than 1."""


class Capture(NamedTuple):
    """A step that was captured: `replay` does its work again, and what it finds stands where it stood the first time."""

    replay: Callable[[], None]
    seen: Seen


Capturer = Callable[[Callable[[], Seen]], Capture]
"""Makes a capture of a step; raises RuntimeError where it cannot."""


class Shape(NamedTuple):
    """What is told of the step."""

    threads: int | None = None
    """CPU threads: none of them matters."""


class GraphedStep:
    """A network's step, and the graphs that were captured of it so far. One batch of stories at a time writes with it."""

    def __init__(self, network: Decoder, vocab: int, capturer: Capturer | None = None) -> None:
        """`capturer` is left out but for tests: CUDA's graphs on CUDA, and none elsewhere."""
        self.network, self.vocab, self.shape = network, vocab, Shape()
        self.device = network.embedding.weight.device
        self.failure = ""
        """Why a step could not be captured, and was run as it is; mostly empty."""
        self._capturer = capturer
        self._static: StaticStep | None = None
        self._captures: dict[Work, Capture | None] = {}

    @property
    def static(self) -> StaticStep:
        """What `start` has made."""
        assert self._static is not None
        return self._static

    def start(self, texts: int, capacity: int) -> StaticStep:
        """Buffers for so many texts of `capacity` tokens each; those of before, with their graphs, where they are large enough."""
        rows, slots = rows_for(texts), slots_for(self.network.config.context, capacity)
        old = self._static
        if old is None or old.rows < rows or old.slots < slots:
            rows, slots = max(rows, old.rows if old else 0), max(slots, old.slots if old else 0)
            self._static = old = None  # its memory is free before more is taken
            self._captures.clear()
            self._static = StaticStep(self.network, self.vocab, rows, slots)
        return self.static

    def run(self, work: Work) -> Seen:
        """One step, captured the first time that its kind occurs."""
        with self._on_device():
            if work not in self._captures:
                self._captures[work] = self._captured(work)
            if capture := self._captures[work]:
                capture.replay()
                return capture.seen
            return self.static.run(work)

    def another(self) -> GraphedStep:
        """A step over the same network with buffers and graphs of its own, for stories beside ours."""
        return GraphedStep(self.network, self.vocab, self._capturer)

    def close(self) -> None:
        """Give the buffers and graphs back."""
        self._captures.clear()
        self._static = None

    def _on_device(self) -> contextlib.AbstractContextManager[object]:
        return torch.cuda.device(self.device) if self.device.type == "cuda" else contextlib.nullcontext()

    @torch.inference_mode()
    def _captured(self, work: Work) -> Capture | None:
        """The step's graph, or None where it has to be run as it is; leaves the texts as they stand."""
        capturer = self._capturer or (cuda_capture if self.device.type == "cuda" else None)
        if capturer is None:
            return None
        static = self.static
        before = [part.clone() for part in static.state()]
        try:
            return capturer(lambda: static.run(work))
        except RuntimeError as error:
            self.failure = reason(error)
            return None
        finally:
            for part, kept in zip(static.state(), before, strict=True):
                part.copy_(kept)


def cuda_capture(step: Callable[[], Seen]) -> Capture:
    """The step as a CUDA graph, captured on a stream of its own after some runs; other threads may use the device meanwhile."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        seen = step()
    return Capture(graph.replay, seen)


class GraphStepping:
    """Stories by the graphed step; the prompt is read by the network itself."""

    def __init__(self, step: GraphedStep, capacity: int, stories: Sequence[Story], settings: SamplingSettings) -> None:
        self._step, self._settings, self._stories = step, settings, list(stories)
        config = step.network.config
        self._context, self._rolls = config.context, config.positions == "rope"
        self._static = step.start(len(stories), capacity)
        self._draws = not (settings.banned_words or settings.no_repeat_ngram or settings.favours)
        self._rows = list(range(len(stories)))  # where each text stands on the device
        self._length = 0
        self._ahead: deque[Tensor] = deque()  # (2, rows): tokens and their log probabilities, of the steps that were gone ahead
        self._next: list[int] | None = None  # the tokens that the device has drawn and goes on with
        self._barred = False

    @property
    def full(self) -> bool:
        return not self._rolls and self._length >= self._context

    @torch.inference_mode()
    def read(self, rows: Sequence[Sequence[int]]) -> Sequence[Outlook]:
        network, weight = self._step.network, self._step.network.embedding.weight
        self._length = len(rows[0])
        cache = KeyValueCache(network.config, len(rows), self._length, weight.device, weight.dtype)
        logits_BV = network(torch.tensor(rows, device=weight.device), cache, last_only=True)[:, -1, : self._step.vocab]
        self._static.begin(cache, self._settings)
        self._rows, self._next, self._barred = list(range(len(self._stories))), None, False
        self._ahead.clear()
        found = [WholeOutlook(row) for row in logits_BV]
        return found if len(found) == len(self._stories) else found * len(self._stories)

    def select(self, rows: Sequence[int]) -> None:
        self._stories, self._rows = [self._stories[row] for row in rows], [self._rows[row] for row in rows]
        self._next = self._next and [self._next[row] for row in rows]

    def step(self, tokens: Sequence[int]) -> Sequence[Outlook]:
        if self._draws:
            return self._drawn(list(tokens))
        self._gather()
        self._static.place(tokens, self._length)
        likeliest = min(picked_out(self._settings), self._step.vocab)
        seen = self._step.run(Work(rows_for(len(tokens)), likeliest))
        self._length += 1
        if seen.likeliest is None:
            return [WholeOutlook(row) for row in seen.logits[: len(tokens)]]
        told = seen.likeliest[: len(tokens)].cpu()
        return [LookedOutlook(row, found) for row, found in zip(seen.logits, told, strict=False)]

    def _drawn(self, tokens: list[int]) -> Sequence[Outlook]:
        if tokens != self._next:  # after a prompt; or somebody else has drawn, and what was gone ahead was in vain
            self._ahead.clear()
            self._gather()
            penalised = self._settings.repetition_penalty != 1.0
            self._static.place(tokens, self._length, [story.ids for story in self._stories] if penalised else None)
        if not self._ahead:
            self._gather()
            self._go_ahead()
        told = self._ahead.popleft()[:, self._rows].tolist()
        self._length += 1
        self._next = [int(token) for token in told[0]]
        return [DrawnOutlook(token, found) for token, found in zip(self._next, told[1], strict=True)]

    def _go_ahead(self) -> None:
        """Draw the next tokens: as many as all stories may still take, and as one rule holds for."""
        settings, stories, static = self._settings, self._stories, self._static
        drawn = stories[0].drawn
        barred = drawn < settings.min_tokens
        limits = [AHEAD, settings.max_tokens - drawn]
        if barred:
            limits.append(settings.min_tokens - drawn)
        if not self._rolls:
            limits.append(self._context - self._length)
        count = max(1, min(limits))
        if barred != self._barred:
            static.bar(stories[0].ends if barred else ())
            self._barred = barred
        greedy = settings.temperature == 0.0
        vocab, top_k = self._step.vocab, 1 if greedy else int(settings.top_k)
        work = Work(
            rows_for(len(stories)),
            top_k if 0 < top_k < vocab else vocab,
            draws=True,
            penalises=settings.repetition_penalty != 1.0,
        )
        static.go_ahead(None if greedy else [sampling.points_ahead(story.generator, count) for story in stories])
        for _ in range(count):
            self._step.run(work)
        self._ahead.extend(static.drawn.cpu()[:count])

    def _gather(self) -> None:
        """Put the texts that are left into the first places on the device."""
        if self._rows != list(range(len(self._rows))):
            self._static.select(self._rows)
            self._rows = list(range(len(self._rows)))


def refusal(step: GraphedStep, precision: str, ids: Sequence[int]) -> str:
    """Empty where the step finds what the network itself does, reading these tokens; else one sentence. Captures what it tries."""
    off = verify(step, ids)
    if step.failure:
        return f"The step cannot be captured on this device ({step.failure}); leave --step compiled out."
    if off < BOUNDS[precision]:  # false for NaN too
        return ""
    return f"The compiled step finds other logits than the network (off by {off:.1e} of their spread); leave --step compiled out."


@torch.inference_mode()
def verify(step: GraphedStep, ids: Sequence[int]) -> float:
    """The largest difference between the logits of the step and of the network, over those logits' spread (standard deviation).

    Half of `ids` is read, the rest is taken up one by one; then the step draws some of the likeliest tokens ahead. These are held
    against the network by their logarithms of probability, and by how far each is below the likeliest.
    """
    network, vocab = step.network, step.vocab
    ids = list(ids)[: network.config.context - 1]
    weight = network.embedding.weight
    half, ahead = max(1, len(ids) // 2), min(AHEAD, network.config.context - len(ids))
    cache = KeyValueCache(network.config, 1, len(ids) + ahead, weight.device, weight.dtype)

    def plain(tokens: Sequence[int]) -> Tensor:
        return network(torch.tensor([list(tokens)], device=weight.device), cache, last_only=True)[0, -1, :vocab]

    logits_V = plain(ids[:half])
    static = step.start(1, len(ids) + ahead)
    static.begin(cache, SamplingSettings(temperature=0.0))
    off: list[Tensor] = []
    for position in range(half, len(ids)):
        logits_V = plain(ids[position : position + 1])
        static.place(ids[position : position + 1], position)
        off.append((step.run(Work(1)).logits[0] - logits_V).abs().max() / logits_V.std())
    token = int(logits_V.argmax())
    static.place([token], len(ids))
    static.go_ahead(None)
    for _ in range(ahead):
        step.run(Work(1, 1, draws=True))
    for drawn, log in static.drawn[:ahead, :, 0].tolist():
        logits_V = plain([token])
        token = int(drawn)
        below, told = logits_V.max() - logits_V[token], logits_V[token] - logits_V.logsumexp(-1)
        off += [below / logits_V.std(), (told - log).abs() / logits_V.std()]
    return float(torch.stack(off).max())
