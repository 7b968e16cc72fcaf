"""The commands `train` and `evaluate`: they narrate on standard error and put results on standard output. No Textual."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from engine.errors import UsageError
from tinytales_tui.changes import parse_changes
from tinytales_tui.output import note
from tinytales_tui.output import quiet as silent
from tinytales_tui.text import safe_text


def run_train(data: list[Path], recipe: str, name: str | None, changes: list[str], quiet: bool) -> int:
    """Train in the foreground; prints the folder of the best checkpoint on standard output."""
    from engine.training.recipes import load_recipe
    from tinytales_tui import paths

    values = parse_changes(changes)
    for path in data:
        if not path.is_file():
            raise UsageError(f"There is no file {path}.")
    settings = load_recipe(recipe, values | {"data": [str(path.resolve()) for path in data]})
    name = name or f"{Path(recipe).stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    if Path(name).name != name or name.startswith("."):
        raise UsageError(f"{name!r} cannot be the name of a folder; leave out slashes and a leading dot.")
    from engine.training.loop import train

    best = train(settings, paths.runs_folder() / name, silent if quiet else note)
    print(best)
    return 0


def run_evaluate(
    source: str | None, data: list[Path], stories: bool, limit: int | None, device: str | None, threads: int | None, as_json: bool
) -> int:
    """Print how well a checkpoint predicts stories, and with `stories` also how well it writes them."""
    from engine.checkpoints import load_checkpoint
    from engine.data.stories import read_records
    from engine.devices import use_threads
    from engine.evaluation.loss import evaluate

    records = read_records(data)
    checkpoint = load_checkpoint(source, device=device)
    if threads:
        use_threads(threads, checkpoint.network.parameter_count())
    texts = [record.story for record in records][:limit]
    begun = time.perf_counter()
    loss = evaluate(checkpoint.network, checkpoint.tokenizer, checkpoint.prompt_style, texts)
    report: dict[str, Any] = {"checkpoint": checkpoint.source, "data": [str(path) for path in data]} | loss.to_json()
    report["seconds"] = round(time.perf_counter() - begun, 1)
    if stories:
        from engine.evaluation.stories import measure_stories

        report |= measure_stories(checkpoint, records, note)
    if as_json:
        print(json.dumps(report))
        return 0
    width = max(len(key) for key in report)
    for key, value in report.items():
        shown = f"{value:,.4f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value
        print(f"{key.replace('_', ' '):<{width}}  {safe_text(str(shown))}")
    return 0
