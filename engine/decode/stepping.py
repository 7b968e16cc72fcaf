"""One story's steps behind one face: the plain network with its cache, or the compiled step of a CPU or of a GPU (`graphs`). One kind
writes a story from end to end.

Rows that pad the vocabulary are left out of the logits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from engine.cache import KeyValueCache
from engine.decode.tables import MOST
from engine.sampling import log_probability
from engine.settings import SamplingSettings

if TYPE_CHECKING:
    from engine.checkpoints.native import Checkpoint
    from engine.decode.compiled import CompiledStep, StepResult

SPARE = 32
"""Tokens that are picked out beyond the top-k, as some of them may be banned."""
PENALISED = 100
"""The same where what was used before is penalised and falls back."""


class Outlook(Protocol):
    """What is known of the next token of one text, until the next step."""

    @property
    def drawn(self) -> int | None:
        """The token, where the step has drawn it: by the settings and the story's next point (`sampling.next_point`)."""

    def logits(self) -> Tensor:
        """(vocab,) float32, of every token."""

    def likeliest(self, count: int) -> tuple[Tensor, Tensor] | None:
        """The largest logits (count,) float32, largest first, and their tokens (count,) int64; None where they are not at hand."""

    def log_probability(self, token: int) -> float:
        """The natural logarithm of the probability that the model gives a token; within 0.003 where the head is screened."""


class Stepping(Protocol):
    """Texts of a batch, all of one length, being written on."""

    @property
    def full(self) -> bool:
        """No further token can be taken up: the texts have to be read again."""

    def read(self, rows: Sequence[Sequence[int]]) -> Sequence[Outlook]:
        """Begin with these texts, or all with the one; what may follow, a text."""

    def select(self, rows: Sequence[int]) -> None:
        """Keep these texts, in this order; one may be named several times."""

    def step(self, tokens: Sequence[int]) -> Sequence[Outlook]:
        """Take up one token a text; what may follow."""


class Story(Protocol):
    """What a step that draws has to know of the story whose text it writes on. All stories of a batch have drawn equally many tokens."""

    generator: torch.Generator
    """That one point a token is taken from; the step only looks at those to come."""
    ids: list[int]
    """What a repetition penalty looks at."""
    ends: tuple[int, ...]
    """Tokens that may not be drawn before the least length."""
    drawn: int
    """Tokens drawn so far."""


def stepping(checkpoint: Checkpoint, capacity: int, stories: Sequence[Story], settings: SamplingSettings) -> Stepping:
    """The steps that a checkpoint was loaded for, with room for `capacity` tokens of each of these stories."""
    step = checkpoint.compiled
    if step is None:
        return PlainStepping(checkpoint, capacity, len(stories))
    from engine.decode.graphs import GraphedStep, GraphStepping

    if isinstance(step, GraphedStep):
        return GraphStepping(step, capacity, stories, settings)
    return CompiledStepping(step, capacity, len(stories), settings)


class PlainStepping:
    """The network itself, on whatever device it is: the reference."""

    def __init__(self, checkpoint: Checkpoint, capacity: int, texts: int) -> None:
        self._network, self._vocab, self._capacity = checkpoint.network, checkpoint.tokenizer.vocab_size, capacity
        self._weight, self._texts = checkpoint.network.embedding.weight, texts
        self._cache: KeyValueCache | None = None

    @property
    def cache(self) -> KeyValueCache:
        """What `read` has made."""
        assert self._cache is not None
        return self._cache

    @property
    def full(self) -> bool:
        return self.cache.full

    def read(self, rows: Sequence[Sequence[int]]) -> Sequence[Outlook]:
        self._cache = KeyValueCache(self._network.config, len(rows), self._capacity, self._weight.device, self._weight.dtype)
        found = self._outlooks(torch.tensor(rows, device=self._weight.device))
        if len(rows) == self._texts:
            return found
        self.select([0] * self._texts)
        return [*found] * self._texts

    def select(self, rows: Sequence[int]) -> None:
        self._texts = len(rows)
        self.cache.select(torch.tensor(rows, device=self._weight.device))

    def step(self, tokens: Sequence[int]) -> Sequence[Outlook]:
        return self._outlooks(torch.tensor(tokens, device=self._weight.device)[:, None])

    @torch.inference_mode()
    def _outlooks(self, ids_BT: Tensor) -> Sequence[Outlook]:
        return [WholeOutlook(row) for row in self._network(ids_BT, self.cache, last_only=True)[:, -1, : self._vocab]]


class WholeOutlook:
    """All logits, from the network itself."""

    drawn = None

    def __init__(self, logits_V: Tensor) -> None:
        self._logits_V = logits_V

    def logits(self) -> Tensor:
        return self._logits_V

    def likeliest(self, count: int) -> tuple[Tensor, Tensor] | None:
        return None

    def log_probability(self, token: int) -> float:
        return log_probability(self._logits_V, token)


class CompiledStepping:
    """The compiled step, from the prompt on."""

    def __init__(self, step: CompiledStep, capacity: int, texts: int, settings: SamplingSettings) -> None:
        self._step = step
        step.start(texts, capacity, top_k=picked_out(settings))
        self._begun = step.begun

    @property
    def full(self) -> bool:
        return self._step.full

    def read(self, rows: Sequence[Sequence[int]]) -> Sequence[Outlook]:
        self._refuse_a_stranger()
        return self._outlooks(self._step.read(rows))

    def select(self, rows: Sequence[int]) -> None:
        self._refuse_a_stranger()
        self._step.select(rows)
        self._begun = self._step.begun

    def _refuse_a_stranger(self) -> None:
        """The step has one room: where other stories were begun with it meanwhile, ours are no longer there."""
        if self._begun != self._step.begun:
            raise RuntimeError("a checkpoint with a compiled step writes one request after the other, not two at once")

    def step(self, tokens: Sequence[int]) -> Sequence[Outlook]:
        self._refuse_a_stranger()
        return self._outlooks(self._step.step(tokens, screened=True))

    def _outlooks(self, found: StepResult) -> Sequence[Outlook]:
        shared = Found(self._step, found)
        return [PickedOutlook(shared, row) for row in range(len(found.logits))]


def picked_out(settings: SamplingSettings) -> int:
    """How many of the likeliest tokens the draw needs: none where it looks at all logits."""
    if settings.repetition_penalty < 1.0 or settings.favours:  # tokens from anywhere may come to the front
        return 0
    wanted = 1 if settings.temperature == 0.0 else int(settings.top_k)
    spare = SPARE if settings.repetition_penalty == 1.0 else PENALISED
    return min(wanted + spare, MOST) if 0 < wanted <= MOST else 0


class Found:
    """What a step found for all texts; the exact logits of all tokens are asked for once at most."""

    def __init__(self, step: CompiledStep, result: StepResult) -> None:
        self._step, self.result = step, result
        self.top_values, self.top_ids = torch.from_numpy(result.top_values), torch.from_numpy(result.top_ids)

    def whole(self) -> StepResult:
        if self.result.screened:
            self.result = self._step.all_logits()
        return self.result


class PickedOutlook:
    """One text's part of `Found`."""

    drawn = None

    def __init__(self, found: Found, row: int) -> None:
        self._found, self._row = found, row

    def logits(self) -> Tensor:
        return torch.from_numpy(self._found.whole().logits[self._row])

    def likeliest(self, count: int) -> tuple[Tensor, Tensor] | None:
        values = self._found.top_values[self._row]
        if count > len(values):
            return None
        return values[:count], self._found.top_ids[self._row, :count]

    def log_probability(self, token: int) -> float:
        result, row = self._found.result, self._row
        return float(result.logits[row, token] - result.highest[row] - math.log(result.total[row]))


@dataclass(frozen=True)
class DrawnOutlook:
    """One text's next token, drawn by the device."""

    drawn: int
    log: float
    """Natural logarithm of its probability."""

    def logits(self) -> Tensor:
        raise ValueError("the token is drawn: the logits are gone")

    def likeliest(self, count: int) -> tuple[Tensor, Tensor] | None:
        return None

    def log_probability(self, token: int) -> float:
        if token != self.drawn:
            raise ValueError("only the token that was drawn has its probability told")
        return self.log


class LookedOutlook:
    """One text's logits on the device, with the likeliest ones read back."""

    drawn = None

    def __init__(self, logits_V: Tensor, told: Tensor) -> None:
        self._logits_V = logits_V
        count = len(told) // 2
        self._logsumexp, self._values, self._ids = told[0], told[1 : 1 + count].float(), told[1 + count :].long()

    def logits(self) -> Tensor:
        return self._logits_V

    def likeliest(self, count: int) -> tuple[Tensor, Tensor] | None:
        return None if count > len(self._ids) else (self._values[:count], self._ids[:count])

    def log_probability(self, token: int) -> float:
        at = (self._ids == token).nonzero()
        logit = self._values[at[0, 0]] if len(at) else self._logits_V[token].cpu()
        return float(logit - self._logsumexp.float())
