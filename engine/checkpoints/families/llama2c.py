"""llama2.c's models, Karpathy's tinyllamas, and those made with a copy of its model file.

Rotary positions turn neighbouring dimensions (2i, 2i + 1). Knows names, no containers.
"""

from __future__ import annotations

from engine.checkpoints.families.llama_shape import PUBLISHED, Names, Told, build, matrix, positive, whole
from engine.checkpoints.foreign import Adapted, Family, Taking, Weights
from engine.checkpoints.outline import Outline
from engine.errors import CheckpointError
from engine.prompts import PromptStyle

NAMES = Names(
    embedding="tok_embeddings",
    head="output",
    norm="norm",
    layer="layers",
    attention_norm="attention_norm",
    query="attention.wq",
    key="attention.wk",
    value="attention.wv",
    out="attention.wo",
    mlp_norm="ffn_norm",
    gate="feed_forward.w1",
    up="feed_forward.w3",
    down="feed_forward.w2",
)


def adapt(weights: Weights) -> Adapted:
    """A llama2.c model, from whichever container. Raises `CheckpointError`."""
    taking = Taking(weights)
    width = matrix(taking, f"{NAMES.of(0, 'query')}.weight")[1]
    heads, context = whole(weights, "n_heads"), whole(weights, "max_seq_len", "seq_len")
    eps, theta = positive(weights, 1e-5, "norm_eps"), positive(weights, 1e4, "rope_theta")
    if "freqs_cos" in taking:
        steps, pairs = matrix(taking, "freqs_cos")
        _check_rotations(weights, pairs, theta)
        heads, context = width // (2 * pairs), context or steps
    published = PUBLISHED.get(width, (None, None))
    context = context or published[1]
    if context is None:
        raise CheckpointError(f"Nothing says how long the context of {weights.path.name} is; put its config.json beside it.")
    told = Told(heads or published[0], whole(weights, "n_kv_heads"), None, context, whole(weights, "n_layers"))
    # Copies of llama2.c's model file are tuned without a BOS token; their safetensors lack one matrix of the tied pair. In the Hub's
    # cache the name of the repository stands three folders above the file.
    tuned = "-sft" in "/".join(weights.path.parts[-4:]) or weights.path.name.startswith("finetune_")
    copy = tuned or weights.format == "safetensors" or "tok_embeddings.weight" not in taking
    shape, state, warnings = build(weights, taking, NAMES, told, norm_eps=eps, rope_theta=theta, rope_style="interleaved")
    masks = [f"layers.{i}.attention.mask" for i in range(shape.layers)]
    ignored = taking.ignore(["freqs_cos", "freqs_sin", "rope.freqs", *masks])
    taking.finish()
    return Adapted(
        family="llama2.c",
        config=shape,
        state=state,
        vocabulary="llama",
        prompt_style=PromptStyle("topic-ending" if tuned else "plain"),
        end_ids=(2,) if copy else (1, 2),  # llama2.c trains on stories that begin with BOS, so BOS comes where one ends
        begin_id=None if copy else 1,
        ignored=ignored,
        warnings=tuple(warnings),
    )


FAMILY = Family("llama2.c", lambda shapes: "layers.0.attention.wq.weight" in shapes, adapt)


def _check_rotations(weights: Weights, pairs: int, theta: float) -> None:
    """A stored table must be the one that the decoder makes; coarse, for it may have been kept in 16 bits. Outlines have no numbers."""
    if isinstance(weights.tensors["freqs_cos"], Outline):
        return
    import torch

    table = weights.tensors["freqs_cos"].float()[:64]
    frequencies = 1.0 / theta ** (torch.arange(pairs) / max(pairs, 1))
    if not torch.allclose(table, torch.outer(torch.arange(len(table)).float(), frequencies).cos(), atol=0.02):
        raise CheckpointError(f"freqs_cos in {weights.path.name} is not the table of rotary positions with a base of {theta:g}.")
