"""One token for every text of a batch as the same work at the same addresses, whatever the position: what a graph can be captured of.

`StaticStep` is the network itself over a `StaticCache`, and what follows the logits: the likeliest tokens picked out, or the draw, whose
token goes straight into the next step. Nothing in `run` looks at a number, asks where a text stands, or waits for the device; what
changes from step to step lies in buffers. Knows nothing of graphs, which `graphs` makes of it, and no text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine import sampling
from engine.cache import KeyValueCache, StaticCache
from engine.model import Decoder
from engine.settings import SamplingSettings, ranges

AHEAD = 8
"""Steps that are gone ahead before their tokens are read back."""
LEAST_SLOTS = 128
FARTHEST = int(ranges(SamplingSettings)["max_tokens"].high) + AHEAD
"""Tokens that may follow a context at most."""


@dataclass(frozen=True)
class Work:
    """What one step does; a graph is captured for each."""

    rows: int
    """Texts that are computed, those of no use included."""
    likeliest: int = 0
    """Tokens that are picked out, or drawn from; 0: none."""
    draws: bool = False
    """The next token is drawn from them, by the settings that were put in."""
    penalises: bool = False
    """Tokens that were used before are made less likely for the draw."""


@dataclass(frozen=True)
class Seen:
    """What a step found, on the device; the next one overwrites it."""

    logits: Tensor
    """(rows, vocab) float32."""
    likeliest: Tensor | None = None
    """(rows, 1 + 2 k) float64, where tokens are picked out for somebody else's draw: log Σ e^logit, the k largest logits, largest first,
    and their tokens. All in one kind of number, which holds each exactly, so that one copy brings them over."""


class StaticStep:
    """Buffers for up to `rows` texts of equal length, and the step over them."""

    @torch.inference_mode()
    def __init__(self, network: Decoder, vocab: int, rows: int, slots: int) -> None:
        """`vocab` leaves out rows that only pad the head; for `slots` see `slots_for`."""
        config, weight = network.config, network.embedding.weight
        device = weight.device
        self.network, self.vocab, self.rows, self.slots = network, vocab, rows, slots
        last = config.context - 1 if config.positions == "learned" else config.context + FARTHEST
        self.cache = StaticCache(config, rows, slots, last, device, weight.dtype)
        if network.rotary:
            network.rotary.slice(last, 1, device)  # made once; a captured step goes on reading this very table
            self._table = network.rotary.table
        self.tokens = torch.zeros(rows, device=device, dtype=torch.int64)
        """That are taken up next."""
        self.at = torch.zeros(1, device=device, dtype=torch.int64)
        """Which of the steps gone ahead comes next."""
        self.points = torch.zeros(AHEAD, rows, device=device, dtype=torch.float64)
        """What decides the draws of these steps (`sampling.next_point`)."""
        self.drawn = torch.zeros(AHEAD, 2, rows, device=device, dtype=torch.float64)
        """Their tokens, and the natural logarithms of the probabilities that the model gave them."""
        self.rule = torch.ones(4, device=device)
        """Temperature, top-p (∞ for none), min-p and repetition penalty."""
        self.barred = torch.zeros(vocab, device=device)
        """Added to the logits before a draw: -∞ for a token that may not be drawn."""
        self.used = torch.zeros(rows, vocab, device=device, dtype=torch.bool)
        """What a text has used; the token that a step takes up is one of it from then on."""

    @torch.inference_mode()
    def begin(self, cache: KeyValueCache, settings: SamplingSettings) -> None:
        """Take over what was read of the texts, or of one for all, and the settings of the draw."""
        self.cache.take(cache)
        greedy = settings.temperature == 0.0
        top_p = settings.top_p if settings.top_p < 1.0 else math.inf
        rule = (1.0 if greedy else settings.temperature, top_p, settings.min_p, settings.repetition_penalty)
        self.rule.copy_(torch.tensor(rule))
        self.barred.zero_()

    @torch.inference_mode()
    def bar(self, tokens: Sequence[int]) -> None:
        """Draw none of these from now on, and any other."""
        self.barred.zero_()
        if tokens:
            self.barred[torch.tensor(tokens, device=self.barred.device)] = -math.inf

    @torch.inference_mode()
    def place(self, tokens: Sequence[int], position: int, used: Sequence[Sequence[int]] | None = None) -> None:
        """Take these tokens up next, at this position; `used` are all that each text has used before, where that matters."""
        self.tokens[: len(tokens)] = torch.tensor(tokens)
        self.cache.position.fill_(position)
        if used is not None:
            table = torch.zeros(len(used), self.vocab, dtype=torch.bool)
            for row, ids in zip(table, used, strict=True):
                row[torch.tensor(ids, dtype=torch.int64)] = True
            self.used[: len(used)] = table.to(self.used.device)

    @torch.inference_mode()
    def select(self, rows: Sequence[int]) -> None:
        """Copy these texts to the first places, in this order."""
        picked = torch.tensor(rows, device=self.tokens.device)
        self.cache.select(picked)
        self.tokens[: len(rows)] = self.tokens[picked]
        self.used[: len(rows)] = self.used[picked]

    @torch.inference_mode()
    def go_ahead(self, points: Sequence[Tensor] | None) -> None:
        """Before the first of some steps that draw: the points (steps,) of each text, where the draw needs any."""
        self.at.zero_()
        if points is not None:
            given = torch.stack(list(points), dim=1)
            self.points[: given.shape[0], : given.shape[1]] = given.to(self.points.device)

    def state(self) -> tuple[Tensor, ...]:
        """All that a step changes but what it stores at its position or finds."""
        return self.tokens, self.at, self.used, self.cache.position

    @torch.inference_mode()
    def run(self, work: Work) -> Seen:
        """Take up the tokens; what the next ones may be. Where it draws, `tokens` and `drawn` have them."""
        rows, network = work.rows, self.network
        tokens_B1 = self.tokens[:rows, None]
        hidden_B1C = network.hidden(tokens_B1, self.cache, positions=self.cache.begin())
        logits_BV = network.logits(hidden_B1C)[:, 0, : self.vocab]
        if work.draws:
            if work.penalises:
                self.used[:rows].scatter_(1, tokens_B1, True)
            self._draw(work, logits_BV)
            return Seen(logits_BV)
        if not work.likeliest:
            return Seen(logits_BV)
        values_BK, ids_BK = self._likeliest(logits_BV, work.likeliest)
        found = (logits_BV.logsumexp(-1, keepdim=True), values_BK, ids_BK)
        return Seen(logits_BV, torch.cat([part.to(torch.float64) for part in found], dim=-1))

    def _draw(self, work: Work, logits_BV: Tensor) -> None:
        rows = work.rows
        temperature, top_p, min_p, penalty = self.rule.unbind()
        scores_BV = logits_BV
        if work.penalises:
            lowered_BV = torch.where(scores_BV < 0, scores_BV * penalty, scores_BV / penalty)
            scores_BV = torch.where(self.used[:rows], lowered_BV, scores_BV)
        values_BK, ids_BK = self._likeliest(scores_BV + self.barred, work.likeliest)
        if work.likeliest == 1:
            tokens_B = ids_BK[:, 0]
        else:
            points_B = self.points[:, :rows].index_select(0, self.at)[0]
            tokens_B = sampling.draw_rows(values_BK, ids_BK, points_B, temperature, top_p, min_p)
        told_B = logits_BV.gather(-1, tokens_B[:, None])[:, 0] - logits_BV.logsumexp(-1)
        self.tokens[:rows] = tokens_B
        both = torch.stack((tokens_B.to(torch.float64), told_B.to(torch.float64)))
        self.drawn[:, :, :rows].index_copy_(0, self.at, both[None])
        self.at += 1

    def _likeliest(self, logits_BV: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The largest logits (rows, k), largest first, and their tokens."""
        if count == 1:
            return logits_BV.max(-1, keepdim=True)
        if count == self.vocab:
            return logits_BV.sort(dim=-1, descending=True, stable=True)
        return logits_BV.topk(count)


def rows_for(texts: int) -> int:
    """Texts that are computed for so many: the next power of two, so that few different steps occur while stories end."""
    return 1 << (texts - 1).bit_length()


def slots_for(context: int, capacity: int) -> int:
    """Slots for texts of `capacity` tokens: some of few sizes, with room for the steps gone ahead, and a multiple of 16 as the attention
    kernels of GPUs like it."""
    needed = min(capacity, context) + AHEAD
    most = -(-(context + AHEAD) // 16) * 16
    return min(most, max(LEAST_SLOTS, 1 << (needed - 1).bit_length()))
