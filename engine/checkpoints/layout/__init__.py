"""Names and shapes: the layouts of the Hub that our checkpoints are kept in ↔ the one decoder's.

    llama      rotary positions, RMSNorm, SwiGLU                      LlamaForCausalLM
    phi3       the same with a share of each head turned              Phi3ForCausalLM
    gpt2       learned positions, LayerNorm, GELU                     GPT2LMHeadModel
    gpt_neo    the same with attention windows and unscaled scores    GPTNeoForCausalLM

`transformers` opens what is written as it is. A model is first brought into the form that a layout holds (`canonical`: the same
logits from other tensors); from there each direction is a plain mapping, and `from_hub` gives back what `to_hub` took. What only needs
shapes (`shapes`, `hub_shapes`, configs) knows no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from engine.checkpoints.layout import gpt2, gpt_neo, llama, phi3
from engine.checkpoints.layout.canonical import canonical, canonical_config
from engine.checkpoints.layout.shapes import decoder_shapes
from engine.checkpoints.outline import Outline
from engine.errors import CheckpointError
from engine.settings import ModelConfig

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["canonical", "config_from_hub", "from_hub", "hub_config", "hub_shapes", "model_type", "to_hub"]

LAYOUTS: dict[str, ModuleType] = {"llama": llama, "phi3": phi3, "gpt2": gpt2, "gpt_neo": gpt_neo}
"""By `model_type`. Each has `holds(config)`, `describe(config)`, `config_of(data)`, and `to_hub` and `from_hub` without the head."""

_HEAD_BIAS = (
    "The output head of this model has a bias, and no layout of the Hub has a place for one, so it cannot be saved, tuned or exported; "
    "it can only be written with."
)
_NOT_EXPRESSIBLE = (
    f"A model of this shape has no Hub layout (it is none of {', '.join(LAYOUTS)}), so it cannot be saved, tuned or exported."
)


def model_type(config: ModelConfig) -> str:
    """The layout that holds a model of this shape; raises `CheckpointError` with the reason where none does."""
    if config.head_bias:
        raise CheckpointError(_HEAD_BIAS)
    config = canonical_config(config)
    for kind, layout in LAYOUTS.items():
        if layout.holds(config):
            return kind
    raise CheckpointError(_NOT_EXPRESSIBLE)


def hub_config(config: ModelConfig, begin_id: int, end_ids: Sequence[int]) -> dict[str, Any]:
    """The `config.json` with which `transformers` builds the same network, in float32; for a shape as `canonical` gives it."""
    kind = model_type(config)
    return LAYOUTS[kind].describe(config) | {
        "model_type": kind,
        **token_ids(begin_id, end_ids),
        "tie_word_embeddings": config.tied_head,
        "vocab_size": config.vocab_size,
        "dtype": "float32",
    }


def token_ids(begin_id: int, end_ids: Sequence[int]) -> dict[str, Any]:
    """What config.json and generation_config.json say of special tokens; the first end token also fills up short rows."""
    return {
        "bos_token_id": begin_id,
        "eos_token_id": end_ids[0] if len(end_ids) == 1 else list(end_ids),
        "pad_token_id": end_ids[0],
    }


def config_from_hub(data: dict[str, Any]) -> ModelConfig:
    """The decoder's shape from a `config.json` that this program wrote; KeyError, TypeError or ValueError where it makes no sense."""
    kind = data.get("model_type")
    if not isinstance(kind, str) or kind not in LAYOUTS:
        raise CheckpointError(f"A network of type {kind!r} is not one that tinytales-tui writes ({', '.join(LAYOUTS)}).")
    return LAYOUTS[kind].config_of(data)


def hub_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor of the Hub layout and its shape: what a file must hold, no more and no less. Makes none of them."""
    state = {name: Outline(shape, "F32", True) for name, shape in decoder_shapes(config).items()}
    return {name: tensor.shape for name, tensor in to_hub(config, state).items()}  # type: ignore[arg-type, misc]


def to_hub(config: ModelConfig, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The decoder's state, as `canonical` gives it, in the Hub's names and shapes; contiguous, the tied head left out."""
    out = LAYOUTS[model_type(config)].to_hub(config, state)
    if not config.tied_head:
        out["lm_head.weight"] = state["head.weight"]
    return {name: tensor.detach().contiguous() for name, tensor in out.items()}


def from_hub(config: ModelConfig, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The decoder's state from tensors in the Hub's layout; the opposite of `to_hub`."""
    state = LAYOUTS[model_type(config)].from_hub(config, tensors)
    state["head.weight"] = state["embedding.weight"] if config.tied_head else tensors["lm_head.weight"]
    return state
