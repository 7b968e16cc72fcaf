"""Readers of foreign weights: every container comes out as it went in, and what is wrong or dangerous is refused in one sentence."""

from __future__ import annotations

import json
import math
import os
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file
from weight_files import LLAMA, llama2c_bytes, llama_tensors, quantised, refused, same, some_tensors

from engine.checkpoints.foreign import Weights
from engine.checkpoints.readers import check_finite, read_weights
from engine.errors import CheckpointError

# --- safetensors


def test_safetensors_come_out_as_they_went_in(tmp_path: Path) -> None:
    save_file(some_tensors(), tmp_path / "model.safetensors", metadata={"tok_embeddings.weight": "output.weight"})
    (tmp_path / "config.json").write_text('{"dim": 16}')
    for path in (tmp_path, tmp_path / "model.safetensors"):
        weights = read_weights(path)
        assert same(weights.tensors, some_tensors())
        assert weights.safe and weights.format == "safetensors" and weights.config == {"dim": 16}
        assert weights.about == {"tok_embeddings.weight": "output.weight"} and weights.path.name == "model.safetensors"


def with_header(header: object, body: bytes = bytes(16)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def entry(shape: object = (4,), offsets: object = (0, 16), dtype: object = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    ("data", "about"),
    [
        (b"\1\2\3", "no header"),
        (struct.pack("<Q", 2**63) + b"{", "claims more"),
        (with_header(b"{nonsense"), "no JSON"),
        (with_header(b"[" * 100_000), "no JSON"),
        (with_header(b"{\"a\": 1e999}"), "describe a"),
        (with_header(["a"]), "not a JSON object"),
        (with_header({"a": entry(offsets=(0, 12))}), "does not agree"),
        (with_header({"a": entry(), "b": entry()}), "overlap"),
        (with_header({"a": entry((2,), (8, 16))}), "gap"),
        (with_header({"a": entry((2,), (0, 8))}), "take 8 bytes"),
        (with_header({"a": entry((8,), (0, 32))}), "take 32 bytes"),
        (with_header({"a": entry((-4,))}), "makes no sense"),
        (with_header({"a": entry((True, 4))}), "makes no sense"),
        (with_header({"a": entry((4.0,))}), "makes no sense"),
        (with_header({"a": entry((10**12,), (0, 4 * 10**12))}), "makes no sense"),
        (with_header({"a": entry((10**6, 10**6), (0, 4 * 10**12))}), "far too large"),
        (with_header({"a": entry((10**9, 10**9, 0), (0, 0))}), "far too large"),
        (with_header({"a": entry((1,) * 9, (0, 4))}), "makes no sense"),
        (with_header({"a": entry(offsets=(16, 0))}), "does not agree"),
        (with_header({"a": entry(offsets=(-16, 0))}), "place"),
        (with_header({"a": entry(dtype="F8_E4M3")}), "not read here"),
        (with_header({"a": entry(dtype=["F32"])}), "not read here"),
        (with_header({"a": entry() | {"more": 1}}), "describe a"),
        (with_header({"__metadata__": {"a": 1}, "a": entry()}), "metadata"),
        (with_header(b'{"a": %s, "a": %s}' % ((json.dumps(entry()).encode(),) * 2)), "twice"),
    ],
)  # fmt: skip
def test_safetensors_that_lie(tmp_path: Path, data: bytes, about: str) -> None:
    (tmp_path / "model.safetensors").write_bytes(data)
    refused(tmp_path, about)


def test_what_is_no_weights(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    for data, about in (
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"", "empty"),
    ):
        path.write_bytes(data)
        refused(path, about)
    refused(tmp_path / "nowhere", "no file of weights")
    os.mkfifo(tmp_path / "pipe.bin")
    refused(tmp_path / "pipe.bin", "no file of weights")
    (tmp_path / "note.txt").write_text("Once upon a time there was a file that held no numbers at all, only words.")
    refused(tmp_path / "note.txt", "no weights that can be read")


# --- folders


def test_what_a_folder_is_taken_for(tmp_path: Path) -> None:
    refused(tmp_path, "holds no weights")
    (tmp_path / "tokenizer.bin").write_bytes(b"x")
    (tmp_path / "tok512.bin").write_bytes(b"x")
    torch.save({"a": torch.ones(1)}, tmp_path / "optimizer.pt")
    refused(tmp_path, "holds no weights")
    torch.save({"a": torch.ones(2)}, tmp_path / "model_epoch_9.pt")
    assert read_weights(tmp_path).warnings == ()
    torch.save({"a": torch.ones(3)}, tmp_path / "model_epoch_10.pt")
    newest = read_weights(tmp_path)
    assert newest.tensors["a"].shape == (3,) and "model_epoch_10.pt is the newest" in newest.warnings[0]
    torch.save({"a": torch.ones(4)}, tmp_path / "best.pt")
    refused(tmp_path, "several files of weights .best.pt, model_epoch_10.pt, model_epoch_9.pt.; name the one")
    torch.save({"a": torch.ones(5)}, tmp_path / "pytorch_model.bin")
    assert read_weights(tmp_path).tensors["a"].shape == (5,)
    save_file({"a": torch.ones(6)}, tmp_path / "model.safetensors")
    assert read_weights(tmp_path).tensors["a"].shape == (6,)


@pytest.mark.parametrize("text", ["[1]", "{", "[" * 100_000, '{"a": "' + "x" * 1_000_001 + '"}'])
def test_a_config_that_is_none(tmp_path: Path, text: str) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(text)
    refused(tmp_path, "config.json")


def shards(folder: Path, pickled: bool = False) -> Path:
    """Two files and their index."""
    folder.mkdir(parents=True, exist_ok=True)
    one, two = ("a.bin", "b.bin") if pickled else ("a.safetensors", "b.safetensors")
    for name, tensors in ((one, {"x": torch.ones(2)}), (two, {"y": torch.zeros(3)})):
        (folder / name).write_bytes(save(tensors)) if not pickled else torch.save(tensors, folder / name)
    index = folder / ("pytorch_model.bin.index.json" if pickled else "model.safetensors.index.json")
    index.write_text(json.dumps({"metadata": {}, "weight_map": {"x": one, "y": two}}))
    return index


@pytest.mark.parametrize("pickled", [False, True])
def test_weights_in_several_files(tmp_path: Path, pickled: bool) -> None:
    index = shards(tmp_path, pickled)
    (tmp_path / "config.json").write_text('{"n_head": 2}')
    for path in (tmp_path, index):
        weights = read_weights(path)
        assert same(weights.tensors, {"x": torch.ones(2), "y": torch.zeros(3)})
        assert weights.safe is not pickled and weights.config == {"n_head": 2} and weights.path == index


@pytest.mark.parametrize(
    "name", ["../a.safetensors", "/etc/passwd", "..", "", "sub/a.safetensors", "a\0", "C:\\a", "a\nb", "gone"]
)
def test_an_index_that_leads_elsewhere(tmp_path: Path, name: str) -> None:
    index = shards(tmp_path / "m")
    save_file({"x": torch.ones(2)}, tmp_path / "a.safetensors")
    index.write_text(json.dumps({"weight_map": {"x": name, "y": "b.safetensors"}}))
    refused(tmp_path / "m", "plain name" if name != "gone" else "lacks gone")


@pytest.mark.parametrize("table", [None, {}, {"x": 3}, ["x"], {"z": "a.safetensors", "y": "b.safetensors"}])
def test_an_index_that_does_not_fit(tmp_path: Path, table: object) -> None:
    index = shards(tmp_path)
    index.write_text(json.dumps({"weight_map": table}))
    refused(tmp_path, "weight_map|does not fit")


def test_a_tensor_in_two_files(tmp_path: Path) -> None:
    shards(tmp_path)
    save_file({"x": torch.ones(2), "y": torch.ones(3)}, tmp_path / "a.safetensors")
    refused(tmp_path, "another file holds too")


def test_links_of_the_hubs_cache_work_and_others_do_not(tmp_path: Path) -> None:
    repository = tmp_path / "models--someone--story"
    snapshot = repository / "snapshots" / "0123abc"
    shards(snapshot)
    (repository / "blobs").mkdir()
    for name in ("a.safetensors", "b.safetensors", "model.safetensors.index.json"):
        (snapshot / name).rename(repository / "blobs" / f"blob-{name}")
        (snapshot / name).symlink_to(Path("../../blobs") / f"blob-{name}")
    assert set(read_weights(snapshot).tensors) == {"x", "y"}
    (repository / "blobs" / "blob-a.safetensors").rename(tmp_path / "secret")
    (snapshot / "a.safetensors").unlink()
    (snapshot / "a.safetensors").symlink_to("../../../secret")
    refused(snapshot, "leads out of its folder")
    (snapshot / "a.safetensors").unlink()
    (tmp_path / "secret").rename(snapshot / "other")
    (snapshot / "a.safetensors").symlink_to("other")
    assert set(read_weights(snapshot).tensors) == {"x", "y"}


# --- llama2.c


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("version", [0, 1, 2])
def test_llama2c_files(tmp_path: Path, version: int, tied: bool) -> None:
    made = llama_tensors(tied=tied)
    (tmp_path / "stories.bin").write_bytes(llama2c_bytes(made, version))
    weights = read_weights(tmp_path)
    assert weights.config == LLAMA and weights.safe and weights.format == "llama2.c" and weights.about["version"] == version
    assert set(weights.tensors) == set(made)
    for name, tensor in made.items():
        if version == 2 and tensor.dim() == 2:
            values, scales = quantised(tensor, 16)
            expected = (values.float() * scales[:, None]).view_as(tensor)
            torch.testing.assert_close(expected, tensor, atol=0.02, rtol=0)
            assert torch.equal(weights.tensors[name], expected)
        else:
            assert torch.equal(weights.tensors[name], tensor)


@pytest.mark.parametrize("version", [0, 1, 2])
@pytest.mark.parametrize(
    "wrong",
    [
        {"dim": -32}, {"dim": 0}, {"dim": 2**31 - 1}, {"n_heads": 3}, {"n_heads": 32}, {"n_kv_heads": 3}, {"n_kv_heads": 0},
        {"n_layers": 2**31 - 1}, {"n_layers": 3}, {"hidden_dim": 49}, {"hidden_dim": -1}, {"vocab_size": 2**31 - 1}, {"vocab_size": 0},
        {"max_seq_len": -5},
    ],
)  # fmt: skip
def test_llama2c_headers_that_lie(tmp_path: Path, version: int, wrong: dict[str, int]) -> None:
    honest = llama2c_bytes(llama_tensors(), version)
    numbers = struct.pack("<7i", *(LLAMA | wrong).values())
    start = 0 if version == 0 else 8
    (tmp_path / "m.bin").write_bytes(honest[:start] + numbers + honest[start + 28 :])
    refused(tmp_path, "damaged|no weights")


@pytest.mark.parametrize("version", [0, 1, 2])
def test_llama2c_files_of_a_wrong_length(tmp_path: Path, version: int) -> None:
    honest = llama2c_bytes(llama_tensors(), version)
    for data in (honest[:-1], honest + b"\0", honest[:100], honest[:20]):
        (tmp_path / "m.bin").write_bytes(data)
        refused(tmp_path, "damaged")


def test_llama2c_files_of_other_versions_and_groups(tmp_path: Path) -> None:
    path, honest = tmp_path / "m.bin", llama2c_bytes(llama_tensors(), 2)
    path.write_bytes(honest[:4] + struct.pack("<i", 3) + honest[8:])
    refused(path, "version 3")
    for group in (0, -16, 7, 2**30):
        path.write_bytes(honest[:37] + struct.pack("<i", group) + honest[41:])
        refused(path, "group")
    path.write_bytes(honest[:36] + b"\7" + honest[37:])
    refused(path, "shared")
    made = llama_tensors()
    at = 256 + 4 * 5 * 32 + 24 * 32  # the first scale of the embedding
    assert struct.unpack_from("<f", honest, at)[0] == pytest.approx(quantised(made["tok_embeddings.weight"], 16)[1][0].item())
    path.write_bytes(honest[:at] + struct.pack("<f", -1.0) + honest[at + 4 :])
    refused(path, "scales of tok_embeddings.weight")


# --- numbers that are none


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("turned", [False, True])
def test_weights_that_are_not_finite(tmp_path: Path, wrong: float, dtype: torch.dtype, turned: bool) -> None:
    good, bad = torch.zeros(1500, 1000, dtype=dtype), torch.zeros(1500, 1000, dtype=dtype)
    bad[1499, 999] = wrong
    good, bad = (good.T, bad.T) if turned else (good, bad)
    whole = {"good": good, "mask": torch.ones(2, dtype=torch.bool), "one": torch.tensor(1.0), "none": torch.zeros(0, 3).T}
    check_finite(Weights(whole, {}, "test", tmp_path / "m.pt"))
    with pytest.raises(CheckpointError, match=r"not finite in bad"):
        check_finite(Weights(whole | {"bad": bad}, {}, "test", tmp_path / "m.pt"))
