"""A folder in the Hub's layout with a model card: what `transformers`, this program and the Hub open as it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from engine import files
from engine.checkpoints import layout
from engine.checkpoints.exporting.card import card_of, model_card
from engine.checkpoints.native import write_checkpoint

if TYPE_CHECKING:
    from engine.checkpoints.native import Checkpoint

_KEPT_CARD = "The model card that came with the checkpoint was kept as it is; look it over before you publish the folder."


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
    kept = card_of(checkpoint.source)
    files.write_text(folder / "README.md", kept or model_card(checkpoint, kind, stored_as))
    return [_KEPT_CARD] if kept else []
