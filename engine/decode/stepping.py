"""One story's steps behind one face: the plain network with its cache, or the compiled step. One kind writes a story from end to end.

Prompts are read by the plain network in either case, in one pass; only what comes after it differs. Rows that pad the vocabulary are
left out of the logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from engine.cache import KeyValueCache

if TYPE_CHECKING:
    from engine.checkpoints.native import Checkpoint
    from engine.decode.compiled import CompiledStep


class Stepping(Protocol):
    """Texts of a batch, all of one length, being written on."""

    @property
    def full(self) -> bool:
        """No further token can be taken up: the texts have to be read again."""

    def read(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Begin with these texts; float32 logits of the next tokens, (B, vocab)."""

    def select(self, rows: Sequence[int]) -> None:
        """Keep these texts, in this order; one may be named several times."""

    def step(self, tokens: Sequence[int]) -> Tensor:
        """Take up one token a text; float32 logits of the next ones, (B, vocab). The next step may overwrite them."""


def stepping(checkpoint: Checkpoint, capacity: int) -> Stepping:
    """The steps that a checkpoint was loaded for, with room for `capacity` tokens a text."""
    if checkpoint.compiled is not None:
        return CompiledStepping(checkpoint, checkpoint.compiled, capacity)
    return PlainStepping(checkpoint, capacity)


class PlainStepping:
    """The network itself, on whatever device it is: the reference."""

    def __init__(self, checkpoint: Checkpoint, capacity: int) -> None:
        self._network, self._vocab, self._capacity = checkpoint.network, checkpoint.tokenizer.vocab_size, capacity
        self._weight = checkpoint.network.embedding.weight
        self._cache: KeyValueCache | None = None

    @property
    def cache(self) -> KeyValueCache:
        """What `read` has made."""
        assert self._cache is not None
        return self._cache

    @property
    def full(self) -> bool:
        return self.cache.full

    def read(self, rows: Sequence[Sequence[int]]) -> Tensor:
        self._cache = KeyValueCache(self._network.config, len(rows), self._capacity, self._weight.device, self._weight.dtype)
        return self._logits(torch.tensor(rows, device=self._weight.device))

    def select(self, rows: Sequence[int]) -> None:
        self.cache.select(torch.tensor(rows, device=self._weight.device))

    def step(self, tokens: Sequence[int]) -> Tensor:
        return self._logits(torch.tensor(tokens, device=self._weight.device)[:, None])

    @torch.inference_mode()
    def _logits(self, ids_BT: Tensor) -> Tensor:
        return self._network(ids_BT, self.cache, last_only=True)[:, -1, : self._vocab]


class CompiledStepping:
    """The compiled step after a prompt that the network has read."""

    def __init__(self, checkpoint: Checkpoint, step: CompiledStep, capacity: int) -> None:
        self._checkpoint, self._step, self._capacity = checkpoint, step, capacity

    @property
    def full(self) -> bool:
        return self._step.full

    def read(self, rows: Sequence[Sequence[int]]) -> Tensor:
        plain = PlainStepping(self._checkpoint, self._capacity)
        logits = plain.read(rows)
        self._step.start(len(rows), self._capacity, top_k=0)
        self._step.take_prefill(plain.cache.keys, plain.cache.values, plain.cache.length)
        return logits

    def select(self, rows: Sequence[int]) -> None:
        self._step.select(rows)

    def step(self, tokens: Sequence[int]) -> Tensor:
        return torch.from_numpy(self._step.step(tokens).logits)
