"""A run's checkpoints as rows for a person to choose from, and where a copy of one goes.

It reads the disk, so it is called in a thread. Knows no Textual and no torch.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import UsageError
from engine.run_actions import Which
from engine.run_status import finite
from engine.run_view import CheckpointInfo, RunView
from tinytales_tui.figures import fitting_table, short_duration, size
from tinytales_tui.text import one_line

HEADERS = ("checkpoint", "step", "validation", "size", "age")


@dataclass(frozen=True)
class CheckpointRow:
    """One checkpoint as it is shown."""

    info: CheckpointInfo
    note: str
    """What is known of the model at its step: its validation loss."""
    age: float | None
    """Seconds since it was written."""

    @property
    def which(self) -> Which:
        """How `engine.run_actions.export_run` is asked for it."""
        return "best" if self.info.best or self.info.step is None else self.info.step


def validation_notes(rows: Iterable[Mapping[str, Any]]) -> dict[int, str]:
    """The validation figure by step, in words, out of the lines of a run's metrics."""
    notes: dict[int, str] = {}
    for row in rows:
        step, bits, nats = row.get("step"), finite(row.get("val_bits_per_byte")), finite(row.get("val_loss"))
        if type(step) is int and (bits is not None or nats is not None):
            notes[step] = f"{bits:.3f} bits a byte" if bits is not None else f"{nats:.3f} nats a token"
    return notes


def checkpoint_rows(run: RunView, notes: Mapping[int, str] | None = None) -> list[CheckpointRow]:
    """The best checkpoint first, then the newest to the oldest. Without notes the run's own metrics are read for them."""
    if notes is None:
        notes = validation_notes(RunView(run.path).metrics())
    now = time.time()
    found = sorted(run.checkpoints(), key=lambda c: (not c.best, -(c.step if c.step is not None else -1), c.name))
    return [CheckpointRow(c, notes.get(c.step, "") if c.step is not None else "", _age(c.path, now)) for c in found]


def table_lines(rows: Sequence[CheckpointRow], width: int) -> list[str]:
    """The headings and a line a row, in at most `width` columns where that can be."""
    cells = [
        (
            one_line(row.info.name, 20),
            f"{row.info.step:,}" if row.info.step is not None else "-",
            one_line(row.note, 24) or "-",
            size(row.info.bytes),
            short_duration(row.age) if row.age is not None else "-",
        )
        for row in rows
    ]
    lines = fitting_table(HEADERS, cells, width, left=(0, 2), spare=(4, 3, 1))
    return [line if len(line) <= width else f"{line[: width - 1]}…" for line in lines]


def in_words(row: CheckpointRow) -> str:
    """A checkpoint in a few words: `best, step 500, 0.616 bits a byte`."""
    step = f"step {row.info.step:,}" if row.info.step is not None else one_line(row.info.name, 20)
    return ", ".join(filter(None, ("best" if row.info.best else "", step, row.note)))


def folder_name(name: str) -> str:
    """A run's name, as far as it makes a good folder name."""
    return re.sub(r"[^\w.+-]+", "-", name).strip("-.")[:60] or "model"


def suggest_destination(name: str, folder: Path) -> str:
    """A name for a run's copy that is not taken yet in `folder`."""
    base = folder_name(name)
    number, suggestion = 1, base
    while os.path.lexists(folder / suggestion):
        number += 1
        suggestion = f"{base}-{number}"
    return suggestion


def destination_of(text: str, folder: Path, name: str) -> Path:
    """Where a typed text leads: into `folder` unless it says otherwise. Raises `UsageError`.

    `~` is the home folder; after a slash at the end comes the run's name. Does not look at the disk.
    """
    text = text.strip()
    if not text or "\0" in text:
        raise UsageError("Give the copy a name.")
    expanded = os.path.expanduser(text)  # noqa: PTH111 (Path.expanduser raises for an unknown ~name)
    if expanded.startswith("~"):
        raise UsageError(f"There is no home folder {one_line(Path(text).parts[0], 60)}.")
    if any(len(os.fsencode(part)) > 200 for part in Path(expanded).parts):
        raise UsageError("This name is too long.")
    path = folder / expanded
    return Path(os.path.normpath(path / folder_name(name) if text.endswith(os.sep) else path))


def folder_to_start_from() -> Path:
    """The current folder where something can be written in it, else the home folder."""
    try:
        here = Path.cwd()
        return here if os.access(here, os.W_OK) else Path.home()
    except (OSError, RuntimeError):
        return Path("/")


def _age(path: Path, now: float) -> float | None:
    try:
        return max(0.0, now - (path / "model.safetensors").stat().st_mtime)
    except OSError:
        return None
