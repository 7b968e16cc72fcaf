"""Settings: frozen dataclasses that the command line, the settings file, the recipes and the screen all share.

Every number carries its label, range, step and help beside its default (see `number`), so that a slider, an option and an error
message are made from the same field. Knows no torch, so the terminal can import it in a blink.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from engine.errors import UsageError

Ending = Literal["happy", "sad"]
"""How a story is asked to end; `None` where a request asks for no ending."""
STORY_FEATURES = ("Dialogue", "BadEnding", "MoralValue", "Twist", "Foreshadowing", "Conflict")
"""What a TinyStories-Instruct prompt can ask of a story (Eldan and Li 2023, arXiv:2305.07759)."""


@dataclass(frozen=True)
class Range:
    """What a number in a settings dataclass may be, and how it is shown to a person."""

    label: str
    """A few words, as they stand beside the slider."""
    low: float
    high: float
    step: float
    """One press of an arrow key; shift makes it ten of them."""
    help: str
    """One sentence for a person who has never sampled from a model."""


def number(default: float, label: str, low: float, high: float, step: float, help: str) -> Any:
    """A dataclass field with a `Range` in its metadata."""
    return field(default=default, metadata={"range": Range(label, low, high, step, help)})


def ranges(settings: type) -> dict[str, Range]:
    """The `Range` of every numeric field of a settings class, in the order of the fields."""
    return {f.name: f.metadata["range"] for f in dataclasses.fields(settings) if "range" in f.metadata}


def check_ranges(settings: Any) -> None:
    """Refuse a value outside its range with one sentence (`UsageError`) that names the option, the value and the range."""
    for name, limits in ranges(type(settings)).items():
        value = getattr(settings, name)
        option = name.replace("_", "-")
        whole = all(isinstance(bound, int) for bound in (limits.low, limits.high, limits.step))
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            raise UsageError(f"{option} must be a {'whole ' if whole else ''}number, not {value!r}.")
        if not limits.low <= value <= limits.high:  # false for NaN too
            shown = f"{value:g}" if isinstance(value, float) else str(value)[:20]
            raise UsageError(f"{option} must lie between {limits.low:g} and {limits.high:g}, and {shown} does not.")


class JsonRoundTrip:
    """`to_json` / `from_json` for a frozen dataclass; an unknown key is an error, a missing one takes its default."""

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON values."""
        return dataclasses.asdict(self)  # type: ignore[call-overload]

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """The dataclass from what `to_json` gave; raises `UsageError` for a key or a shape that it does not know."""
        if not isinstance(data, dict):
            raise UsageError(f"{cls.__name__} must be a table of settings, not {type(data).__name__}.")
        known = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
        unknown = sorted(set(data) - known)
        if unknown:
            raise UsageError(f"{cls.__name__} has no setting called {', '.join(unknown)}; it knows {', '.join(sorted(known))}.")
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in data.items()})


@dataclass(frozen=True)
class ModelConfig(JsonRoundTrip):
    """The shape of the one decoder, with every switch that the TinyStories families need (see `engine.model`)."""

    vocab_size: int
    """Rows of the token embedding."""
    width: int
    """Size of the residual stream, d."""
    layers: int
    """Number of transformer blocks, L."""
    heads: int
    """Number of query heads, H."""
    context: int
    """The longest sequence the model was trained on: the learned positions there are, or the reach of the rotary cache."""
    kv_heads: int | None = None
    """Number of key/value heads (grouped-query attention); None: as many as query heads."""
    head_dim: int | None = None
    """Size of one head; None: width / heads."""
    positions: Literal["learned", "rope"] = "learned"
    """Learned position vectors, or rotary positions."""
    rope_style: Literal["half", "interleaved"] = "half"
    """Which dimensions a rotation pairs: (i, i + n/2) as in Hugging Face Llama, or (2i, 2i + 1) as in llama2.c."""
    rope_fraction: float = 1.0
    """Share of each head's dimensions that is rotated; the rest passes unrotated."""
    rope_theta: float = 10_000.0
    """Base of the rotary frequencies."""
    norm: Literal["layernorm", "rmsnorm"] = "layernorm"
    norm_eps: float = 1e-5
    norm_bias: bool = True
    """Whether layer normalisation has a bias; RMSNorm never has one."""
    mlp: Literal["gelu", "gelu_tanh", "swiglu"] = "gelu_tanh"
    """Exact GELU, its tanh approximation, or SiLU-gated units."""
    mlp_width: int | None = None
    """Hidden size of the feed-forward part; None: 4 × width."""
    qkv_bias: bool = True
    attention_out_bias: bool = True
    mlp_bias: bool = True
    head_bias: bool = False
    tied_head: bool = True
    """The output head shares the token embedding's matrix."""
    attention_scale: float | None = None
    """What query·key is multiplied by; None: 1/√head_dim. GPT-Neo uses 1.0."""
    windows: tuple[int | None, ...] = ()
    """Attention window of each layer in tokens, the newest included; None: no limit. Empty: no limit anywhere."""
    dropout: float = 0.0
    """Dropout on embeddings and on each block's two outputs, in training only."""

    def __post_init__(self) -> None:
        for name in ("vocab_size", "width", "layers", "heads", "context"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise UsageError(f"A model's {name} must be a whole number above zero, not {value!r}.")
        for name in ("kv_heads", "head_dim", "mlp_width"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise UsageError(f"A model's {name} must be a whole number above zero, not {value!r}.")
        for name in ("norm_eps", "rope_theta"):
            value = getattr(self, name)
            if not isinstance(value, float) or not 0.0 < value < math.inf:
                raise UsageError(f"A model's {name} must be a number above zero, not {value!r}.")
        if self.head_dim is None and self.width % self.heads:
            raise UsageError(f"A width of {self.width} cannot be divided into {self.heads} heads.")
        if self.heads % self.key_value_heads:
            raise UsageError(f"{self.heads} query heads cannot share {self.key_value_heads} key/value heads evenly.")
        if self.windows and len(self.windows) != self.layers:
            raise UsageError(f"{len(self.windows)} attention windows were given for {self.layers} layers.")
        if self.positions == "rope" and self.rotary_dim % 2:
            raise UsageError(f"Rotary positions need an even number of dimensions a head, not {self.rotary_dim}.")
        if not 0.0 <= self.dropout < 1.0:
            raise UsageError(f"Dropout must lie between 0 and 1, and {self.dropout:g} does not.")

    @property
    def key_value_heads(self) -> int:
        return self.kv_heads or self.heads

    @property
    def dim_per_head(self) -> int:
        return self.head_dim or self.width // self.heads

    @property
    def hidden(self) -> int:
        """Hidden size of the feed-forward part."""
        return self.mlp_width or 4 * self.width

    @property
    def rotary_dim(self) -> int:
        """How many dimensions of a head are rotated."""
        return int(self.dim_per_head * self.rope_fraction)

    def window(self, layer: int) -> int | None:
        return self.windows[layer] if self.windows else None


def gpt2_config(width: int, layers: int, heads: int, context: int, vocab_size: int = 50_257, **changes: Any) -> ModelConfig:
    """A GPT-2-shaped model: learned positions, LayerNorm, tanh GELU, biases, tied head."""
    return ModelConfig(vocab_size=vocab_size, width=width, layers=layers, heads=heads, context=context, **changes)


def llama_config(
    width: int, layers: int, heads: int, context: int, vocab_size: int, mlp_width: int | None = None, **changes: Any
) -> ModelConfig:
    """A Llama-shaped model: rotary positions (half), RMSNorm, SwiGLU, no biases, tied head.

    Where `mlp_width` is left out it is 8/3 × width rounded up to a multiple of 32: the parameters of a 4 × width GELU layer.
    """
    shape: dict[str, Any] = {
        "positions": "rope",
        "norm": "rmsnorm",
        "norm_bias": False,
        "mlp": "swiglu",
        "mlp_width": mlp_width or -(-8 * width // 3 // 32) * 32,
        "qkv_bias": False,
        "attention_out_bias": False,
        "mlp_bias": False,
    }
    return ModelConfig(vocab_size=vocab_size, width=width, layers=layers, heads=heads, context=context, **(shape | changes))


MODEL_PRESETS: dict[str, ModelConfig] = {
    "nano": gpt2_config(128, 4, 4, 64),
    "small": gpt2_config(384, 6, 6, 128),
    "medium": gpt2_config(512, 8, 8, 256),
    "large": gpt2_config(768, 12, 12, 512),
    "gpt2-30m": gpt2_config(384, 6, 6, 512),
    "gpt2-125m": gpt2_config(768, 12, 12, 512),
    "llama-24m": llama_config(448, 7, 7, 512, vocab_size=10_000, mlp_width=1536),
}
"""Model shapes by name, width × layers × heads as the field uses them; the GPT-2 vocabulary unless a preset says otherwise."""


@dataclass(frozen=True)
class SamplingSettings(JsonRoundTrip):
    """How the next token is drawn. Order: penalties, favour and bans → temperature → top-k → top-p → min-p → draw."""

    temperature: float = number(
        0.8, "Temperature", 0.0, 2.0, 0.05, "How daring the choice of words is; 0 always takes the likeliest one."
    )
    top_k: int = number(50, "Top-k", 0, 200, 5, "Choose among this many likeliest tokens only; 0 puts no limit.")
    top_p: float = number(
        0.95, "Top-p", 0.0, 1.0, 0.01, "Choose among the likeliest tokens that together reach this probability; 1 puts no limit."
    )
    min_p: float = number(
        0.0, "Min-p", 0.0, 1.0, 0.01, "Leave out tokens less likely than this share of the likeliest one; 0 leaves none out."
    )
    repetition_penalty: float = number(
        1.0, "Repeat penalty", 0.5, 2.0, 0.05, "Above 1 makes tokens that were used before less likely; 1 is off."
    )
    no_repeat_ngram: int = number(
        0, "No-repeat n-gram", 0, 20, 1, "Never write the same run of this many tokens twice; 0 is off."
    )
    max_tokens: int = number(300, "Length", 1, 4096, 10, "The most tokens a story may have.")
    min_tokens: int = number(0, "Least length", 0, 4096, 10, "The model may not end the story before this many tokens.")
    seed: int | None = None
    """Start of the random draw; the same seed writes the same story. None: a new one is rolled for each request and reported."""
    banned_words: tuple[str, ...] = ()
    """Words that must not appear (with or without a leading space or capital)."""
    stop: tuple[str, ...] = ()
    """Strings that end the story where they appear; they are not part of it."""
    stop_loops: bool = True
    """End a story that has begun to repeat itself."""
    favoured_words: tuple[str, ...] = ()
    """Words that are made likelier wherever they may come, by `favour`."""
    must_mention: tuple[str, ...] = ()
    """Words that are favoured until they have come, and the more so the longer the story gets without them."""
    favour: float = number(
        3.0, "Favour", 0.0, 10.0, 0.5, "How much likelier favoured words become; it is added to their logits, and 0 is off."
    )

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.seed is not None and (type(self.seed) is not int or not 0 <= self.seed < 2**63):
            raise UsageError(f"A seed is a whole number from 0 to 2^63 - 1, and {self.seed} is not.")
        words = {"banned": self.banned_words, "favoured": self.favoured_words, "must-mention": self.must_mention}
        for name, texts in (("stop", self.stop), *((f"the {kind} words", listed) for kind, listed in words.items())):
            if not isinstance(texts, tuple) or not all(isinstance(text, str) for text in texts):
                raise UsageError(f"{name} must be a list of texts.")
        if not isinstance(self.stop_loops, bool):
            raise UsageError("stop-loops is either on or off.")
        if any(not text for text in self.stop):
            raise UsageError("A stop string cannot be empty.")
        for kind, listed in words.items():
            if any(not word.strip() for word in listed):
                raise UsageError(f"A {kind} word cannot be empty.")
        if self.min_tokens > self.max_tokens:
            raise UsageError(f"The least length ({self.min_tokens}) is above the greatest ({self.max_tokens}).")

    @property
    def favours(self) -> bool:
        """Whether any word is made likelier."""
        return self.favour > 0.0 and bool(self.favoured_words or self.must_mention)

    def with_changes(self, **changes: Any) -> Self:
        """A copy with the given fields replaced; fields given as None are left as they are."""
        return dataclasses.replace(self, **{key: value for key, value in changes.items() if value is not None})


SAMPLING_PRESETS: dict[str, SamplingSettings] = {
    "balanced": SamplingSettings(temperature=0.8, top_k=50, top_p=0.95, repetition_penalty=1.2),
    "conservative": SamplingSettings(temperature=0.7, top_k=40, top_p=0.9, repetition_penalty=1.3),
    "creative": SamplingSettings(temperature=0.9, top_k=60, top_p=0.95, repetition_penalty=1.1),
}
"""Sampling settings by name, with the values that the TinyStories projects use."""


@dataclass(frozen=True)
class GenerationRequest(JsonRoundTrip):
    """What a person asks for: a topic with an ending, or a text to go on from."""

    topic: str = ""
    """What the story is about; used together with `ending`."""
    ending: Ending | None = None
    """How the story ends. None: no story prompt is used and `opening` (or, without one, `topic`) is continued as it stands."""
    opening: str = ""
    """Text that the story begins with; the model goes on from its end. Also how a story is continued."""
    sampling: SamplingSettings = SamplingSettings()
    count: int = 1
    """How many stories to write at once; story i is drawn with seed + i."""
    words: tuple[str, ...] = ()
    """Words that the story should use; only for checkpoints of the style `instruct-fields`, as the two below."""
    features: tuple[str, ...] = ()
    """Some of `STORY_FEATURES`; a sad ending adds its own."""
    sentence: str = ""
    """A sentence that should occur in the story."""
    tail: tuple[int, ...] = ()
    """The last tokens of the opening, as they were drawn, none that ends a story among them: they are read as they are, while what
    stands before them is encoded. Empty: all of the opening is encoded, and may be cut into other tokens than it was written with."""

    def __post_init__(self) -> None:
        if (
            not isinstance(self.topic, str)
            or not isinstance(self.opening, str)
            or not isinstance(self.sampling, SamplingSettings)
        ):
            raise UsageError("A request has a topic and an opening, which are texts, and sampling settings.")
        if self.ending not in ("happy", "sad", None):
            raise UsageError(f"An ending is happy, sad or none, not {self.ending!r}.")
        if type(self.count) is not int or not 1 <= self.count <= 64:
            raise UsageError(f"The number of stories at once must lie between 1 and 64, and {self.count} does not.")
        self._check_fields()
        if not isinstance(self.tail, tuple) or not all(type(token) is int and 0 <= token < 2**31 for token in self.tail):
            raise UsageError("The tail of a request is a list of tokens, which are whole numbers from 0 up.")
        if self.tail and not self.opening:
            raise UsageError("A tail is the end of an opening, and there is no opening.")
        if not (self.topic.strip() or self.opening.strip() or self.has_fields):
            raise UsageError("There is nothing to write about: give a topic, or words to begin with.")
        if self.ending is not None and not (self.topic.strip() or self.has_fields):
            raise UsageError("A story with an ending needs a topic: say what it is about, or ask for no ending.")

    @property
    def has_fields(self) -> bool:
        """Whether it asks for words, features or a sentence."""
        return bool(self.words or self.features or self.sentence.strip())

    def _check_fields(self) -> None:
        lists = isinstance(self.words, tuple) and isinstance(self.features, tuple)
        if not lists or not all(isinstance(text, str) for text in (*self.words, *self.features, self.sentence)):
            raise UsageError("The words, the features and the sentence of a request are texts.")
        for feature in self.features:
            if feature not in STORY_FEATURES:
                raise UsageError(f"There is no feature {feature!r}; choose from {', '.join(STORY_FEATURES)}.")

    @classmethod
    def from_json(cls, data: Any) -> Self:
        if isinstance(data, dict) and isinstance(data.get("sampling"), dict):
            data = data | {"sampling": SamplingSettings.from_json(data["sampling"])}
        return super().from_json(data)


StopReason = Literal["end of text", "length", "stop string", "cancelled", "loop"]
"""Why a story ended: the model said so, the length was reached, a stop string appeared, a person stopped it, it repeated itself."""
