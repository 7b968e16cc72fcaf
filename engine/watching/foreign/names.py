"""Which of a foreign log's names means what: the usual names of a step, a loss and the rest, turned into the names that our charts know.

A person may say it where the usual names do not help (`Columns`). What is not recognised keeps its own name. Knows no files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from functools import lru_cache
from typing import Any

from engine.errors import UsageError

OURS = (
    "step", "epoch", "total_steps", "tokens", "time", "train_loss", "val_loss", "val_bits_per_byte", "val_perplexity", "lr",
    "grad_norm", "tokens_per_s", "memory_bytes", "step_s",
)  # fmt: skip
"""Names with a meaning here; `step_s` is seconds a step."""
FIGURES = frozenset(("train_loss", "val_loss", "val_bits_per_byte", "val_perplexity"))
"""One of these must be there for a line to count as a line of a training log."""
_MOST_NAMED, _LONGEST_NAME = 12, 80
"""Columns that a sentence lists, and the characters that are kept of a name."""


@dataclass(frozen=True)
class Columns:
    """Columns that a person has chosen, by the log's own names; None leaves it to the usual names."""

    step: str | None = None
    """Counts the steps."""
    loss: str | None = None
    """Training loss."""
    val_loss: str | None = None
    """Validation loss."""
    lr: str | None = None
    """Learning rate."""
    grad_norm: str | None = None
    """Norm of the gradients."""
    tokens: str | None = None
    """Tokens learnt from so far."""
    tokens_per_s: str | None = None
    """Tokens a second."""
    time: str | None = None
    """When the line was written: Unix seconds, milliseconds or an ISO date."""

    @classmethod
    def parse(cls, text: str) -> Columns:
        """Out of `step=a,loss=b`; raises `UsageError` for anything else."""
        known = [field.name for field in fields(cls)]
        chosen: dict[str, str] = {}
        for part in text.split(","):
            key, equals, value = (piece.strip() for piece in part.partition("="))
            key = {"train_loss": "loss", "learning_rate": "lr"}.get(key, key)
            if not equals or not value or key not in known:
                raise UsageError(
                    f"--columns takes pairs such as step=a,loss=b, with any of {', '.join(known)}; not {part.strip() or text!r}."
                )
            if key in chosen:
                raise UsageError(f"--columns names {key} twice.")
            chosen[key] = value
        return cls(**chosen)

    def by_ours(self) -> dict[str, str]:
        """Our name to the log's own, for what was chosen."""
        pairs = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {"train_loss" if ours == "loss" else ours: theirs for ours, theirs in pairs if theirs is not None}


_EXACT: dict[str, str] = {  # the surest first
    "step": (
        "global_step trainer_global_step step train_step training_step current_step current_steps optimizer_step "
        "num_updates update updates num_steps n_steps steps iter iteration iter_num n_iter num_iter iters iterations "
        "global_iter train_iter it eval_step batch batch_idx batches minibatch s"
    ),
    "epoch": "epoch epochs epoch_num current_epoch",
    "total_steps": "total_steps max_steps total_iters max_iters num_training_steps max_updates",
    "tokens": (
        "tokens total_tokens tokens_seen num_tokens n_tokens num_tokens_seen num_input_tokens_seen consumed_tokens "
        "tokens_processed n_tokens_seen total_tokens_seen"
    ),
    "time": "time timestamp unix_time wall_time walltime datetime date created_at ts",
    "val_bits_per_byte": (
        "val_bits_per_byte val_bpb validation_bpb validation_bits_per_byte eval_bpb bits_per_byte_validation "
        "bits_per_byte_val bpb_val valid_bpb bits_per_byte bpb"
    ),
    "val_perplexity": (
        "val_perplexity val_ppl valid_ppl validation_perplexity validation_ppl eval_perplexity eval_ppl perplexity_val "
        "perplexity_validation ppl_val dev_ppl valid_perplexity"
    ),
    "lr": "lr learning_rate learningrate lr_adam lr_adam_w lr_adamw lr_sgd lr_group_0 group0_lr lr_0 lr_last",
    "grad_norm": ("grad_norm gradnorm gradient_norm gnorm total_grad_norm global_grad_norm grad_norm_total norm l2_grad_norm"),
    "tokens_per_s": (
        "tokens_per_s tokens_per_sec tokens_per_second tok_per_s tok_per_sec tok_s tok_sec tokens_s tokens_sec toks tps "
        "wps tokens_second total_tokens_per_second"
    ),
    "memory_bytes": "memory_bytes memory_allocated_bytes max_memory_bytes",
    "step_s": "step_s step_seconds seconds_per_step step_time_s time_per_step_s seconds_per_iteration",
}
_SHORT = {"trl": ("train_loss", 0), "tel": ("val_loss", 0)}
"""As llm.c calls them in its log file."""
_BY_KEY = _SHORT | {key: (ours, rank) for ours, keys in _EXACT.items() for rank, key in enumerate(keys.split())}
_PLACES = frozenset(
    "train training trainer throughput device perf performance metrics optim optimizer system scalars stats log".split()
)
"""Words before a name that say where it was measured, not what."""
_TRAINING = frozenset(
    "train training tr lm ce nll cross entropy crossentropy xent step iter batch epoch total avg average mean running".split()
)
VALIDATION = frozenset("val valid validation eval evaluation dev test".split())
_WORDS = re.compile(r"[a-z0-9]+")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")


@lru_cache(maxsize=8192)
def key_of(name: str) -> str:
    """A name in small letters, its words joined by underlines: `Train/Loss` is `train_loss`."""
    return "_".join(_WORDS.findall(_HUMP.sub("_", name[:200]).lower()))


@lru_cache(maxsize=4096)
def meaning(name: str) -> tuple[str, int] | None:
    """Our name for what a log calls `name`, and how sure that is (0 is the surest); None for what is not recognised."""
    words = key_of(name).split("_")
    skipped = 0
    while True:
        if found := _BY_KEY.get("_".join(words)):
            return found[0], found[1] + 20 * skipped
        if found := _loss(words):
            return found[0], found[1] + 20 * skipped
        if len(words) < 2 or words[0] not in _PLACES:
            return None
        words, skipped = words[1:], skipped + 1


def _loss(words: Sequence[str]) -> tuple[str, int] | None:
    words = words[:-1] if words[-1] == "value" else words  # `lm loss value`
    rest = [word for word in words if word != "loss"]
    if len(rest) == len(words):
        rest = [word for word in words if word not in ("nll", "xent", "crossentropy")]
        if len(rest) == len(words):
            return None
    checks = sum(word in VALIDATION for word in rest)
    if checks and all(word in VALIDATION or word in _TRAINING for word in rest):
        return "val_loss", len(rest) - 1 + 5 * ("test" in rest)
    if not checks and all(word in _TRAINING for word in rest):
        return "train_loss", len(rest)
    return None


class Naming:
    """Gives every name of a log one of ours, or its own; what was given once holds for the rest of the log."""

    def __init__(self, columns: Columns | None = None) -> None:
        self._chosen = (columns or Columns()).by_ours()
        self._by_choice = {theirs: ours for ours, theirs in self._chosen.items()}
        self._by_choice_key = {key_of(theirs): ours for theirs, ours in self._by_choice.items() if key_of(theirs)}
        self._given: dict[str, str] = {}
        self._holders: dict[str, str] = {}

    def missing(self, names: Iterable[str]) -> list[str]:
        """Chosen names that are not among these."""
        there = set(names)
        keys = {key_of(name) for name in there}
        return [theirs for theirs in self._by_choice if theirs not in there and key_of(theirs) not in keys]

    def ranked(self, name: str) -> tuple[str, int] | None:
        """What a name means, by a person's choice or as usual, and how sure that is."""
        ours = self._by_choice.get(name) or self._by_choice_key.get(key_of(name))
        if ours:
            return ours, -1
        found = meaning(name)
        return None if found is None or found[0] in self._chosen else found

    def line_names(self, names: Sequence[str]) -> list[str]:
        """Our names for those of one line, in their order, each once. Where there is no step, an epoch stands for it."""
        best: dict[str, tuple[int, str]] = {}
        for name in names:
            if found := self.ranked(name):
                ours, rank = found
                if ours not in best or rank < best[ours][0]:
                    best[ours] = rank, name
        if "step" not in best and "epoch" in best and "step" not in self._chosen:
            best["step"] = best.pop("epoch")
        taken = {name: ours for ours, (_, name) in best.items()}
        result: list[str] = []
        used = set(taken.values())
        for name in names:
            ours = taken.get(name)
            if ours is not None and ours not in ("step", "epoch", "total_steps") and self._holders.setdefault(ours, name) != name:
                ours = None  # another name of this log has that meaning already
            if ours is None:
                own = name[:_LONGEST_NAME]
                ours = own if own not in OURS and own not in used else f"{own}_2"
                while ours in used:
                    ours += "_2"
            used.add(ours)
            result.append(ours)
        return result

    def name(self, theirs: str) -> str:
        """Our name for a figure that comes alone, as in TensorBoard files; never one that counts steps."""
        if theirs not in self._given:
            found = self.ranked(theirs)
            ours = found[0] if found and found[0] not in ("step", "epoch", "total_steps", "time") else None
            if ours is None or self._holders.setdefault(ours, theirs) != theirs:
                ours = theirs if theirs not in OURS else f"{theirs}_2"
            self._given[theirs] = ours
        return self._given[theirs]


def no_figures(what: str, names: Sequence[str]) -> str:
    """The sentence on a log without a step or a loss that can be told."""
    if not names:
        return f"{what} has no columns with names."
    return (
        f"{what} has no column that looks like a loss; its columns are {listed(names)}: name them with --columns step=…,loss=…, "
        f"for example --columns step={_shown(names[0])},loss={_shown(names[-1])}."
    )


def listed(names: Sequence[str]) -> str:
    """Names of columns for a sentence: the first dozen, cut short and without control characters."""
    more = len(names) - _MOST_NAMED
    return ", ".join(map(_shown, names[:_MOST_NAMED])) + (f" and {more:,} more" if more > 0 else "")


def _shown(name: str) -> str:
    return "".join(mark if mark.isprintable() else "\ufffd" for mark in name[:_LONGEST_NAME])


def number(text: Any) -> float | None:
    """A number in a text, thousands divided by commas too; None for all else."""
    if not isinstance(text, str) or len(text) > 60 or "_" in text:
        return None
    try:
        return float(text)
    except ValueError:
        pass
    if re.fullmatch(r"\s*[-+]?\d{1,3}(,\d{3})+(\.\d*)?\s*", text):
        return float(text.replace(",", ""))
    return None


def moment(value: Any) -> float | None:
    """Unix seconds of a time: seconds or milliseconds since 1970, or an ISO date (local time where it names no zone)."""
    if isinstance(value, str):
        if (found := number(value)) is None:
            try:
                return datetime.fromisoformat(value.strip().replace(",", ".")).timestamp()
            except (ValueError, OverflowError, OSError):
                return None
        value = found
    if type(value) not in (int, float):
        return None
    if 5e8 < value < 5e9:
        return float(value)
    return value / 1000 if 5e11 < value < 5e12 else None


def converter(ours: str, value: Any) -> Callable[[Any], Any] | None:
    """What turns values like this one into numbers for that name; None where they are fit as they are (or cannot be numbers at all)."""
    if ours == "time":
        return None if type(value) in (int, float) and 5e8 < value < 5e9 else moment
    return number if isinstance(value, str) and number(value) is not None else None
