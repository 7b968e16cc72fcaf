"""The key/value cache: what the model remembers of a text, set up once and written in place.

Learned positions end at the context; who generates must start again with fewer tokens (`full` says when). Rotary positions go on:
the cache is then a ring that holds the newest `capacity` tokens, and each new token overwrites the oldest.

`KeyValueCache` counts its tokens on the host, `StaticCache` on the device: every step with it is the same work at the same addresses.
"""

from __future__ import annotations

import math

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


class StaticCache:
    """A cache for steps of one token that are recorded once and repeated: its position is a number on the device.

    Attention goes over all slots, with a mask. The position may be put back: what stands beyond it is not seen and is overwritten, as
    long as there are slots for the context and for what stands beyond.
    """

    def __init__(self, config: ModelConfig, batch: int, slots: int, last: int, device: torch.device, dtype: torch.dtype) -> None:
        """Slots for `batch` texts of equal length; `last` is the last position that a token may have."""
        self.length = last
        self.position = torch.zeros(1, 1, device=device, dtype=torch.int64)
        """Of the token that is taken up next."""
        shape = (config.layers, batch, config.key_value_heads, slots, config.dim_per_head)
        self.keys = torch.zeros(shape, device=device, dtype=dtype)
        self.values = torch.zeros(shape, device=device, dtype=dtype)
        self._slots = torch.arange(slots, device=device)[None]
        self._seen = torch.zeros(1, slots, device=device, dtype=dtype)
        self._slot = self.position[0]
        self._masks: dict[int | None, Tensor] = {}

    def begin(self) -> Tensor:
        """Before every step: the position of the new token of all texts, (1, 1), never beyond the last one."""
        self._slot, self._masks = (self.position % self._slots.shape[1])[0], {}
        return self.position.clamp(max=self.length)

    def update(self, layer: int, k_BKTD: Tensor, v_BKTD: Tensor, window: int | None) -> tuple[Tensor, Tensor, Tensor]:
        """Store the key and value of one new token a text (T = 1) for the first B texts; return all slots of theirs, and a mask (1, S).

        The mask is added to what attention finds: 0 for a slot that is seen, -∞ for one that is not.
        """
        keys, values = self.keys[layer, : len(k_BKTD)], self.values[layer, : len(v_BKTD)]
        keys.index_copy_(2, self._slot, k_BKTD)
        values.index_copy_(2, self._slot, v_BKTD)
        if window not in self._masks:  # once a step, for all layers
            key = (
                self.position - (self.position - self._slots) % self._slots.shape[1]
            )  # the position whose key stands in each slot
            hidden = key < 0 if window is None else (key < 0) | (key <= self.position - window)
            self._masks[window] = self._seen.masked_fill(hidden, -math.inf)
        return keys, values, self._masks[window]

    def advance(self, new: int) -> None:
        """Count `new` tokens as taken up, after every layer has stored them."""
        self.position += new

    def take(self, cache: KeyValueCache) -> None:
        """Begin with what was read into a cache that has not rolled over: its texts, or its one text for all."""
        for mine, given in ((self.keys, cache.keys), (self.values, cache.values)):
            mine.zero_()  # a NaN that was left there would come through the mask
            rows = mine.shape[1] if given.shape[1] == 1 else given.shape[1]
            mine[:, :rows, :, : cache.length] = given[:, :, :, : cache.length]
        self.position.fill_(cache.length)

    def select(self, rows: Tensor) -> None:
        """Copy these texts to the first places, in this order."""
        for mine in (self.keys, self.values):
            for layer in mine:  # one after the other: less memory beside them
                layer[: len(rows)] = layer[rows]
