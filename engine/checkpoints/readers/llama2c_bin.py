"""llama2.c's own `.bin` files, versions 0, 1 and 2: seven numbers, then the tensors in a fixed order. Knows no decoder.

What the header says is checked by `llama2c_header`. Tensors come out under the names of llama2.c's own model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from engine.checkpoints.foreign import Weights
from engine.checkpoints.readers.common import damaged, reason, unreadable
from engine.checkpoints.readers.llama2c_header import Header, matrices, plain_order, read_header


def read_llama2c(path: Path) -> Weights:
    """The tensors of a `.bin` file in float32 (versions 0 and 1 mapped into memory, version 2 dequantised); `CheckpointError`."""
    try:
        header = read_header(path)
        file_bytes = torch.from_file(str(path), shared=False, size=path.stat().st_size, dtype=torch.uint8)
        read = _read_quantised if header.version == 2 else _read_plain
        tensors = dict(read(path, header, file_bytes))
    except OSError as error:
        raise unreadable(path, error) from error
    except (RuntimeError, MemoryError) as error:
        raise damaged(path, reason(error)) from error
    about: dict[str, int] = {"version": header.version}
    if header.group_size:
        about["group_size"] = header.group_size
    return Weights(tensors, header.config, "llama2.c", path, about=about)


def _read_plain(path: Path, header: Header, file: Tensor) -> Iterator[tuple[str, Tensor]]:
    at = header.start
    for name, shape in plain_order(header):
        end = at + 4 * math.prod(shape)
        if name is not None:
            yield name, file[at:end].view(torch.float32).view(shape)
        at = end


def _read_quantised(path: Path, header: Header, file: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Norms in float32, then for each matrix its int8 values and the float32 scale of every `group_size` of them (Q8_0)."""
    at = header.start
    for name, tensor in _read_plain(path, header, file):
        yield name, tensor
        at += 4 * tensor.numel()
    for name, shape in matrices(header):
        count = math.prod(shape)
        groups = count // header.group_size
        values = file[at : at + count].view(torch.int8)
        at += count
        scales = file[at : at + 4 * groups].clone().view(torch.float32)  # a copy: the place need not be a multiple of four
        at += 4 * groups
        if not bool((torch.isfinite(scales) & (scales >= 0)).all()):
            raise damaged(
                path,
                f"the scales of {name} are no sizes (early exports of llama2.c, which kept all scales at the end, cannot be read)",
            )
        yield name, (values.view(groups, -1).float() * scales[:, None]).view(shape)
