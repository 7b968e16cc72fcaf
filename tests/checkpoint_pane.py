"""For tests of the Checkpoints pane: a Hub cache, runs and folders on disk with miniature models in them, and what the pane shows."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from made_cache import MadeCache, commit_of
from train_runs import long_run

CARD = """---
license: mit
---
# A tiny model
It writes **short** stories for [children](https://example.org/kids).
"""


@dataclass
class Places:
    """Where checkpoints lie in a test."""

    cache: MadeCache
    runs: Path
    folder: Path
    """A checkpoint outside of all places that are looked through by themselves."""
    model: Path
    """The checkpoint that all others are copies of."""

    def bytes_of(self, card: str = CARD) -> dict[str, bytes]:
        """The files of a checkpoint as a repository has them."""
        return {path.name: path.read_bytes() for path in sorted(self.model.iterdir())} | {"README.md": card.encode()}

    def download(self, repo: str, number: int = 1, card: str = CARD, **more: Any) -> Path:
        """Put a model into the cache as if it had been downloaded."""
        return self.cache.add(repo, commit_of(number), self.bytes_of(card), **more)

    def train(self, name: str = "brave") -> Path:
        """A run that has ended, with a checkpoint that can be opened."""
        run = long_run(self.runs, name)
        shutil.rmtree(run / "checkpoints")
        shutil.copytree(self.model, run / "checkpoints" / "best")
        return run


def toasts(pilot: Any) -> str:
    """All that was said in the corner so far."""
    return "\n".join(toast.message for toast in pilot.app._notifications)


def names(pilot: Any) -> list[str]:
    """Of the rows in the list, in order."""
    return [entry.name for entry in pilot.app.screen.list.items]


async def look_again(pilot: Any, until: Callable) -> None:
    """Have everything looked at, and drawn."""
    shelf = pilot.app.screen.shelf
    seen = shelf.looks
    shelf.look_now()
    await until(pilot, lambda: shelf.looks > seen)
    pilot.app.screen.draw()
    await pilot.pause()
