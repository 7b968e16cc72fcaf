"""Measurement: time to first token, prefill and decode rate, and memory, through `engine.generate` as every story is written."""

from __future__ import annotations

from typing import Any

from torch import nn

from engine.bench.child import memory
from engine.bench.openings import lengths, opening
from engine.bench.plan import PREFILL_TOKENS, PROMPT_TOKENS, STEPS, sampling
from engine.checkpoints.choices import Choices
from engine.checkpoints.load import load_checkpoint
from engine.devices import use_threads
from engine.errors import UsageError
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
        if step not in STEPS:
            raise UsageError(f"There is no step {step!r}; choose {', '.join(STEPS)}.")
        self._bare = bare
        self._checkpoint = load_checkpoint(source, device=device, precision=precision, choices=Choices.from_json(choices))
        network = self._checkpoint.network
        context = network.config.context
        prompt, self._tokens = lengths(context, PROMPT_TOKENS, tokens)
        long, _ = lengths(context, PREFILL_TOKENS, 2)
        self._opening, self._long = opening(self._checkpoint, prompt), opening(self._checkpoint, long)
        self.facts = {
            "threads": use_threads(threads, network.parameter_count()),
            "tokens": self._tokens,
            "weight_bytes": weight_bytes(network),
        }

    def run(self, batch: int) -> dict[str, Any]:
        """Figures of `batch` texts at once; prefill is measured with a batch of one."""
        times, first = self._write(self._opening, self._tokens, batch)
        figures = {
            "prompt_tokens": first["prompt_tokens"],
            "ttft_s": times[0],
            "decode_tokens_per_s": (len(times) - batch) / (times[-1] - times[batch - 1]),
            "memory_bytes": memory() - self._bare,
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
    """Bytes of weights that a one-token step reads: all but the tables of which it looks up one row a text."""
    tables: list[nn.Embedding | None] = [network.position_embedding, None if network.config.tied_head else network.embedding]
    looked_up = {id(table.weight) for table in tables if table is not None}
    weights = [*network.parameters(), *network.buffers()]
    return sum(weight.numel() * weight.element_size() for weight in weights if id(weight) not in looked_up)
