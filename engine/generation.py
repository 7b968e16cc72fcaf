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

import torch

from engine import sampling
from engine.checkpoints.native import Checkpoint
from engine.decode.stepping import Outlook, picked_out, stepping
from engine.errors import UsageError
from engine.prompts import prompt_ids, prompt_text
from engine.protocol import Done, Finished, Started, Token
from engine.settings import GenerationRequest, SamplingSettings, StopReason
from engine.text_stream import CharacterStream, LoopDetector, StopMatcher, WordBan

TAIL_BYTES = 400
"""How much of a story's end is kept to look for the beginning of a banned word."""
GenerationEvent = Started | Token | Finished | Done


def generate(
    checkpoint: Checkpoint, request: GenerationRequest, cancelled: Callable[[], bool] = lambda: False, id: int = 0
) -> Iterator[GenerationEvent]:
    """Write what the request asks for: `Started`, then `Token` events as they are drawn, a `Finished` a story, at last `Done`.

    `cancelled` is asked before every token. Raises `UsageError` for a request that this checkpoint cannot carry out; an interrupt
    passes through. The same request with the same seed gives the same events but for their times (same torch, device, threads).
    """
    begun = time.perf_counter()
    seed = secrets.randbelow(2**31) if request.sampling.seed is None else request.sampling.seed
    text = prompt_text(request, checkpoint.prompt_style)
    begin = [] if checkpoint.begin_id is None else [checkpoint.begin_id]
    ids = begin + prompt_ids(text, checkpoint.prompt_style, checkpoint.tokenizer)
    if not ids:
        raise UsageError("There is nothing to go on from: the opening has no text in it.")
    yield Started(id, len(ids), checkpoint.config.context, seed, text)
    given = request.opening or (request.topic if request.ending is None else "")
    bans = WordBan(request.sampling.banned_words, checkpoint.tokenizer)
    stories = [
        _Story(id, number, seed + number, len(ids), checkpoint, request.sampling, bans, given, begun)
        for number in range(request.count)
    ]
    yield from _write(checkpoint, fit_to_context(ids, checkpoint.config.context), stories, cancelled)
    yield Done(id)


def fit_to_context(ids: list[int], context: int) -> list[int]:
    """The tokens that are read: all of them if one more fits, else the newest three quarters of the context."""
    return ids if len(ids) < context else ids[-max(1, context * 3 // 4) :]


def _write(
    checkpoint: Checkpoint, ids: list[int], stories: list[_Story], cancelled: Callable[[], bool]
) -> Iterator[GenerationEvent]:
    if cancelled():
        yield from (story.finish("cancelled") for story in stories)
        return
    steps = stepping(checkpoint, len(ids) + stories[0].settings.max_tokens, stories, stories[0].settings)
    outlooks = steps.read([ids])
    texts = [list(ids) for _ in stories]
    while True:
        if cancelled():
            yield from (story.finish("cancelled") for story in stories)
            return
        going: list[int] = []
        for row, story in enumerate(stories):
            yield from story.take(outlooks[row])
            if story.reason is None:
                going.append(row)
                texts[row].append(story.last)
        if not going:
            return
        if len(going) < len(stories):
            stories, texts = [stories[row] for row in going], [texts[row] for row in going]
            steps.select(going)
        if steps.full:
            outlooks = steps.read([fit_to_context(text, checkpoint.config.context) for text in texts])
        else:
            outlooks = steps.step([story.last for story in stories])


class _Story:
    """One story of a request while it is being written: draws its tokens and decides when it ends."""

    def __init__(
        self,
        id: int,
        number: int,
        seed: int,
        prompt_tokens: int,
        checkpoint: Checkpoint,
        settings: SamplingSettings,
        bans: WordBan,
        given: str,
        begun: float,
    ) -> None:
        self.id, self.number, self.seed, self.prompt_tokens, self.settings = id, number, seed, prompt_tokens, settings
        self.tokenizer, self.bans, self.begun = checkpoint.tokenizer, bans, begun
        self.ends = (checkpoint.tokenizer.end_id, *checkpoint.end_ids)
        self.generator = torch.Generator().manual_seed(seed)
        self.ids = checkpoint.tokenizer.encode(given)  # what penalties look at: the story's own text, not the story prompt
        self.used_V = torch.zeros(checkpoint.config.vocab_size, dtype=torch.bool)
        self.used_V[self.ids] = True
        self.tail = given.encode("utf-8", "replace")[-TAIL_BYTES:]
        self.drawn = 0
        self._picked = picked_out(settings)
        self.last = -1
        self.reason: StopReason | None = None
        self.characters, self.stops, self.loops = CharacterStream(), StopMatcher(settings.stop), LoopDetector()
        self.first_at = self.last_at = 0.0

    def take(self, outlook: Outlook) -> Iterator[GenerationEvent]:
        """Draw the next token; yields its event and, if the story has ended, `Finished`."""
        token = self._draw(outlook)
        now = time.perf_counter() - self.begun
        self.first_at = self.first_at or now
        self.last, self.last_at = token, now
        self.drawn += 1
        logprob = outlook.log_probability(token)
        if token in self.ends:
            yield Token(self.id, self.number, token, "", logprob, now)
            yield self.finish("end of text")
            return
        self.ids.append(token)
        self.used_V[token] = True
        data = self.tokenizer.token_bytes(token)
        self.tail = (self.tail + data)[-TAIL_BYTES:]
        characters = self.characters.feed(data)
        yield Token(self.id, self.number, token, self.stops.feed(characters), logprob, now)
        if self.stops.matched:
            yield self.finish("stop string")
        elif self.settings.stop_loops and self.loops.feed(token):
            yield self.finish("loop")
        elif self.drawn >= self.settings.max_tokens:
            yield self.finish("length")

    def finish(self, reason: StopReason) -> Finished:
        """End the story and give back what was held back of it."""
        self.reason = reason
        rest = "" if self.stops.matched else self.stops.feed(self.characters.flush())
        rest += "" if self.stops.matched else self.stops.flush()
        decoding = self.last_at - self.first_at
        speed = (self.drawn - 1) / decoding if self.drawn > 1 and decoding > 0 else 0.0
        return Finished(
            self.id,
            self.number,
            reason,
            rest,
            self.seed,
            self.prompt_tokens,
            self.drawn,
            round(self.first_at, 4),
            round(speed, 1),
        )

    def _draw(self, outlook: Outlook) -> int:
        """Penalties and bans, the first part of the order, and then the draw; or what the step has drawn by the same rules."""
        settings = self.settings
        if outlook.drawn is not None:
            if settings.temperature > 0.0:
                sampling.next_point(self.generator)  # it was drawn with this one
            return outlook.drawn
        banned = sampling.repeating_tokens(self.ids, int(settings.no_repeat_ngram)) + self.bans.tokens(self.tail)
        if self.drawn < settings.min_tokens:
            banned.extend(self.ends)
        if picked := self._picked and outlook.likeliest(self._picked):
            token = sampling.draw_from_likeliest(*picked, self.used_V, banned, settings, self.generator)
            if token is not None:
                return token
        logits_V = sampling.penalise_repetition(outlook.logits(), self.ids, settings.repetition_penalty)
        return sampling.draw(sampling.ban(logits_V, banned), settings, self.generator)
