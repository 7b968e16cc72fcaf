"""What may come next, if a request were written: the chances of the likeliest tokens, by the very functions that draw.

The logits are those of the step that writes, plain, compiled or graphed. They are remembered for the last text that was looked at, so
that a moved slider costs no new reading of the prompt.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from engine import sampling
from engine.checkpoints.native import Checkpoint
from engine.decode.stepping import stepping
from engine.errors import UsageError
from engine.protocol import Chance, Prospect
from engine.reading import fit_to_context, reading
from engine.settings import GenerationRequest, SamplingSettings
from engine.story import Story, Words

MOST = 256
"""Tokens that can be told at once."""


class Looker:
    """Looks at one text after the other, with whatever checkpoint is given."""

    def __init__(self) -> None:
        self._of: tuple[Checkpoint, list[int]] | None = None
        self._logits_V = torch.empty(0)

    def look(
        self, checkpoint: Checkpoint, request: GenerationRequest, count: int = 10, also: int | None = None, id: int = 0
    ) -> Prospect:
        """The `count` likeliest tokens, likeliest first, and `also`. Raises `UsageError` as `generate` does."""
        vocab = checkpoint.tokenizer.vocab_size
        if type(count) is not int or not 1 <= count <= MOST:
            raise UsageError(f"From 1 to {MOST} tokens can be looked at, and {count} cannot.")
        if also is not None and (type(also) is not int or not 0 <= also < vocab):
            raise UsageError(f"This checkpoint has no token {also}.")
        read = reading(checkpoint, request)
        story = Story(id, 0, 0, read, checkpoint, request.sampling, Words(request.sampling, checkpoint), 0.0)
        ids = fit_to_context(read.ids, checkpoint.config.context)
        if self._of is None or self._of[0] is not checkpoint or self._of[1] != ids:
            steps = stepping(checkpoint, len(ids) + request.sampling.max_tokens, [story], request.sampling)
            self._logits_V = steps.read([ids])[0].logits().float().clone()
            self._of = checkpoint, ids
        return _prospect(id, self._logits_V, story, checkpoint, min(count, vocab), also)


@torch.inference_mode()
def _prospect(id: int, logits_V: Tensor, story: Story, checkpoint: Checkpoint, count: int, also: int | None) -> Prospect:
    logs_V = logits_V.log_softmax(-1).cpu()
    weighed_V = story.weighed(logits_V)
    shares, cuts = _shares(weighed_V, story.settings)
    told = logs_V.topk(count).indices.tolist()
    told += [also] if also is not None and also not in told else []
    banned = set(story.banned())
    tokenizer = checkpoint.tokenizer
    chances = []
    for token in told:
        data, ends = tokenizer.token_bytes(token), token in story.ends
        share = shares.get(token, 0.0)
        why = "" if share else "banned" if token in banned else next(why for why, left in cuts if token not in left)
        text = "" if ends else data.decode("utf-8", "replace")
        chances.append(Chance(token, text, float(logs_V[token]), share, why, ends, ends or (bool(data) and _is_whole(data))))
    left = float(logs_V[torch.tensor(list(shares))].exp().sum())
    return Prospect(id, tuple(chances), len(shares), min(left, 1.0))


def _shares(weighed_V: Tensor, settings: SamplingSettings) -> tuple[dict[int, float], list[tuple[str, set[int]]]]:
    """(what each token that may be drawn has of the draw, the cuts in their order with the tokens that each leaves)."""
    if settings.temperature == 0.0:
        likeliest = int(weighed_V.argmax())
        return {likeliest: 1.0}, [("temperature", {likeliest})]
    vocab, k = len(weighed_V), int(settings.top_k)
    likeliest_K = weighed_V.topk(k).indices.tolist() if 0 < k < vocab else range(vocab)
    cuts = [("top-k", set(likeliest_K))]
    shares: dict[int, float] = {}
    # What rounds to nothing at a low temperature is left out first, so that it is told apart from what the settings cut.
    for why, changes in (("temperature", {"top_p": 1.0, "min_p": 0.0}), ("top-p", {"min_p": 0.0}), ("min-p", {})):
        probabilities, ids = sampling.candidates(weighed_V, dataclasses.replace(settings, **changes))
        shares = dict(zip(ids.tolist(), probabilities.tolist(), strict=True))
        cuts.append((why, set(shares)))
    return {token: share for token, share in shares.items() if share > 0.0}, cuts


def _is_whole(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
