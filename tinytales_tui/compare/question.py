"""What the comparison is asked with, and what it is left with. Plain data, so that the Write pane imports no widgets for it."""

from __future__ import annotations

from dataclasses import dataclass

from engine.protocol import CheckpointInfo
from engine.settings import SamplingSettings
from tinytales_tui.generation import Generation
from tinytales_tui.write.asking import Asked


@dataclass(frozen=True)
class Question:
    """What all columns have in common, but for the one thing that they differ in."""

    asked: Asked
    sampling: SamplingSettings
    """As the sliders stand."""
    seed: int
    checkpoint: CheckpointInfo | None = None
    """What the app holds; None while that is still being loaded."""


@dataclass(frozen=True)
class Kept:
    """The column that a person chose, and the others, of which nothing is to be lost either."""

    generations: tuple[Generation, ...]
    """Of every column that has written something, in their order."""
    chosen: int
    """Index among them."""

    @property
    def generation(self) -> Generation:
        return self.generations[self.chosen]
