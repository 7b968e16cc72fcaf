"""Which stories are held out: one rule for preparing them and for measuring a checkpoint on the files it was trained on.

A story's own text decides, with the seed, so a story is on the same side wherever and in whatever order it turns up. Knows no torch.
"""

from __future__ import annotations

import hashlib
from typing import Any

SEED, SHARE = 1, 0.01
"""What preparation takes where nothing else is said."""


def is_held_out(story: str, seed: int = SEED, share: float = SHARE) -> bool:
    """Whether the story belongs to the `valid` split: keyed BLAKE2b of its text, read as a fraction, lies below `share`."""
    key = hashlib.blake2b(story.encode(), key=str(seed).encode(), digest_size=8).digest()
    return int.from_bytes(key, "big") < share * 2.0**64


def rule_of(card: dict[str, Any]) -> tuple[int, float]:
    """Seed and share by which the training of a checkpoint (its `tinytales.json`) divided story files; the usual ones where unsaid."""
    training, provenance = ({} if not isinstance(card.get(key), dict) else card[key] for key in ("training", "provenance"))
    seed = provenance.get("split_seed", training.get("seed", SEED))  # prepared data were divided when they were prepared
    share = provenance.get("split_share", training.get("validation_share", SHARE))
    fits = type(seed) is int and 0 <= seed < 2**63 and isinstance(share, float) and 0 <= share <= 0.5
    return (seed, share) if fits else (SEED, SHARE)
