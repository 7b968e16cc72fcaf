"""One story of a request while it is being written: draws its tokens, by whatever step, and decides when it ends.

Before the draw come, in this order: penalties, favoured words, bans (`weighed`). What is shown of what may come next
(`engine.looking`) asks the same story, so it cannot be otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from torch import Tensor

from engine import sampling
from engine.checkpoints.native import Checkpoint
from engine.decode.stepping import Outlook, picked_out
from engine.favour import Wanted, WordFavour
from engine.protocol import Finished, Token
from engine.reading import Reading
from engine.settings import SamplingSettings, StopReason
from engine.text_stream import CharacterStream, LoopDetector, StopMatcher, WordBan, shown

TAIL_BYTES = 400
"""How much of a story's end is kept to look for words."""


class Words:
    """What the stories of one request have in common: their words as tokens."""

    def __init__(self, settings: SamplingSettings, checkpoint: Checkpoint) -> None:
        self.bans = WordBan(settings.banned_words, checkpoint.tokenizer)
        wanted = (*settings.favoured_words, *settings.must_mention) if settings.favours else ()
        self.favour = WordFavour(wanted, checkpoint.tokenizer)


class Story:
    """Fed with what the step finds, token by token; `last` is the token that goes into the next step."""

    def __init__(
        self,
        id: int,
        number: int,
        seed: int,
        read: Reading,
        checkpoint: Checkpoint,
        settings: SamplingSettings,
        words: Words,
        begun: float,
    ) -> None:
        self.id, self.number, self.seed, self.prompt_tokens, self.settings = id, number, seed, len(read.ids), settings
        self.tokenizer, self.words, self.begun = checkpoint.tokenizer, words, begun
        self.ends = (checkpoint.tokenizer.end_id, *checkpoint.end_ids)
        self.generator = torch.Generator().manual_seed(seed)
        self.ids = list(read.own)  # what penalties look at: the story's own text, not the story prompt
        self.used_V = torch.zeros(checkpoint.config.vocab_size, dtype=torch.bool)
        self.used_V[self.ids] = True
        self.tail = read.data[-TAIL_BYTES:]
        self.drawn = 0
        self._picked = picked_out(settings)
        self._wanted = Wanted(words.favour, settings, read.data) if settings.favours else None
        self.last = -1
        self.reason: StopReason | None = None
        self.characters, self.stops, self.loops = CharacterStream(), StopMatcher(settings.stop), LoopDetector()
        self.characters.feed(read.half)
        self.first_at = self.last_at = 0.0

    def take(self, outlook: Outlook) -> Iterator[Token | Finished]:
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
            yield self.finish("stop string", f"{shown(self.stops.matched)} came")
        elif self.settings.stop_loops and self.loops.feed(token):
            yield self.finish("loop", self._what_repeats())
        elif self.drawn >= self.settings.max_tokens:
            yield self.finish("length")

    def finish(self, reason: StopReason, detail: str = "") -> Finished:
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
            detail,
        )

    def weighed(self, logits_V: Tensor) -> Tensor:
        """The logits that the next token is drawn from, by temperature and cuts: what is banned has -∞."""
        logits_V = sampling.penalise_repetition(logits_V, self.ids, self.settings.repetition_penalty)
        if self._wanted is not None:
            logits_V = sampling.favour(logits_V, self._wanted.raised(self.tail, len(self.ids)))
        return sampling.ban(logits_V, self.banned())

    def banned(self) -> list[int]:
        """Tokens that may not come next."""
        banned = sampling.repeating_tokens(self.ids, int(self.settings.no_repeat_ngram)) + self.words.bans.tokens(self.tail)
        if self.drawn < self.settings.min_tokens:
            banned.extend(self.ends)
        return banned

    def _draw(self, outlook: Outlook) -> int:
        """Penalties, favour and bans, the first part of the order, and then the draw; or what the step has drawn by the same rules."""
        settings = self.settings
        if outlook.drawn is not None:
            if settings.temperature > 0.0:
                sampling.next_point(self.generator)  # it was drawn with this one
            return outlook.drawn
        if picked := self._picked and outlook.likeliest(self._picked):
            token = sampling.draw_from_likeliest(*picked, self.used_V, self.banned(), settings, self.generator)
            if token is not None:
                return token
        return sampling.draw(self.weighed(outlook.logits()), settings, self.generator)

    def _what_repeats(self) -> str:
        """What a loop repeats, in words for a person."""
        ids, times = self.loops.found
        text = b"".join(self.tokenizer.token_bytes(token) for token in ids).decode("utf-8", "replace")
        return f"{shown(text)} came {times} times in a row"
