"""One row of the catalogue: `Entry`, and the `Facts` that the headers of its files told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

Origin = Literal["shipped", "run", "hub", "folder"]
ORIGINS: tuple[Origin, ...] = get_args(Origin)


@dataclass(frozen=True)
class Facts:
    """What a checkpoint is, as far as the headers of its files tell; what they do not tell is empty or None."""

    family: str = ""
    """For people, as `Checkpoint.family` says it after loading: `Llama`, `GPT-Neo (TinyStories)` …"""
    parameters: int | None = None
    context: int | None = None
    """Longest sequence, in tokens."""
    vocabulary: int | None = None
    """Rows of the embedding."""
    layers: int | None = None
    width: int | None = None
    tokenizer: str = ""
    """A few words: `GPT-2`, `byte-level BPE, 4,096 tokens`, `Llama, 32,000 tokens`; `missing` where it should lie there and does not."""
    prompt_style: str = ""
    """One of `engine.prompts.STYLES`."""
    stored_as: str = ""
    """The kind of number that most weights are kept in: `float32`, `float16`, `bfloat16`, `int8`, `q8_0`."""
    format: str = ""
    """Container of the weights: `safetensors`, `PyTorch`, `llama2.c`."""
    safe: bool = False
    """Whether that container cannot hold code at all."""
    weights: str = ""
    """Name of the weights file inside the entry's folder; of a sharded one, its index."""
    refused: str = ""
    """Why this cannot be opened, in one sentence; empty where nothing speaks against it."""

    @property
    def known(self) -> bool:
        return bool(self.family)


@dataclass(frozen=True)
class EntryFile:
    """A file of a checkpoint, as it is named inside its folder."""

    name: str
    size: int


@dataclass(frozen=True)
class Entry:
    """Something that can be written with, or that a person would take for it."""

    key: str
    """The same from look to look: `shipped`, `run:brave/best`, `hub:owner/name@0123abcd…`, that with `/file.pt`, `folder:/path`."""
    source: str
    """What `load_checkpoint` and `--checkpoint` take."""
    name: str
    origin: Origin
    path: Path
    """The folder (or the one file) that is opened."""
    facts: Facts = field(default_factory=Facts)
    size: int = 0
    """Bytes of its files; those that other revisions share are counted in full."""
    files: tuple[EntryFile, ...] = ()
    last_used: float | None = None
    """When it was last loaded by this program, else when its weights were last read (unix seconds)."""
    modified: float | None = None
    val_loss: float | None = None
    """Nats a token, on the data of its own training."""
    bits_per_byte: float | None = None
    repo: str = ""
    """Hub id, for origin `hub`."""
    revision: str = ""
    """The commit, 40 hex digits."""
    refs: tuple[str, ...] = ()
    """Branches and tags that point at that commit, as the cache knows them."""
    partial: str = ""
    """What is not there yet, in a few words; empty for one that is whole."""
    licence: str = ""
    newer: str = ""
    """The commit that the first of `refs` has moved to on the Hub, where that was asked and is another one."""
    run: str = ""
    """Name of the run, for origin `run`."""
    step: int | None = None
    in_use: str = ""
    """By what it is held at present, in a few words; empty where by nothing."""

    @property
    def obstacle(self) -> str:
        """Why it cannot be written with, in one sentence; empty where nothing is known to be in the way."""
        if self.facts.refused:
            return f"{self.name} cannot be opened: {self.facts.refused}"
        return f"Not all of {self.name} is here (missing: {self.partial}); download it again." if self.partial else ""

    def to_json(self) -> dict[str, Any]:
        """For `--json`: plain values under the names of the fields."""
        import dataclasses

        data = dataclasses.asdict(self) | {"path": str(self.path)}
        data["files"] = [{"name": file.name, "size": file.size} for file in self.files]
        return data
