"""The engine of tinytales-tui: tiny story models in PyTorch, without a screen.

    checkpoint = engine.load_checkpoint("path/to/folder")
    for event in engine.generate(checkpoint, engine.GenerationRequest(topic="a brave knight", ending="sad")):
        ...

Importing this package is cheap: torch is imported only when a name that needs it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.settings import GenerationRequest, ModelConfig, SamplingSettings
from engine.version import __version__

if TYPE_CHECKING:
    from engine.checkpoints import Checkpoint, load_checkpoint
    from engine.generation import generate

__all__ = [
    "Checkpoint",
    "GenerationRequest",
    "ModelConfig",
    "SamplingSettings",
    "__version__",
    "generate",
    "load_checkpoint",
]

_LAZY = {"Checkpoint": "engine.checkpoints", "load_checkpoint": "engine.checkpoints", "generate": "engine.generation"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'engine' has no attribute {name!r}")
