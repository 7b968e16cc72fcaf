"""From logits to a token: pure functions on one row of logits, (vocab,) float32.

Order, as in the field: penalties, favour and bans → temperature → top-k → top-p → min-p → draw. Whatever top-k keeps is all that is ever
sorted, normalised and drawn from; a draw from the whole vocabulary costs more than a small model's step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

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


def favour(logits_V: Tensor, raised: Mapping[int, float]) -> Tensor:
    """Make these tokens likelier, each by its own amount."""
    if not raised:
        return logits_V
    ids = torch.tensor(list(raised), device=logits_V.device)
    return logits_V.index_add(0, ids, torch.tensor(list(raised.values()), device=logits_V.device, dtype=logits_V.dtype))


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
    values: Tensor, ids: Tensor, used_V: Tensor, banned: Sequence[int], settings: SamplingSettings, generator: torch.Generator
) -> int | None:
    """Penalise, ban and draw from the largest logits alone, (N,) with their tokens, largest first; None where they are too few.

    `used_V` (vocab,) says which tokens are penalised, by a penalty of at least 1: no token outside of the list can then come above its
    last one, and while k of the list stay there, all is as with the whole vocabulary.
    """
    least, penalty = values[-1], settings.repetition_penalty
    if penalty != 1.0:
        values = torch.where(used_V[ids], torch.where(values < 0, values * penalty, values / penalty), values)
        values, order = values.sort(descending=True, stable=True)
        ids = ids[order]
    if banned:
        allowed = torch.isin(ids, torch.tensor(list(banned), device=ids.device), invert=True)
        values, ids = values[allowed], ids[allowed]
    k = 1 if settings.temperature == 0.0 else int(settings.top_k)
    if len(ids) < k or values[k - 1] < least:
        return None
    if settings.temperature == 0.0:
        return int(ids[0])
    return _drawn(*cut(values[:k] / settings.temperature, ids[:k], settings), generator)


def _drawn(probabilities: Tensor, ids: Tensor, generator: torch.Generator) -> int:
    point = next_point(generator)
    sums = probabilities.to("cpu", torch.float64).cumsum(-1)
    at = int(torch.searchsorted(sums, point * sums[-1], right=True))
    return int(ids[min(at, len(ids) - 1)])


def next_point(generator: torch.Generator) -> Tensor:
    """The number in [0, 1), float64, that decides a draw; one is taken from the story's generator for each token."""
    return torch.rand((), generator=generator, dtype=torch.float64)


def points_ahead(generator: torch.Generator, count: int) -> Tensor:
    """The next points (count,), float64, without taking them."""
    state = generator.get_state()
    points = torch.rand(count, generator=generator, dtype=torch.float64)
    generator.set_state(state)
    return points


def draw_rows(values_BK: Tensor, ids_BK: Tensor, points_B: Tensor, temperature: Tensor, top_p: Tensor, min_p: Tensor) -> Tensor:
    """`draw` for several rows at once, from their K = top-k largest logits, largest first: tokens (B,).

    The same order and sums as `cut`, but all on the tensors' device and without a look at any number: the settings are tensors of no
    dimension, a top-p of 1 is ∞, and what `cut` leaves out keeps its place with a probability of 0.
    """
    probabilities = (values_BK / temperature).softmax(-1)
    before = probabilities.cumsum(-1) - probabilities
    reached = (before < top_p).sum(-1, keepdim=True).clamp(min=1)
    kept = torch.arange(ids_BK.shape[1], device=ids_BK.device) < reached
    kept &= (probabilities >= min_p * probabilities[:, :1]) & (probabilities > 0)
    probabilities = probabilities * kept
    sums = (probabilities / probabilities.sum(-1, keepdim=True)).to(torch.float64).cumsum(-1)
    at = (sums <= points_B[:, None] * sums[:, -1:]).sum(-1, keepdim=True)
    at = torch.minimum(at, kept.sum(-1, keepdim=True) - 1).clamp(min=0)  # a row of NaN must not lead out of the list
    return ids_BK.gather(-1, at)[:, 0]


def log_probability(logits_V: Tensor, token: int) -> float:
    """Natural logarithm of the probability that these logits give a token."""
    return float(logits_V[token] - logits_V.logsumexp(-1))
