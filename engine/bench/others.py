"""Measurement: the same texts by transformers and llama.cpp, from exports of the checkpoint.

Each library is imported where it is used.
"""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

from engine.bench.child import memory
from engine.bench.plan import sampling


class Export:
    """Writes a checkpoint for the other programs when it is made ready."""

    def __init__(self, source: str | None, choices: dict[str, Any], to: str, stored_as: str, folder: str) -> None:
        from engine.checkpoints.choices import Choices
        from engine.checkpoints.exporting import export
        from engine.checkpoints.load import load_checkpoint

        checkpoint = load_checkpoint(source, device="cpu", choices=Choices.from_json(choices))
        export(checkpoint, to, Path(folder), stored_as=stored_as)
        self.facts: dict[str, Any] = {}

    def run(self) -> dict[str, Any]:
        """Nothing is measured."""
        return {}


class Transformers:
    """`generate` of transformers, with its cache."""

    def __init__(
        self, bare: int, folder: str, number: str, prompt_ids: list[int], tokens: int, threads: int, device: str
    ) -> None:
        import torch
        import transformers

        torch.set_num_threads(threads)
        self._bare, self._tokens = bare, tokens
        self._model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, number)).to(device).eval()
        self._ids = torch.tensor([prompt_ids], device=device)
        self.facts = {"version": transformers.__version__, "threads": threads, "tokens": tokens}

    def run(self) -> dict[str, Any]:
        """One text."""
        import torch

        drawing, times = sampling(self._tokens), _Times()
        torch.manual_seed(drawing.seed or 0)
        begun = time.perf_counter()
        with torch.inference_mode():
            self._model.generate(
                self._ids,
                attention_mask=torch.ones_like(self._ids),
                max_new_tokens=self._tokens,
                min_new_tokens=self._tokens,
                do_sample=True,
                temperature=drawing.temperature,
                top_k=drawing.top_k,
                top_p=drawing.top_p,
                pad_token_id=0,
                streamer=times,
            )
        return _figures(begun, times.drawn, len(self._ids[0]), memory() - self._bare)


class _Times:
    """What transformers calls a streamer: is told of each token, the prompt first."""

    def __init__(self) -> None:
        self.drawn: list[float] = []
        self._prompt = True

    def put(self, _: object) -> None:
        if not self._prompt:
            self.drawn.append(time.perf_counter())
        self._prompt = False

    def end(self) -> None:
        pass


class LlamaCpp:
    """llama.cpp through `llama_cpp`, on the CPU."""

    def __init__(self, bare: int, folder: str, prompt_ids: list[int], tokens: int, threads: int) -> None:
        import llama_cpp

        self._bare, self._ids, self._tokens = bare, prompt_ids, tokens
        self._model = llama_cpp.Llama(
            str(Path(folder) / "model.gguf"),
            n_ctx=len(prompt_ids) + tokens,
            n_threads=threads,
            n_threads_batch=threads,
            n_gpu_layers=0,
            verbose=False,
        )
        self.facts = {"version": llama_cpp.__version__, "threads": threads, "tokens": tokens}

    def run(self) -> dict[str, Any]:
        """One text."""
        self._model.reset()  # else it would keep what it read of the prompt
        drawing = sampling(self._tokens)
        self._model.set_seed(drawing.seed or 0)
        begun = time.perf_counter()
        tokens = self._model.generate(
            self._ids,
            temp=drawing.temperature,
            top_k=drawing.top_k,
            top_p=drawing.top_p,
            min_p=drawing.min_p,
            repeat_penalty=drawing.repetition_penalty,
        )
        drawn = [time.perf_counter() for _ in itertools.islice(tokens, self._tokens)]
        return _figures(begun, drawn, len(self._ids), memory() - self._bare)


def _figures(begun: float, drawn: list[float], prompt_tokens: int, memory_bytes: int) -> dict[str, Any]:
    """The names that `engine.bench.writing` uses."""
    return {
        "prompt_tokens": prompt_tokens,
        "ttft_s": drawn[0] - begun,
        "decode_tokens_per_s": (len(drawn) - 1) / (drawn[-1] - drawn[0]),
        "memory_bytes": memory_bytes,
    }
