"""The command `train`: it narrates on standard error and puts the folder of the best checkpoint on standard output. No Textual."""

from __future__ import annotations

import time
from pathlib import Path

from engine.errors import UsageError
from tinytales_tui.changes import parse_changes
from tinytales_tui.output import note
from tinytales_tui.output import quiet as silent


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
