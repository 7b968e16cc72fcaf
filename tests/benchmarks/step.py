"""Decode speed of the compiled step: tokens a second and GB/s for each width, number of threads and batch, beside others in one run.

    python tests/benchmarks/step.py [--models gpt2-30m,…] [--against llama.cpp,transformers] [--threads 1,2] [--batches 1,4,16]

Random weights (`shipped`: its own), 200 tokens after a prompt of 32, each drawn from the top 50 at temperature 0.8 (llama.cpp by its own
samplers). Runs alternate; medians, with the fastest in brackets: on a quiet machine the two agree.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import engine
from engine.cache import KeyValueCache
from engine.checkpoints.exporting import export
from engine.checkpoints.native import Checkpoint
from engine.decode.compiled import CompiledStep, verify
from engine.model import Decoder
from engine.settings import MODEL_PRESETS
from engine.tokenizer import GPT2Tokenizer

PROMPT, TOP = 32, 50


class Padded:
    """A tokenizer with more tokens than it knows, so that a model of any vocabulary can be exported."""

    def __init__(self, words: Any, size: int) -> None:
        self._words, self.vocab_size = words, size

    def __getattr__(self, name: str) -> Any:
        return getattr(self._words, name)

    def token_bytes(self, token: int) -> bytes:
        return self._words.token_bytes(token) if token < self._words.vocab_size else b""


def load(name: str) -> Checkpoint:
    shipped = engine.load_checkpoint(None, device="cpu")
    if name == "shipped":
        return shipped
    config = MODEL_PRESETS[name]
    network = Decoder(config)
    network.initialise(torch.Generator().manual_seed(0))
    words = GPT2Tokenizer() if config.vocab_size == GPT2Tokenizer.vocab_size else Padded(shipped.tokenizer, config.vocab_size)
    return dataclasses.replace(shipped, network=network.eval().requires_grad_(False), tokenizer=words, name=name)


def prompt(checkpoint: Checkpoint) -> list[int]:
    return torch.randint(5, checkpoint.config.vocab_size - 5, (PROMPT,), generator=torch.Generator().manual_seed(1)).tolist()


@torch.inference_mode()
def prefilled(checkpoint: Checkpoint, rows: int, tokens: int) -> KeyValueCache:
    cache = KeyValueCache(checkpoint.config, rows, PROMPT + tokens, torch.device("cpu"), torch.float32)
    checkpoint.network(torch.tensor([prompt(checkpoint)] * rows), cache, last_only=True)
    return cache


def plain(checkpoint: Checkpoint, rows: int, tokens: int) -> Callable[[], float]:
    @torch.inference_mode()
    def once() -> float:
        cache = prefilled(checkpoint, rows, tokens)
        given = torch.zeros(rows, 1, dtype=torch.int64)
        begun = time.perf_counter()
        for _ in range(tokens):
            values, ids = checkpoint.network(given, cache, last_only=True)[:, -1].topk(TOP)
            given = ids.gather(1, (values / 0.8).softmax(-1).multinomial(1))
        return tokens * rows / (time.perf_counter() - begun)

    return once


def compiled(step: CompiledStep, checkpoint: Checkpoint, rows: int, tokens: int) -> Callable[[], float]:
    def once() -> float:
        step.start(rows, PROMPT + tokens, TOP)
        step.read([prompt(checkpoint)])
        given, draw = np.zeros(rows, np.int64), random.Random(1)
        begun = time.perf_counter()
        for _ in range(tokens):
            found = step.step(given, screened=True)
            sums = np.exp((found.top_values - found.top_values[:, :1]) / 0.8).cumsum(1)
            for row in range(rows):
                given[row] = found.top_ids[row, min(TOP - 1, sums[row].searchsorted(draw.random() * sums[row, -1], "right"))]
        return tokens * rows / (time.perf_counter() - begun)

    return once


def llama_cpp(checkpoint: Checkpoint, tokens: int, threads: int, folder: Path) -> Iterator[tuple[str, Callable[[], float]]]:
    import llama_cpp as library

    sampler = library.llama_sampler_chain_init(library.llama_sampler_chain_default_params())
    for part in (library.llama_sampler_init_top_k(TOP), library.llama_sampler_init_temp(0.8), library.llama_sampler_init_dist(1)):
        library.llama_sampler_chain_add(sampler, part)
    for stored_as in ("float32", "float16", "q8_0"):
        export(checkpoint, "gguf", folder / stored_as, stored_as=stored_as, force=True)
        path = str(folder / stored_as / "model.gguf")
        theirs = library.Llama(path, n_ctx=256, n_threads=threads, n_threads_batch=threads, verbose=False)

        def once(theirs: Any = theirs) -> float:
            theirs.reset()
            theirs._ctx.kv_cache_clear()
            theirs.eval(prompt(checkpoint))
            context, token = theirs._ctx.ctx, np.zeros(1, np.int32)
            pointer = token.ctypes.data_as(library.llama_cpp.ctypes.POINTER(library.llama_token))
            begun = time.perf_counter()
            for _ in range(tokens):
                if library.llama_decode(context, library.llama_batch_get_one(pointer, 1)):
                    raise RuntimeError("llama.cpp could not go on")
                token[0] = library.llama_sampler_sample(sampler, context, -1)
            return tokens / (time.perf_counter() - begun)

        yield f"llama.cpp {stored_as}", once


def transformers(checkpoint: Checkpoint, tokens: int, folder: Path) -> Callable[[], float]:
    from transformers import AutoModelForCausalLM

    export(checkpoint, "hf", folder / "hf", force=True)
    theirs = AutoModelForCausalLM.from_pretrained(folder / "hf", dtype=torch.float32).eval()
    ids = torch.tensor([prompt(checkpoint)])

    @torch.inference_mode()
    def once() -> float:
        options = {"do_sample": True, "temperature": 0.8, "top_k": TOP, "pad_token_id": 0}
        begun = time.perf_counter()
        theirs.generate(ids, max_new_tokens=1, min_new_tokens=1, **options)
        first = time.perf_counter()
        theirs.generate(ids, max_new_tokens=tokens + 1, min_new_tokens=tokens + 1, **options)
        return tokens / (time.perf_counter() - first - (first - begun))

    return once


def measure(name: str, arguments: argparse.Namespace, folder: Path) -> None:
    checkpoint = load(name)
    ours: dict[str, CompiledStep] = {}
    rows: dict[str, Callable[[], float]] = {}
    for threads in arguments.threads:
        for precision in arguments.precisions:
            step = CompiledStep.build(checkpoint.network, precision, threads, folder.parent / "compiled")
            for batch in arguments.batches:
                label = f"compiled {precision:5} {threads} threads batch {batch}"
                ours[label], rows[label] = step, compiled(step, checkpoint, batch, arguments.tokens)
        if "llama.cpp" in arguments.against:
            for label, once in llama_cpp(checkpoint, arguments.tokens, threads, folder / name):
                rows[f"{label} {threads} threads"] = once
    rows |= {f"plain step batch {batch}": plain(checkpoint, batch, arguments.tokens) for batch in arguments.batches}
    if "transformers" in arguments.against:
        rows["transformers fp32"] = transformers(checkpoint, arguments.tokens, folder / name)
    speeds: dict[str, list[float]] = {label: [] for label in rows}
    for run in range(arguments.runs + 1):
        for label, once in rows.items():
            torch.set_num_threads(max(arguments.threads))
            speed = once()
            if run:
                speeds[label].append(speed)
    print(f"\n{name}: {checkpoint.network.parameter_count() / 1e6:.1f}M parameters; load {os.getloadavg()[0]:.1f}")
    for label, found in speeds.items():
        middle, batch = statistics.median(found), int(label.rpartition("batch ")[2]) if "batch" in label else 1
        rate = f"{ours[label].packed.bytes_a_token * middle / batch / 1e9:6.1f} GB/s" if label in ours else ""
        print(f"{label:<36} {middle:8,.0f} tokens/s ({max(found):,.0f}) {rate}", flush=True)
    for step in dict.fromkeys(ours.values()):
        difference = verify(step, checkpoint.network, prompt(checkpoint) * 3)
        print(f"{step.precision} on {step.shape.threads}: logits differ by {difference:.1e} of their spread at most")
        step.close()


def main() -> None:
    def names(text: str) -> list[str]:
        return [name for name in text.split(",") if name]

    def numbers(text: str) -> list[int]:
        return [int(name) for name in names(text)]

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=names, default=["gpt2-30m", "gpt2-125m", "llama-24m", "shipped"])
    parser.add_argument("--precisions", type=names, default=["fp32", "bf16", "int8"])
    parser.add_argument("--against", type=names, default=[])
    parser.add_argument("--threads", type=numbers, default=[1, 2])
    parser.add_argument("--batches", type=numbers, default=[1, 4, 16])
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.models:
            measure(name, arguments, Path(folder) / "models")


if __name__ == "__main__":
    main()
