"""Our own layout of 8-bit weights: the decoder's tensors under its own names, each matrix as whole numbers and a scale a row.

    blocks.0.mlp.up.weight.int8         int8 (rows, columns)
    blocks.0.mlp.up.weight.row_scale    float32 (rows,); a weight is its whole number × the scale of its row
    blocks.0.mlp_norm.weight            float32, as norms, biases and the table of positions are

`config.json` has a `model_type` of its own, under which the version and the layout of the shape stand, and no tensor is called as in any
layout of the Hub: another program refuses such a folder, where it would else take the whole numbers for the weights. What only needs
names and shapes knows no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.checkpoints.layout.shapes import Shapes, decoder_shapes
from engine.checkpoints.readers.common import shown
from engine.errors import CheckpointError
from engine.settings import ModelConfig

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

STORED_AS = "int8"
MODEL_TYPE = "tinytales_int8"
VERSION = 1
"""Raised when an older program would read the files wrongly."""
WHOLE, SCALE = ".int8", ".row_scale"
"""Endings of the two tensors of a matrix."""
_FOR_TRANSFORMERS = ("architectures", "dtype")
"""What a `config.json` says to transformers alone."""


def marked(data: dict[str, Any]) -> dict[str, Any]:
    """The `config.json` of such a folder, from that of the same shape in a layout of the Hub."""
    kept = {key: value for key, value in data.items() if key not in _FOR_TRANSFORMERS}
    return {**kept, "model_type": MODEL_TYPE, MODEL_TYPE: {"version": VERSION, "layout": data["model_type"]}}


def unmarked(path: Path, data: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """(what `marked` was given, whether it was marked); raises `CheckpointError` for a version that this program does not know."""
    if data.get("model_type") != MODEL_TYPE:
        return data, False
    mark = data.get(MODEL_TYPE)
    about = mark if isinstance(mark, dict) else {}
    version = about.get("version")
    if type(version) is not int or version != VERSION:
        raise CheckpointError(
            f"{path} names version {shown(version, 20)} of 8-bit weights, and this program reads version {VERSION}; update "
            "tinytales-tui, or take the checkpoint in another format."
        )
    return {**data, "model_type": about.get("layout")}, True


def shapes(config: ModelConfig) -> Shapes:
    """Every tensor of such a file and its shape, for a canonical shape of model; a tied head is left out."""
    found: Shapes = {}
    for name, shape in _kept(config).items():
        found |= {name + WHOLE: shape, name + SCALE: shape[:1]} if _is_matrix(name, shape) else {name: shape}
    return found


def to_stored(config: ModelConfig, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of such a file, on the CPU, from the decoder's canonical state; `CheckpointError` where it holds no numbers."""
    from engine.checkpoints.int8 import quantise_rows

    out: dict[str, Tensor] = {}
    for name, shape in _kept(config).items():
        tensor = state[name].detach().float().cpu().contiguous()
        if not bool(tensor.isfinite().all()):
            raise CheckpointError(f"This model holds numbers that are not finite in {name}, so it cannot be kept as int8.")
        if _is_matrix(name, shape):
            out[name + WHOLE], out[name + SCALE] = quantise_rows(tensor)
        else:
            out[name] = tensor
    return out


def from_stored(config: ModelConfig, tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The decoder's state in float32 from tensors of the right names, shapes and kinds; `CheckpointError` for scales that cannot be."""
    from engine.checkpoints.int8 import are_sound, dequantise_rows

    state: dict[str, Tensor] = {}
    for name, shape in _kept(config).items():
        if not _is_matrix(name, shape):
            state[name] = tensors[name].float()
            continue
        whole, scale = tensors[name + WHOLE], tensors[name + SCALE]
        if not are_sound(whole, scale):
            raise CheckpointError(
                f"{path} holds numbers for {name} that 8-bit weights never have, so it is damaged; fetch or export it again."
            )
        state[name] = dequantise_rows(whole, scale)
    if config.tied_head:
        state["head.weight"] = state["embedding.weight"]
    return state


def _kept(config: ModelConfig) -> Shapes:
    """The decoder's tensors that are stored: all but a tied head."""
    return {name: shape for name, shape in decoder_shapes(config).items() if not (config.tied_head and name == "head.weight")}


def _is_matrix(name: str, shape: tuple[int, ...]) -> bool:
    """What is multiplied with or looked up by token; positions are few numbers, and exact ones cost little."""
    return len(shape) == 2 and name != "position_embedding.weight"
