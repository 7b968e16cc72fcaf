"""A folder in the Hub's layout with a model card: what `transformers`, this program and the Hub open as it is.

As int8 the weights lie in a layout of our own (`layout.int8`), which this program alone opens; card and notes say so.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from engine import files
from engine.checkpoints import layout
from engine.checkpoints.exporting import card
from engine.checkpoints.layout import int8
from engine.checkpoints.native import write_checkpoint

if TYPE_CHECKING:
    from engine.checkpoints.native import Checkpoint

_ONLY_HERE = (
    "transformers cannot open a folder of 8-bit weights, and neither can any other program, as its model card says; for those export "
    "the checkpoint that it was made from with --to hf."
)
_KEPT_CARD = "The model card that came with the checkpoint was kept; look it over before you publish the folder."


def write(checkpoint: Checkpoint, folder: Path, stored_as: str) -> list[str]:
    """Fill the folder; gives the notes. Raises `CheckpointError` for a shape that no layout holds."""
    config, state = layout.canonical(checkpoint.config, checkpoint.network.state_dict())
    kind = layout.model_type(config)
    write_checkpoint(
        folder,
        config,
        state,
        checkpoint.tokenizer,
        checkpoint.prompt_style,
        checkpoint.card,
        checkpoint.sampling,
        getattr(torch, stored_as),
        end_ids=checkpoint.end_ids,
        begin_id=checkpoint.begin_id,
    )
    kept = card.card_of(checkpoint.source)
    text = card.restated(kept, stored_as) if kept else card.model_card(checkpoint, kind, stored_as)
    in_int8 = stored_as == int8.STORED_AS
    files.write_text(folder / "README.md", card.with_notice(text) if in_int8 else text)
    return [_ONLY_HERE] * in_int8 + [_KEPT_CARD] * bool(kept)
