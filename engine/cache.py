"""The key/value cache: what the model remembers of a text, set up once and written in place.

Learned positions end at the context; who generates must start again with fewer tokens (`full` says when). Rotary positions go on:
the cache is then a ring that holds the newest `capacity` tokens, and each new token overwrites the oldest.
"""

from __future__ import annotations

import torch
from torch import Tensor

from engine.settings import ModelConfig


class KeyValueCache:
    """Keys and values of all layers, (layers, B, K, capacity, D) each."""

    def __init__(self, config: ModelConfig, batch: int, capacity: int, device: torch.device, dtype: torch.dtype) -> None:
        """Room for `capacity` tokens (at most the context) of `batch` texts of equal length."""
        self.capacity = min(capacity, config.context)
        self.rolls = config.positions == "rope"
        self.length = 0
        """Tokens taken up so far; more than `capacity` once a ring has rolled over."""
        shape = (config.layers, batch, config.key_value_heads, self.capacity, config.dim_per_head)
        self.keys = torch.zeros(shape, device=device, dtype=dtype)
        self.values = torch.zeros(shape, device=device, dtype=dtype)

    @property
    def full(self) -> bool:
        """No further token can be taken up."""
        return not self.rolls and self.length >= self.capacity

    def update(self, layer: int, k_BKTD: Tensor, v_BKTD: Tensor, window: int | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Store new keys and values of a layer; return all that the new positions may see, and a mask (T, S) where one is needed.

        No mask means: one new position that sees everything returned, or plain causal attention of a first pass. Several tokens at
        once are taken only where none has to be overwritten (ValueError).
        """
        new, end = k_BKTD.shape[2], self.length + k_BKTD.shape[2]
        if end > self.capacity and (new > 1 or not self.rolls):
            raise ValueError(f"{end} tokens do not fit a cache of {self.capacity}")
        slot = self.length % self.capacity
        self.keys[layer, :, :, slot : slot + new] = k_BKTD
        self.values[layer, :, :, slot : slot + new] = v_BKTD
        held = min(end, self.capacity)
        keys, values = self.keys[layer, :, :, :held], self.values[layer, :, :, :held]
        return keys, values, self._mask(new, held, end, window)

    def _mask(self, new: int, held: int, end: int, window: int | None) -> Tensor | None:
        narrow = window is not None and window < held
        if not narrow and (new == 1 or self.length == 0):
            return None
        device = self.keys.device
        query = torch.arange(self.length, end, device=device)[:, None]
        slots = torch.arange(held, device=device)[None, :]
        key = end - 1 - (end - 1 - slots) % self.capacity  # the position whose key stands in each slot
        mask = key <= query
        return mask & (key > query - window) if narrow else mask  # type: ignore[operator]

    def advance(self, new: int) -> None:
        """Count `new` tokens as taken up, after every layer has stored them."""
        self.length += new

    def select(self, rows: Tensor) -> None:
        """Keep these rows of the batch, in this order; a row may be named several times."""
        self.keys = self.keys[:, rows].contiguous()
        self.values = self.values[:, rows].contiguous()
