"""A finished run for tests of the Train pane, and keys pressed one by one."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from made_runs import make_run, write_lines

STORIES = {20: "A cat sat there.", 60: "A cat ran to the hill.", 100: "A cat found its home."}


def long_run(folder: Path, name: str = "mine", spike: int | None = None, **how: Any) -> Path:
    """A finished run of 100 steps with a line a step, a validation every 20, a checkpoint, samples, and perhaps a jump of the loss."""
    path = make_run(folder, name, state="finished", step=100, **how)
    begun = time.time() - 1800
    rows: list[dict[str, Any]] = []
    for step in range(1, 101):
        row = {"step": step, "tokens": step * 1000, "time": begun + step * 10}
        loss = 9.0 if step == spike else 4.0 - step / 50
        rows.append(row | {"train_loss": loss, "lr": 1e-3, "grad_norm": 1.0, "tokens_per_s": 500.0, "memory_bytes": 10**9})
        if step % 20 == 0:
            rows.append(row | {"val_loss": 4.1 - step / 50, "val_bits_per_byte": 1.5 - step / 200})
    write_lines(path / "metrics.jsonl", rows)
    events = [
        {"event": "started", "step": 0, "time": begun},
        {"event": "checkpoint", "step": 50, "time": begun + 500, "folder": "checkpoints/step-000050"},
        *([{"event": "warning", "kind": "spike", "step": spike, "time": begun, "message": "The loss jumped."}] if spike else []),
        {"event": "finished", "step": 100, "time": begun + 1000},
    ]
    write_lines(path / "events.jsonl", events)
    samples = [
        {"step": step, "time": begun, "prompt": "happy: a cat", "story": story, "seed": 1} for step, story in STORIES.items()
    ]
    write_lines(path / "samples.jsonl", samples + [dict(row, prompt="Once", story=f" at {row['step']}") for row in samples])
    return path


async def press(pilot: Any, *keys: str) -> None:
    for key in keys:
        await pilot.press(key)
    await pilot.pause()
