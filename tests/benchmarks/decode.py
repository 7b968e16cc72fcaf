"""Decode speed of this engine beside transformers' `generate`, same weights, prompt and settings, in one run.

    python tests/benchmarks/decode.py [CHECKPOINT FOLDER] [--threads N] [--tokens N] [--runs N]

Batch 1, temperature 0.8, top-k 50, fp32. Tokens per second are of the tokens after the first; medians, alternating runs.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

import engine
from engine.checkpoints.load import default_folder
from engine.protocol import Finished
from engine.settings import GenerationRequest, SamplingSettings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", default=str(default_folder()))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(arguments.threads)
    checkpoint = engine.load_checkpoint(arguments.folder, device="cpu")
    theirs = AutoModelForCausalLM.from_pretrained(arguments.folder).eval()
    prompt = "Once upon a time, there was a little girl who wanted to see the sea. One day,"
    ids = torch.tensor([[checkpoint.tokenizer.end_id, *checkpoint.tokenizer.encode(prompt)]])
    sampling = SamplingSettings(0.8, 50, 1.0, max_tokens=arguments.tokens, min_tokens=arguments.tokens, seed=1, stop_loops=False)
    request = GenerationRequest(opening=prompt, sampling=sampling)

    def ours_once() -> tuple[float, float]:
        end = next(event for event in engine.generate(checkpoint, request) if isinstance(event, Finished))
        return end.tokens_per_s, end.ttft_s

    @torch.inference_mode()
    def theirs_once() -> tuple[float, float]:
        options = {"do_sample": True, "temperature": 0.8, "top_k": 50, "pad_token_id": 0}
        begun = time.perf_counter()
        theirs.generate(ids, max_new_tokens=1, min_new_tokens=1, **options)
        first = time.perf_counter()
        theirs.generate(ids, max_new_tokens=arguments.tokens, min_new_tokens=arguments.tokens, **options)
        rest = time.perf_counter() - first - (first - begun)
        return (arguments.tokens - 1) / rest, first - begun

    rows: dict[str, list[tuple[float, float]]] = {"tinytales-tui": [], "transformers": []}
    for run in range(arguments.runs + 1):
        for name, once in (("tinytales-tui", ours_once), ("transformers", theirs_once)):
            if run:
                rows[name].append(once())
            else:
                once()  # warm-up
    speed = {name: statistics.median(row[0] for row in figures) for name, figures in rows.items()}
    first = {name: statistics.median(row[1] for row in figures) for name, figures in rows.items()}
    for name in rows:
        print(f"{name:<14} {speed[name]:8,.0f} tokens/s   first token after {first[name] * 1000:5.1f} ms")
    print(f"ratio          {speed['tinytales-tui'] / speed['transformers']:8.2f} x")


if __name__ == "__main__":
    main()
