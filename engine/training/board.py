"""TensorBoard event files of a run, so that existing tools can read it; needs the extra `tensorboard`."""

from __future__ import annotations

import math
from pathlib import Path

from engine.errors import UsageError

_NAMES = {"train_loss": "loss/train", "val_loss": "loss/validation", "val_bits_per_byte": "bits_per_byte/validation"}


class Board:
    """`scalars(step, values)` as the run goes; what a resumed run does again is purged from `first` on."""

    def __init__(self, folder: Path, first: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UsageError(
                "TensorBoard files need the extra `tensorboard`: pip install 'tinytales-tui[tensorboard]'."
            ) from error
        self._writer = SummaryWriter(str(folder), purge_step=first + 1 if first else None)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            if math.isfinite(value):
                self._writer.add_scalar(_NAMES.get(name, f"training/{name}"), value, step)

    def close(self) -> None:
        self._writer.close()
