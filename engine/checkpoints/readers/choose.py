"""Reading the weights in a folder or a file, whichever kind they are. Knows no model; `config.json` is handed on as it is."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from engine.checkpoints.foreign import Weights
from engine.checkpoints.readers.kinds import chosen_file, config_beside, kind_of
from engine.checkpoints.readers.llama2c_bin import read_llama2c
from engine.checkpoints.readers.pickled import read_pickled
from engine.checkpoints.readers.sharded import read_sharded
from engine.checkpoints.readers.tensors_file import read_safetensors


def read_weights(path: Path) -> Weights:
    """The weights in a folder or a file, with `config.json` beside them and what the file says of itself.

    Which file of a folder is taken says `kinds.chosen_file`. Settings in the file itself go before `config.json`. Raises
    `CheckpointError` with one sentence for whatever is wrong.
    """
    chosen, warnings = chosen_file(path)
    weights = read_sharded(chosen, _read_file) if chosen.name.endswith(".index.json") else _read_file(chosen)
    config = weights.config or config_beside(chosen)
    return dataclasses.replace(weights, config=config, warnings=(*weights.warnings, *warnings))


def _read_file(path: Path) -> Weights:
    return {"pickled": read_pickled, "llama2c": read_llama2c, "safetensors": read_safetensors}[kind_of(path)](path)
