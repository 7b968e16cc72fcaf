"""Files of `torch.save`: read without running anything in them, refused where they would run code or claim what they do not hold."""

from __future__ import annotations

import math
import os
import pickle
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor, nn
from weight_files import pickle_of, refused, rewritten, same, some_tensors

from engine.checkpoints.readers import read_weights


@pytest.mark.parametrize("legacy", [False, True])
def test_pickles_come_out_as_they_went_in(tmp_path: Path, legacy: bool) -> None:
    path = tmp_path / "pytorch_model.bin"
    torch.save(OrderedDict(some_tensors()), path, _use_new_zipfile_serialization=not legacy)
    weights = read_weights(path)
    assert same(weights.tensors, some_tensors())
    assert not weights.safe and weights.format == "PyTorch" and weights.config == {} and weights.about == {}


@pytest.mark.parametrize("legacy", [False, True])
def test_a_module_with_a_tied_matrix_and_an_optimizer(tmp_path: Path, legacy: bool) -> None:
    table, head, norm = nn.Embedding(9, 8), nn.Linear(8, 9, bias=False), nn.LayerNorm(8)
    head.weight = table.weight
    model = nn.ModuleDict({"wte": table, "lm_head": head, "norm": norm})
    optimizer = torch.optim.AdamW(model.parameters())
    model["norm"](model["wte"](torch.tensor([1, 2]))).sum().backward()
    optimizer.step()
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "model_args": {"n_head": 2, "bias": False}}
    saved = state | {"iter_num": 7, "best_val_loss": torch.tensor(1.5), "config": {"dataset": "tales", "n_head": 4}}
    torch.save(saved, tmp_path / "ckpt.pt", _use_new_zipfile_serialization=not legacy)
    (tmp_path / "config.json").write_text('{"n_head": 99}')
    weights = read_weights(tmp_path)
    assert same(weights.tensors, model.state_dict())
    assert weights.config == {"n_head": 2, "bias": False} and weights.about == {"iter_num": 7, "best_val_loss": 1.5}
    assert weights.tensors["wte.weight"].data_ptr() == weights.tensors["lm_head.weight"].data_ptr()
    torch.save({"state_dict": dict(model.named_parameters()), "n": 1}, tmp_path / "ckpt.pt")
    bare = read_weights(tmp_path / "ckpt.pt")
    assert not any(tensor.requires_grad for tensor in bare.tensors.values()) and bare.config == {"n_head": 99}


def test_numpy_numbers_are_let_through_under_both_names(tmp_path: Path) -> None:
    path = tmp_path / "best.pth"
    saved = {
        "model_state_dict": {"a": torch.ones(2)}, "best_val_loss": numpy.mean([1.0, 2.0]), "epoch": 3, "note": "good",
        "config": {"model": {"d": 448, "ratio": numpy.float64(2.5)}, "list": [1, "x", None], "inf": math.inf},
        "metrics": {"loss": [1.0]}, "milestones": Counter([3, 3, 5]),
    }  # fmt: skip
    torch.save(saved, path)
    allowed = set(torch.serialization.get_safe_globals())
    modern = path.read_bytes()
    weights = read_weights(path)
    assert weights.about == {"best_val_loss": 1.5, "epoch": 3, "note": "good"} and type(weights.about["best_val_loss"]) is float
    assert weights.config == {"model": {"d": 448, "ratio": 2.5}, "list": [1, "x", None], "inf": None}
    assert set(torch.serialization.get_safe_globals()) == allowed  # nothing stays allowed
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert path.read_bytes() != modern and read_weights(path).about["best_val_loss"] == 1.5


def test_prefixes_are_taken_off(tmp_path: Path) -> None:
    torch.save({"_orig_mod.module.a.weight": torch.ones(1), "module._orig_mod.b": torch.ones(2)}, tmp_path / "m.pt")
    assert set(read_weights(tmp_path).tensors) == {"a.weight", "b"}
    torch.save({"_orig_mod.a": torch.ones(1), "a": torch.ones(2)}, tmp_path / "m.pt")
    refused(tmp_path, "names a twice")


@pytest.mark.parametrize(
    "saved", [{"a": torch.ones(1), "step": 3}, {"epoch": 1}, {}, {3: torch.ones(1)}, torch.ones(3), [torch.ones(1)]]
)
def test_what_is_no_table_of_tensors(tmp_path: Path, saved: Any) -> None:
    torch.save(saved, tmp_path / "m.pt")
    refused(tmp_path, "beside its weights|holds no weights|table of tensors")


@pytest.mark.parametrize("odd", [torch.ones(2, 2).to_sparse(), torch.ones(2, dtype=torch.complex64)])
def test_tensors_of_other_kinds(tmp_path: Path, odd: Tensor) -> None:
    torch.save({"a": odd}, tmp_path / "m.pt")
    refused(tmp_path, "safetensors")


class Evil:
    """Touches a file when it is opened as a pickle is usually opened."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


class EvilSystem(Evil):
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("kind", [Evil, EvilSystem])
@pytest.mark.parametrize("how", ["zip", "legacy", "plain", "plain 4"])
def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path, kind: type[Evil], how: str) -> None:
    path, marker = tmp_path / "model.pt", tmp_path / "marker"
    saved = {"model": {"a": torch.ones(2)}, "note": kind(marker)}
    if how.startswith("plain"):
        path.write_bytes(pickle.dumps({"note": kind(marker)}, protocol=4 if how.endswith("4") else 2))
    else:
        torch.save(saved, path, _use_new_zipfile_serialization=how == "zip")
    message = refused(path, "run code")
    assert "safetensors" in message and not marker.exists()
    if not how.startswith("plain"):
        assert ("Path" in message or "getattr" in message) if kind is Evil else "system" in message
        torch.load(path, weights_only=False)
        assert marker.exists()  # it really is one


def test_compressed_archives_are_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1000)}, tmp_path / "m.pt")
    rewritten(tmp_path / "m.pt", lambda name, data: data, zipfile.ZIP_DEFLATED)
    refused(tmp_path, "compressed")


STORAGE = b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0" + b"0X\3\0\0\0cpuM\xe8\3tQ"
"""1000 float32 values in storage 0."""
FLOAT64 = b"\x80\2cnumpy\ndtype\nX\2\0\0\0f8\x89\x88\x87R"
TENSOR = b"\x80\2}X\1\0\0\0actorch._utils\n_rebuild_tensor_v2\n("


@pytest.mark.parametrize(
    ("data", "about"),
    [
        (TENSOR + STORAGE + b"K\0M\xe8\3\x85K\1\x85\x89NtRs.", ""),  # the honest one
        (TENSOR + STORAGE + b"K\1M\xe8\3\x85K\1\x85\x89NtRs.", "larger than what is stored"),
        (TENSOR + STORAGE + b"K\0J\0\0\0\x7f\x85K\0\x85\x89NtRs.", "larger than what is stored"),  # expanded from one number
        (TENSOR + STORAGE + b"J\xff\xff\xff\xffK\1\x85K\1\x85\x89NtRs.", "makes no sense"),
        (TENSOR + STORAGE + b"K\0J\xff\xff\xff\xff\x85K\1\x85\x89NtRs.", "makes no sense"),
        (TENSOR + STORAGE + b"K\0K\1\x85K\1\x85\x89K\5tRs.", "hooks"),
        (TENSOR + STORAGE.replace(b"M\xe8\3", b"J\0\0\0\x7f") + b"K\0K\1\x85K\1\x85\x89NtRs.", "lacks the bytes"),
        (TENSOR + STORAGE.replace(b"\1\0\0\0" + b"0", b"\1\0\0\0" + b"1") + b"K\0K\1\x85K\1\x85\x89NtRs.", "lacks the bytes"),
        (b"\x80\2c__builtin__\nbytearray\n\x8a\6\0\0\0\0\0\1\x85R.", "run code .__builtin__.bytearray"),
        (b"\x80\2c_codecs\nencode\nX\1\0\0\0aX\3\0\0\0hex\x86R.", "something unexpected"),
        (b"\x80\2}" + b"K\1" + b"\x85" * 200_000 + b"K\1s.", "keys"),  # hashing it would bring Python down
        (b"\x80\2cos\nsystem\nX\4\0\0\0true\x85R.", "run code .os.system"),
        (FLOAT64 + b"(K\3X\1\0\0\0<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb.", "PyTorch refuses"),
        (FLOAT64 + b"(K\3X\1\0\0\0<)NNK\1K\1K\0tb.", "no proper type"),
        (FLOAT64.replace(b"f8", b"V9") + b".", "something unexpected"),
        (b"\x80\2}q\0(h\0h\0tb.", "state of an object"),
        (TENSOR + STORAGE.replace(b"Float", b"ComplexFloat") + b".", "ComplexFloatStorage"),
        (b"\x80\4\x8c\2os\x8c\6system\x93.", "SHORT_BINUNICODE"),
        (b"\x80\2(icollections\nOrderedDict\n.", "run code"),
        (b"\x80\2]" + b"}a" * 10, "not whole|no end"),
        (b"\x80\2" + b"N" * 2_100_000 + b".", "too many"),
        (b"\x80\2" + b"N" * 9_000_000 + b".", "too many"),
        (b"", "not whole|no end"),
    ],
    ids=range(23),
)  # fmt: skip
def test_pickles_that_lie(tmp_path: Path, data: bytes, about: str) -> None:
    pickle_of(tmp_path / "m.pt", data)
    if about:
        refused(tmp_path, about)
    else:
        assert read_weights(tmp_path).tensors["a"].shape == (1000,)


def test_many_views_of_one_storage_are_refused(tmp_path: Path) -> None:
    shared = torch.zeros(10_000)
    torch.save({f"t{i}": shared.view(100, 100) for i in range(50)}, tmp_path / "m.pt")
    refused(tmp_path, "many times as large")


def test_settings_that_stand_for_millions_of_values_are_left_out(tmp_path: Path) -> None:
    nested: list[Any] = [1]
    for _ in range(10):
        nested = [nested] * 10
    torch.save({"model": {"a": torch.ones(1)}, "config": {"x": nested}}, tmp_path / "m.pt")
    assert read_weights(tmp_path).config == {}


def test_a_pickle_under_the_name_of_safetensors(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / "model.safetensors")
    refused(tmp_path, "wrong name")
