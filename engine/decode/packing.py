"""The weights of a `Decoder` as the compiled step reads them: row after row, in the width asked for, 64-byte aligned.

Float32 weights are the network's own, not copies, wherever their rows are whole vectors. Layouts, numbers a row padded with zeros:
bf16: blocks of 32; a 32-bit word holds number i of a block in its low half and number 16 + i in its high half, so that widening
costs one shift or one mask. int8: symmetric, a scale a row. int4: blocks of 32 with a scale each; a byte holds number i of a block in
its low half and number 16 + i in its high half, each plus 8. The token table is kept like the matrices, as the head itself where they
are one; with int4 both are int8. The position table, norms and biases stay float32 in every width.

A head of float32 or bf16 is kept in int8 as well: the screen. |w·x - q·x| is at most ‖w - q‖·‖x‖, so the rounded rows and those bounds
tell which few rows can be among the likeliest, and only they are read exactly: the same likeliest tokens with the same logits, bit for
bit, for a quarter or a half of the bytes.

Measured on the shipped model, its own stories (spread: the logits' standard deviation; loss in nats; own text, so flattering):

| width | root mean square error / spread | loss | same likeliest token |
| --- | --- | --- | --- |
| bf16 | 0.24 % | + 0.001 % | 99.5 % |
| int8, a scale a row (kept) | 1.3 % | + 0.014 % | 98.9 % |
| int8, a scale for 128 / 64 / 32 | 1.0 / 0.9 / 0.8 % | + 0.02 to 0.05 % | 99.7 % |
| int4, a scale for 32 (experimental) | 14 % | + 1.8 % | 91 % |
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from engine.checkpoints.int8 import quantise_rows
from engine.decode.room import aligned
from engine.decode.tables import MLP, MOST, ROW_BYTES, ROW_SCALES, ROWS, Shape, Weights
from engine.decode.widths import BF16, FP32, GROUP, INT4, INT8, LANES, NAMES, PRECISIONS, padded
from engine.errors import UsageError
from engine.model import Decoder
from engine.settings import ModelConfig

SLACK = 2.0**-16
"""What the sums of two products of float32 vectors may be off besides, in parts of the product of their lengths, for each 1,024 numbers
begun."""
GREAT = 1e4
AT_ONCE = 4096
"""Rows that are rounded at once, which bounds the memory."""


@dataclass(frozen=True)
class Packed:
    """A network's weights, ready for compiled code."""

    weights: Weights
    shape: Shape
    kept: tuple[np.ndarray | Tensor, ...]
    """What the addresses point into, held so that it stays."""
    bytes_a_token: int
    """Bytes of weights that one step reads; where the head is screened, its screen's."""
    own_bytes: int
    """Memory that is not shared with the network."""
    table_rows: int
    """Tokens that can be looked up."""
    screened: bool
    """Whether there is a screen."""
    rotary: int
    """Dimensions of a head that are turned; 0 for learned positions."""


class Packer:
    """Collects arrays and their addresses."""

    def __init__(self) -> None:
        self.kept: list[np.ndarray | Tensor] = []
        self.read = self.own = 0

    def keep(self, array: np.ndarray) -> int:
        """An aligned copy that stays; its address."""
        room = aligned(array.shape, array.dtype)
        room[...] = array
        self.kept.append(room)
        self.own += room.nbytes
        return room.ctypes.data

    def vector(self, values: Tensor) -> int:
        """A float32 vector: a norm or a bias."""
        return self.keep(values.detach().float().cpu().numpy())

    def table(self, values: Tensor) -> int:
        """A float32 table of which single rows are looked up: the network's own where it can be."""
        same = values.detach().float().cpu().contiguous()
        self.kept.append(same)
        self.own += 0 if same.data_ptr() == values.data_ptr() else same.nbytes
        return same.data_ptr()

    def matrix(self, weight: Tensor, bias: Tensor | None, kind: int) -> list[int]:
        """A row of `Weights.matrices` for a weight (rows, numbers a row), of which one step reads all."""
        entry = self.aside(weight, bias, kind)
        self.read += entry[ROWS] * (entry[ROW_BYTES] + 4 * entry[ROW_SCALES])
        return entry

    def aside(self, weight: Tensor, bias: Tensor | None, kind: int) -> list[int]:
        """The same for a matrix of which single rows are read."""
        rows, columns = weight.shape
        room = padded(columns, LANES if kind in (FP32, INT8) else GROUP)
        scales, row_scales = 0, 0
        if kind == FP32 and room == columns:
            place, row_bytes = self.table(weight), 4 * columns
        else:
            data, scale = pack_in_parts(weight, kind)
            place, row_bytes = self.keep(data), data.strides[0]
            if scale is not None:
                scales, row_scales = self.keep(scale), scale.shape[1]
        return [kind, place, row_bytes, scales, row_scales, room, rows, 0 if bias is None else self.vector(bias)]


def pack_rows(weight: Tensor, kind: int) -> tuple[np.ndarray, np.ndarray | None]:
    """(rows, …) numbers of this kind and their scales (rows, scales a row) float32, or None where the kind has none."""
    rows, columns = weight.shape
    room = padded(columns, LANES if kind in (FP32, INT8) else GROUP)
    wide = torch.zeros(rows, room)
    wide[:, :columns] = weight.detach().float()
    if kind == FP32:
        return wide.numpy(), None
    if kind == BF16:
        halves = wide.bfloat16().view(torch.int16).view(rows, -1, 2, GROUP // 2)
        return halves.transpose(2, 3).reshape(rows, room).numpy().view(np.uint16), None
    if kind == INT8:
        whole, scale = quantise_rows(wide)
        return whole.numpy(), scale[:, None].numpy()
    blocks = wide.view(rows, -1, GROUP)
    scale = (blocks.abs().amax(2) / 7).clamp(min=1e-30)
    whole = ((blocks / scale[:, :, None]).round_() + 8).to(torch.uint8).view(rows, -1, 2, GROUP // 2)
    return (whole[:, :, 0] | (whole[:, :, 1] << 4)).reshape(rows, room // 2).numpy(), scale.contiguous().numpy()


def pack_in_parts(weight: Tensor, kind: int) -> tuple[np.ndarray, np.ndarray | None]:
    """`pack_rows` of a large weight without a second copy of it in float32."""
    parts = [pack_rows(part, kind) for part in weight.detach().split(AT_ONCE)]
    scales = [scale for _, scale in parts if scale is not None]
    return np.concatenate([data for data, _ in parts]), np.concatenate(scales) if scales else None


def screen_bounds(weight: Tensor, kind: int) -> Tensor:
    """(rows,) float32: times ‖x‖, how far a row of the int8 screen of a weight kept as this kind may be off."""
    found = []
    for part in weight.detach().split(AT_ONCE):
        exact = unpack_rows(part, NAMES[kind])
        off = (exact - unpack_rows(exact, "int8")).double().norm(dim=1)
        found.append(
            (off + SLACK * -(-weight.shape[1] // 1024) * exact.double().norm(dim=1)).float().nextafter(torch.tensor(torch.inf))
        )
    return torch.cat(found)


def unpack_rows(weight: Tensor, precision: str) -> Tensor:
    """A weight (rows, columns) as the compiled step sees it when it is kept as `precision`: rounded, float32."""
    kind, (rows, columns) = PRECISIONS[precision], weight.shape
    data, scale = pack_rows(weight, kind)
    packed = torch.from_numpy(data.view(np.int16) if kind == BF16 else data)
    if kind == FP32:
        return packed[:, :columns]
    if kind == BF16:
        halves = packed.view(rows, -1, GROUP // 2, 2).transpose(2, 3)
        return halves.reshape(rows, -1).view(torch.bfloat16).float()[:, :columns]
    factor = torch.from_numpy(scale)
    if kind == INT8:
        return (packed.float() * factor)[:, :columns]
    halves = packed.view(rows, -1, 1, GROUP // 2)
    whole = torch.cat((halves & 15, halves >> 4), 2).reshape(rows, -1, GROUP).float() - 8
    return (whole * factor[:, :, None]).reshape(rows, -1)[:, :columns]


def pack(network: Decoder, precision: str, threads: int, vocab: int | None = None) -> Packed:
    """The weights of a network in this width, the head's rows up to `vocab` only; raises `UsageError` for an unknown width."""
    if precision not in PRECISIONS:
        raise UsageError(f"There is no precision {precision!r}; choose from {', '.join(PRECISIONS)}.")
    kind, packer, config = PRECISIONS[precision], Packer(), network.config
    vocab = min(vocab or config.vocab_size, config.vocab_size)
    matrices, norms = [], []
    for block in network.blocks:
        for layer in (block.attention.qkv, block.attention.out, block.mlp.up, block.mlp.down):
            matrices.append(packer.matrix(layer.weight, layer.bias, kind))
        norms += [_norm(packer, block.attention_norm, config), _norm(packer, block.mlp_norm, config)]
    head, bias = network.head.weight[:vocab], None if network.head.bias is None else network.head.bias[:vocab]
    tame = bias is None or float(bias.abs().max()) < GREAT  # sums with a bias beyond that lose what the bounds allow for
    screened, fine = kind in (FP32, BF16) and vocab > MOST and tame, INT8 if kind == INT4 else kind
    matrices.append((packer.aside if screened else packer.matrix)(head, bias, fine))
    if screened:
        rounded = torch.cat([unpack_rows(part, precision) for part in head.detach().split(AT_ONCE)]) if kind == BF16 else head
        matrices.append(packer.matrix(rounded, bias, INT8))
    else:
        matrices.append([0] * len(matrices[0]))
    tied = network.head.weight.data_ptr() == network.embedding.weight.data_ptr()
    matrices.append(matrices[-2] if tied else packer.aside(network.embedding.weight, None, fine))
    norms.append(_norm(packer, network.norm, config))
    learned = network.position_embedding
    position = packer.table if kind == FP32 else packer.vector  # a view would keep the whole file in memory
    places = [0 if learned is None else position(learned.weight), packer.vector(screen_bounds(head, kind)) if screened else 0]
    rotary = config.rotary_dim if config.positions == "rope" else 0
    windows = [config.window(layer) or np.iinfo(np.int64).max for layer in range(config.layers)]
    weights = Weights(*(np.array(part, dtype=np.int64) for part in (matrices, norms, windows, places)))
    rows = vocab if tied else config.vocab_size
    shape = _shape(network, threads, vocab)
    return Packed(weights, shape, tuple(packer.kept), packer.read, packer.own, rows, screened, rotary)


def _norm(packer: Packer, norm: nn.Module, config: ModelConfig) -> list[int]:
    weight, bias = norm.weight, getattr(norm, "bias", None)
    return [packer.vector(weight), packer.vector(torch.zeros(config.width) if bias is None else bias)]


def _shape(network: Decoder, threads: int, vocab: int) -> Shape:
    config = network.config
    return Shape(
        threads=threads,
        layers=config.layers,
        width=config.width,
        heads=config.heads,
        kv_heads=config.key_value_heads,
        dim=config.dim_per_head,
        hidden=config.hidden,
        vocab=vocab,
        mlp=MLP[config.mlp],
        rms=config.norm == "rmsnorm",
        interleaved=config.rope_style == "interleaved",
        scale=np.float32(network.blocks[0].attention.scale),
        eps=np.float32(config.norm_eps),
    )
