"""Writing checkpoints of a run so that a full disk makes it wait instead of die. Used by rank 0 alone."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch

from engine.checkpoints import Checkpoint, save_checkpoint
from engine.errors import TinyTalesError
from engine.evaluation.loss import Loss
from engine.runs import NO_ROOM, RunDirectory
from engine.training.heartbeat import Heartbeat
from engine.training.lora import plain_network
from engine.training.setup import Parts
from engine.training.state import Progress, prune, save_state
from engine.training.step import Learner
from engine.training.watchdog import little_room

RETRY_SECONDS = 2.0
Result = TypeVar("Result")


class Saver:
    """Checkpoints and states of one run."""

    def __init__(
        self, run: RunDirectory, parts: Parts, learner: Learner, heartbeat: Heartbeat, stopping: Callable[[], bool], say: Any
    ) -> None:
        self.run, self.parts, self.learner, self.heartbeat = run, parts, learner, heartbeat
        self._stopping, self._say = stopping, say
        self._warned = False

    def checkpoint(self, progress: Progress, measured: Loss | None) -> None:
        """The present weights as `checkpoints/step-…` and all that is needed to go on from them; old ones are removed."""
        self._look_for_room(progress.step)
        folder = self.run.checkpoint_folder(progress.step)
        self.patiently(lambda: self._save(folder, progress, measured), progress.step)
        self.patiently(
            lambda: save_state(self.run.path / "state", progress, self.run.lengths(), self.learner.tensors()), progress.step
        )
        self.event("checkpoint", progress.step, folder=str(folder.relative_to(self.run.path)))
        prune(self.run.path / "state", self.run.path / "checkpoints", self.parts.settings.keep_every)

    def best(self, progress: Progress, measured: Loss) -> None:
        """The present weights as `checkpoints/best`."""
        folder = self.run.path / "checkpoints" / "best"
        self.patiently(lambda: self._save(folder, progress, measured), progress.step)
        self.event("checkpoint", progress.step, folder=str(folder.relative_to(self.run.path)), best=True)

    def event(self, name: str, step: int, /, **details: Any) -> None:
        self.patiently(lambda: self.run.event(name, step, **details), step)

    def sample(self, step: int, prompt: str, story: str) -> None:
        self.patiently(lambda: self.run.sample(step, prompt, story, seed=self.parts.settings.seed), step)
        self.event("sample", step, prompt=prompt)

    def metric(self, step: int, tokens: int, **values: float) -> None:
        self.patiently(lambda: self.run.metric(step, tokens, **values), step)

    def patiently(self, write: Callable[[], Result], step: int) -> Result:
        """`write()`, again and again while the disk is full, unless the run is to stop (`TinyTalesError`)."""
        waiting = False
        while True:
            try:
                result = write()
            except OSError as error:
                if error.errno not in NO_ROOM:
                    raise
                if not waiting:
                    waiting = True
                    self._say(f"The disk is full at step {step:,}; the run waits until there is room. Nothing saved is lost.")
                    self.heartbeat.now("paused", "The disk is full; the run goes on by itself when there is room.")
                if self._stopping():
                    raise TinyTalesError(
                        f"The disk is full, so step {step:,} could not be saved; the checkpoint before it is whole."
                    ) from error
                time.sleep(RETRY_SECONDS)
                continue
            if waiting:
                self._say("There is room again; the run goes on.")
                self.heartbeat.now("running")
            return result

    def loaded(self) -> Checkpoint:
        """The network in training as a checkpoint, to write samples with."""
        name = self.run.path.name
        device = str(self.learner.device)
        return Checkpoint(
            self.learner.network, self.parts.tokenizer, self.parts.style, name, str(self.run.path), "own", device=device
        )

    def _save(self, folder: Path, progress: Progress, measured: Loss | None) -> None:
        parts = self.parts
        card = {
            "step": progress.step,
            "tokens": progress.tokens,
            "validation": measured.to_json() if measured else None,
            "synthetic_data": parts.data.synthetic,
            "provenance": parts.facts,
            "training": parts.settings.to_json(),
        }
        with self.learner.evaluated():
            network = plain_network(self.learner.network)
            stored_as = getattr(torch, parts.settings.stored_as)
            save_checkpoint(folder, network, parts.tokenizer, parts.style, card, dtype=stored_as)

    def _look_for_room(self, step: int) -> None:
        needed = sum(tensor.numel() * tensor.element_size() for tensor in self.learner.tensors().values()) * 4 // 3
        message = little_room(shutil.disk_usage(self.run.path).free, needed)
        if message and not self._warned:
            self._say(message)
            self.event("warning", step, kind="disk", message=message)
        self._warned = bool(message)
