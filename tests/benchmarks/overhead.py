"""What the trainer costs beside its steps (metrics, heartbeat, requests, progress): `python tests/benchmarks/overhead.py [--steps 300]`.

A real run on storybook stories, with a line of metrics every step, whose time inside the steps is compared with the time of the whole
loop. The smaller the step, the larger the share: three models, from some milliseconds a step to some hundreds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from engine.training import launch
from engine.training.loop import Trainer
from engine.training.run import train
from engine.training.settings import TrainSettings

SHAPES = {"0.1 million": (48, 2, 2), "1 million": (128, 4, 4), "6 million": (256, 6, 4)}


def measure(shape: tuple[int, int, int], steps: int) -> tuple[float, float]:
    """Milliseconds a step, and the share of the loop's time outside the steps."""
    width, layers, heads = shape
    inside = [0.0, 0.0]
    learn, loop = Trainer._learn, Trainer._steps

    def timed(which: int, function: Any) -> Any:
        def call(*arguments: Any) -> Any:
            begun = time.perf_counter()
            try:
                return function(*arguments)
            finally:
                inside[which] += time.perf_counter() - begun

        return call

    Trainer._learn, Trainer._steps = timed(0, learn), timed(1, loop)  # type: ignore[method-assign]
    try:
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "run"
            settings = TrainSettings(
                data=("storybook:3000",), tokenizer="bpe", vocab_size=1000, model="llama", width=width, layers=layers, heads=heads,
                context=256, layout="stories", batch_tokens=4096, steps=steps, evaluate_every=10**9, checkpoint_every=10**9,
                sample_every=0, device="cpu", evaluate_stories=1,
            )  # fmt: skip
            launch.create(run, settings)
            Trainer._validate = Trainer._checkpoint = lambda self: None  # type: ignore[method-assign]
            train(run)
    finally:
        Trainer._learn, Trainer._steps = learn, loop  # type: ignore[method-assign]
    return 1000 * inside[0] / steps, 1 - inside[0] / inside[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300)
    asked = parser.parse_args()
    for name, shape in SHAPES.items():
        milliseconds, share = measure(shape, asked.steps)
        print(f"{name:<12} parameters {milliseconds:8.1f} ms a step {share:7.2%} beside it", flush=True)


if __name__ == "__main__":
    main()
