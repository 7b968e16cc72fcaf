"""The trainer: stories in, a run directory out. Plain and sound; one process, one device.

Each step draws length-sorted batches (`engine.data.batches`), clips, and moves the weights; the learning rate is a function of the
step. The best validation point is kept as `checkpoints/best`, the last one as `checkpoints/step-…`. Sample stories use their own
random generator, so they never change what the run learns. Ctrl-C or SIGTERM ends the run after a whole step, with a checkpoint.
"""

from __future__ import annotations

import contextlib
import platform
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from engine.checkpoints import Checkpoint
from engine.checkpoints.native import save_checkpoint
from engine.data.batches import IGNORED, Example, batches, epoch_rows, make_examples
from engine.data.derive import label
from engine.data.stories import Record, fingerprint, read_records
from engine.devices import choose_device, supports_bf16
from engine.errors import UsageError
from engine.evaluation.loss import Loss, evaluate
from engine.interrupt import Interrupt
from engine.model import Decoder
from engine.prompts import PromptStyle
from engine.runs import RunDirectory
from engine.settings import TrainSettings
from engine.tokenizer import BytePairTokenizer, GPT2Tokenizer, Tokenizer
from engine.training.optimizer import clip_gradients, make_optimizers, set_rate
from engine.training.samples import write_samples
from engine.training.schedule import rate
from engine.version import __version__

Say = Callable[[str], None]
REPORT_EVERY = 20
"""Steps between two lines of metrics; the losses of the steps between are averaged into them."""


def train(settings: TrainSettings, folder: Path, say: Say = lambda line: None) -> Path:
    """Train as the settings say into a new run directory and return the folder of the best checkpoint.

    `say` gets short lines for a person. Raises `UsageError` for settings or data that cannot be used.
    """
    if settings.threads:
        torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    device = choose_device(settings.device)
    paths = [Path(path) for path in settings.data]
    if not paths:
        raise UsageError("There is nothing to train on: name at least one file of stories.")
    records = read_records(paths)
    training, validation = split(records, settings)
    tokenizer = make_tokenizer(settings, training)
    say(f"{len(training):,} stories to train on, {len(validation):,} held out; {tokenizer.name}.")
    examples = label_and_encode(training, tokenizer, settings)
    config = settings.model_config(tokenizer.vocab_size)
    network = Decoder(config)
    network.initialise(torch.Generator().manual_seed(settings.seed))
    network.to(device)
    style = PromptStyle("topic-ending" if any(e.prompt is not None for e in examples) else "plain", start_with_end=True)
    facts = {
        "tinytales_tui": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": str(device),
        "data_sha256": fingerprint(paths),
        "parameters": network.parameter_count(),
    }
    run = RunDirectory.create(folder, {"settings": settings.to_json(), "model": config.to_json(), **facts})

    def tell(line: str) -> None:
        run.log(line)
        say(line)

    tell(f"{network.parameter_count():,} parameters on {device}; writing to {folder}.")
    trainer = _Trainer(settings, network, tokenizer, style, examples, [r.story for r in validation], run, facts, tell)
    return trainer.run_all()


def split(records: list[Record], settings: TrainSettings) -> tuple[list[Record], list[Record]]:
    """Training and validation records, divided by the seed alone."""
    order = np.random.default_rng(settings.seed).permutation(len(records))
    held = max(1, round(len(records) * settings.validation_share))
    if held >= len(records):
        raise UsageError("There are too few stories to hold any out for validation; at least two are needed.")
    return [records[i] for i in order[held:]], [records[i] for i in order[:held]]


def make_tokenizer(settings: TrainSettings, records: list[Record]) -> Tokenizer:
    if settings.tokenizer == "gpt2":
        return GPT2Tokenizer()
    return BytePairTokenizer.train((r.story for r in records), settings.vocab_size)


def label_and_encode(records: list[Record], tokenizer: Tokenizer, settings: TrainSettings) -> list[Example]:
    """Examples with guessed topics and endings where the settings ask for guesses."""
    marked = [bool(r.topic and r.ending) for r in records]
    guess = settings.prompted_happy > 0 or settings.prompted_sad > 0
    return make_examples(label(records, settings.seed) if guess else records, tokenizer, marked)


class _Trainer:
    def __init__(
        self,
        settings: TrainSettings,
        network: Decoder,
        tokenizer: Tokenizer,
        style: PromptStyle,
        examples: list[Example],
        validation: list[str],
        run: RunDirectory,
        facts: dict[str, Any],
        say: Say,
    ) -> None:
        self.settings, self.network, self.tokenizer, self.style = settings, network, tokenizer, style
        self.examples, self.validation, self.run, self.facts, self.say = examples, validation, run, facts, say
        self.device = network.embedding.weight.device
        self.optimizers = make_optimizers(network, settings)
        self.bf16 = settings.precision == "bf16" or (settings.precision == "auto" and supports_bf16(self.device))
        self.best: Loss | None = None
        self.measured: tuple[int, Loss] | None = None
        """The last validation, and the step it was made at."""
        self.tokens = 0
        self.step = 0

    def run_all(self) -> Path:
        total = self.settings.steps
        self.run.event("started", 0, **self.facts)
        self.run.status("running", 0, total)
        try:
            with Interrupt(signal.SIGINT, signal.SIGTERM) as interrupt:
                self._steps(interrupt)
        except BaseException as error:
            self.run.event("failed", self.step, message=f"{type(error).__name__}: {error}")
            self.run.status("failed", self.step, total)
            raise
        self._save(self.run.checkpoint_folder(self.step))
        self._end("stopped" if self.step < total else "finished")
        if interrupt.came:
            raise KeyboardInterrupt
        return self.run.path / "checkpoints" / "best"

    def _end(self, state: Any) -> None:
        self.run.event(state, self.step)
        self.run.status(state, self.step, self.settings.steps)

    def _stream(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches without end, epoch after epoch."""
        epoch, context = 0, self.network.config.context
        while True:
            random = np.random.default_rng((self.settings.seed, epoch))
            rows = epoch_rows(self.examples, self.settings, context, self.tokenizer.end_id, random)
            yield from batches(rows, self.settings.batch_tokens, random)
            epoch += 1

    def _steps(self, interrupt: Interrupt) -> None:
        stream, losses, norms = self._stream(), [], []
        since, counted = time.perf_counter(), self.tokens
        self.network.train()
        while self.step < self.settings.steps and not interrupt.came:
            self.step += 1
            loss, norm = self._one_step(stream)
            losses.append(loss)
            norms.append(norm)
            if not np.isfinite(loss):
                self.run.event("warning", self.step, message="The loss is not a number; the learning rate is probably too high.")
                raise UsageError(f"The loss became {loss} at step {self.step}; try a lower learning rate.")
            if self.step % REPORT_EVERY == 0 or self.step == self.settings.steps:
                now = time.perf_counter()
                speed = (self.tokens - counted) / (now - since)
                share = rate(self.step - 1, self.settings)
                mean = float(np.mean(losses))
                self.run.metric(
                    self.step,
                    self.tokens,
                    train_loss=mean,
                    lr=share * self.settings.learning_rate,
                    grad_norm=float(np.mean(norms)),
                    tokens_per_s=speed,
                )
                self.run.status("running", self.step, self.settings.steps)
                left = (self.settings.steps - self.step) * (now - since) / len(losses)
                self.say(
                    f"step {self.step:,}/{self.settings.steps:,}  loss {mean:.4f}  {speed:,.0f} tokens/s  {left / 60:.0f} min left"
                )
                losses, norms, since, counted = [], [], now, self.tokens
            paused = time.perf_counter()
            if self.step % self.settings.evaluate_every == 0 or self.step == self.settings.steps:
                self._validate()
            if self.settings.sample_every and self.step % self.settings.sample_every == 0:
                write_samples(self._checkpoint(), self.settings, self.run, self.step)
            since += time.perf_counter() - paused  # the speed is that of training alone

    def _one_step(self, stream: Iterator[tuple[Tensor, Tensor]]) -> tuple[float, float]:
        """One optimizer step; returns the mean loss in nats a token and the gradient norm before clipping."""
        parts = [next(stream) for _ in range(self.settings.accumulation)]
        counted = sum(int((targets != IGNORED).sum()) for _, targets in parts)
        set_rate(self.optimizers, rate(self.step - 1, self.settings))
        total = 0.0
        for inputs, targets in parts:
            loss = self._loss(inputs.to(self.device), targets.to(self.device)) / max(1, counted)
            loss.backward()
            total += float(loss.detach())
            self.tokens += int((targets != IGNORED).sum())
        norm = clip_gradients(self.network, self.settings.clip)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return total, norm

    def _loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Summed cross-entropy, float32."""
        context = torch.autocast(self.device.type, torch.bfloat16) if self.bf16 else contextlib.nullcontext()
        with context:
            logits = self.network(inputs)
            return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum")

    def _validate(self) -> None:
        loss = evaluate(self.network, self.tokenizer, self.style, self.validation)
        self.run.metric(self.step, self.tokens, val_loss=loss.nats_per_token, val_bits_per_byte=loss.bits_per_byte)
        self.measured = (self.step, loss)
        better = self.best is None or loss.bits_per_byte < self.best.bits_per_byte
        self.say(f"step {self.step:,}: validation {loss.bits_per_byte:.4f} bits a byte{', the best so far' if better else ''}")
        if better:
            self.best = loss
            self._save(self.run.path / "checkpoints" / "best")

    def _save(self, folder: Path) -> None:
        card = {
            "step": self.step,
            "tokens": self.tokens,
            "validation": self.measured[1].to_json() if self.measured and self.measured[0] == self.step else None,
            "provenance": self.facts,
            "training": self.settings.to_json(),
        }
        stored_as = getattr(torch, self.settings.stored_as)
        save_checkpoint(folder, self.network, self.tokenizer, self.style, card, dtype=stored_as)
        self.run.event("checkpoint", self.step, folder=str(folder.relative_to(self.run.path)))

    def _checkpoint(self) -> Checkpoint:
        return Checkpoint(
            self.network, self.tokenizer, self.style, self.run.path.name, str(self.run.path), "own", device=str(self.device)
        )
