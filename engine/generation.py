"""Writing stories: a request in, a stream of events out.

The prompt is read once (prefill), then one token a step goes through the cached model; only the last position meets the head. N
stories share the prefill and go on as a batch, each drawn with its own seed; a story that has ended leaves the batch. Where learned
positions run out, the newest three quarters of the context are read again and writing goes on; rotary positions slide. Cached text
equals uncached text (tests/engine/test_generate.py holds the plain twin).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator

from engine.checkpoints.native import Checkpoint
from engine.decode.stepping import stepping
from engine.protocol import Done, Finished, Started, Token
from engine.reading import fit_to_context, reading
from engine.settings import GenerationRequest
from engine.story import Story, Words

__all__ = ["GenerationEvent", "fit_to_context", "generate", "turns"]

GenerationEvent = Started | Token | Finished | Done


def generate(
    checkpoint: Checkpoint, request: GenerationRequest, cancelled: Callable[[], bool] = lambda: False, id: int = 0
) -> Iterator[GenerationEvent]:
    """Write what the request asks for: `Started`, then `Token` events as they are drawn, a `Finished` a story, at last `Done`.

    `cancelled` is asked before every token. Raises `UsageError` for a request that this checkpoint cannot carry out; an interrupt
    passes through. The same request with the same seed gives the same events but for their times (same torch, device, threads).
    """
    for turn in turns(checkpoint, request, cancelled, id):
        yield from turn


def turns(
    checkpoint: Checkpoint, request: GenerationRequest, cancelled: Callable[[], bool] = lambda: False, id: int = 0
) -> Iterator[list[GenerationEvent]]:
    """The events of `generate` in turns: what comes of one step, a token of each of the request's stories."""
    begun = time.perf_counter()
    seed = secrets.randbelow(2**31) if request.sampling.seed is None else request.sampling.seed
    read = reading(checkpoint, request)
    yield [Started(id, len(read.ids), checkpoint.config.context, seed, read.text)]
    words = Words(request.sampling, checkpoint)
    stories = [
        Story(id, number, seed + number, read, checkpoint, request.sampling, words, begun) for number in range(request.count)
    ]
    yield from _write(checkpoint, fit_to_context(read.ids, checkpoint.config.context), stories, cancelled)
    yield [Done(id)]


def _write(
    checkpoint: Checkpoint, ids: list[int], stories: list[Story], cancelled: Callable[[], bool]
) -> Iterator[list[GenerationEvent]]:
    if cancelled():
        yield [story.finish("cancelled") for story in stories]
        return
    steps = stepping(checkpoint, len(ids) + stories[0].settings.max_tokens, stories, stories[0].settings)
    outlooks = steps.read([ids])
    texts = [list(ids) for _ in stories]
    while True:
        if cancelled():
            yield [story.finish("cancelled") for story in stories]
            return
        going: list[int] = []
        turn: list[GenerationEvent] = []
        for row, story in enumerate(stories):
            turn.extend(story.take(outlooks[row]))
            if story.reason is None:
                going.append(row)
                texts[row].append(story.last)
        yield turn
        if not going:
            return
        if len(going) < len(stories):
            stories, texts = [stories[row] for row in going], [texts[row] for row in going]
            steps.select(going)
        if steps.full:
            outlooks = steps.read([fit_to_context(text, checkpoint.config.context) for text in texts])
        else:
            outlooks = steps.step([story.last for story in stories])
