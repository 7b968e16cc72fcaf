"""From a file of another program to a model that is ready to write: read, recognised by its tensors, mapped, and given its tokenizer.

Which families there are stands in `FAMILIES`; each is asked in that order, and the first that is sure adapts.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch

from engine.checkpoints.families import gpt_neo, half_rotary, hub_gpt2, hub_llama, llama2c, nanogpt, per_head_gpt2, refused
from engine.checkpoints.foreign import Adapted, Family, Weights
from engine.checkpoints.native import Checkpoint, refuse_absurd
from engine.checkpoints.readers import check_finite, read_weights
from engine.devices import one_thread
from engine.errors import CheckpointError, TinyTalesError
from engine.model import Decoder
from engine.tokenizer import BytePairTokenizer, GPT2Tokenizer, Tokenizer

FAMILIES: tuple[Family, ...] = (
    per_head_gpt2.FAMILY, llama2c.FAMILY, half_rotary.FAMILY, refused.FAMILY, gpt_neo.FAMILY, hub_llama.FAMILY, nanogpt.FAMILY,
    hub_gpt2.FAMILY,
)  # fmt: skip
LARGEST = 10**10
"""Numbers in all tensors together; a file that claims more holds no story model."""


@one_thread()
def read_foreign(path: Path, name: str, source: str, tokenizer: Tokenizer | None = None) -> Checkpoint:
    """The model in a file, or in the one weights file of a folder, on the CPU in float32; with its own vocabulary or with this one.

    Raises `CheckpointError` with one sentence for what no family recognises, for what does not fit, and for a vocabulary that is not
    there.
    """
    weights = read_weights(path)
    adapted = adapt(weights)
    tokenizer = tokenizer or tokenizer_for(adapted, weights.path.parent, source)
    if tokenizer.vocab_size > adapted.config.vocab_size:
        raise CheckpointError(
            f"The vocabulary beside {weights.path.name} has {tokenizer.vocab_size:,} tokens, but the model has rows for "
            f"{adapted.config.vocab_size:,}: they do not belong together."
        )
    with torch.device("meta"):
        network = Decoder(adapted.config)
    network.load_state_dict(adapted.state, assign=True)
    if adapted.config.tied_head:
        network.head.weight = network.embedding.weight
    network.eval().requires_grad_(False)
    return Checkpoint(
        network,
        tokenizer,
        adapted.prompt_style,
        name,
        source,
        adapted.family,
        warnings=[*weights.warnings, *adapted.warnings],
        card=dict(weights.about),
        end_ids=adapted.end_ids,
        begin_id=adapted.begin_id,
    )


def adapt(weights: Weights) -> Adapted:
    """The model that tensors make, in float32 and contiguous; raises `CheckpointError`."""
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.tensors.items()}
    if sum(math.prod(shape) for shape in shapes.values()) > LARGEST:
        raise CheckpointError(f"{weights.path.name} is far larger than any story model.")
    family = next((family for family in FAMILIES if family.recognises(shapes)), None)
    if family is None:
        some = ", ".join(" ".join(name.split())[:60] for name in list(shapes)[:4])
        raise CheckpointError(
            f"{weights.path.name} is of no kind that can be read; its tensors are called {some} …"
            if shapes
            else f"{weights.path.name} holds no tensors."
        )
    try:
        adapted = family.adapt(weights)
        refuse_absurd(adapted.config, weights.path)
    except CheckpointError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, TinyTalesError) as error:
        raise CheckpointError(f"{weights.path.name} is no {family.name} model that makes sense ({error}).") from error
    check_finite(weights)
    return adapted


def tokenizer_for(adapted: Adapted, folder: Path, source: str) -> Tokenizer:
    """The vocabulary that goes with a model; raises `CheckpointError` where it should lie beside it and does not."""
    match adapted.vocabulary:
        case "gpt2":
            return GPT2Tokenizer()
        case "tokenizer.json":
            if not (folder / "tokenizer.json").is_file():
                raise CheckpointError(f"{source} needs its own vocabulary: put its tokenizer.json beside the weights.")
            return BytePairTokenizer.load(folder / "tokenizer.json")
        case "llama":
            from engine.llama_tokenizer import load_beside

            return load_beside(folder, adapted.config.vocab_size, source)
