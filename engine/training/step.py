"""One optimizer step, and the parts that learn in it: network, objective, optimizers, running average.

Everything random in a step follows from (seed, step, rank), and so does its learning rate; nothing but weights and optimizer
memories is carried from step to step. Writes no file.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from engine.data.batches import Batch
from engine.devices import supports_bf16
from engine.errors import CheckpointError, UsageError
from engine.model import Decoder
from engine.training.average import WeightAverage
from engine.training.objective import Objective
from engine.training.optimizer import clip_gradients, make_optimizers, set_rate
from engine.training.products import speed_up
from engine.training.settings import TrainSettings
from engine.training.state import load_optimizers, optimizer_tensors
from engine.training.world import World


class Learner:
    """The network in training. `step(...)` moves it; `tensors()` and `load(...)` are its whole memory."""

    def __init__(self, network: Decoder, settings: TrainSettings, world: World) -> None:
        self.network, self.settings, self.world = network, settings, world
        self.device = world.device
        self.bf16 = settings.precision == "bf16" or (settings.precision == "auto" and supports_bf16(self.device))
        if not settings.compile:
            speed_up(network)
        self.optimizers = make_optimizers(network, settings)
        self.average = WeightAverage(network, settings.ema) if settings.ema else None
        self._objective: torch.nn.Module = Objective(network, settings.compile)

    def begin(self) -> None:
        """After the weights are in place: share them with the other processes."""
        if self.world.many:
            self._share_memories()
            devices = [self.device] if self.device.type == "cuda" else None
            self._objective = DistributedDataParallel(self._objective, device_ids=devices)
        self.network.train()

    def step(self, number: int, batches: Sequence[Batch], targets: int, rate: float) -> tuple[float, float]:
        """Learn from this process's batches of a step with `targets` targets over all processes.

        Returns the step's mean loss in nats a token and the gradient norm before clipping. Where either is not finite nothing is
        moved: the weights stay those of the step before.
        """
        seed_step(self.settings.seed, number, self.world.rank)
        set_rate(self.optimizers, rate)
        scale = self.world.size / max(1, targets)  # the processes' gradients are averaged, so each counts for all
        total = torch.zeros((), device=self.device)
        for at, batch in enumerate(batches):
            last = at == len(batches) - 1
            wait = contextlib.nullcontext() if last or not self.world.many else self._objective.no_sync()  # type: ignore[operator]
            with wait:
                loss = self._loss(batch.to(self.device), scale)
                loss.backward()
            total += loss.detach()
        mean = float(self.world.total(total)) / self.world.size
        norm = clip_gradients(self.network, self.settings.clip)
        if np.isfinite(mean) and np.isfinite(norm):
            for optimizer in self.optimizers:
                optimizer.step()
            if self.average:
                self.average.update(number)
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        return mean, norm

    def evaluated(self) -> contextlib.AbstractContextManager[None]:
        """While it lasts, the network has the weights that are to be judged and saved: the average, where there is one."""
        return self.average.in_place() if self.average else contextlib.nullcontext()

    def tensors(self) -> dict[str, Tensor]:
        weights = {f"weight.{name}": parameter.detach() for name, parameter in self.network.named_parameters()}
        return weights | optimizer_tensors(self.optimizers) | (self.average.state() if self.average else {})

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `tensors` gave; raises `CheckpointError` where it belongs to another model."""
        try:
            with torch.no_grad():
                for name, parameter in self.network.named_parameters():
                    parameter.copy_(tensors[f"weight.{name}"])
            load_optimizers(self.optimizers, tensors)
            if self.average:
                self.average.load(tensors)
        except (KeyError, RuntimeError, ValueError) as error:
            raise CheckpointError(f"The saved state does not fit this model ({type(error).__name__}: {error}).") from error

    def _loss(self, batch: Batch, scale: float) -> Tensor:
        kind = self.device.type
        with torch.autocast(kind, torch.bfloat16, enabled=self.bf16):
            try:
                return self._objective(batch.inputs, batch.targets, scale, batch.mask(), batch.positions)
            except Exception as error:
                if not self.settings.compile or "ompil" not in f"{type(error).__name__} {error}":
                    raise
                raise UsageError(
                    "The step could not be compiled; a C++ compiler is needed for that. Leave --compile out to train without."
                ) from error

    def _share_memories(self) -> None:
        """Optimizer memories and averages of rank 0, in every process (the weights are shared by DDP itself)."""
        names = self.world.share(
            {key: (tuple(value.shape), value.dtype) for key, value in self.tensors().items() if not key.startswith("weight.")}
        )
        if not names:
            return
        own = self.tensors()
        received = {
            key: own[key].detach().to("cpu", copy=True) if self.world.main else torch.empty(shape, dtype=kind)
            for key, (shape, kind) in names.items()
        }
        self.world.share_tensors(list(received.values()))
        load_optimizers(self.optimizers, received)
        if self.average:
            self.average.load(received)


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed dropout as a function of the step, so that a resumed run draws what the undisturbed one drew."""
    torch.manual_seed(int(np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0] >> 1))
