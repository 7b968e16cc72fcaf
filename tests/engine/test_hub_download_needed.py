"""Which files of a repository are wanted: plain functions on plain lists of names."""

from __future__ import annotations

import pytest

from engine.checkpoints.readers.kinds import may_hold_weights
from engine.errors import CheckpointError, UsageError
from engine.hub.needed import RemoteFile, SeveralModels, missing_shards, needed


def chosen(names: str, pattern: str | None = None) -> list[str]:
    return [file.name for file in needed([RemoteFile(name) for name in names.split()], pattern, repo="some/model")]


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        # The safe kind alone, and of it the one that has no variant in its name.
        ("model.safetensors model.fp16.safetensors pytorch_model.bin config.json", "model.safetensors config.json"),
        ("model.safetensors tf_model.h5 flax_model.msgpack rust_model.ot model.onnx onnx/model.onnx a.gguf", "model.safetensors"),
        ("pytorch_model.bin pytorch_model.fp16.bin training_args.bin optimizer.pt scheduler.pt", "pytorch_model.bin"),
        # Shards with their index; the whole file where there are both.
        (
            "model-00001-of-00002.safetensors model-00002-of-00002.safetensors model.safetensors.index.json x.json",
            "model-00001-of-00002.safetensors model-00002-of-00002.safetensors model.safetensors.index.json",
        ),
        ("model.safetensors model-00001-of-00001.safetensors model.safetensors.index.json", "model.safetensors"),
        (
            "pytorch_model-00001-of-00002.bin pytorch_model-00002-of-00002.bin pytorch_model.bin.index.json",
            "pytorch_model-00001-of-00002.bin pytorch_model-00002-of-00002.bin pytorch_model.bin.index.json",
        ),
        # One lone file of a training script; of several epochs the newest.
        ("best_model.pth tokenizer.json train.py loss.png", "best_model.pth tokenizer.json"),
        ("tokenizer.bin stories.bin checkpoint-5/model.safetensors", "tokenizer.bin stories.bin"),
        ("model_epoch_9.pt model_epoch_10.pt README.md", "model_epoch_10.pt README.md"),
        # What stands beside, once each.
        (
            "model.safetensors tokenizer.json vocab.json merges.txt tokenizer_config.json generation_config.json tinytales.json",
            "model.safetensors tokenizer.json tokenizer_config.json generation_config.json tinytales.json",
        ),
        ("model.safetensors vocab.json merges.txt tokenizer.model", "model.safetensors vocab.json merges.txt tokenizer.model"),
    ],
)
def test_weights_once_and_what_stands_beside_them(names: str, wanted: str) -> None:
    assert chosen(names) == wanted.split()


def test_of_several_models_one_is_named() -> None:
    with pytest.raises(SeveralModels) as raised:
        chosen("stories15M.bin stories15M.pt stories42M.pt tokenizer.bin")
    assert raised.value.names == ("stories15M.bin", "stories15M.pt", "stories42M.pt")
    assert "some/model/stories15M.bin" in str(raised.value) and "--file stories15M.bin" in str(raised.value)
    assert chosen("stories15M.bin stories15M.pt README.md", "stories15M.pt") == ["stories15M.pt", "README.md"]


def test_a_pattern_brings_what_stands_beside_its_files() -> None:
    names = "README.md tok4096.model stories260K/stories260K.pt stories260K/tok512.model stories260K/config.json other/tok1.model"
    found = chosen(names, "stories260K/*.pt")
    assert found == [name for name in names.split() if name != "other/tok1.model"]
    shards = "model-00001-of-00001.safetensors model.safetensors.index.json pytorch_model.bin.index.json pytorch_model.bin"
    assert chosen(shards, "model-*") == shards.split()[:2]
    assert chosen("a[1].pt a1.pt", "a[1].pt") == ["a[1].pt"]  # a name that is there is no pattern


def test_what_fits_nothing_is_said() -> None:
    with pytest.raises(UsageError, match=r"some/model on the Hub has no file b\.pt; it has a\.pt\."):
        chosen("a.pt readme.txt", "b.pt")
    with pytest.raises(CheckpointError, match=r"no weights that can be read \(only \.gguf, \.onnx\)"):
        chosen("model.gguf model.onnx config.json")
    with pytest.raises(UsageError, match=r"lie in a folder \(deep/a\.pt\); name one of its files, as in some/model/deep/a\.pt"):
        chosen("deep/a.pt config.json")


def test_files_of_a_training_run_are_no_weights() -> None:
    assert [may_hold_weights(name) for name in ("a.pt", "deep/model.safetensors", "ckpt.pth", "stories15M.bin")] == [True] * 4
    others = ("optimizer.pt", "deep/rng_state_0.pth", "training_args.bin", "tok512.bin", "tokenizer.model", "a.txt", "pt")
    assert not any(may_hold_weights(name) for name in others)


def test_shards_that_are_missing_are_named() -> None:
    assert missing_shards(["model-00001-of-00003.safetensors", "config.json"]) == [
        "model-00002-of-00003.safetensors",
        "model-00003-of-00003.safetensors",
    ]
    assert missing_shards(["model-00001-of-00001.safetensors", "model.safetensors"]) == []
