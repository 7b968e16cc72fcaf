"""Exports to GGUF: read back with the gguf library, and written with by llama.cpp itself where it can be imported."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_words import model
from original_llama import turn_halves, turn_neighbours
from small import tiny_config, tiny_model, tiny_tokenizer

import engine
from engine.checkpoints.exporting import export
from engine.checkpoints.native import Checkpoint
from engine.errors import CheckpointError
from engine.llama_tokenizer import read_json, read_model
from engine.prompts import PromptStyle, prompt_ids
from engine.tokenizer import GPT2Tokenizer

gguf = pytest.importorskip("gguf")
PROMPT = "Mia found a shiny key"


def checkpoint(shape: str, **changes: Any) -> Checkpoint:
    words = tiny_tokenizer()
    config = dataclasses.replace(tiny_config(shape, words.vocab_size, 64), **changes)
    return Checkpoint(tiny_model(config, spread=6.0), words, PromptStyle("plain", True), "tiny", "tiny", "test")


def sentencepiece(tmp_path: Path, **changes: Any) -> Checkpoint:
    (tmp_path / "words.model").write_bytes(model())
    words = read_model(tmp_path / "words.model")
    config = dataclasses.replace(tiny_config("rope, interleaved", words.vocab_size, 64), **changes)
    network = tiny_model(config, spread=6.0)
    return Checkpoint(network, words, PromptStyle(), "tiny", "tiny", "test", begin_id=1, end_ids=(1, 2))


def read(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(what the file says, its tensors in float32)."""
    reader = gguf.GGUFReader(folder / "model.gguf")
    said = {name: field.contents() for name, field in reader.fields.items()}
    return said, {t.name: gguf.quants.dequantize(t.data, t.tensor_type).reshape(t.shape[::-1]) for t in reader.tensors}


def test_a_gpt2_file_says_what_the_model_is(tmp_path: Path) -> None:
    made = checkpoint("learned", vocab_size=330)
    done = export(made, "gguf", tmp_path / "out")
    assert done.files == ("export.json", "model.gguf") and done.notes == ()
    said, tensors = read(tmp_path / "out")
    expected = {
        "general.architecture": "gpt2", "gpt2.context_length": 64, "gpt2.embedding_length": 32, "gpt2.block_count": 2,
        "gpt2.feed_forward_length": 128, "gpt2.attention.head_count": 4, "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.bos_token_id": 0, "tokenizer.ggml.eos_token_id": 0, "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_space_prefix": False,
    }  # fmt: skip
    assert {name: said[name] for name in expected} == expected
    assert said["gpt2.attention.layer_norm_epsilon"] == pytest.approx(1e-5)
    assert len(said["tokenizer.ggml.tokens"]) == 320 and said["tokenizer.ggml.tokens"][0] == "<|endoftext|>"
    assert said["tokenizer.ggml.token_type"][:2] == [3, 1] and len(said["tokenizer.ggml.merges"]) == 320 - 257
    state = made.network.state_dict()
    same = {
        "token_embd.weight": state["embedding.weight"][:320],
        "position_embd.weight": state["position_embedding.weight"],
        "blk.1.attn_qkv.weight": state["blocks.1.attention.qkv.weight"],
        "blk.1.attn_qkv.bias": state["blocks.1.attention.qkv.bias"],
        "blk.0.ffn_down.weight": state["blocks.0.mlp.down.weight"],
        "output_norm.bias": state["norm.bias"],
    }
    for name, tensor in same.items():
        np.testing.assert_array_equal(tensors[name], tensor.numpy())
    assert "output.weight" not in tensors and len(tensors) == 4 + 2 * 12


def test_a_llama_file_turns_neighbours(tmp_path: Path) -> None:
    made = sentencepiece(tmp_path, tied_head=False, kv_heads=2)
    export(made, "gguf", tmp_path / "out")
    said, tensors = read(tmp_path / "out")
    expected = {
        "general.architecture": "llama", "llama.attention.head_count_kv": 2, "llama.rope.dimension_count": 8,
        "llama.rope.freq_base": 10_000.0, "tokenizer.ggml.model": "llama", "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2, "tokenizer.ggml.eot_token_id": 1, "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.add_space_prefix": True, "llama.vocab_size": 400,
    }  # fmt: skip
    assert {name: said[name] for name in expected} == expected
    assert said["tokenizer.ggml.token_type"][:5] == [2, 3, 3, 6, 6] and said["tokenizer.ggml.tokens"][3] == "<0x00>"
    assert said["tokenizer.ggml.scores"][259:262] == [0.0, -1.0, -2.0]
    state = made.network.state_dict()
    np.testing.assert_array_equal(tensors["output.weight"], state["head.weight"].numpy())
    query = state["blocks.0.attention.qkv.weight"][:32]  # this model turns neighbours itself: nothing may change
    np.testing.assert_array_equal(tensors["blk.0.attn_q.weight"], query.numpy())
    np.testing.assert_array_equal(tensors["blk.1.ffn_gate.weight"], state["blocks.1.mlp.up.weight"].chunk(2)[0].numpy())

    halves = checkpoint("rope")
    export(halves, "gguf", tmp_path / "halves")
    _, tensors = read(tmp_path / "halves")
    x = torch.randn(9, 32, generator=torch.Generator().manual_seed(1))
    q, k = (torch.from_numpy(tensors[f"blk.0.attn_{part}.weight"].copy()) for part in "qk")
    mine = turn_neighbours((x @ q.T)[:, :8]) @ turn_neighbours((x @ k.T)[:, :8]).T
    q, k, _ = halves.network.state_dict()["blocks.0.attention.qkv.weight"].chunk(3)
    torch.testing.assert_close(mine, turn_halves((x @ q.T)[:, :8]) @ turn_halves((x @ k.T)[:, :8]).T, atol=1e-4, rtol=1e-5)


def test_scores_are_made_where_the_vocabulary_has_none(tmp_path: Path) -> None:
    made = sentencepiece(tmp_path)
    (tmp_path / "tokenizer.json").write_text(made.tokenizer.to_json())
    made = dataclasses.replace(made, tokenizer=read_json(tmp_path / "tokenizer.json"))
    export(made, "gguf", tmp_path / "out")
    scores, tokens = (read(tmp_path / "out")[0][f"tokenizer.ggml.{name}"] for name in ("scores", "tokens"))
    joined = [token for token in range(259, 400) if len(tokens[token]) > 1]
    assert [scores[token] for token in joined] == sorted((scores[token] for token in joined), reverse=True)
    assert all(scores[token] < scores[joined[-1]] for token in range(259, 400) if len(tokens[token]) == 1)


@pytest.mark.parametrize(("stored_as", "kind", "share"), [("float16", "F16", 0.55), ("q8_0", "Q8_0", 0.40)])
def test_fewer_bits(tmp_path: Path, stored_as: str, kind: str, share: float) -> None:
    made = checkpoint("rope", mlp_width=80, width=64)
    whole, small = export(made, "gguf", tmp_path / "whole"), export(made, "gguf", tmp_path / "small", stored_as=stored_as)
    kinds = {t.name: t.tensor_type.name for t in gguf.GGUFReader(tmp_path / "small" / "model.gguf").tensors}
    assert (kinds["token_embd.weight"], kinds["output_norm.weight"]) == (kind, "F32")
    assert kinds["blk.0.ffn_down.weight"] == "F16"  # rows of 80 do not divide into blocks of 32
    vocabulary = 9_000  # bytes of the file that stay
    assert small.size - vocabulary < share * whole.size
    exact, rounded = read(tmp_path / "whole")[1], read(tmp_path / "small")[1]
    for name, values in exact.items():
        np.testing.assert_allclose(rounded[name], values, atol=0.01 * np.abs(values).max())


@pytest.mark.parametrize(
    ("shape", "changes", "about"),
    [
        ("learned, windows", {}, "no architecture for GPT-Neo"),
        ("learned", {"attention_scale": 1.0}, "scales the scores"),
        ("rope", {"qkv_bias": True}, "has biases"),
        ("learned, exact gelu, own head", {}, "output head of this model has a bias"),
        ("rope, windows", {}, "no Hub layout"),
    ],
)
def test_what_llama_cpp_cannot_compute_is_refused(tmp_path: Path, shape: str, changes: dict[str, Any], about: str) -> None:
    with pytest.raises(CheckpointError, match=about) as refusal:
        export(checkpoint(shape, **changes), "gguf", tmp_path / "out")
    assert "\n" not in str(refusal.value) and not (tmp_path / "out").exists()


def test_what_will_differ_is_noted(tmp_path: Path) -> None:
    made = dataclasses.replace(checkpoint("learned", mlp="gelu"), begin_id=5, end_ids=(7, 8))
    notes = export(made, "gguf", tmp_path / "out").notes
    assert ["exact form of GELU" in notes[0], "two tokens before" in notes[1], "Several tokens end" in notes[2]] == [True] * 3


def llama_cpp_greedy(folder: Path, text: str, ids: list[int], context: int, count: int) -> tuple[list[int], list[int]]:
    """(how llama.cpp divides the text, the tokens that it writes after `ids`)."""
    llama_cpp = pytest.importorskip("llama_cpp")
    theirs = llama_cpp.Llama(str(folder / "model.gguf"), n_ctx=context, n_threads=1, verbose=False, logits_all=False)
    divided = theirs.tokenize(text.encode(), add_bos=True, special=False)
    drawn: list[int] = []
    theirs.eval(ids)
    while len(drawn) < count:
        drawn.append(int(np.ctypeslib.as_array(theirs._ctx.get_logits_ith(-1), (theirs.n_vocab(),)).argmax()))
        theirs.eval(drawn[-1:])
    return divided, drawn


def llama_cpp_models(tmp_path: Path) -> dict[str, Checkpoint]:
    exact = checkpoint("learned", mlp="gelu", tied_head=False)
    gpt2 = dataclasses.replace(checkpoint("learned", vocab_size=50_304), tokenizer=GPT2Tokenizer())
    return {
        "shipped": engine.load_checkpoint(None, device="cpu"),
        "gpt2": checkpoint("learned"),
        "gpt2 vocabulary, padded": gpt2,
        "exact gelu, own head": exact,
        "no biases": checkpoint("learned", qkv_bias=False, mlp_bias=False, attention_out_bias=False),
        "llama, sentencepiece": sentencepiece(tmp_path),
        "llama, grouped": checkpoint("rope, grouped", head_dim=16),
        "half of each head": checkpoint("rope, partial", kv_heads=2, rope_style="interleaved"),
    }


@pytest.mark.parametrize("name", [
    "shipped", "gpt2", "gpt2 vocabulary, padded", "exact gelu, own head", "no biases", "llama, sentencepiece", "llama, grouped",
    "half of each head",
])  # fmt: skip
def test_llama_cpp_writes_the_same(tmp_path: Path, name: str) -> None:
    pytest.importorskip("llama_cpp")
    made = llama_cpp_models(tmp_path)[name]
    export(made, "gguf", tmp_path / "out")
    text = "Once upon a time, there was a" if name == "shipped" else PROMPT
    given = [*([] if made.begin_id is None else [made.begin_id]), *prompt_ids(text, made.prompt_style, made.tokenizer)]
    divided, drawn = llama_cpp_greedy(tmp_path / "out", text, given, 512 if name == "shipped" else 64, 40)
    assert divided == given
    logits = made.network(torch.tensor([given + drawn[:-1]]))[0, len(given) - 1 :, : made.tokenizer.vocab_size]
    chosen = logits.gather(1, torch.tensor(drawn)[:, None])[:, 0]
    behind = (logits.amax(1) - chosen).max()  # of two tokens that are as likely, llama.cpp's rounding may prefer the other
    assert behind < (1e-6 if name == "shipped" else 0.005)
    assert logits.std() > 0.5
