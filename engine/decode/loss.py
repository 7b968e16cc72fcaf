"""What a precision costs: bits per byte of the model's own stories under its rounded weights, against its weights in float32.

The model writes a handful of stories for the fixed prompts (`engine.evaluation.stories`), from fixed seeds, in float32, drawn from its
own distribution (temperature 1, of the 200 likeliest tokens). Each width then reads them in one pass through a plain network whose
weights are rounded as the compiled step keeps them.

At each place the difference is taken as expected over all tokens that the float32 model could have written there, weighed with its
probabilities: Σ p (log p - log q), the Kullback-Leibler divergence. It has the same mean as the difference at the one token that was
drawn, and for int8 a thirtieth of its error, so that a few hundred tokens are enough. Divided by the mean loss of the tokens drawn it
is the relative difference in bits per byte, as the bytes are the same on both sides.

What that is worth: it is the model's own text, which it finds easier than what people wrote, and no held-out data.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from engine.checkpoints.native import Checkpoint
from engine.decode.twins import rounded
from engine.errors import CheckpointError
from engine.evaluation.stories import requests
from engine.generation import fit_to_context, generate
from engine.model import Decoder
from engine.prompts import prompt_ids, prompt_text
from engine.protocol import Token
from engine.settings import SamplingSettings

PROMPTS, STORIES, TOKENS = 4, 3, 32
"""Prompts, stories of each, and tokens of a story: a second for 30 million parameters on two cores."""
SEED = 1
SAMPLING = SamplingSettings(temperature=1.0, top_k=200, top_p=1.0, max_tokens=TOKENS, stop_loops=False)
ROWS = 64
"""Places whose logits are in work at once."""


@dataclass(frozen=True)
class Cost:
    """What one precision costs."""

    loss: float
    """Relative difference in bits per byte: 0.001 is a tenth of a percent more."""
    error: float
    """Its standard error."""

    @property
    def at_most(self) -> float:
        """The loss with twice its error."""
        return self.loss + 2 * self.error


@dataclass(frozen=True)
class Text:
    """One story to be read: all its tokens, those of the prompt first."""

    ids: tuple[int, ...]
    given: int
    """Tokens of the prompt, which have no loss."""


def costs(network: Decoder, texts: Sequence[Text], precisions: Sequence[str]) -> dict[str, Cost]:
    """What each of these precisions costs a network, which is on the CPU with its weights in float32, on texts that it wrote.

    Raises `CheckpointError` where the texts hold nothing by which it could be measured.
    """
    drawn = torch.tensor([token for text in texts for token in text.ids[text.given :]])
    exact = list(_log_probabilities(network, texts)) if len(drawn) else []
    nats = sum(float(-part.gather(1, ids[:, None]).sum()) for part, ids in zip(exact, drawn.split(ROWS), strict=bool(exact)))
    if not 0.0 < nats < math.inf:
        raise CheckpointError("The model writes nothing by which a precision could be measured.")
    mean, found = nats / len(drawn), {}
    for precision in precisions:
        twin = rounded(network, precision)
        pairs = zip(exact, _log_probabilities(twin, texts), strict=True)
        more = torch.cat([(part.exp() * (part - other)).sum(1) for part, other in pairs]).double()
        error = float(more.std()) / math.sqrt(len(more)) if len(more) > 1 else math.inf
        found[precision] = Cost(float(more.mean()) / mean, error / mean)
    return found


def write_texts(checkpoint: Checkpoint) -> list[Text]:
    """Stories by whatever step the checkpoint has, several of a prompt at once; none is longer than the context."""
    begin = [] if checkpoint.begin_id is None else [checkpoint.begin_id]
    context, found = checkpoint.config.context, []
    for request in requests(checkpoint, SAMPLING, PROMPTS, SEED):
        asked = prompt_text(request, checkpoint.prompt_style)
        given = fit_to_context(begin + prompt_ids(asked, checkpoint.prompt_style, checkpoint.tokenizer), context)
        stories: list[list[int]] = [[] for _ in range(STORIES)]
        for event in generate(checkpoint, replace(request, count=STORIES)):
            if isinstance(event, Token):
                stories[event.story].append(event.token)
        found += [Text((*given, *story[: context + 1 - len(given)]), len(given)) for story in stories]
    return found


@torch.inference_mode()
def _log_probabilities(network: Decoder, texts: Sequence[Text]) -> Iterator[Tensor]:
    """(up to `ROWS`, vocab) float32 at every place where a token was drawn, in the order of the texts."""
    length = max(len(text.ids) for text in texts) - 1
    ids_BT = torch.zeros(len(texts), length, dtype=torch.int64)
    for row, text in enumerate(texts):
        ids_BT[row, : len(text.ids) - 1] = torch.tensor(text.ids[:-1])
    x_BTC = network.hidden(ids_BT)
    x_NC = torch.cat([x_BTC[row, text.given - 1 : len(text.ids) - 1] for row, text in enumerate(texts)])
    for part in x_NC.split(ROWS):
        yield network.logits(part).log_softmax(-1)
