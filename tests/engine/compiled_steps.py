"""Compiled steps for tests, and the plain twins that they are held against."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from engine.cache import KeyValueCache
from engine.decode.compiled import CompiledStep
from engine.decode.packing import unpack_rows
from engine.generation import fit_to_context
from engine.model import Decoder


@torch.inference_mode()
def twin(network: Decoder, precision: str) -> Decoder:
    """The same network with its matrices and its token table rounded as `precision` rounds them."""
    rounded = copy.deepcopy(network)
    for layer in rounded.modules():
        if isinstance(layer, torch.nn.Linear) or layer is rounded.embedding:
            fine = precision == "int4" and layer in (rounded.head, rounded.embedding)
            layer.weight.data = unpack_rows(layer.weight, "int8" if fine else precision)
    return rounded


@torch.inference_mode()
def read(network: Decoder, rows: list[list[int]], capacity: int) -> tuple[Tensor, KeyValueCache]:
    """The logits after these tokens (B, vocab), and the cache that holds them."""
    cache = KeyValueCache(network.config, len(rows), capacity, torch.device("cpu"), torch.float32)
    return network(torch.tensor(rows), cache, last_only=True)[:, -1], cache


@torch.inference_mode()
def plain_logits(network: Decoder, cache: KeyValueCache, tokens: list[int]) -> Tensor:
    return network(torch.tensor(tokens)[:, None], cache, last_only=True)[:, -1]


def plain_greedy(network: Decoder, ids: list[int], count: int) -> list[int]:
    """The likeliest tokens by the plain step, as `engine.generation` writes them."""
    text = fit_to_context(ids, network.config.context)
    logits, cache = read(network, [text], len(text) + count)
    text = list(text)
    for _ in range(count):
        text.append(int(logits[0].argmax()))
        if cache.full:
            logits, cache = read(network, [fit_to_context(text, network.config.context)], len(text) + count)
        else:
            logits = plain_logits(network, cache, text[-1:])
    return text[-count:]


def compiled_greedy(step: CompiledStep, network: Decoder, prompts: list[list[int]], count: int) -> list[list[int]]:
    """The same by the compiled step, several prompts of equal length at once."""
    texts = [list(fit_to_context(ids, network.config.context)) for ids in prompts]

    def begin(rows: list[list[int]]) -> list[int]:
        step.start(len(rows), len(rows[0]) + count, top_k=1)
        return step.read(rows).top_ids[:, 0].tolist()

    tokens = begin(texts)
    for _ in range(count):
        for text, token in zip(texts, tokens, strict=True):
            text.append(token)
        if step.full:
            tokens = begin([fit_to_context(text, network.config.context) for text in texts])
        else:
            tokens = step.step(tokens, screened=True).top_ids[:, 0].tolist()
    return [text[-count:] for text in texts]


def from_python(function: Callable[..., Any]) -> Callable[..., Any]:
    """A part of the compiled code that Python can call: the parts themselves are compiled without an entry for it."""
    import numba

    @numba.njit
    def entry(*given: Any) -> Any:
        return function(*given)

    return entry
