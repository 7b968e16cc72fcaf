"""The command `train`: from a recipe and what is changed of it to a run that goes on by itself.

What is asked for is checked and completed by `run_plan`, as it is for the form on the screen. No Textual, and torch only where it trains
in this process.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinytales_tui.figures import duration
from tinytales_tui.output import note
from tinytales_tui.output import quiet as silent
from tinytales_tui.run_plan import RunRequest, planned_settings, run_folder

if TYPE_CHECKING:
    from engine.training.settings import TrainSettings


@dataclass(frozen=True)
class TrainOptions(RunRequest):
    """What a person asked for on the command line."""

    foreground: bool
    start: bool
    dry_run: bool
    json: bool
    quiet: bool


def run_train(options: TrainOptions) -> int:
    """Make a run and start it; prints the run's name (in the foreground, the folder of its best checkpoint) on standard output."""
    say = silent if options.quiet else note
    settings = planned_settings(options)
    if options.dry_run:
        return _estimate(settings, options, say)
    from engine.training import launch

    folder = run_folder(options)
    name = folder.name
    launch.create(folder, settings)
    if not options.start:
        say(f"The run {name} is ready. Start it on each machine with:")
        say(f"  torchrun --nproc-per-node N --nnodes M --rdzv-backend c10d --rdzv-endpoint HOST:PORT -m engine.training {folder}")
        print(folder)
        return 0
    if options.foreground:
        code = launch.run_here(folder, say)
        if code == 0:
            best = folder / "checkpoints" / "best"
            print(best if best.is_dir() else max((folder / "checkpoints").glob("step-*"), default=folder))
        return code
    launch.start(folder)
    say(f"The run {name} trains in the background and goes on when this terminal closes.")
    say(f"  watch it   tinytales-tui watch {name}      stop it   tinytales-tui runs stop {name}")
    print(name)
    return 0


def list_settings(recipe: str) -> int:
    """Every training setting with the recipe's value and what it means, on standard output."""
    from engine.training.recipes import load_recipe
    from engine.training.settings import options

    settings = load_recipe(recipe, {})
    group = ""
    for name, about in options().items():
        if about.group != group:
            group = about.group
            print(f"\n{group}")
        value = getattr(settings, name)
        shown = (
            "-"
            if value is None
            else ", ".join(value)
            if isinstance(value, tuple)
            else str(value).lower()
            if isinstance(value, bool)
            else value
        )
        print(f"  --{name.replace('_', '-'):<22} {shown}\n      {about.help}")
    return 0


def list_recipes() -> int:
    """The recipes in the package with the first lines of what they say about themselves."""
    from engine.training.recipes import about_recipe, recipe_names

    for name in recipe_names():
        print(f"{name:<14} {about_recipe(name)}")
    return 0


def _estimate(settings: TrainSettings, options: TrainOptions, say: Any) -> int:
    from engine.training.estimate import estimate

    figures = estimate(settings, say)
    if options.json:
        print(json.dumps(figures))
        return 0
    trained = (
        ""
        if figures["trained_parameters"] == figures["parameters"]
        else f", of which {figures['trained_parameters']:,} are trained"
    )
    rows = [
        ("model", f"{figures['parameters']:,} parameters{trained}, {figures['context']} tokens of context"),
        ("data", f"{figures['stories']:,} stories, {figures['steps_an_epoch']:,} steps a pass"),
        ("length", f"{figures['steps']:,} steps, {figures['epochs']:.2f} passes, {figures['tokens'] / 1e6:,.1f} million tokens"),
        ("a step", f"{figures['tokens_a_step']:,} tokens, {figures['padding_share']:.1%} padding, {figures['seconds_a_step']:.2f} s"),
        ("speed", f"{figures['tokens_per_s']:,.0f} tokens/s on {figures['device']} in {figures['precision']}"),
        ("a validation", f"{figures['seconds_a_validation']:.1f} s"),
        ("memory", f"{figures['peak_memory_bytes'] / 1e9:.2f} GB at the peak"),
        ("on disk", f"{figures['checkpoint_bytes'] / 1e6:,.0f} MB a checkpoint, {figures['state_bytes'] / 1e6:,.0f} MB to resume"),
        ("time", f"about {duration(figures['seconds'])}, by {figures['measured_steps']} steps on this machine as busy as it is"),
    ]  # fmt: skip
    for name, text in rows:
        print(f"{name:<13} {text}")
    return 0
