"""Checkpoints of other programs, from the file on the disk to a story: recognised by their tensors, with the right tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import original_gpt
import original_llama
import pytest
import torch
from safetensors.torch import save_file
from small import tiny_tokenizer
from torch import Tensor

import engine
from engine.checkpoints.adapting import adapt
from engine.checkpoints.foreign import Weights
from engine.checkpoints.glance import glance
from engine.checkpoints.recognise import FAMILIES
from engine.errors import CheckpointError
from engine.protocol import Finished, Started
from engine.settings import GenerationRequest, SamplingSettings

GPT2_ROWS = 50_257


def whole(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone().contiguous() for name, tensor in tensors.items()}


def with_gpt2_rows(tensors: dict[str, Tensor], *names: str) -> dict[str, Tensor]:
    """A miniature with as many rows as GPT-2's vocabulary."""
    generator = torch.Generator().manual_seed(9)
    for name in names:
        shape = (GPT2_ROWS, *tensors[name].shape[1:])
        tensors[name] = torch.randn(shape, generator=generator) * 0.1
    return tensors


def story(source: Path, **request: Any) -> tuple[Any, str, Finished]:
    """The checkpoint, what it was given to read, and how its story ended."""
    checkpoint = engine.load_checkpoint(source, device="cpu")
    sampling = SamplingSettings(max_tokens=8, seed=1)
    events = list(engine.generate(checkpoint, GenerationRequest(**request, sampling=sampling)))
    started, finished = events[0], next(event for event in events if isinstance(event, Finished))
    assert isinstance(started, Started)
    return checkpoint, started.prompt, finished


def test_a_tuned_model_with_separate_heads_knows_topics_and_endings(tmp_path: Path) -> None:
    folder = tmp_path / "gpt2-30m-tinystories-sft"
    folder.mkdir()
    names = ("embeddings.token_embedding.weight", "output_layer.weight", "output_layer.bias")
    save_file(whole(with_gpt2_rows(original_gpt.per_head_tensors(), *names)), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"num_heads": 3, "dropout_rate": 0.1}))
    checkpoint, prompt, finished = story(folder, topic="a dog", ending="sad")
    assert prompt == "Write a story about: a dog\nWith: sad ending\n\n### Story:\n"
    assert checkpoint.tokenizer.vocab_size == GPT2_ROWS
    assert finished.tokens >= 1


def test_a_training_checkpoint_of_nanogpt_is_read_without_running_anything(tmp_path: Path) -> None:
    tensors = with_gpt2_rows(original_gpt.nanogpt_tensors(), "transformer.wte.weight")
    tensors["lm_head.weight"] = tensors["transformer.wte.weight"]
    state = {f"_orig_mod.{name}": tensor for name, tensor in tensors.items()}
    arguments = {"n_layer": 2, "n_head": original_gpt.HEADS, "n_embd": original_gpt.WIDTH, "vocab_size": GPT2_ROWS}
    path = tmp_path / "ckpt.pt"
    torch.save({"model": state, "model_args": arguments, "iter_num": 500, "best_val_loss": 1.5}, path)
    checkpoint, prompt, _ = story(path, opening="Once upon a time")
    assert prompt == "Once upon a time"
    ids = torch.tensor([[1, 2, 3, 4]])
    expected = original_gpt.nanogpt_logits(tensors, [1, 2, 3, 4])
    torch.testing.assert_close(checkpoint.network(ids)[0], expected, atol=1e-5, rtol=1e-5)
    assert checkpoint.name == "ckpt.pt"


def test_a_hub_llama_is_written_with_as_transformers_has_it(tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    model = LlamaForCausalLM(LlamaConfig(vocab_size=320, max_position_embeddings=64, **shape)).eval()
    model.save_pretrained(tmp_path / "stories")
    (tmp_path / "stories" / "tokenizer.json").write_text(tiny_tokenizer().to_json())
    checkpoint, _, _ = story(tmp_path / "stories", opening="Mia found")
    ids = torch.tensor([checkpoint.tokenizer.encode("Mia found a shiny key.")])
    with torch.inference_mode():
        torch.testing.assert_close(checkpoint.network(ids), model(ids).logits, atol=1e-5, rtol=1e-5)
    assert glance(str(tmp_path / "stories")) == str(tmp_path / "stories")


def test_the_half_rotary_model_needs_its_vocabulary_and_brings_its_warnings(tmp_path: Path) -> None:
    tensors = original_llama.tensors(original_llama.HALF_ROTARY_PARTS)
    about = {"epoch": 3, "global_step": 100, "model_state_dict": tensors, "config": original_llama.HALF_ROTARY}
    torch.save(about, tmp_path / "best.pth")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        engine.load_checkpoint(tmp_path / "best.pth", device="cpu")
    (tmp_path / "tokenizer.json").write_text(tiny_tokenizer(257).to_json())
    with pytest.raises(CheckpointError, match="do not belong together"):  # the miniature has rows for 50 tokens only
        engine.load_checkpoint(tmp_path / "best.pth", device="cpu")
    larger = tensors | {"token_embedding.weight": torch.randn(257, original_llama.WIDTH) * 0.1}
    larger["lm_head.weight"] = larger["token_embedding.weight"]
    torch.save(about | {"model_state_dict": larger}, tmp_path / "best.pth")
    checkpoint, _, _ = story(tmp_path / "best.pth", opening="Mia")
    assert any("skip words" in warning for warning in checkpoint.warnings)


def test_a_model_that_sees_only_the_future_is_refused_with_the_reason(tmp_path: Path) -> None:
    torch.save(original_gpt.inverted_tensors(), tmp_path / "best_model.pth")
    with pytest.raises(CheckpointError) as refusal:
        engine.load_checkpoint(tmp_path / "best_model.pth", device="cpu")
    assert "only the words to come" in str(refusal.value)


def test_each_layout_is_known_by_one_family_alone() -> None:
    made = {
        "separate": original_gpt.per_head_tensors(), "nano": original_gpt.nanogpt_tensors(), "neo": original_gpt.neo_tensors(),
        "hub": original_gpt.hub_tensors(), "inverted": original_gpt.inverted_tensors(),
        "llama2.c": original_llama.tensors(original_llama.LLAMA2C_PARTS),
        "half": original_llama.tensors(original_llama.HALF_ROTARY_PARTS), "hub llama": original_llama.tensors(original_llama.HUB_PARTS),
    }  # fmt: skip
    for name, tensors in made.items():
        shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
        assert sum(family.recognises(shapes) for family in FAMILIES) == 1, name


def test_what_nobody_knows_and_what_is_broken_is_refused_in_a_sentence() -> None:
    def refused(tensors: dict[str, Tensor], about: str) -> None:
        with pytest.raises(CheckpointError, match=about) as refusal:
            adapt(Weights(tensors, {}, "safetensors", Path("model.safetensors")))
        assert "\n" not in str(refusal.value)

    refused({}, "holds no tensors")
    refused({"some\nthing.weight": torch.zeros(2, 2)}, "of no kind that can be read")
    broken = original_gpt.nanogpt_tensors()
    broken["transformer.h.0.ln_1.weight"][0] = float("nan")
    with pytest.raises(CheckpointError, match="finite"):
        adapt(Weights(broken, {"n_head": original_gpt.HEADS}, "PyTorch", Path("ckpt.pt")))
