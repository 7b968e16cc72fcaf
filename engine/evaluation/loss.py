"""How well a model predicts text: nats a token, perplexity, and bits a byte, the one that can be compared across tokenizers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch

from engine.data.plan import padded
from engine.data.shards import MARKED, Split
from engine.model import Decoder
from engine.prompts import PromptStyle
from engine.tokenizer import Tokenizer, encode_stories
from engine.training.objective import IGNORED, head_loss


@dataclass(frozen=True)
class Loss:
    """Sums over a text, from which every figure follows."""

    nats: float
    tokens: int
    """Predicted tokens, one end token a story included."""
    text_bytes: int
    """UTF-8 bytes of the stories; an end token has none."""
    stories: int

    @property
    def nats_per_token(self) -> float:
        return self.nats / max(1, self.tokens)

    @property
    def perplexity(self) -> float:
        """e^(nats per token)."""
        return math.exp(min(self.nats_per_token, 700.0))

    @property
    def bits_per_byte(self) -> float:
        """nats / (ln 2 × bytes); the end tokens' loss counts, though they have no bytes."""
        return self.nats / (math.log(2) * max(1, self.text_bytes))

    def to_json(self) -> dict[str, float]:
        figures = {"nats_per_token": self.nats_per_token, "perplexity": self.perplexity, "bits_per_byte": self.bits_per_byte}
        return figures | asdict(self)


def evaluate(model: Decoder, tokenizer: Tokenizer, style: PromptStyle, stories: Sequence[str], batch_tokens: int = 8192) -> Loss:
    """Loss over whole stories, each read from its own beginning.

    Every token is predicted once, the closing end token too. The first is predicted from the end-of-text token where the model was
    trained so (`start_with_end`), else it only serves as context. A story longer than the context is read in windows that overlap
    by half, so that all but the first window's tokens are predicted from at least half a context.
    """
    end = tokenizer.end_id
    texts = [([end] * style.start_with_end + ids + [end], 0) for ids in encode_stories(tokenizer, stories)]
    nats, tokens = _score(model, texts, batch_tokens)
    return Loss(nats, tokens, sum(len(story.encode()) for story in stories), len(stories))


def evaluate_split(model: Decoder, split: Split, end: int, most: int, batch_tokens: int = 8192) -> Loss:
    """Loss over up to `most` prepared stories, the same ones each time; a story that people gave a prompt is read after it.

    The prompt itself has no loss, so the figure of an instruction-tuned model is that of the stories alone.
    """
    chosen = np.linspace(0, len(split) - 1, min(most, len(split))).round().astype(np.int64)
    rows = split.rows(chosen)
    texts = []
    for story, row in zip(chosen.tolist(), rows, strict=True):
        prompt, ids = split.parts(story)
        asked = prompt.tolist() if row["marks"] & MARKED else []
        texts.append(([end, *asked, *ids.tolist(), end], len(asked)))
    nats, tokens = _score(model, texts, batch_tokens)
    return Loss(nats, tokens, int(rows["bytes"].sum()), len(chosen))


@torch.no_grad()
def _score(model: Decoder, texts: Sequence[tuple[list[int], int]], batch_tokens: int) -> tuple[float, int]:
    """Summed nats and the number of predictions over texts, of which the first so many predictions do not count."""
    was_training = model.training
    model.eval()
    context = model.config.context
    stride = max(1, context // 2)
    windows: list[tuple[list[int], int]] = []
    for whole, silent in texts:
        windows.append((whole[: context + 1], silent))
        for start in range(stride, len(whole) - context + stride - 1, stride):
            seen = max(context - stride, silent - start)  # the window before counted as many predictions
            windows.append((whole[start : start + context + 1], seen))
    windows = [w for w in windows if len(w[0]) > 1]
    windows.sort(key=lambda w: len(w[0]))
    device = model.embedding.weight.device
    nats, tokens, at = 0.0, 0, 0
    while at < len(windows):
        rows = windows[at : at + 1]
        at += 1
        while at < len(windows) and (len(rows) + 1) * len(windows[at][0]) <= batch_tokens:
            rows.append(windows[at])
            at += 1
        length = int(padded(max(len(ids) for ids, _ in rows) - 1, context))
        inputs = torch.zeros(len(rows), length, dtype=torch.int64)
        targets = torch.full((len(rows), length), IGNORED)
        for i, (ids, seen) in enumerate(rows):
            inputs[i, : len(ids) - 1] = torch.tensor(ids[:-1])
            targets[i, seen : len(ids) - 1] = torch.tensor(ids[1 + seen :])
        nats += float(head_loss(model, model.hidden(inputs.to(device)), targets.to(device)))
        tokens += int((targets != IGNORED).sum())
    model.train(was_training)
    return nats, tokens
