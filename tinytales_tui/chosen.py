"""Which checkpoint is meant where none is named, and what was chosen about the one that is: for the app and for batch mode.

Knows no Textual and no torch.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.catalog.notes import Notes
from engine.checkpoints.choices import Choices
from engine.errors import TinyTalesError
from engine.protocol import CheckpointInfo
from tinytales_tui import paths

SHIPPED = "default"


@dataclass(frozen=True)
class Chosen:
    """What is to be loaded."""

    source: str | None
    """None: the checkpoint in the package."""
    choices: Choices
    standing: bool = False
    """Nobody named it this time: it was made the standing one before."""


def chosen(source: str | None, given: Choices | None = None) -> Chosen:
    """The checkpoint for a source (None: the standing one), with the choices that were kept for it under those that are given now."""
    notes = Notes(paths.checkpoint_notes())
    standing = source is None and notes.standing not in (None, SHIPPED)
    named = notes.standing if standing else source
    kept = choices_of(notes, absolute(named) or SHIPPED)
    return Chosen(None if named == SHIPPED else named, (given or Choices()).over(kept), standing)


def absolute(source: str | None) -> str | None:
    """A path as it is found from any folder; anything else as it is."""
    if source is None:
        return None
    path = Path(os.path.expanduser(source))  # noqa: PTH111 (Path.expanduser raises for an unknown ~name)
    return str(path.absolute()) if path.exists() else source


def will_be_fetched(source: str | None) -> str:
    """A sentence where opening this source begins with a download from the Hub; empty where it lies here."""
    if source is None or source == SHIPPED or Path(absolute(source) or "").exists() or source.startswith((".", "/", "~")):
        return ""
    from engine.hub.fetching import cached_snapshot

    repo, _, rest = source.partition("@")
    name = "/".join(repo.split("/")[:2])
    try:
        here = cached_snapshot(name, rest.partition("/")[0] or None)
    except (TinyTalesError, OSError):
        return ""
    return (
        ""
        if here is not None
        else f"{name} is not here yet, so it is fetched from the Hub first (`checkpoints download` shows how far it is)."
    )


def choices_of(notes: Notes, source: str) -> Choices:
    """What was chosen about a checkpoint."""
    with contextlib.suppress(TinyTalesError):  # of a newer version, or edited by hand: the checkpoint's own word counts
        return Choices.from_json(dict(notes.choices.get(source, {})))
    return Choices()


def kept_choices(choices: Choices | None) -> dict[str, Any]:
    """What was chosen, as a story's record keeps it; empty where nothing was."""
    return {name: value for name, value in (choices or Choices()).to_json().items() if value is not None}


def remember_use(checkpoint: CheckpointInfo, by: str = "") -> None:
    """Note that it was loaded just now, and with `by` that this process has it in use.

    A disk that refuses is no reason to say anything.
    """
    with contextlib.suppress(TinyTalesError, OSError):
        Notes(paths.checkpoint_notes()).mark_used(absolute(checkpoint.source) or SHIPPED)
    if by:
        from engine.catalog import holding

        with contextlib.suppress(OSError):
            holding.hold(paths.in_use_folder(), [checkpoint.source, *filter(None, [checkpoint.path])], by)


def end_use() -> None:
    """This process has nothing in use any more."""
    from engine.catalog import holding

    holding.let_go(paths.in_use_folder())
