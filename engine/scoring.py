"""How likely a model finds a text that somebody else wrote, token by token: for surprise and perplexity.

A text that is longer than the context is read in windows that overlap, so that every token but the first ones has at least a quarter
of the context before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch

from engine.checkpoints.native import Checkpoint
from engine.errors import UsageError
from engine.protocol import Scored
from engine.reading import reading
from engine.sampling import log_probability
from engine.settings import GenerationRequest
from engine.text_stream import CharacterStream

if TYPE_CHECKING:
    from engine.decode.compiled import CompiledStep

ROWS = 64
"""Positions that meet the head at once: all of them would take a large vocabulary's memory."""


def score(
    checkpoint: Checkpoint, request: GenerationRequest, cancelled: Callable[[], bool] = lambda: False, id: int = 0
) -> Scored:
    """The tokens of the request's opening, after the prompt that it asks for; `cancelled` is asked between the windows.

    Raises `UsageError` where the checkpoint does not know such a prompt, or where it was cancelled.
    """
    if not request.opening:
        return Scored(id, ())
    read = reading(checkpoint, request)
    ids, letters = read.ids, _letters(checkpoint, read.ids, request.opening, len(read.data))
    first = len(ids) - len(letters)
    found = [math.nan] * len(ids)
    for start, end, scored in windows(len(ids), checkpoint.config.context, first):
        if cancelled():
            raise UsageError("The scoring was stopped.")
        logs = _log_probabilities(checkpoint, ids[start:end], max(scored - start, 1))
        for place, log in zip(range(max(scored, start + 1), end), logs, strict=True):
            found[place] = log
    return Scored(id, tuple(zip(ids[first:], letters, found[first:], strict=True)))


def windows(tokens: int, context: int, first: int = 0) -> Iterator[tuple[int, int, int]]:
    """(first token that is read, end, first token that is scored) of each window, in order, from the token `first` on."""
    fresh = max(1, context - max(1, context // 4))
    scored = first
    while scored < tokens:
        end = min(tokens, max(scored + fresh, min(context, tokens)))
        yield max(0, end - context), end, scored
        scored = end


def _letters(checkpoint: Checkpoint, ids: list[int], opening: str, size: int) -> list[int]:
    """Of the tokens that hold a part of the opening, which is `size` bytes long: how many of its characters come out with each."""
    data = [checkpoint.tokenizer.token_bytes(token) for token in ids]
    stream, letters, taken = CharacterStream(), [], 0
    first = len(data)
    while first and taken < size:
        first -= 1
        taken += len(data[first])
    for place, part in enumerate(data[first:]):
        # The first may hold the end of the prompt, or a space that the vocabulary puts before every text.
        letters.append(len(stream.feed(part[taken - size :] if place == 0 and taken > size else part)))
    if letters:
        letters[-1] += len(opening) - sum(letters)  # half a character at the very end
    return letters


@torch.inference_mode()
def _log_probabilities(checkpoint: Checkpoint, ids: list[int], first: int) -> list[float]:
    """Of the tokens from the place `first` (at least 1) on, each after all before it; no more than a context of them."""
    network, vocab = checkpoint.network, checkpoint.tokenizer.vocab_size
    if first >= len(ids):
        return []
    if network.embedding.weight.is_meta:  # its weights are only there as the compiled step packs them
        return _by_steps(checkpoint.compiled, ids, first)  # type: ignore[arg-type]
    ids_T = torch.tensor(ids, device=network.embedding.weight.device)
    hidden_TC = network.hidden(ids_T[None, :-1])[0, first - 1 :]
    found: list[float] = []
    for part_NC, next_N in zip(hidden_TC.split(ROWS), ids_T[first:].split(ROWS), strict=True):
        logs_NV = network.logits(part_NC)[:, :vocab].log_softmax(-1)
        found += logs_NV.gather(1, next_N[:, None])[:, 0].tolist()
    return found


def _by_steps(step: CompiledStep, ids: list[int], first: int) -> list[float]:
    step.start(1, len(ids), top_k=0)
    found, result = [], step.read([ids[:first]])
    for token in ids[first:]:
        found.append(log_probability(torch.from_numpy(result.logits[0]), token))
        if first + len(found) < len(ids):
            result = step.step([token])
    return found
