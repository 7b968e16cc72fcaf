"""The processes that train together: one by itself, or as many as `torchrun` starts, on one machine or several.

Rank 0 writes the run directory and decides; the others do what it says after every step (`decide`). Only what `torchrun` puts into the
environment is used, so any launcher that sets the same variables will do.
"""

from __future__ import annotations

import datetime
import os
from typing import Any

import torch
from torch import distributed

from engine.devices import choose_device
from engine.errors import TinyTalesError

PATIENCE = datetime.timedelta(days=1)
"""How long a process waits for the others: a pause or a full disk may last. A process that died is noticed at once all the same."""


class World:
    """`World.join(device)` in every process; `close` at the end."""

    def __init__(self, rank: int, size: int, device: torch.device) -> None:
        self.rank, self.size, self.device = rank, size, device

    @classmethod
    def join(cls, device: str | None) -> World:
        """Meet the other processes, if the environment tells of any; raises `UsageError` for a device that is not there."""
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            return cls(0, 1, choose_device(device))
        rank, local = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
        if device in (None, "cuda") and torch.cuda.is_available():
            device = f"cuda:{local}"  # before anything touches the first one
        where = choose_device(device or "cpu")  # gloo, which the others use, knows no mps
        if where.type == "cuda":
            torch.cuda.set_device(where)
        try:
            distributed.init_process_group("nccl" if where.type == "cuda" else "gloo", timeout=PATIENCE)
        except (RuntimeError, ValueError) as error:
            raise TinyTalesError(f"The {size} training processes did not find each other ({_first_line(error)}).") from error
        return cls(rank, size, where)

    @property
    def main(self) -> bool:
        """Whether this process writes the run directory."""
        return self.rank == 0

    @property
    def many(self) -> bool:
        return self.size > 1

    def share(self, value: Any) -> Any:
        """Rank 0's value, in every process."""
        if not self.many:
            return value
        box = [value]
        distributed.broadcast_object_list(box, src=0, device=self.device if self.device.type == "cuda" else None)
        return box[0]

    def share_tensors(self, tensors: list[torch.Tensor]) -> None:
        """Overwrite every process's tensors with rank 0's."""
        if self.many:
            for tensor in tensors:
                on_device = tensor if self.device.type == "cpu" or tensor.device.type != "cpu" else tensor.to(self.device)
                distributed.broadcast(on_device, src=0)
                if on_device is not tensor:
                    tensor.copy_(on_device)

    def total(self, value: torch.Tensor) -> torch.Tensor:
        """The sum over all processes."""
        if self.many:
            distributed.all_reduce(value)
        return value

    def decide(self, choice: int) -> int:
        """Rank 0's small number, in every process."""
        if not self.many:
            return choice
        box = torch.tensor([choice], device=self.device)
        distributed.broadcast(box, src=0)
        return int(box)

    def close(self) -> None:
        if self.many and distributed.is_initialized():
            distributed.destroy_process_group()


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
