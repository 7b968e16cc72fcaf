"""From logits to a token: pure functions on one row of logits, (vocab,) float32.

Order, as in the field: penalties and bans → temperature → top-k → top-p → min-p → draw. Whatever top-k keeps is all that is ever
sorted, normalised and drawn from; a draw from the whole vocabulary costs more than a small model's step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from engine.settings import SamplingSettings


def penalise_repetition(logits_V: Tensor, used: Sequence[int], penalty: float) -> Tensor:
    """Make the tokens in `used` less likely: positive logits divided, negative ones multiplied (Keskar et al. 2019, CTRL)."""
    if penalty == 1.0 or not used:
        return logits_V
    ids = torch.tensor(list(set(used)), device=logits_V.device)
    scores = logits_V[ids]
    return logits_V.index_put((ids,), torch.where(scores < 0, scores * penalty, scores / penalty))


def ban(logits_V: Tensor, tokens: Sequence[int]) -> Tensor:
    """Give these tokens no chance."""
    if not tokens:
        return logits_V
    return logits_V.index_fill(0, torch.tensor(list(tokens), device=logits_V.device), -math.inf)


def repeating_tokens(ids: Sequence[int], n: int) -> list[int]:
    """Tokens that would complete a run of `n` tokens which stands in `ids` already; none for n = 0."""
    if n < 1 or len(ids) < n:
        return []
    if n == 1:
        return list(set(ids))
    tail = tuple(ids[len(ids) - n + 1 :])
    return [ids[at + n - 1] for at in range(len(ids) - n + 1) if tuple(ids[at : at + n - 1]) == tail]


def candidates(logits_V: Tensor, settings: SamplingSettings) -> tuple[Tensor, Tensor]:
    """The tokens that may be drawn, likeliest first, and their probabilities: (K,) float32 and (K,) int64.

    Temperature must be above 0. At least one token always remains.
    """
    vocab = logits_V.shape[0]
    scaled = logits_V / settings.temperature
    k = int(settings.top_k)
    if 0 < k < vocab:
        return cut(*scaled.topk(k), settings)
    return cut(*scaled.sort(descending=True, stable=True), settings)


def cut(values: Tensor, ids: Tensor, settings: SamplingSettings) -> tuple[Tensor, Tensor]:
    """The probabilities (K,) and tokens (K,) that top-p and min-p leave of logits (N,) over the temperature, largest first."""
    probabilities = values.softmax(-1)
    if settings.top_p < 1.0:
        before = probabilities.cumsum(-1) - probabilities  # what the likelier ones have together
        keep = int((before < settings.top_p).sum())
        probabilities, ids = probabilities[: max(1, keep)], ids[: max(1, keep)]
    if settings.min_p > 0.0:
        keep = int((probabilities >= settings.min_p * probabilities[0]).sum())
        probabilities, ids = probabilities[: max(1, keep)], ids[: max(1, keep)]
    keep = max(1, int((probabilities > 0).sum()))  # what was banned has none left
    probabilities, ids = probabilities[:keep], ids[:keep]
    return probabilities / probabilities.sum(), ids


def draw(logits_V: Tensor, settings: SamplingSettings, generator: torch.Generator) -> int:
    """One token: the likeliest at temperature 0, else drawn from `candidates` with this generator (one number is taken from it)."""
    if settings.temperature == 0.0:
        return int(logits_V.argmax())
    return _drawn(*candidates(logits_V, settings), generator)


def draw_from_likeliest(
    values: Tensor, ids: Tensor, banned: Sequence[int], settings: SamplingSettings, generator: torch.Generator
) -> int | None:
    """`draw` from the largest logits alone, (N,) with their tokens, largest first; None where too few of them are not banned."""
    if banned:
        allowed = torch.isin(ids, torch.tensor(list(banned), device=ids.device), invert=True)
        values, ids = values[allowed], ids[allowed]
    k = 1 if settings.temperature == 0.0 else int(settings.top_k)
    if len(ids) < k:
        return None
    if settings.temperature == 0.0:
        return int(ids[0])
    return _drawn(*cut(values[:k] / settings.temperature, ids[:k], settings), generator)


def _drawn(probabilities: Tensor, ids: Tensor, generator: torch.Generator) -> int:
    point = torch.rand((), generator=generator, dtype=torch.float64)
    sums = probabilities.to("cpu", torch.float64).cumsum(-1)
    at = int(torch.searchsorted(sums, point * sums[-1], right=True))
    return int(ids[min(at, len(ids) - 1)])


def log_probability(logits_V: Tensor, token: int) -> float:
    """Natural logarithm of the probability that these logits give a token."""
    return float(logits_V[token] - logits_V.logsumexp(-1))
