"""Measurement: what a checkpoint is, and how long it takes to load."""

from __future__ import annotations

import time
from typing import Any

import torch

from engine.bench.openings import lengths, opening, read_ids
from engine.bench.plan import PROMPT_TOKENS
from engine.checkpoints.choices import Choices
from engine.checkpoints.load import load_checkpoint
from engine.decode.choose import kernel_folder
from engine.decode.compiled import available
from engine.devices import use_threads


class Looking:
    """Facts of a checkpoint; a run loads it once more."""

    def __init__(self, source: str | None, choices: dict[str, Any], device: str | None, threads: int | None, tokens: int) -> None:
        """`tokens` are the new tokens of a text that are wanted."""
        self._how: dict[str, Any] = {"device": device, "choices": Choices.from_json(choices), "threads": threads}
        self._source = source
        torch_threads = torch.get_num_threads()
        checkpoint = load_checkpoint(source, **self._how)
        parameters = checkpoint.network.parameter_count()
        prompt, tokens = lengths(checkpoint.config.context, PROMPT_TOKENS, tokens)
        self.facts = {
            "name": checkpoint.name,
            "family": checkpoint.family,
            "parameters": parameters,
            "context": checkpoint.config.context,
            "vocab_size": checkpoint.config.vocab_size,
            "device": checkpoint.device,
            "threads": use_threads(threads, parameters),
            "train_threads": threads or torch_threads,
            "no_compiled_step": available(kernel_folder()),
            "torch": torch.__version__,
            "warnings": checkpoint.warnings,
            "tokens": tokens,
            "prompt_ids": read_ids(checkpoint, opening(checkpoint, prompt)),
        }

    def run(self, step: str, precision: str) -> dict[str, Any]:
        """Seconds that loading takes."""
        begun = time.perf_counter()
        load_checkpoint(self._source, step=step, precision=precision, **self._how)
        return {"load_s": time.perf_counter() - begun}
