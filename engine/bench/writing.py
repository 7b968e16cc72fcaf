"""Measurement: time to first token, prefill and decode rate, and memory, through `engine.generate` as every story is written."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from engine.bench.child import memory
from engine.bench.openings import lengths, opening
from engine.bench.plan import PREFILL_TOKENS, PROMPT_TOKENS, sampling
from engine.checkpoints.choices import Choices
from engine.checkpoints.load import load_checkpoint
from engine.decode.compiled import SCREENED_STORIES, CompiledStep
from engine.decode.tables import HEAD, ROW_BYTES, ROW_SCALES, ROWS, SCREEN
from engine.devices import use_threads
from engine.generation import generate
from engine.model import Decoder
from engine.protocol import Token
from engine.settings import GenerationRequest


class Writing:
    """One checkpoint in one precision; a run writes a batch of texts."""

    def __init__(
        self,
        bare: int,
        source: str | None,
        choices: dict[str, Any],
        device: str | None,
        threads: int | None,
        precision: str,
        step: str,
        tokens: int,
    ) -> None:
        """`bare` are the bytes that the process had with torch alone."""
        self._bare = bare
        self._checkpoint = load_checkpoint(
            source, device=device, precision=precision, choices=Choices.from_json(choices), step=step, threads=threads
        )
        self._compiled = self._checkpoint.compiled
        context = self._checkpoint.config.context
        prompt, self._tokens = lengths(context, PROMPT_TOKENS, tokens)
        long, _ = lengths(context, PREFILL_TOKENS, 2)
        self._opening, self._long = opening(self._checkpoint, prompt), opening(self._checkpoint, long)
        used = use_threads(threads, self._checkpoint.network.parameter_count())
        self.facts = {"threads": self._compiled.shape.threads if self._compiled else used, "tokens": self._tokens}

    def run(self, batch: int) -> dict[str, Any]:
        """Figures of `batch` texts at once; prefill is measured with a batch of one."""
        times, first = self._write(self._opening, self._tokens, batch)
        figures = {
            "prompt_tokens": first["prompt_tokens"],
            "ttft_s": times[0],
            "decode_tokens_per_s": (len(times) - batch) / (times[-1] - times[batch - 1]),
            "memory_bytes": memory() - self._bare,
            "weight_bytes": step_bytes(self._compiled, batch) if self._compiled else weight_bytes(self._checkpoint.network),
        }
        if batch == 1:
            times, first = self._write(self._long, 1, 1)
            figures |= {"prefill_tokens": first["prompt_tokens"], "prefill_tokens_per_s": first["prompt_tokens"] / times[0]}
        return figures

    def _write(self, text: str, tokens: int, batch: int) -> tuple[list[float], dict[str, Any]]:
        """When each token was drawn, in seconds from the request, in order; and what was told at the start."""
        request = GenerationRequest(opening=text, sampling=sampling(tokens), count=batch)
        events = generate(self._checkpoint, request)
        started = next(events)
        times = [event.time for event in events if isinstance(event, Token)]
        return times, {"prompt_tokens": started.prompt_tokens}  # type: ignore[union-attr]


def weight_bytes(network: Decoder) -> int:
    """Bytes of weights that a one-token step of the network reads: all but the tables of which it looks up one row a text."""
    tables: list[nn.Embedding | None] = [network.position_embedding, None if network.config.tied_head else network.embedding]
    looked_up = {id(table.weight) for table in tables if table is not None}
    weights = [*network.parameters(), *network.buffers()]
    return sum(weight.numel() * weight.element_size() for weight in weights if id(weight) not in looked_up)


def step_bytes(step: CompiledStep, batch: int) -> int:
    """Bytes of weights that one compiled step of so many texts reads: of several the head itself and not its screen."""
    packed = step.packed
    if not packed.screened or batch <= SCREENED_STORIES:
        return packed.bytes_a_token
    head, screen = (_bytes(packed.weights.matrices[4 * packed.shape.layers + which]) for which in (HEAD, SCREEN))
    return packed.bytes_a_token - screen + head


def _bytes(matrix: np.ndarray) -> int:
    return int(matrix[ROWS] * (matrix[ROW_BYTES] + 4 * matrix[ROW_SCALES]))
