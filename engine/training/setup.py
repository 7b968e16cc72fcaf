"""From a run's `config.json` to everything that trains: data, tokenizer, network, and the state to go on from.

The first start resolves the settings and writes them down with the model's shape, versions and the data's hash; a later start needs
nothing but the run directory and the data. Refuses in one sentence what does not fit together.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from engine.checkpoints import load_checkpoint
from engine.checkpoints.layout import model_type
from engine.data.plan import Steps, longer_than
from engine.data.prepare import PrepareSettings, prepare
from engine.data.shards import MARKED, Shards, is_prepared
from engine.devices import describe
from engine.errors import CheckpointError, UsageError
from engine.model import Decoder
from engine.prompts import PromptStyle
from engine.runs import RunDirectory
from engine.settings import ModelConfig
from engine.tokenizer import Tokenizer, tokenizer_sha256
from engine.training.lora import add_low_rank
from engine.training.settings import TrainSettings
from engine.training.state import Progress, SavedState, newest_state
from engine.training.world import World
from engine.version import __version__

Say = Callable[[str], None]


@dataclass
class Parts:
    """All that a trainer is made of."""

    settings: TrainSettings
    data: Shards
    tokenizer: Tokenizer
    style: PromptStyle
    network: Decoder
    steps: int
    context: int
    facts: dict[str, Any]
    saved: SavedState | None
    """Where to go on; None: from the beginning."""
    damaged: list[str]
    """What was wrong with newer states."""

    @property
    def progress(self) -> Progress:
        return self.saved.progress if self.saved else Progress()


def read_settings(run: RunDirectory) -> TrainSettings:
    """The settings of a run; raises `UsageError` where its config.json holds none."""
    return TrainSettings.from_json(run.config().get("settings"))


def assemble(run: RunDirectory, world: World, say: Say) -> Parts:
    """Everything for this process; rank 0 prepares data where needed, and the others wait for it."""
    config = run.config()
    settings = TrainSettings.from_json(config.get("settings"))
    begun = isinstance(config.get("model"), dict)  # a first start came as far as to a network
    saved, damaged = _saved(run) if world.main and begun else (None, [])
    begun = world.share(saved is not None)
    source = load_checkpoint(settings.start_from, device="cpu") if settings.start_from and not begun else None
    if world.main:
        folder = data_folder(run, settings, source.tokenizer if source else None, say)
        world.share(str(folder))
    else:
        folder = Path(world.share(None))
    data = Shards.open(folder)
    if begun and data.data_sha256 != config["data_sha256"]:
        raise UsageError(f"The prepared data in {folder} are not those that this run began with, so it cannot go on.")
    tokenizer = source.tokenizer if source else data.tokenizer
    if tokenizer_sha256(tokenizer) != data.tokenizer_sha256:
        raise UsageError(
            f"The data in {folder} were prepared for another vocabulary ({data.manifest['tokenizer']['name']}) than that of "
            f"{settings.start_from} ({tokenizer.name}); prepare them again with --tokenizer {settings.start_from}."
        )
    if begun:
        network, style = Decoder(ModelConfig.from_json(config["model"])), PromptStyle.from_json(config["prompt_style"])
    elif source:
        model_type(source.config)  # refused now and not at the first checkpoint: a shape that could not be saved
        network = Decoder(replace(source.config, dropout=settings.dropout))
        network.load_state_dict(source.network.state_dict())
        style = replace(source.prompt_style, start_with_end=True)
    else:
        network = Decoder(settings.model_config(tokenizer.vocab_size))
        network.initialise(torch.Generator().manual_seed(settings.seed))
        style = PromptStyle("plain", start_with_end=True)
    if not begun and _with_prompts(data, settings):
        style = PromptStyle("topic-ending", start_with_end=True)
    if settings.lora_rank:
        add_low_rank(network, settings.lora_rank, settings.lora_alpha, settings.seed)
    network.to(world.device)
    context = min(settings.context or network.config.context, network.config.context)
    planned = Steps(data.split("train"), settings, context)
    steps = settings.steps or planned.steps_in(settings.epochs or 1.0)
    next(planned)  # raises where no story is left
    facts = {
        "tinytales_tui": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": str(world.device),
        "threads": torch.get_num_threads(),
        "processes": world.size,
        "data_folder": str(folder),
        "data_sha256": data.data_sha256,
        "synthetic": data.synthetic,
        "split_seed": data.manifest.get("settings", {}).get("seed"),
        "split_share": data.manifest.get("settings", {}).get("validation_share"),
        "tokenizer": tokenizer.name,
        "tokenizer_sha256": data.tokenizer_sha256,
        "stories": len(data.split("train")),
        "stories_held_out": len(data.split("valid")),
        "longer_than_context": longer_than(data.split("train"), context),
        "parameters": sum(p.numel() for p in network.parameters()),
        "trained_parameters": sum(p.numel() for p in network.parameters() if p.requires_grad),
        "steps": steps,
    }
    if world.main and not begun:
        model = {"model": network.config.to_json(), "prompt_style": style.to_json()}
        run.write_config({"settings": settings.to_json(), **model, **facts, "machine": describe()})
    return Parts(settings, data, tokenizer, style, network, steps, context, facts, saved, damaged)


def data_folder(run: RunDirectory, settings: TrainSettings, tokenizer: Tokenizer | None, say: Say) -> Path:
    """The prepared data of a run: a folder that was prepared before, or the run's own, which is prepared now where it is not yet."""
    if not settings.data:
        raise UsageError("There is nothing to train on: name story files or prepared data with --data, or say --data storybook.")
    prepared = [name for name in settings.data if is_prepared(Path(name))]
    if prepared and len(settings.data) > 1:
        raise UsageError(f"{prepared[0]} is prepared data, and those are trained on alone; name nothing else with --data.")
    if prepared:
        return Path(prepared[0])
    own = run.path / "data"
    if is_prepared(own):  # by an earlier start; the story files may be gone by now
        return own
    wanted = PrepareSettings(
        sources=settings.data,
        tokenizer=settings.tokenizer,
        vocab_size=settings.vocab_size,
        validation_share=settings.validation_share,
        seed=settings.seed,
        guess=settings.prompted_happy > 0 or settings.prompted_sad > 0,
    )
    prepare(wanted, own, say, tokenizer=tokenizer)
    return own


def _saved(run: RunDirectory) -> tuple[SavedState | None, list[str]]:
    damaged = []
    for found in newest_state(run.path / "state"):
        if isinstance(found, CheckpointError):
            damaged.append(str(found))
        else:
            return found, damaged
    if damaged:
        raise CheckpointError(
            f"{damaged[0]} No other one is left, so the run cannot go on; its checkpoints can be trained on with --from."
        )
    return None, damaged


def _with_prompts(data: Shards, settings: TrainSettings) -> bool:
    """Whether the model will read story prompts while it learns."""
    if settings.prompted_happy or settings.prompted_sad:
        return bool((data.split("train").rows()["prompt"] > 0).any())
    rows = data.split("train").rows()
    return bool(((rows["marks"] & MARKED > 0) & (rows["prompt"] > 0)).any())
