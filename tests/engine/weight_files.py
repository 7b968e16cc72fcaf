"""Files of weights for tests of the readers, written from the descriptions of their formats, and what reading them should say."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from engine.checkpoints.readers import read_weights
from engine.errors import CheckpointError


def some_tensors(seed: int = 0) -> dict[str, Tensor]:
    """A few tensors of several shapes and types."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "embedding.weight": torch.randn(20, 16, generator=generator),
        "half.weight": torch.randn(4, 16, generator=generator).to(torch.bfloat16),
        "old.weight": torch.randn(3, 2, 5, generator=generator).to(torch.float16),
        "mask": torch.ones(6, 6, dtype=torch.bool).tril(),
        "bytes": torch.arange(9, dtype=torch.uint8),
        "counts": torch.arange(5),
        "scalar": torch.tensor(2.5, dtype=torch.float64),
        "nothing": torch.zeros(0, 3),
    }


def same(found: Mapping[str, Tensor], made: Mapping[str, Tensor]) -> bool:
    return set(found) == set(made) and all(
        found[name].dtype == made[name].dtype and torch.equal(found[name], made[name]) for name in made
    )


def refused(path: Path, about: str) -> str:
    with pytest.raises(CheckpointError, match=about) as refusal:
        read_weights(path)
    message = str(refusal.value)
    assert "\n" not in message and message.endswith(".") and len(message) < 900
    return message


LLAMA = {"dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "vocab_size": 24, "max_seq_len": 16}


def llama_tensors(config: Mapping[str, int] = LLAMA, tied: bool = True) -> dict[str, Tensor]:
    """Random tensors under llama2.c's names."""
    dim, hidden, shared = config["dim"], config["hidden_dim"], config["dim"] // config["n_heads"] * config["n_kv_heads"]
    shapes: dict[str, tuple[int, ...]] = {"tok_embeddings.weight": (config["vocab_size"], dim), "norm.weight": (dim,)}
    for i in range(config["n_layers"]):
        for name, shape in {
            "attention_norm": (dim,), "ffn_norm": (dim,), "attention.wq": (dim, dim), "attention.wk": (shared, dim),
            "attention.wv": (shared, dim), "attention.wo": (dim, dim), "feed_forward.w1": (hidden, dim),
            "feed_forward.w2": (dim, hidden), "feed_forward.w3": (hidden, dim),
        }.items():  # fmt: skip
            shapes[f"layers.{i}.{name}.weight"] = shape
    if not tied:
        shapes["output.weight"] = shapes["tok_embeddings.weight"]
    generator = torch.Generator().manual_seed(7)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def llama2c_bytes(tensors: Mapping[str, Tensor], version: int, config: Mapping[str, int] = LLAMA, group: int = 16) -> bytes:
    """A `.bin` file written straight down from llama2.c's description of its three versions."""
    layers, tied = range(config["n_layers"]), "output.weight" not in tensors
    every = lambda part: [f"layers.{i}.{part}.weight" for i in layers]  # noqa: E731
    attention = [*every("attention.wq"), *every("attention.wk"), *every("attention.wv"), *every("attention.wo")]
    forward = [*every("feed_forward.w1"), *every("feed_forward.w2"), *every("feed_forward.w3")]
    numbers = list(config.values())
    fp32 = lambda names: b"".join(tensors[name].numpy().astype("<f4").tobytes() for name in names)  # noqa: E731
    last = [] if tied else ["output.weight"]
    if version == 0:
        numbers[5] = numbers[5] if tied else -numbers[5]
        angles = torch.outer(torch.arange(config["max_seq_len"]), torch.rand(config["dim"] // config["n_heads"] // 2)).float()
        body = fp32(["tok_embeddings.weight", *every("attention_norm"), *attention, *every("ffn_norm"), *forward, "norm.weight"])
        return struct.pack("<7i", *numbers) + body + angles.cos().numpy().tobytes() + angles.sin().numpy().tobytes() + fp32(last)
    header = struct.pack("<Ii7iB", 0x616B3432, version, *numbers, tied) + (struct.pack("<i", group) if version == 2 else b"")
    header = header.ljust(256, b"\0")
    norms = fp32([*every("attention_norm"), *every("ffn_norm"), "norm.weight"])
    matrices = ["tok_embeddings.weight", *attention, *forward, *last]
    if version == 1:
        return header + norms + fp32(matrices)
    body = b""
    for name in matrices:
        values, scales = quantised(tensors[name], group)
        body += values.numpy().tobytes() + scales.numpy().tobytes()
    return header + norms + body


def quantised(tensor: Tensor, group: int) -> tuple[Tensor, Tensor]:
    rows = tensor.reshape(-1, group)
    scales = rows.abs().amax(1) / 127
    return torch.round(rows / scales[:, None]).to(torch.int8), scales


def rewritten(path: Path, change: Callable[[str, bytes], bytes], compression: int = zipfile.ZIP_STORED) -> None:
    """Write a zip anew with each member passed through `change(name, data)`; its checksums are right again."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, change(name, data))


def pickle_of(path: Path, data: bytes) -> None:
    """Put these instructions into an archive of torch.save that holds one storage of 4000 bytes."""
    torch.save({"a": torch.zeros(1000)}, path)
    rewritten(path, lambda name, old: data if name.endswith("data.pkl") else old)
