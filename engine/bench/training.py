"""Measurement: optimizer steps of the trainer's own learner, on packed rows of random tokens, which cost the same as any.

Real data would have to be prepared for the checkpoint's vocabulary first, which takes longer than the measurement.
"""

from __future__ import annotations

import time
from typing import Any

import torch

from engine.checkpoints.choices import Choices
from engine.checkpoints.load import load_checkpoint
from engine.data.batches import Batch
from engine.devices import choose_device
from engine.training.settings import TrainSettings
from engine.training.step import Learner
from engine.training.world import World

STORY_TOKENS = 200
SHARE = 0.01
"""Of the peak learning rate: random tokens teach nothing, and the loss must stay finite."""


class Training:
    """A checkpoint that is fine-tuned with the usual settings; a run is one step."""

    def __init__(self, source: str | None, choices: dict[str, Any], device: str | None, threads: int, tokens: int) -> None:
        torch.set_num_threads(threads)
        checkpoint = load_checkpoint(source, device=device, choices=Choices.from_json(choices))
        network = checkpoint.network.requires_grad_(True)
        width = min(network.config.context, tokens)
        rows = max(1, tokens // width)
        settings = TrainSettings(batch_tokens=rows * width)
        self._learner = Learner(network, settings, World(0, 1, choose_device(device)))
        self._learner.begin()
        self._batch = random_batch(rows, width, checkpoint.tokenizer.vocab_size)
        self._number = 0
        self.facts = {
            "precision": "bf16" if self._learner.bf16 else "fp32",
            "tokens_a_step": rows * width,
            "context": width,
        }

    def run(self) -> dict[str, Any]:
        """Tokens a second of one step."""
        self._number += 1
        begun = time.perf_counter()
        self._learner.step(
            self._number, [self._batch], self._batch.targets.numel(), SHARE
        )  # reads the loss, so a GPU has finished
        return {"train_tokens_per_s": self._batch.targets.numel() / (time.perf_counter() - begun)}


def random_batch(rows: int, width: int, vocab_size: int) -> Batch:
    """(rows, width) random tokens, as stories of `STORY_TOKENS` that do not see one another."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, vocab_size, (rows, width + 1), generator=generator)
    at = torch.arange(width).expand(rows, width)
    return Batch(ids[:, :-1].contiguous(), ids[:, 1:].contiguous(), at // STORY_TOKENS, at % STORY_TOKENS)
