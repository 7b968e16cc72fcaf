"""How fast the trainer's step is beside a plain one, in one run: `python tests/benchmarks/train.py [--shape 30m|4m] [--seconds 30]`.

The plain step is what a small readable GPT trainer does (in the manner of nanoGPT): the same shape and the same attention
operator, all logits at once, cross-entropy on them, AdamW as torch chooses it for a CPU, gradients clipped. Each variant runs in a
process of its own, one after another, so that peak memory is its own; data are random tokens, which cost the same as any.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable

SHAPES = {
    "30m": {"width": 384, "layers": 6, "heads": 6, "context": 512, "vocab_size": 50_257},
    "4m": {"width": 256, "layers": 4, "heads": 4, "context": 256, "vocab_size": 4096},
}
BATCH = 8
VARIANTS = ("plain fp32", "plain bf16", "ours fp32", "ours bf16")


def plain_step(shape: dict[str, int], bf16: bool) -> Callable[[], None]:
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Block(nn.Module):
        def __init__(self, width: int, heads: int) -> None:
            super().__init__()
            self.heads = heads
            self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.c_attn, self.c_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.c_fc, self.c_out = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            batch, time_, width = x.shape
            parts = self.c_attn(self.ln_1(x)).split(width, dim=2)
            q, k, v = (part.view(batch, time_, self.heads, width // self.heads).transpose(1, 2) for part in parts)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.c_proj(y.transpose(1, 2).contiguous().view(batch, time_, width))
            return x + self.c_out(F.gelu(self.c_fc(self.ln_2(x))))

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            width = shape["width"]
            self.wte, self.wpe = nn.Embedding(shape["vocab_size"], width), nn.Embedding(shape["context"], width)
            self.blocks = nn.ModuleList(Block(width, shape["heads"]) for _ in range(shape["layers"]))
            self.ln_f = nn.LayerNorm(width)
            self.head = nn.Linear(width, shape["vocab_size"], bias=False)
            self.head.weight = self.wte.weight
            nn.init.normal_(self.wte.weight, 0.0, 0.02)

        def forward(self, ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1]))
            for block in self.blocks:
                x = block(x)
            logits = self.head(self.ln_f(x))
            return F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1))

    torch.manual_seed(0)
    model = Plain()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, betas=(0.9, 0.95), weight_decay=0.1)
    ids = torch.randint(0, shape["vocab_size"], (BATCH, shape["context"] + 1))
    inputs, targets = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = model(inputs, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def our_step(shape: dict[str, int], bf16: bool) -> Callable[[], None]:
    """The parts that the trainer's step is made of."""
    import torch

    from engine.model import Decoder
    from engine.settings import gpt2_config
    from engine.training.objective import Objective
    from engine.training.optimizer import clip_gradients, make_optimizers
    from engine.training.products import speed_up
    from engine.training.settings import TrainSettings

    torch.manual_seed(0)
    network = Decoder(gpt2_config(**shape))
    network.initialise(torch.Generator().manual_seed(0))
    speed_up(network)
    objective = Objective(network).train()
    optimizers = make_optimizers(network, TrainSettings())
    ids = torch.randint(0, shape["vocab_size"], (BATCH, shape["context"] + 1))
    inputs, targets = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = objective(inputs, targets, 1 / targets.numel())
        loss.backward()
        clip_gradients(network, 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return step


def measure(variant: str, shape_name: str, seconds: float, threads: int) -> dict[str, float]:
    import torch

    torch.set_num_threads(threads)
    kind, precision = variant.split()
    step = (plain_step if kind == "plain" else our_step)(SHAPES[shape_name], precision == "bf16")
    step()
    begun, steps = time.perf_counter(), 0
    while steps < 2 or time.perf_counter() - begun < seconds:
        step()
        steps += 1
    elapsed = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"tokens_per_s": steps * BATCH * SHAPES[shape_name]["context"] / elapsed, "peak_bytes": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="30m")
    parser.add_argument("--seconds", type=float, default=20.0, help="of measuring, a variant and round")
    parser.add_argument("--rounds", type=int, default=2, help="how often each variant is measured; the fastest counts")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--variant", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.variant:
        print(json.dumps(measure(asked.variant, asked.shape, asked.seconds, asked.threads)))
        return
    found: dict[str, dict[str, float]] = {}
    for _ in range(asked.rounds):
        for variant in VARIANTS:
            command = [sys.executable, __file__, "--variant", variant, "--shape", asked.shape]
            command += ["--seconds", str(asked.seconds), "--threads", str(asked.threads)]
            result = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
            if result["tokens_per_s"] > found.get(variant, {"tokens_per_s": 0.0})["tokens_per_s"]:
                found[variant] = result
    print(f"{asked.shape}, {BATCH} × {SHAPES[asked.shape]['context']} tokens a step, {asked.threads} threads")
    print(f"{'':12} {'tokens/s':>9} {'× plain':>8} {'× plain fp32':>13} {'peak MB':>8} {'under it':>9}")
    for variant, result in found.items():
        twin = found[f"plain {variant.split()[1]}"]
        against, base = (
            result["tokens_per_s"] / twin["tokens_per_s"],
            result["tokens_per_s"] / found["plain fp32"]["tokens_per_s"],
        )
        less = 1 - result["peak_bytes"] / twin["peak_bytes"]
        row = f"{result['tokens_per_s']:9,.0f} {against:8.2f} {base:13.2f} {result['peak_bytes'] / 1e6:8,.0f}"
        print(f"{variant:12} {row} {less:9.0%}")


if __name__ == "__main__":
    main()
