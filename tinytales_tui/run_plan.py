"""From what a person asked for to a training run that can be started, the same for the command and the form. Knows no Textual, no torch.

Whatever can be refused without torch is refused here, before anything is written: an unknown recipe or setting, data that are not there,
a checkpoint whose files are cut off, a name that cannot be one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from engine.errors import UsageError
from tinytales_tui import paths
from tinytales_tui.changes import parse_changes, setting_options

if TYPE_CHECKING:
    from engine.data.shards import Shards
    from engine.training.settings import TrainSettings

Part = Literal["recipe", "settings", "data", "tokenizer", "model", "start_from", "name"]
"""What is being looked at; all but `recipe`, `settings` and `name` are the names of settings."""


@dataclass(frozen=True)
class RunRequest:
    """What a person asked for."""

    data: Sequence[str]
    recipe: str
    name: str | None
    start_from: str | None
    changes: Sequence[str]
    """`KEY=VALUE` texts."""
    others: Sequence[str]
    """Settings given as options of their own: `--steps 500 --compile`."""


def changed_settings(request: RunRequest) -> dict[str, Any]:
    """Every setting that differs from the recipe's by request; raises `UsageError` for words that are no settings."""
    values = parse_changes(list(request.changes)) | setting_options(request.others)
    if request.start_from:
        values["start_from"] = request.start_from
    if request.data:
        values["data"] = list(request.data)
    return values


def planned_settings(request: RunRequest, looking_at: Callable[[Part], None] = lambda part: None) -> TrainSettings:
    """The settings of the run with absolute paths, after a look at whether what they name is there.

    `looking_at` is told each part before it is checked. Raises a `TinyTalesError` for the first thing that cannot be.
    """
    from engine.training.recipes import load_recipe

    looking_at("settings")
    changes = changed_settings(request)
    looking_at("recipe")
    load_recipe(request.recipe, {})
    looking_at("settings")
    return _resolved(load_recipe(request.recipe, changes), looking_at)


def default_name(recipe: str) -> str:
    """The name of a run that was given none: the recipe and the time."""
    return f"{Path(recipe).stem}-{time.strftime('%Y%m%d-%H%M%S')}"


def run_folder(request: RunRequest) -> Path:
    """Where the run will lie; raises `UsageError` for a name that cannot be one."""
    name = request.name or default_name(request.recipe)
    if Path(name).name != name or name.startswith(".") or len(name.encode()) > 200 or not name.isprintable():
        raise UsageError(f"{name!r} cannot be the name of a run; leave out slashes and a leading dot, and keep it short.")
    return paths.runs_folder() / name


def start_run(request: RunRequest, looking_at: Callable[[Part], None] = lambda part: None) -> Path:
    """Make the run and start it in the background; returns its folder. Raises a `TinyTalesError` where anything is refused."""
    from engine.training import launch

    settings = planned_settings(request, looking_at)
    looking_at("name")
    folder = run_folder(request)
    launch.create(folder, settings)
    launch.start(folder)
    return folder


def _resolved(settings: TrainSettings, looking_at: Callable[[Part], None]) -> TrainSettings:
    from dataclasses import replace

    from engine.data.prepare import open_tokenizer

    looking_at("data")
    data, shards = _data(settings.data)
    if shards is None and settings.tokenizer not in ("gpt2", "bpe"):
        looking_at("tokenizer")
        open_tokenizer(settings.tokenizer)
        settings = replace(settings, tokenizer=str(Path(settings.tokenizer).expanduser().absolute()))
    if not settings.start_from:
        looking_at("model")
        settings.model_config(settings.vocab_size)
        return replace(settings, data=data)
    looking_at("start_from")
    return replace(settings, data=data, start_from=_checkpoint(settings.start_from, data, shards))


def _data(texts: tuple[str, ...]) -> tuple[tuple[str, ...], Shards | None]:
    """The sources by absolute path, and the prepared data where they are that."""
    from engine.data.shards import UNFINISHED, Shards, is_prepared
    from engine.data.sources import open_sources

    if not texts:
        raise UsageError("There is nothing to train on: name story files or prepared data with --data, or say --data storybook.")
    data = tuple(_absolute(text) for text in texts)
    if any(is_prepared(Path(text)) or (Path(text) / UNFINISHED).exists() for text in data):
        if len(data) > 1:
            raise UsageError("Prepared data are trained on alone; name one folder of them, and nothing else, with --data.")
        return data, Shards.open(Path(data[0]))
    open_sources(data)
    return data, None


def _checkpoint(source: str, data: tuple[str, ...], shards: Shards | None) -> str:
    """The checkpoint to go on from, a run by its name among them, as an absolute path or a Hub id."""
    from engine.checkpoints.glance import folder_of, glance
    from engine.data.prepare import open_tokenizer
    from engine.tokenizer import tokenizer_sha256

    run = paths.runs_folder() / source
    named = not Path(source).exists() and Path(source).name == source and run.is_dir()
    found = glance(str(run) if named else source)
    folder = folder_of(found)
    if shards and folder and tokenizer_sha256(open_tokenizer(str(folder))) != shards.tokenizer_sha256:
        raise UsageError(
            f"{data[0]} was prepared for another vocabulary ({shards.manifest['tokenizer']['name']}) than that of "
            f"{source}; prepare it again with --tokenizer {source}."
        )
    return found


def _absolute(text: str) -> str:
    try:
        path = Path(text).expanduser() if text.startswith("~") else Path(text)
    except RuntimeError as error:  # ~name of nobody here
        raise UsageError(f"There is no file or folder {text}.") from error
    if path.exists() or any(mark in text for mark in "*?["):
        return str(path.absolute())
    own = paths.data_sets_folder() / text
    return str(own) if Path(text).name == text and own.is_dir() else text  # the name of data that were prepared here
