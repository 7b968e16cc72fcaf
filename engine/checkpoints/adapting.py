"""From a file of another program to a model that is ready to write: read, recognised by its tensors, mapped, and given its tokenizer.

Which families there are stands in `engine.checkpoints.recognise`.
"""

from __future__ import annotations

from pathlib import Path

import torch

from engine.checkpoints.foreign import Adapted, Weights
from engine.checkpoints.native import Checkpoint
from engine.checkpoints.own import refuse_absurd
from engine.checkpoints.readers import check_finite, read_weights
from engine.checkpoints.recognise import recognise
from engine.devices import one_thread
from engine.errors import CheckpointError
from engine.model import Decoder
from engine.tokenizer import BytePairTokenizer, GPT2Tokenizer, Tokenizer


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
    adapted = recognise(weights)
    refuse_absurd(adapted.config, weights.path)
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
