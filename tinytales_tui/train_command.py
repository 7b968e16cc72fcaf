"""The command `train`: from a recipe and what is changed of it to a run that goes on by itself.

No Textual, and torch only where it trains in this process.

Whatever can be refused without torch is refused before anything is written: an unknown recipe or setting, data that are not there, a
checkpoint whose files are cut off.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import UsageError
from tinytales_tui.changes import parse_changes, setting_options
from tinytales_tui.output import note
from tinytales_tui.output import quiet as silent

if TYPE_CHECKING:
    from engine.training.settings import TrainSettings


@dataclass(frozen=True)
class TrainOptions:
    """What a person asked for."""

    data: Sequence[str]
    recipe: str
    name: str | None
    start_from: str | None
    changes: Sequence[str]
    """`KEY=VALUE` texts."""
    others: Sequence[str]
    """Settings given as options of their own: `--steps 500 --compile`."""
    foreground: bool
    start: bool
    dry_run: bool
    json: bool
    quiet: bool


def run_train(options: TrainOptions) -> int:
    """Make a run and start it; prints the run's name (in the foreground, the folder of its best checkpoint) on standard output."""
    from engine.training.recipes import load_recipe

    say = silent if options.quiet else note
    values = parse_changes(list(options.changes)) | setting_options(options.others)
    if options.start_from:
        values["start_from"] = options.start_from
    if options.data:
        values["data"] = list(options.data)
    settings = _resolved(load_recipe(options.recipe, values))
    if options.dry_run:
        return _estimate(settings, options, say)
    from engine.training import launch
    from tinytales_tui import paths

    name = _name(options)
    folder = paths.runs_folder() / name
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
    say(f"  watch it   tinytales-tui runs log {name} --follow      stop it   tinytales-tui runs stop {name}")
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


def _name(options: TrainOptions) -> str:
    name = options.name or f"{Path(options.recipe).stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    if Path(name).name != name or name.startswith(".") or len(name.encode()) > 200 or not name.isprintable():
        raise UsageError(f"{name!r} cannot be the name of a run; leave out slashes and a leading dot, and keep it short.")
    return name


def _resolved(settings: TrainSettings) -> TrainSettings:
    """The settings with absolute paths, after a look at whether what they name is there."""
    from dataclasses import replace

    from engine.checkpoints.glance import folder_of, glance
    from engine.data.prepare import open_tokenizer
    from engine.data.shards import UNFINISHED, Shards, is_prepared
    from engine.data.sources import open_sources
    from engine.tokenizer import tokenizer_sha256
    from tinytales_tui import paths

    if not settings.data:
        raise UsageError("There is nothing to train on: name story files or prepared data with --data, or say --data storybook.")
    data = tuple(_absolute(text) for text in settings.data)
    if any(is_prepared(Path(text)) or (Path(text) / UNFINISHED).exists() for text in data):
        if len(data) > 1:
            raise UsageError("Prepared data are trained on alone; name one folder of them, and nothing else, with --data.")
        shards = Shards.open(Path(data[0]))
    else:
        shards = None
        open_sources(data)
        if settings.tokenizer not in ("gpt2", "bpe"):
            open_tokenizer(settings.tokenizer)
            settings = replace(settings, tokenizer=str(Path(settings.tokenizer).expanduser().absolute()))
    if not settings.start_from:
        settings.model_config(settings.vocab_size)
        return replace(settings, data=data)
    run = paths.runs_folder() / settings.start_from
    named = not Path(settings.start_from).exists() and Path(settings.start_from).name == settings.start_from and run.is_dir()
    source = glance(str(run) if named else settings.start_from)  # a run may be called by its name
    folder = folder_of(source)
    if shards and folder and tokenizer_sha256(open_tokenizer(str(folder))) != shards.tokenizer_sha256:
        raise UsageError(
            f"{data[0]} was prepared for another vocabulary ({shards.manifest['tokenizer']['name']}) than that of "
            f"{settings.start_from}; prepare it again with --tokenizer {settings.start_from}."
        )
    return replace(settings, data=data, start_from=source)


def _absolute(text: str) -> str:
    from tinytales_tui import paths

    path = Path(text).expanduser() if text.startswith("~") else Path(text)
    if path.exists() or any(mark in text for mark in "*?["):
        return str(path.absolute())
    own = paths.data_sets_folder() / text
    return str(own) if Path(text).name == text and own.is_dir() else text  # the name of data that were prepared here


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


def duration(seconds: float) -> str:
    """`3 days 4 h`, `2 h 10 min`, `45 s`: two parts at most."""
    parts = [("day", 86400), ("h", 3600), ("min", 60), ("s", 1)]
    for (unit, size), (below, less) in itertools.pairwise(parts):
        if seconds >= size:
            whole, rest = divmod(round(seconds), size)
            plural = "s" if unit == "day" and whole > 1 else ""
            return f"{whole} {unit}{plural}" + (f" {rest // less} {below}" if rest // less else "")
    return f"{seconds:.0f} s"
