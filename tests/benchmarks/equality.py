"""Whether the compiled step writes what the plain step writes: greedy text of 400 tokens, by model, kind of step and batch.

    python tests/benchmarks/equality.py [--models gpt2-30m,gpt2-125m,llama-24m,shipped] [--tokens 400]

Random weights but for `shipped`. For fp32: whether the tokens are equal, the likeliest ones and those drawn with a seed, alone on one
and on two threads, and as a batch of three. For the narrower widths, which may differ: both read the plain step's text, and where their
likeliest tokens differ the gap between the plain step's logits for the two is told, beside the largest error of a logit (a gap above
twice that would be a fault).
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import torch
from step import load, prompt

from engine.cache import KeyValueCache
from engine.checkpoints.native import Checkpoint
from engine.decode.compiled import CompiledStep
from engine.generation import generate
from engine.protocol import Token
from engine.settings import GenerationRequest, SamplingSettings


def text_of(checkpoint: Checkpoint, count: int, tokens: int, temperature: float = 0.0) -> list[list[int]]:
    """Tokens of `count` stories through `generate`, past the context where they reach it; all from the first story's seed."""
    sampling = SamplingSettings(temperature=temperature, max_tokens=tokens, min_tokens=tokens, seed=1, stop_loops=False)
    found: list[list[int]] = [[] for _ in range(count)]
    for event in generate(checkpoint, GenerationRequest(opening="One day, a girl", sampling=sampling, count=count)):
        if isinstance(event, Token):
            found[event.story].append(event.token)
    return found


def same(found: list[list[int]], expected: list[int]) -> str:
    equal = min(next((i for i, (a, b) in enumerate(zip(one, expected, strict=True)) if a != b), len(expected)) for one in found)
    return "equal" if equal == len(expected) else f"differs at token {equal + 1}"


@torch.inference_mode()
def gaps(checkpoint: Checkpoint, step: CompiledStep, ids: list[int]) -> tuple[int, float, float]:
    """Places where the likeliest token differs, the largest gap there, and the largest error of a logit; in logits' spreads."""
    cache = KeyValueCache(checkpoint.config, 1, len(ids), torch.device("cpu"), torch.float32)
    step.start(1, len(ids))
    places, widest, error = 0, 0.0, 0.0
    for at, token in enumerate(ids):
        plain = checkpoint.network(torch.tensor([[token]]), cache, last_only=True)[0, -1, : step.shape.vocab].numpy()
        found = (step.step([token]) if at else step.read([[token]])).logits[0]
        spread, best = float(plain.std()), int(found.argmax())
        error = max(error, float(np.abs(found - plain).max()) / spread)
        if best != plain.argmax():
            places, widest = places + 1, max(widest, float(plain.max() - plain[best]) / spread)
    return places, widest, error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="gpt2-30m,gpt2-125m,llama-24m,shipped")
    parser.add_argument("--tokens", type=int, default=400)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.models.split(","):
            checkpoint = load(name)
            expected = text_of(checkpoint, 1, arguments.tokens)[0]
            batch = same(text_of(checkpoint, 3, arguments.tokens), expected)
            drawn = text_of(checkpoint, 1, arguments.tokens, 1.0)[0]
            print(f"\n{name}: {len(set(expected))} different tokens of {arguments.tokens}, of those drawn {len(set(drawn))}")
            print(f"  plain, three at once: {batch}")
            for threads in (1, 2):
                step = CompiledStep.build(checkpoint.network, "fp32", threads, Path(folder))
                made = dataclasses.replace(checkpoint, compiled=step)
                alone, three = (same(text_of(made, count, arguments.tokens), expected) for count in (1, 3))
                by_seed = same(text_of(made, 1, arguments.tokens, 1.0), drawn)
                print(f"  compiled fp32 on {threads}: {alone}; three at once: {three}; drawn: {by_seed}", flush=True)
                step.close()
            read = (prompt(checkpoint) + expected)[: checkpoint.config.context - 1]
            for precision in ("bf16", "int8", "int4"):
                step = CompiledStep.build(checkpoint.network, precision, 1, Path(folder))
                places, widest, error = gaps(checkpoint, step, read)
                print(
                    f"  {precision}: another likeliest token at {places} of {len(read)} places, gap {widest:.4f}, error {error:.4f}"
                )
                step.close()


if __name__ == "__main__":
    main()
