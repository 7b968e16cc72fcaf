"""Checkpoints: from a folder, a file or a Hub id to a model that is ready to write."""

from engine.checkpoints.load import load_checkpoint
from engine.checkpoints.native import Checkpoint, save_checkpoint

__all__ = ["Checkpoint", "load_checkpoint", "save_checkpoint"]
