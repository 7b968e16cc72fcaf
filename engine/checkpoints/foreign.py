"""Between a file of weights and the one decoder: `Weights`, as a reader found them, and `Adapted`, as an adapter maps them.

A reader (`engine.checkpoints.readers`) knows containers and no names; an adapter (`engine.checkpoints.families`) knows names and no
containers. Nothing from a file is ever executed, and shapes are believed before configs.

An adapter touches tensors through few hands: `shape`, `dtype`, `float`, `contiguous`, `detach`, `T`, and `join` and `equal` from here.
So it also works on outlines (`engine.checkpoints.outline`), which have no numbers, and tells what a file is without torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from engine.checkpoints.outline import Outline
from engine.errors import CheckpointError
from engine.prompts import PromptStyle
from engine.settings import ModelConfig

if TYPE_CHECKING:
    from torch import Tensor

Vocabulary = Literal["gpt2", "tokenizer.json", "llama"]
"""Which tokenizer goes with a family: GPT-2's own table; the folder's `tokenizer.json`; or a Llama vocabulary (`tokenizer.json`,
`tokenizer.model` or llama2.c's `tokenizer.bin`, whichever is there)."""


@dataclass(frozen=True)
class Weights:
    """The tensors of a file, with what stood beside them as plain values."""

    tensors: Mapping[str, Tensor]
    """As they are named in the file, on the CPU; possibly mapped into memory."""
    config: Mapping[str, Any]
    """`config.json`, or the settings of the model that the file itself holds; empty where there are none."""
    format: str
    """The container in a word or two: safetensors, PyTorch, llama2.c."""
    path: Path
    about: Mapping[str, Any] = field(default_factory=dict)
    """Plain numbers and texts of a training checkpoint: step, epoch, losses."""
    safe: bool = True
    """Whether the container cannot hold code at all; a pickle can, and was read without running any."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Adapted:
    """A model of the one decoder, ready to be built."""

    family: str
    """For people: `GPT-Neo (TinyStories)`, `llama2.c`, `nanoGPT` …"""
    config: ModelConfig
    state: dict[str, Tensor]
    """Under the decoder's own names; complete."""
    vocabulary: Vocabulary
    prompt_style: PromptStyle
    end_ids: tuple[int, ...] = ()
    """Tokens that end a story besides the tokenizer's own end token."""
    begin_id: int | None = None
    """A token that has to stand before everything; None where there is none."""
    ignored: tuple[str, ...] = ()
    """Names of tensors that a decoder has no use for: masks, copies of a tied matrix."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Family:
    """One adapter. `recognises` looks at names and shapes alone and is sure or says no; `adapt` raises `CheckpointError`."""

    name: str
    recognises: Callable[[Mapping[str, tuple[int, ...]]], bool]
    adapt: Callable[[Weights], Adapted]


class Taking:
    """The tensors of a file, taken one by one: what is left at the end must be on a list of things that may be ignored.

    `take(name, shape)` raises `CheckpointError` where the tensor is missing, of another shape, or no matrix of numbers.
    """

    def __init__(self, weights: Weights) -> None:
        self._left = dict(weights.tensors)
        self._where = weights.path.name

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor that has not been taken yet."""
        if name not in self._left:
            raise CheckpointError(f"{self._where} has no {_shown(name)}, which a model of its kind needs.")
        return tuple(self._left[name].shape)

    def take(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """The tensor, which is then no longer left."""
        found = self.shape(name)
        if found != shape:
            raise CheckpointError(f"{_shown(name)} in {self._where} has the shape {list(found)}, where {list(shape)} belongs.")
        tensor = self._left.pop(name)
        if not tensor.is_floating_point():
            raise CheckpointError(f"{_shown(name)} in {self._where} holds {tensor.dtype} and not floating-point numbers.")
        return tensor

    def ignore(self, names: Iterable[str]) -> tuple[str, ...]:
        """Leave these out, those that are there; returns them."""
        gone = tuple(name for name in names if name in self._left)
        for name in gone:
            del self._left[name]
        return gone

    def left(self) -> list[str]:
        """Names that nothing was done with yet."""
        return list(self._left)

    def finish(self) -> None:
        """Raises `CheckpointError`, with the names, where something is left that nobody knows."""
        if self._left:
            names = sorted(map(_shown, self._left))
            shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
            raise CheckpointError(f"{self._where} holds tensors that a model of its kind does not have: {shown}.")


def join(parts: Sequence[Tensor]) -> Tensor:
    """Tensors one below the other, along their first dimension."""
    if isinstance(parts[0], Outline):
        return Outline.joined(parts)  # type: ignore[arg-type, return-value]
    import torch

    return torch.cat(list(parts))


def equal(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors hold the same numbers; of outlines, whether they seem to (`Outline.seems`)."""
    if isinstance(one, Outline):
        return one.seems(other)  # type: ignore[arg-type]
    import torch

    return torch.equal(one, other)


def _shown(name: str) -> str:
    """A tensor's name on one short line, whatever a file calls it."""
    return " ".join(name.split())[:80]
