"""Small real training runs for the tests: made-up stories, a model of some ten thousand parameters, runs in processes of their own."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from small import SENTENCES

from engine.data.shard_writer import ShardWriter, write_manifest
from engine.data.shards import MARKED, Shards
from engine.prompts import story_prompt
from engine.settings import Ending
from engine.tokenizer import Tokenizer
from engine.training import launch
from engine.training.run import train
from engine.training.settings import TrainSettings

HAPPY, SAD = "They hugged and were happy ever after.", "They cried, because it was gone for ever."
NOT_REPEATABLE = ("time", "tokens_per_s", "memory_bytes")
"""Fields of metrics that measure the machine."""


def made_up_rows(count: int = 240) -> list[dict[str, str]]:
    """Rows of a JSON-lines file: story, topic, ending."""
    rows = []
    for number in range(count):
        ending = "happy" if number % 2 == 0 else "sad"
        story = f"{SENTENCES[number % len(SENTENCES)]} That was day {number}. {HAPPY if ending == 'happy' else SAD}"
        rows.append({"story": story, "topic": f"day {number}", "ending": ending})
    return rows


def write_stories(path: Path, count: int = 240) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in made_up_rows(count)))
    return path


def prepared(
    folder: Path, tokenizer: Tokenizer, stories: list[tuple[str, str | None, Ending | None]], held_out: int = 0
) -> Shards:
    """Prepared data of (story, topic, ending), the first few held out; a topic counts as given by people."""
    folder.mkdir()
    writers = {name: ShardWriter(folder, name, tokenizer) for name in ("train", "valid")}  # type: ignore[arg-type]
    for number, (story, topic, ending) in enumerate(stories):
        prompt = tokenizer.encode(story_prompt(topic, ending)) if topic and ending else []
        writer = writers["valid" if number < held_out else "train"]
        writer.add(prompt, tokenizer.encode(story), len(story.encode()), ending, MARKED if prompt else 0)
    facts = {"synthetic": False, "sources": [], "settings": {}}
    write_manifest(folder, tokenizer, {name: writer.finish() for name, writer in writers.items()}, facts)
    return Shards.open(folder)


def small_settings(data: Path, **changes: object) -> TrainSettings:
    values = {
        "data": (str(data),), "model": "llama", "width": 32, "layers": 2, "heads": 2, "context": 64, "tokenizer": "bpe",
        "vocab_size": 320, "steps": 40, "batch_tokens": 512, "learning_rate": 1e-2, "warmup_steps": 5, "evaluate_every": 20,
        "checkpoint_every": 20, "sample_every": 0, "precision": "fp32", "validation_share": 0.1, "device": "cpu", "threads": 1,
    }  # fmt: skip
    return TrainSettings(**(values | changes))  # type: ignore[arg-type]


def run_here(folder: Path, settings: TrainSettings, say: Callable[[str], None] = lambda line: None) -> Path:
    """A whole run in this process; returns its folder."""
    launch.create(folder, settings)
    assert train(folder, say) == "finished"
    return folder


def start_process(folder: Path, settings: TrainSettings | None = None, **how: Any) -> subprocess.Popen[str]:
    """The trainer of a run (made first where settings are given) as a process of its own."""
    if settings:
        launch.create(folder, settings)
    command = launch.command(folder, 1, foreground=True)
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **how)


def rows_of(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]


def learnt(folder: Path) -> list[dict[str, Any]]:
    """Everything in `metrics.jsonl` that must be the same each time."""
    return [{k: v for k, v in row.items() if k not in NOT_REPEATABLE} for row in rows_of(folder, "metrics")]


def status_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "status.json").read_text())


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for something; fails the test if it does not come."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)


def reached(folder: Path, step: int) -> Callable[[], bool]:
    """Whether the run has told of a step."""

    def look() -> bool:
        try:
            lines = (folder / "metrics.jsonl").read_text().splitlines()
            return bool(lines) and json.loads(lines[-1])["step"] >= step
        except (OSError, ValueError):
            return False

    return look
