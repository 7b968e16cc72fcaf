"""Damaged and hostile files of weights: a refusal in one sentence or a good read; never another exception, never much memory."""

from __future__ import annotations

import io
import json
import pickletools
import struct
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from weight_files import llama2c_bytes, llama_tensors, pickle_of, rewritten, some_tensors

from engine.checkpoints.readers import check_finite, read_weights
from engine.errors import CheckpointError

FUZZ = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def torch_bytes(legacy: bool) -> bytes:
    file = io.BytesIO()
    saved = {"model": OrderedDict(some_tensors()), "loss": numpy.float64(1.5), "config": {"n_head": 2}, "step": 3}
    torch.save(saved, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


KINDS: dict[str, Callable[[], bytes]] = {
    "model.safetensors": lambda: save(some_tensors(), {"format": "pt"}),
    "zip.pt": lambda: torch_bytes(False),
    "legacy.pt": lambda: torch_bytes(True),
    "v0.bin": lambda: llama2c_bytes(llama_tensors(), 0),
    "v1.bin": lambda: llama2c_bytes(llama_tensors(tied=False), 1),
    "v2.bin": lambda: llama2c_bytes(llama_tensors(), 2),
}


def read_or_refused(path: Path) -> bool:
    """Read everything that a file holds; whether that went well. Any exception but a clear refusal is the test's failure."""
    try:
        weights = read_weights(path)
        for tensor in weights.tensors.values():
            assert tensor.numel() * tensor.element_size() <= 4 * path.stat().st_size + 4096
            tensor.to(torch.float32).sum()
        check_finite(weights)
    except CheckpointError as refusal:
        message = str(refusal)
        assert "\n" not in message and message.endswith(".") and len(message) < 1500
        return False
    return True


@pytest.mark.parametrize("name", KINDS)
def test_the_whole_files_are_good(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(KINDS[name]())
    assert read_or_refused(tmp_path / name)


@pytest.mark.parametrize("name", KINDS)
@FUZZ
@given(data=st.data())
def test_truncated_files(tmp_path: Path, name: str, data: st.DataObject) -> None:
    whole = KINDS[name]()
    (tmp_path / name).write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    assert not read_or_refused(tmp_path / name)


@pytest.mark.parametrize("name", KINDS)
@FUZZ
@given(data=st.data())
def test_flipped_bits(tmp_path: Path, name: str, data: st.DataObject) -> None:
    damaged = bytearray(KINDS[name]())
    near = st.integers(0, min(len(damaged), 1500) - 1)  # headers and instructions stand in front
    places = st.one_of(near, st.integers(0, len(damaged) - 1), st.integers(max(0, len(damaged) - 900), len(damaged) - 1))
    for place, bit in data.draw(st.lists(st.tuples(places, st.integers(0, 7)), min_size=1, max_size=4)):
        damaged[place] ^= 1 << bit
    (tmp_path / name).write_bytes(damaged)
    read_or_refused(tmp_path / name)


@FUZZ
@given(data=st.data())
def test_flipped_bits_in_the_instructions_behind_a_right_checksum(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "m.pt"
    path.write_bytes(torch_bytes(False))

    def flip(name: str, old: bytes) -> bytes:
        if not name.endswith("data.pkl"):
            return old
        new = bytearray(old)
        for place, bit in data.draw(st.lists(st.tuples(st.integers(0, len(old) - 1), st.integers(0, 7)), min_size=1, max_size=3)):
            new[place] ^= 1 << bit
        return bytes(new)

    rewritten(path, flip)
    read_or_refused(path)


STORAGE = b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0" + b"0X\3\0\0\0cpu%btQ"
PIECES = [
    *(instruction.code.encode("latin-1") for instruction in pickletools.opcodes if instruction.arg is None),
    b"X\5\0\0\0model", b"X\1\0\0\0a", b"X\6\0\0\0latin1", b"X\2\0\0\0f8", b"X\3\0\0\0hex", b"X\7\0\0\0storage", b"X\1\0\0\0" + b"0",
    b"K\0", b"K\1", b"M\xe8\3", b"J\xff\xff\xff\xff", b"J\xff\xff\xff\x7f", b"q\0", b"q\1", b"h\0", b"h\1", b"\x8a\1\5", b"G" + bytes(8),
    b"ccollections\nOrderedDict\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch._utils\n_rebuild_parameter\n", b"ctorch\nSize\n",
    b"ctorch\nFloatStorage\n", b"cnumpy\ndtype\n", b"cnumpy._core.multiarray\nscalar\n", b"c_codecs\nencode\n", b"ctorch\ndevice\n",
    STORAGE % b"M\xe8\3", b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE % b"M\xe8\3" + b"K\0K\3\x85K\1\x85\x89NtR",
]  # fmt: skip
"""What instructions are made of: every one without an argument, and the names and numbers that weights use."""


@settings(FUZZ, max_examples=400)
@given(pieces=st.lists(st.sampled_from(PIECES), max_size=30))
def test_instructions_in_any_order(tmp_path: Path, pieces: list[bytes]) -> None:
    pickle_of(tmp_path / "m.pt", b"\x80\2}" + b"".join(pieces) + b".")
    read_or_refused(tmp_path / "m.pt")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
entries = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "BF16", "U8", "BOOL", "C64"]) | json_values,
        "shape": st.lists(st.integers(-1, 2**66), max_size=3) | json_values,
        "data_offsets": st.lists(st.integers(-1, 64), min_size=2, max_size=2) | json_values,
    }
)


@settings(FUZZ, max_examples=300)
@given(
    header=st.dictionaries(st.text(max_size=4) | st.just("__metadata__"), entries | json_values, max_size=3),
    body=st.integers(0, 64),
)
def test_any_header_of_safetensors(tmp_path: Path, header: dict[str, object], body: int) -> None:
    text = json.dumps(header).encode()
    (tmp_path / "m.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(body))
    read_or_refused(tmp_path / "m.safetensors")


@settings(FUZZ, max_examples=300)
@given(
    version=st.integers(-1, 3), numbers=st.lists(st.integers(-(2**31), 2**31 - 1) | st.integers(0, 64), min_size=7, max_size=7)
)
def test_any_header_of_llama2c(tmp_path: Path, version: int, numbers: list[int]) -> None:
    header = struct.pack("<7i", *numbers)
    if version:
        header = (struct.pack("<Ii", 0x616B3432, version) + header + b"\1@\0\0\0").ljust(256, b"\0")
    (tmp_path / "m.bin").write_bytes(header + bytes(3000))
    read_or_refused(tmp_path / "m.bin")


@settings(FUZZ, max_examples=200)
@given(
    data=st.binary(max_size=300),
    name=st.sampled_from(["m.bin", "m.pt", "m.pth", "m.safetensors", "model.safetensors.index.json"]),
)
def test_any_bytes(tmp_path: Path, data: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(data)
    assert not read_or_refused(tmp_path / name)


MEASURE = """
import resource, sys
from pathlib import Path
from engine.checkpoints.readers import check_finite, read_weights
from engine.errors import CheckpointError
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform != "darwin" else 1 << 20)
for path in sorted(Path(sys.argv[1]).iterdir()):  # the first is an honest one: what libraries take is taken then
    try:
        check_finite(read_weights(path))
    except CheckpointError:
        print(path.name, "refused")
    else:
        print(path.name, "read")
    before = peak() if path.name.startswith("0") else before
print(peak() - before)
"""


def test_files_that_claim_a_great_deal_take_little_memory(tmp_path: Path) -> None:
    tensor = b"\x80\2}X\1\0\0\0actorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + b"K\0%b\x85%b\x85\x89NtRs."
    large, thousand = b"J\0\0\0\x7f", b"M\xe8\3"
    (tmp_path / "0.pt").write_bytes(torch_bytes(False))
    pickle_of(tmp_path / "1.pt", tensor % (large, large, b"K\1"))
    pickle_of(tmp_path / "2.pt", tensor % (thousand, large, b"K\0"))
    pickle_of(tmp_path / "3.pt", b"\x80\2c__builtin__\nbytearray\nJ\0\0\0\x7f\x85R.")
    twice = b"c_codecs\nencode\nq\0X\1\0\0\0aX\3\0\0\0hexq\1\x86R" + b"q\2h\0h\2h\1\x86R" * 30
    pickle_of(tmp_path / "4.pt", b"\x80\2" + twice + b".")
    pickle_of(tmp_path / "5.pt", b"\x80\2N" + b"\x85" * 1_500_000 + b".")
    legacy = torch_bytes(True)
    (tmp_path / "6.pt").write_bytes(legacy.replace(b"cpuq", b"cpuq", 1).replace(b"M@\x01", large, 1))
    assert (tmp_path / "6.pt").stat().st_size == len(legacy) + 2  # the embedding's 320 values became two thousand million
    text = json.dumps({"a": {"dtype": "F32", "shape": [1 << 31], "data_offsets": [0, 1 << 33]}}).encode()
    (tmp_path / "7.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(64))
    (tmp_path / "8.safetensors").write_bytes(struct.pack("<Q", 1 << 34) + b"{")
    (tmp_path / "9.bin").write_bytes(struct.pack("<7i", 4096, 4096, 1000, 32, 32, 1 << 24, 4096) + bytes(64))
    done = subprocess.run([sys.executable, "-c", MEASURE, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *lines, growth = done.stdout.split("\n")[:-1]
    assert lines == ["0.pt read"] + [
        f"{i}.{end} refused" for i, end in zip(range(1, 10), ["pt"] * 6 + ["safetensors"] * 2 + ["bin"], strict=True)
    ]
    assert int(growth) < 150  # MB; the claims go from 2 GB to 300 GB
