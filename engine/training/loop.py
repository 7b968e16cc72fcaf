"""The course of a run: steps, metrics, validations, samples, checkpoints, requests, and the end; what happens when, and in what order.

After each step rank 0 decides what comes next and the other processes do the same (`World.decide`). Whatever ends the run leaves a run
directory from which it goes on exactly: a state is saved first, or the one before is whole.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil
import torch

from engine import files
from engine.data.batches import step_batches
from engine.data.plan import Step, Steps
from engine.errors import TinyTalesError
from engine.evaluation.loss import Loss, evaluate_split
from engine.interrupt import Interrupt
from engine.runs import RunDirectory
from engine.training import watchdog
from engine.training.heartbeat import Heartbeat
from engine.training.samples import write_samples
from engine.training.saving import Saver
from engine.training.schedule import rate
from engine.training.setup import Parts
from engine.training.state import clear_leavings, drop_newer
from engine.training.step import Learner
from engine.training.world import World

Say = Callable[[str], None]
STOP, PAUSE = 1, 2
SAY_EVERY = 2.0
"""Seconds between two lines of progress."""
REQUESTS_EVERY = 0.25
"""Seconds between two looks at what viewers ask."""


class Diverged(TinyTalesError):
    """The loss or its gradient is no number any more."""


class Trainer:
    """`Trainer(run, parts, world, …).run_all()` trains to the end and returns how it ended: finished or stopped."""

    def __init__(
        self, run: RunDirectory, parts: Parts, world: World, interrupt: Interrupt, heartbeat: Heartbeat, say: Say
    ) -> None:
        self.run, self.parts, self.world, self.interrupt, self.heartbeat, self.say = run, parts, world, interrupt, heartbeat, say
        self.settings, self.total = parts.settings, parts.steps
        self.progress = parts.progress
        self.learner = Learner(parts.network, self.settings, world)
        self.saver = Saver(run, parts, self.learner, heartbeat, self._should_stop, say)
        self.train_split, self.valid_split = parts.data.split("train"), parts.data.split("valid")
        self.measured: tuple[int, Loss] | None = None
        """The last validation, and the step it was made at."""
        self._asked: set[str] = set()
        self._next_look = 0.0
        self._saved_at = self.progress.step if parts.saved else -1
        self._spikes = watchdog.SpikeWatch()
        self._board: Any = None
        self._process = psutil.Process()
        self._parent = os.getppid()
        self._told = 0.0
        self._recent: deque[tuple[float, int, int]] = deque(maxlen=50)
        """(time, step, tokens) of the newest steps, from which the pace is worked out."""

    def run_all(self) -> str:
        if self.parts.saved:
            self.learner.load(self.parts.saved.tensors)
        self.learner.begin()
        self.progress = self.world.share(self.progress)
        if self.world.main:
            self._open()
        self.parts.saved = None  # large, and no longer needed
        state = self._steps()
        if self.world.main:
            self._close(state)
        self.world.decide(0)  # nobody leaves before all are done
        return state

    # The course of steps

    def _steps(self) -> str:
        plan = Steps(self.train_split, self.settings, self.parts.context, self.progress.epoch, self.progress.index)
        finished = self._early() or self.progress.step >= self.total
        while not finished:
            choice = self.world.decide(self._choice() if self.world.main else 0)
            if choice == PAUSE:
                choice = self._pause()
            if choice == STOP:
                break
            step = next(plan)
            loss, norm = self._learn(step)
            self.progress.epoch, self.progress.index = plan.epoch, plan.index
            if self.world.main:
                self._after(step, loss, norm)
            finished = bool(self.world.decide(int(self._early() or self.progress.step >= self.total)))
        return "finished" if finished else "stopped"

    def _learn(self, step: Step) -> tuple[float, float]:
        number, targets = self.progress.step + 1, step.targets
        self.heartbeat.begins()
        micro = self.settings.micro_tokens or self.settings.batch_tokens
        batches = list(
            step_batches(
                self.train_split, step, self.parts.data.end_id, self.parts.context, micro, self.world.rank, self.world.size
            )
        )
        loss, norm = self.learner.step(number, batches, targets, rate(number - 1, self.settings, self.total))
        if not (np.isfinite(loss) and np.isfinite(norm)):
            raise Diverged(self._blame(step, number, loss, norm))
        self.progress.step, self.progress.tokens = number, self.progress.tokens + targets
        return loss, norm

    def _after(self, step: Step, loss: float, norm: float) -> None:
        """All that rank 0 does once a step is learnt, always in this order."""
        progress, settings, number = self.progress, self.settings, self.progress.step
        self.heartbeat.stepped(number)
        self._recent.append((time.perf_counter(), number, progress.tokens))
        progress.pending.append((loss, norm))
        progress.since_validation[0] += loss
        progress.since_validation[1] += 1
        if number % settings.log_every == 0 or number == self.total:
            self._metric()
        if message := self._spikes.see(loss):
            self._warn("spike", message)
        pause = time.perf_counter()
        if number % settings.evaluate_every == 0 or number == self.total:
            self._validate()
        if settings.sample_every and number % settings.sample_every == 0:
            self._sample()
        if number % settings.checkpoint_every == 0 or number == self.total:
            self._checkpoint()
        if (paused := time.perf_counter() - pause) > 0.01:  # the pace is that of training alone
            self._recent = deque(((at + paused, *rest) for at, *rest in self._recent), maxlen=50)  # type: ignore[misc]

    def _metric(self) -> None:
        progress = self.progress
        losses, norms = zip(*progress.pending, strict=True)
        share = rate(progress.step - 1, self.settings, self.total)
        values = {
            "train_loss": float(np.mean(losses)),
            "lr": share * self.settings.learning_rate,
            "grad_norm": float(np.mean(norms)),
            "memory_bytes": self._memory(),
        }
        speed = self._pace()[0]
        self.saver.metric(progress.step, progress.tokens, **values, **({"tokens_per_s": round(speed, 1)} if speed else {}))
        progress.pending = []
        if self._board:
            self._board.scalars(progress.step, values | ({"tokens_per_s": speed} if speed else {}))
        self._tell(values["train_loss"], speed)

    def _validate(self) -> None:
        self.heartbeat.busy()
        progress = self.progress
        if not len(self.valid_split):
            return
        with self.learner.evaluated():
            loss = evaluate_split(self.parts.network, self.valid_split, self.parts.data.end_id, self.settings.evaluate_stories)
        self.measured = (progress.step, loss)
        values = {
            "val_loss": loss.nats_per_token,
            "val_perplexity": loss.perplexity,
            "val_bits_per_byte": loss.bits_per_byte,
        }
        self.saver.metric(progress.step, progress.tokens, **values)
        if self._board:
            self._board.scalars(progress.step, values)
        total, count = progress.since_validation
        progress.validations = [*progress.validations[-9:], (progress.step, loss.nats_per_token, total / max(1, count))]
        progress.since_validation = [0.0, 0.0]
        best = progress.best_bits_per_byte
        better = bool(np.isfinite(loss.bits_per_byte)) and (best is None or loss.bits_per_byte < best)
        self.say(
            f"step {progress.step:,}: validation {loss.nats_per_token:.4f} nats a token, {loss.bits_per_byte:.4f} bits a byte"
            f"{', the best so far' if better else ''}"
        )
        if better:
            progress.best_step, progress.best_bits_per_byte, progress.without_better = progress.step, loss.bits_per_byte, 0
            self.saver.best(progress, loss)
        else:
            progress.without_better += 1
        if message := watchdog.overfitting(progress.validations):
            self._warn("overfitting", message)

    def _sample(self) -> None:
        self.heartbeat.busy()
        with self.learner.evaluated():
            stories = list(write_samples(self.saver.loaded(), self.settings))
        for prompt, story in stories:
            self.saver.sample(self.progress.step, prompt, story)

    def _checkpoint(self) -> None:
        self.heartbeat.busy()
        measured = self.measured[1] if self.measured and self.measured[0] == self.progress.step else None
        self.saver.checkpoint(self.progress, measured)
        self._saved_at = self.progress.step

    # What a person asks

    def _choice(self) -> int:
        """What comes next: 0 a step, or STOP or PAUSE. Checkpoints and samples that are asked for are made here."""
        self._look()
        if self._should_stop():
            return STOP
        self._serve()
        choice = PAUSE if "pause" in self._asked else 0
        self._asked.clear()
        return choice

    def _serve(self) -> None:
        """Make the checkpoint or the samples that somebody asked for."""
        if "checkpoint" in self._asked and self.progress.step != self._saved_at:
            self._checkpoint()
        elif "checkpoint" in self._asked:  # it lies there already
            folder = self.run.checkpoint_folder(self.progress.step)
            self.saver.event("checkpoint", self.progress.step, folder=str(folder.relative_to(self.run.path)))
        if "sample" in self._asked:
            self._sample()
        self._asked -= {"checkpoint", "sample"}

    def _look(self) -> None:
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + REQUESTS_EVERY
            self._asked |= self.run.take_requests()
        if self.world.many and os.getppid() != self._parent:
            raise TinyTalesError("The process that started this one has died.")

    def _should_stop(self) -> bool:
        self._look()
        return self.interrupt.came or "stop" in self._asked

    def _pause(self) -> int:
        """Wait until rank 0 is told to go on or to stop; a checkpoint is saved first."""
        if self.world.main:
            if self.progress.step != self._saved_at:
                self._checkpoint()
            self.saver.event("paused", self.progress.step)
            self.heartbeat.now("paused")
            self.say(f"Paused at step {self.progress.step:,}.")
        while True:
            choice = PAUSE
            if self.world.main:
                self._look()
                self._serve()
                choice = STOP if self._should_stop() else 0 if "resume" in self._asked else PAUSE
            choice = self.world.decide(choice)
            if choice != PAUSE:
                break
            time.sleep(REQUESTS_EVERY)
        if self.world.main and choice == 0:
            self._asked.clear()
            self._recent.clear()
            self.saver.event("resumed", self.progress.step, after="pause")
            self.heartbeat.now("running")
            self.say("Going on.")
        return choice

    # Beginning and end

    def _open(self) -> None:
        progress, saved = self.progress, self.parts.saved
        clear_leavings(self.run.path / "state", self.run.path / "checkpoints")
        self.run.take_back(saved.lengths if saved else {})
        again = (self.run.path / "events.jsonl").exists()
        for message in self.parts.damaged:
            self._warn("damaged", f"{message} That of step {progress.step:,} is taken.")
        if self.parts.damaged:
            drop_newer(self.run.path / "state", self.run.path / "checkpoints", progress.step)
        self.saver.event("resumed" if again else "started", progress.step, **self.parts.facts)
        if self.settings.tensorboard:
            from engine.training.board import Board

            self._board = Board(self.run.path / "tensorboard", progress.step)
        count = f"{self.parts.facts['trained_parameters']:,} of " if self.settings.lora_rank else ""
        self.say(
            f"{'Going on from' if again else 'From'} step {progress.step:,} to {self.total:,}: {count}"
            f"{self.parts.facts['parameters']:,} parameters on {self.learner.device}, {len(self.train_split):,} stories, "
            f"{len(self.valid_split):,} held out; {self.parts.tokenizer.name}."
        )
        if self.parts.data.synthetic:
            self.say("The data are synthetic: stories made by the storybook grammar.")
        if not again and (long := self.parts.facts["longer_than_context"]):
            done = {"split": "split into pieces", "cut": "cut, and lose their end", "drop": "left out"}[self.settings.too_long]
            self.say(f"{long:,} stories are longer than {self.parts.context} tokens; they are {done}.")
        self.heartbeat.now("running")

    def _close(self, state: str) -> None:
        if state == "stopped":
            with contextlib.suppress(OSError):
                self.heartbeat.now("stopping")
        if self.progress.step != self._saved_at:
            self._checkpoint()
        early = state == "finished" and self.progress.step < self.total
        message = f"Stopped early: {self.settings.patience} validations without a better one." if early else None
        self.saver.event(state, self.progress.step, **({"message": message} if message else {}))
        if self._board:
            self._board.close()
        self.heartbeat.now(state, message)  # type: ignore[arg-type]
        self.say(message or f"{state.capitalize()} at step {self.progress.step:,}.")

    # Figures and words

    def _early(self) -> bool:
        return bool(self.settings.patience) and self.progress.without_better >= self.settings.patience

    def _pace(self) -> tuple[float | None, float | None]:
        """Tokens and steps a second over the newest steps."""
        if len(self._recent) < 2 or self._recent[-1][0] <= self._recent[0][0]:
            return None, None
        (then, step_then, tokens_then), (now, step_now, tokens_now) = self._recent[0], self._recent[-1]
        return (tokens_now - tokens_then) / (now - then), (step_now - step_then) / (now - then)

    def _memory(self) -> int:
        if self.learner.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.learner.device)
        return int(self._process.memory_info().rss)

    def _tell(self, loss: float, speed: float | None) -> None:
        now = time.monotonic()
        if self.progress.step != self.total and now - self._told < SAY_EVERY:
            return
        self._told = now
        pace = self._pace()[1]
        left = f"  {_duration((self.total - self.progress.step) / pace)} left" if pace else ""
        tokens = f"  {speed:,.0f} tokens/s" if speed else ""
        self.say(f"step {self.progress.step:,}/{self.total:,}  loss {loss:.4f}{tokens}{left}")

    def _warn(self, kind: str, message: str) -> None:
        self.saver.event("warning", self.progress.step, kind=kind, message=message)
        self.say(f"Warning: {message}")

    def _blame(self, step: Step, number: int, loss: float, norm: float) -> str:
        """Name the batch that ended the run, and keep it in `bad-batch.json` for whoever looks for the cause."""
        stories = step.stories()
        what = f"the loss became {loss}" if not np.isfinite(loss) else f"the gradient became {norm}"
        named = f"stories {', '.join(map(str, stories[:5]))}{' ...' if len(stories) > 5 else ''}" if stories else "a text window"
        if self.world.main:
            texts = [self.parts.tokenizer.decode(self.train_split.parts(story)[1].tolist()) for story in stories[:50]]
            batch = {"step": number, "epoch": step.epoch, "index": step.index, "loss": str(loss), "grad_norm": str(norm)}
            with contextlib.suppress(OSError):
                files.write_json(self.run.path / "bad-batch.json", batch | {"stories": stories, "texts": texts})
                self.run.event(
                    "warning", number, kind="nan", message=f"At step {number:,} {what}.", epoch=step.epoch, stories=stories
                )
        last = f" The checkpoint of step {self._saved_at:,} is good." if self._saved_at > 0 else ""
        return f"At step {number:,} {what} ({named} of epoch {step.epoch}); a lower learning rate may help.{last}"


def _duration(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    return f"{hours:.1f} h" if hours >= 2 else f"{minutes:.0f} min" if minutes >= 2 else f"{seconds:.0f} s"
