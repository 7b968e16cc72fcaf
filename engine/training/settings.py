"""Everything that decides how a model is trained, as one frozen dataclass; recipes, the command line and `config.json` share it.

Each field carries its group, limits or choices, and one sentence of help beside its default (see `option`), so that an option, a
form and an error message are made from the same place. Knows no torch.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Literal

from engine.errors import UsageError
from engine.settings import MODEL_PRESETS, JsonRoundTrip, ModelConfig, gpt2_config, llama_config


@dataclass(frozen=True)
class Option:
    """What a training setting may be, and how it is explained."""

    group: str
    """The part of the settings it belongs to, as a heading."""
    help: str
    kind: Literal["whole", "number", "text", "texts", "choice", "switch"]
    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    """`low` itself is not allowed."""
    choices: tuple[str, ...] = ()
    optional: bool = False
    """May be left out (None): then the program chooses."""
    on_resume: bool = False
    """May be changed when a run goes on, since it decides neither the model nor what it has seen."""


def options() -> dict[str, Option]:
    """The `Option` of every training setting, in the order of the fields."""
    return {f.name: f.metadata["option"] for f in dataclasses.fields(TrainSettings)}


def _option(default: Any, group: str, help: str, kind: Any = None, **limits: Any) -> Any:
    if kind is None:
        kind = (
            "choice"
            if "choices" in limits
            else "switch"
            if isinstance(default, bool)
            else "whole"
            if type(default) is int
            else "number"
        )
    return field(default=default, metadata={"option": Option(group, help, kind, **limits)})


@dataclass(frozen=True)
class TrainSettings(JsonRoundTrip):
    """How a model is trained. Token counts are per optimizer step over all devices together unless the help says otherwise."""

    data: tuple[str, ...] = _option(
        (), "Data", "Prepared data (one folder), or story files, folders, Hub data sets, `storybook`.", "texts",
        on_resume=True,
    )  # fmt: skip
    tokenizer: str = _option(
        "gpt2",
        "Data",
        "gpt2, bpe (learnt from the stories), or a tokenizer.json. Prepared data and --from bring their own.",
        "text",
    )
    vocab_size: int = _option(4096, "Data", "Size of a vocabulary that is learnt.", low=257, high=1 << 20)
    validation_share: float = _option(
        0.01, "Data", "Share of the stories that is held out; prepared data have their own.", low=0, high=0.5, above=True
    )
    prompted_happy: float = _option(
        0.0, "Data", "Share of stories with a guessed happy ending that are shown with a guessed story prompt.", low=0, high=1
    )
    prompted_sad: float = _option(0.0, "Data", "The same for a guessed sad ending.", low=0, high=1)
    marked_repeats: int = _option(
        1, "Data", "How often an epoch shows a story whose topic and ending people gave.", low=1, high=100
    )

    start_from: str | None = _option(
        None, "Model", "A checkpoint to go on from: a folder, a file or a Hub id.", "text", optional=True
    )
    model: str = _option("nano", "Model", "A model preset, or llama / gpt2 with the shape given below.", "text")
    width: int | None = _option(None, "Model", "Size of the residual stream.", "whole", low=1, high=1 << 16, optional=True)
    layers: int | None = _option(None, "Model", "Transformer blocks.", "whole", low=1, high=256, optional=True)
    heads: int | None = _option(None, "Model", "Attention heads.", "whole", low=1, high=1 << 12, optional=True)
    mlp_width: int | None = _option(
        None, "Model", "Hidden size of the feed-forward part.", "whole", low=1, high=1 << 18, optional=True
    )
    context: int | None = _option(None, "Model", "Longest sequence in tokens.", "whole", low=2, high=1 << 20, optional=True)
    dropout: float = _option(0.0, "Model", "Share of activations that is dropped while training.", low=0, high=0.99)
    lora_rank: int = _option(
        0,
        "Model",
        "Fine-tune small added matrices of this rank and merge them when saving; 0 trains all weights.",
        low=0,
        high=1024,
    )
    lora_alpha: float = _option(16.0, "Model", "The added matrices are scaled by alpha / rank.", low=0, high=1e4, above=True)

    steps: int | None = _option(
        None, "Length", "Optimizer steps in all.", "whole", low=1, high=1 << 40, optional=True, on_resume=True
    )
    epochs: float | None = _option(
        None,
        "Length",
        "Passes over the data, where no steps are given.",
        "number",
        low=0,
        high=1e6,
        above=True,
        optional=True,
        on_resume=True,
    )
    patience: int = _option(
        0,
        "Length",
        "Stop early after this many validations without a better one; 0 never does.",
        low=0,
        high=1 << 20,
        on_resume=True,
    )

    layout: str = _option(
        "packed",
        "Batches",
        "packed: whole stories fill each row, none sees another. stories: one a row, like lengths together. windows: a plain stream.",
        choices=("packed", "stories", "windows"),
    )
    batch_tokens: int = _option(4096, "Batches", "Tokens a step, padding counted.", low=1, high=1 << 34)
    micro_tokens: int | None = _option(
        None, "Batches", "Most tokens in one forward pass; more are taken in several passes (accumulation).", "whole",
        low=1, high=1 << 30, optional=True, on_resume=True,
    )  # fmt: skip
    loss_on: str = _option("story", "Batches", "story: the prompt has no loss. prompt: it has.", choices=("story", "prompt"))
    too_long: str = _option(
        "split",
        "Batches",
        "A story longer than the context is split into pieces, cut (its end is lost, and it has no end token), or dropped.",
        choices=("split", "cut", "drop"),
    )

    optimizer: str = _option(
        "adamw",
        "Optimizer",
        "adamw, or muon: Muon for the matrices inside the layers, AdamW for the rest.",
        choices=("adamw", "muon"),
    )
    learning_rate: float = _option(5e-4, "Optimizer", "Peak learning rate of AdamW.", low=0, high=1, above=True, on_resume=True)
    matrix_learning_rate: float = _option(
        3e-3, "Optimizer", "Peak learning rate of Muon, in AdamW's units.", low=0, high=1, above=True, on_resume=True
    )
    weight_decay: float = _option(0.1, "Optimizer", "Decoupled, on matrices only.", low=0, high=100, on_resume=True)
    beta1: float = _option(0.9, "Optimizer", "AdamW's memory of the gradient.", low=0, high=0.99999)
    beta2: float = _option(0.95, "Optimizer", "AdamW's memory of its square.", low=0, high=0.99999)
    clip: float = _option(1.0, "Optimizer", "Largest gradient norm; 0 clips nothing.", low=0, high=1e6, on_resume=True)
    ema: float = _option(
        0.0, "Optimizer", "Keep a running average of the weights with this decay and save that; 0 is off.", low=0, high=0.999999
    )

    warmup_steps: int = _option(100, "Schedule", "Steps over which the learning rate rises.", low=0, high=1 << 40, on_resume=True)
    schedule: str = _option(
        "cosine",
        "Schedule",
        "How the learning rate falls: cosine, linear, not at all (constant), or wsd: level, then linear over the last fifth.",
        choices=("cosine", "linear", "constant", "wsd"),
        on_resume=True,
    )
    decay_start: float = _option(
        0.0, "Schedule", "Share of the steps after which it begins to fall.", low=0, high=1, on_resume=True
    )
    final_learning_rate: float = _option(0.1, "Schedule", "Share of the peak that it falls to.", low=0, high=1, on_resume=True)

    evaluate_every: int = _option(250, "Watching", "Steps between validations.", low=1, high=1 << 40, on_resume=True)
    evaluate_stories: int = _option(1000, "Watching", "Held-out stories that a validation reads at most.", low=1, high=1 << 30)
    sample_every: int = _option(
        1000, "Watching", "Steps between sample stories; 0 writes none.", low=0, high=1 << 40, on_resume=True
    )
    sample_prompts: tuple[str, ...] = _option(
        ("Once upon a time", "sad: a lost dog", "happy: a brave knight"),
        "Watching", "Openings, or `happy: topic` / `sad: topic`.", "texts", on_resume=True,
    )  # fmt: skip
    log_every: int = _option(1, "Watching", "Steps between two lines of metrics, which are their means.", low=1, high=1 << 20)
    tensorboard: bool = _option(False, "Watching", "Write TensorBoard event files too.", on_resume=True)

    checkpoint_every: int = _option(
        500, "Checkpoints", "Steps between checkpoints to resume from.", low=1, high=1 << 40, on_resume=True
    )
    keep_every: int = _option(
        0, "Checkpoints", "Keep the checkpoints of each multiple of this many steps; 0: only best and latest.", low=0, high=1 << 40,
        on_resume=True,
    )  # fmt: skip
    stored_as: str = _option(
        "float32", "Checkpoints", "Number format of saved checkpoints; training keeps float32.", choices=("float32", "float16"),
        on_resume=True,
    )  # fmt: skip

    precision: str = _option(
        "auto", "Machine", "fp32, bf16 (autocast around fp32 weights), or auto: bf16 where the machine gains.",
        choices=("auto", "fp32", "bf16"), on_resume=True,
    )  # fmt: skip
    compile: bool = _option(False, "Machine", "Compile the step with torch.compile; needs a C++ compiler.", on_resume=True)
    device: str | None = _option(
        None, "Machine", "cpu, cuda, mps ...; the best there is if left out.", "text", optional=True, on_resume=True
    )
    threads: int | None = _option(
        None, "Machine", "CPU threads a process.", "whole", low=1, high=1024, optional=True, on_resume=True
    )
    processes: int = _option(1, "Machine", "Processes that train together, one a device.", low=1, high=1024, on_resume=True)
    seed: int = _option(1, "Machine", "Decides first weights, order of stories and dropout.", low=0, high=(1 << 63) - 1)

    def __post_init__(self) -> None:
        for name, limits in options().items():
            _check(name, getattr(self, name), limits)
        if self.lora_rank and self.start_from is None:
            raise UsageError("lora-rank needs a checkpoint to fine-tune: give one with --from.")

    def model_config(self, vocab_size: int) -> ModelConfig:
        """The model's shape; raises `UsageError` for an unknown preset or a shape that lacks a part."""
        if self.model in MODEL_PRESETS:
            changes = {name: getattr(self, name) for name in ("width", "layers", "heads", "mlp_width", "context")}
            changes = {name: value for name, value in changes.items() if value is not None}
            return dataclasses.replace(MODEL_PRESETS[self.model], vocab_size=vocab_size, dropout=self.dropout, **changes)
        if self.model not in ("llama", "gpt2"):
            raise UsageError(f"There is no model preset {self.model!r}; choose {', '.join(MODEL_PRESETS)}, llama or gpt2.")
        if None in (self.width, self.layers, self.heads, self.context):
            raise UsageError(f"A {self.model} model needs width, layers, heads and context.")
        build = llama_config if self.model == "llama" else gpt2_config
        return build(
            self.width, self.layers, self.heads, self.context, vocab_size, mlp_width=self.mlp_width, dropout=self.dropout
        )


def _check(name: str, value: Any, limits: Option) -> None:
    shown = name.replace("_", "-")
    if value is None and limits.optional:
        return
    match limits.kind:
        case "choice" if value not in limits.choices:
            raise UsageError(f"{shown} must be {' or '.join(limits.choices)}, not {value!r}.")
        case "switch" if not isinstance(value, bool):
            raise UsageError(f"{shown} must be true or false, not {value!r}.")
        case "text" if not isinstance(value, str) or not value.strip():
            raise UsageError(f"{shown} must be a text, not {value!r}.")
        case "texts" if not isinstance(value, tuple) or not all(isinstance(text, str) and text.strip() for text in value):
            raise UsageError(f"{shown} must be a list of texts, none of them empty.")
        case "whole" | "number":
            _check_number(shown, value, limits)


def _check_number(shown: str, value: Any, limits: Option) -> None:
    kinds = int if limits.kind == "whole" else int | float
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise UsageError(f"{shown} must be a {'whole ' * (limits.kind == 'whole')}number, not {_short(value)}.")
    fits = limits.low < value <= limits.high if limits.above else limits.low <= value <= limits.high  # false for NaN too
    if not fits:
        least = f"{'above' if limits.above else 'at least'} {limits.low:g}"
        most = f" and at most {limits.high:g}" if math.isfinite(limits.high) else ""
        raise UsageError(f"{shown} must be {least}{most}, and {_short(value)} is not.")


def _short(value: Any) -> str:
    try:
        return repr(value)[:40]
    except ValueError:  # a whole number of thousands of digits
        return "a far larger one"
