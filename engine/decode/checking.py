"""Whether a compiled step finds the logits that it should: held against the plain network on real text before it writes a word."""

from __future__ import annotations

from engine.checkpoints.native import Checkpoint
from engine.decode.compiled import verify
from engine.decode.twins import rounded
from engine.evaluation.stories import OPENINGS

TOKENS = 24
"""Of the text that is read; the second half of them is compared."""
BOUND = 1e-4
"""How far a logit may be off, over the logits' spread. Another order of the same float32 sums made 5e-6 at most, up to 125 million
parameters."""


def refusal(made: Checkpoint, exact: Checkpoint) -> str:
    """Empty where the compiled step of `made` agrees with the network of `exact`, which has its weights in float32; else a sentence.

    A narrower precision is held against the network with its weights rounded to it: what the rounding itself costs is another question
    (`loss`), and the bound can be the same.
    """
    assert made.compiled is not None
    ids = exact.tokenizer.encode(" ".join(OPENINGS))[: min(TOKENS, exact.config.context)]
    network = exact.network if made.precision == "fp32" else rounded(exact.network, made.precision)
    off = verify(made.compiled, network, ids)
    if off < BOUND:  # false for NaN too
        return ""
    return f"The compiled step in {made.precision} finds other logits than the network (off by {off:.1e} of their spread)."
