"""Llama-shaped families: miniatures in their original layouts give the logits of their original maths, and odd ones are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import original_llama as original
import pytest
import torch
from original_llama import CONTEXT, HALF_ROTARY, HALF_ROTARY_PARTS, HEADS, HUB, HUB_PARTS, LLAMA2C, LLAMA2C_PARTS, VOCAB, WIDTH
from torch import Tensor

from engine.checkpoints.families import half_rotary, hub_llama, llama2c
from engine.checkpoints.foreign import Adapted, Family, Weights
from engine.errors import CheckpointError
from engine.model import Decoder

IDS = torch.randint(0, VOCAB, (24,), generator=torch.Generator().manual_seed(3)).tolist()
FAMILIES = (llama2c.FAMILY, half_rotary.FAMILY, hub_llama.FAMILY)
KINDS: dict[str, tuple[Family, original.Parts, dict[str, Any]]] = {
    "llama2.c": (llama2c.FAMILY, LLAMA2C_PARTS, LLAMA2C),
    "half-rotary": (half_rotary.FAMILY, HALF_ROTARY_PARTS, HALF_ROTARY),
    "Hub": (hub_llama.FAMILY, HUB_PARTS, HUB),
}
EVERY_KIND = pytest.mark.parametrize("kind", KINDS)


def weights(tensors: dict[str, Tensor], config: dict[str, Any], path: str = "stories.pt", format: str = "PyTorch") -> Weights:
    return Weights(tensors, config, format, Path(path))


def written(adapted: Adapted) -> Tensor:
    """Logits (T, vocab) of the decoder, whose state must be complete."""
    network = Decoder(adapted.config)
    network.load_state_dict(adapted.state)
    with torch.inference_mode():
        return network.eval()(torch.tensor([IDS]))[0]


def shapes(tensors: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("tied", [True, False])
def test_llama2c_gives_the_logits_of_complex_rotations(kv_heads: int, tied: bool) -> None:
    made = original.tensors(LLAMA2C_PARTS, kv_heads, tied)
    adapted = llama2c.FAMILY.adapt(weights(made, LLAMA2C | {"n_kv_heads": kv_heads}))
    expected = original.logits(LLAMA2C_PARTS, made, IDS, "neighbours", 1e-5)
    torch.testing.assert_close(written(adapted), expected, atol=1e-5, rtol=1e-5)
    assert adapted.config.tied_head is tied and adapted.config.key_value_heads == kv_heads and adapted.config.context == CONTEXT
    assert (adapted.begin_id, adapted.end_ids, adapted.vocabulary) == (1, (1, 2), "llama")
    assert adapted.prompt_style.name == "plain" and not adapted.warnings


def test_half_rotary_gives_the_logits_of_its_maths_and_says_what_is_odd_about_it() -> None:
    made = original.tensors(HALF_ROTARY_PARTS)
    adapted = half_rotary.FAMILY.adapt(weights(made, HALF_ROTARY))
    expected = original.logits(HALF_ROTARY_PARTS, made, IDS, "halves", 1e-6, share=0.5)
    torch.testing.assert_close(written(adapted), expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(expected, original.logits(HALF_ROTARY_PARTS, made, IDS, "halves", 1e-6), atol=1e-2)
    assert adapted.config.hidden == 48 and adapted.config.norm_eps == 1e-6  # the YAML says 40, and its 1e-6 is a text
    assert (adapted.vocabulary, adapted.begin_id, adapted.end_ids) == ("tokenizer.json", None, ())
    assert "skip words" in adapted.warnings[0] and "where a story ends" in adapted.warnings[1]


@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize("tied", [True, False])
def test_hub_llama_gives_the_logits_of_its_maths(kv_heads: int, tied: bool) -> None:
    made = original.tensors(HUB_PARTS, kv_heads, tied)
    config = HUB | {"num_key_value_heads": kv_heads, "tie_word_embeddings": tied}
    adapted = hub_llama.FAMILY.adapt(weights(made, config))
    expected = original.logits(HUB_PARTS, made, IDS, "halves", 1e-5)
    torch.testing.assert_close(written(adapted), expected, atol=1e-5, rtol=1e-5)
    assert (adapted.begin_id, adapted.end_ids, adapted.config.tied_head) == (1, (1, 2), tied)


@pytest.mark.parametrize(
    "changes",
    [
        {"tie_word_embeddings": True},
        {"tie_word_embeddings": False, "num_key_value_heads": 2},
        {"head_dim": 12, "num_key_value_heads": 1, "rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
        {"attention_bias": True, "mlp_bias": True, "rms_norm_eps": 1e-3},
    ],
    ids=["tied", "untied, grouped", "own head size and base", "biases"],
)
def test_hub_llama_is_what_transformers_computes(changes: dict[str, Any]) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(5)
    settings = {key: value for key, value in (HUB | changes).items() if key != "model_type"}
    theirs = LlamaForCausalLM(LlamaConfig(**settings)).eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2 + ("norm" in name))
    made = {name: tensor.clone() for name, tensor in theirs.state_dict().items()}
    if settings["tie_word_embeddings"]:
        del made["lm_head.weight"]  # save_pretrained leaves it out
    adapted = hub_llama.FAMILY.adapt(weights(made, theirs.config.to_dict(), "model.safetensors", "safetensors"))
    with torch.inference_mode():
        expected = theirs(torch.tensor([IDS])).logits[0]
    torch.testing.assert_close(written(adapted), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "path", ["models--o--llama2-15m-tinystories-sft/snapshots/0/model.safetensors", "llama2-15m/model.safetensors"]
)
def test_a_copy_of_llama2c_in_bfloat16_without_its_embedding(path: str) -> None:
    made = {name: tensor.bfloat16() for name, tensor in original.tensors(LLAMA2C_PARTS).items()}
    whole = {name: tensor.float() for name, tensor in made.items()}
    del made["tok_embeddings.weight"]
    adapted = llama2c.FAMILY.adapt(weights(made, LLAMA2C, path, "safetensors"))
    torch.testing.assert_close(
        written(adapted), original.logits(LLAMA2C_PARTS, whole, IDS, "neighbours", 1e-5), atol=1e-5, rtol=1e-5
    )
    assert adapted.config.tied_head and {tensor.dtype for tensor in adapted.state.values()} == {torch.float32}
    assert adapted.prompt_style.name == ("topic-ending" if "-sft" in path else "plain")
    assert (adapted.begin_id, adapted.end_ids) == (None, (2,))


@EVERY_KIND
def test_one_family_knows_each_layout(kind: str) -> None:
    family, parts, _ = KINDS[kind]
    assert [other for other in FAMILIES if other.recognises(shapes(original.tensors(parts)))] == [family]


@EVERY_KIND
@pytest.mark.parametrize("part", ["o", "down", "mlp_norm"])
def test_a_missing_tensor_is_named(kind: str, part: str) -> None:
    family, parts, config = KINDS[kind]
    made = original.tensors(parts)
    name = parts[part].format(1)
    del made[name]
    with pytest.raises(CheckpointError, match=f"stories.pt has no {name}"):
        family.adapt(weights(made, config))


@EVERY_KIND
def test_embedding_and_head_may_not_both_be_missing(kind: str) -> None:
    family, parts, config = KINDS[kind]
    made = original.tensors(parts)
    del made[parts["embedding"]], made[parts["head"]]
    with pytest.raises(CheckpointError, match=f"has no {parts['embedding']}"):
        family.adapt(weights(made, config))


@EVERY_KIND
def test_a_tensor_that_nobody_knows_is_named(kind: str) -> None:
    family, parts, config = KINDS[kind]
    with pytest.raises(CheckpointError, match=r"does not have: adapter\.weight"):
        family.adapt(weights(original.tensors(parts) | {"adapter.weight": torch.zeros(2, 2)}, config))
    bias = parts["q"].format(1).replace("weight", "bias")
    with pytest.raises(CheckpointError, match=f"does not have: {bias}"):
        family.adapt(weights(original.tensors(parts) | {bias: torch.zeros(WIDTH)}, config))


@EVERY_KIND
@pytest.mark.parametrize(
    ("part", "shape", "sentence"),
    [
        ("v", (WIDTH // 2, WIDTH), "where .* belongs"),
        ("norm", (WIDTH + 1,), "where .* belongs"),
        ("head", (VOCAB + 1, WIDTH), "where .* belongs"),
        ("embedding", (VOCAB,), "a matrix belongs"),
        ("q", (WIDTH,), "a matrix belongs"),
        ("gate", (0, WIDTH), "a matrix belongs"),
    ],
)
def test_a_wrong_shape_is_refused(kind: str, part: str, shape: tuple[int, ...], sentence: str) -> None:
    family, parts, config = KINDS[kind]
    with pytest.raises(CheckpointError, match=sentence):
        family.adapt(weights(original.tensors(parts) | {parts[part].format(0): torch.zeros(shape)}, config))


@EVERY_KIND
def test_whole_numbers_are_no_weights(kind: str) -> None:
    family, parts, config = KINDS[kind]
    name = parts["o"].format(0)
    with pytest.raises(CheckpointError, match="not floating-point"):
        family.adapt(weights(original.tensors(parts) | {name: torch.zeros(WIDTH, WIDTH, dtype=torch.int64)}, config))


def test_heads_that_do_not_divide_or_that_nothing_tells_are_refused() -> None:
    made = original.tensors(LLAMA2C_PARTS)
    for heads in (5, 3, 64):
        with pytest.raises(CheckpointError, match="do not"):
            llama2c.FAMILY.adapt(weights(made, LLAMA2C | {"n_heads": heads, "n_kv_heads": None}))
    with pytest.raises(CheckpointError, match="do not make up 4 key/value heads of 16"):
        llama2c.FAMILY.adapt(weights(made, LLAMA2C | {"n_heads": 2}))
    with pytest.raises(CheckpointError, match="even number"):
        llama2c.FAMILY.adapt(weights(made, LLAMA2C | {"n_heads": WIDTH, "n_kv_heads": WIDTH}))
    with pytest.raises(CheckpointError, match="how many heads"):
        llama2c.FAMILY.adapt(weights(made, {"max_seq_len": 64}))
    with pytest.raises(CheckpointError, match="how long the context"):
        llama2c.FAMILY.adapt(weights(made, {"n_heads": 4}))
    with pytest.raises(CheckpointError, match="how many heads"):
        half_rotary.FAMILY.adapt(weights(original.tensors(HALF_ROTARY_PARTS), {}))
    with pytest.raises(CheckpointError, match="how long the context"):
        hub_llama.FAMILY.adapt(weights(original.tensors(HUB_PARTS), {}))


@EVERY_KIND
@pytest.mark.parametrize("value", ["4", 0, -4, 4.0, True, [4]])
def test_a_config_that_makes_no_sense_is_refused(kind: str, value: object) -> None:
    family, parts, config = KINDS[kind]
    key = "num_attention_heads" if kind == "Hub" else "n_heads"
    spoilt = {"model": HALF_ROTARY["model"] | {key: value}} if kind == "half-rotary" else config | {key: value}
    with pytest.raises(CheckpointError, match=f"gives {key} as"):
        family.adapt(weights(original.tensors(parts), spoilt))


def test_published_sizes_need_no_config() -> None:
    small = llama2c.FAMILY.adapt(weights(original.tensors(LLAMA2C_PARTS, 4, width=64, heads=8), {}, "stories260K.pt")).config
    assert (small.heads, small.key_value_heads, small.dim_per_head, small.context) == (8, 4, 8, 512)
    middle = llama2c.FAMILY.adapt(weights(original.tensors(LLAMA2C_PARTS, 6, width=288, heads=6), {}, "finetune_epoch_5.pt"))
    assert (middle.config.heads, middle.config.dim_per_head, middle.config.context) == (6, 48, 256)
    assert middle.prompt_style.name == "topic-ending" and middle.begin_id is None
    half = half_rotary.FAMILY.adapt(weights(original.tensors(HALF_ROTARY_PARTS, 7, width=448, heads=7), {})).config
    assert (half.heads, half.dim_per_head, half.rotary_dim, half.context) == (7, 64, 32, 512)
    hub = hub_llama.FAMILY.adapt(weights(original.tensors(HUB_PARTS, 6, width=288, heads=6), {}))
    assert (hub.config.heads, hub.config.context) == (6, 256) and "no config.json" in hub.warnings[0]


def test_stored_rotations_tell_the_heads_and_are_left_out() -> None:
    made = original.tensors(LLAMA2C_PARTS)
    angles = torch.outer(torch.arange(CONTEXT).float(), 10000.0 ** (-torch.arange(0, 8, 2).float() / 8))
    made |= {"freqs_cos": angles.cos(), "freqs_sin": angles.sin(), "layers.0.attention.mask": torch.zeros(1, 1, 8, 8)}
    adapted = llama2c.FAMILY.adapt(weights(made, {}))
    assert (adapted.config.heads, adapted.config.context) == (HEADS, CONTEXT)
    assert llama2c.FAMILY.adapt(weights(made, {"n_heads": 2})).config.heads == HEADS  # what is stored is believed
    assert set(adapted.ignored) == {"freqs_cos", "freqs_sin", "layers.0.attention.mask"}
    with pytest.raises(CheckpointError, match="not the table of rotary positions"):
        llama2c.FAMILY.adapt(weights(made | {"freqs_cos": (angles / 4).cos()}, LLAMA2C))
    with pytest.raises(CheckpointError, match="not the table of rotary positions"):
        llama2c.FAMILY.adapt(weights(made, LLAMA2C | {"rope_theta": 500.0}))


def test_other_tables_of_rotations_are_left_out() -> None:
    made = original.tensors(LLAMA2C_PARTS) | {"rope.freqs": torch.ones(4)}
    assert llama2c.FAMILY.adapt(weights(made, LLAMA2C)).ignored == ("rope.freqs",)
    made = original.tensors(HUB_PARTS) | {"model.layers.1.self_attn.rotary_emb.inv_freq": torch.ones(4)}
    assert hub_llama.FAMILY.adapt(weights(made, HUB)).ignored == ("model.layers.1.self_attn.rotary_emb.inv_freq",)
    table = {f"blocks.{layer}.attention.rope.freqs_cos": torch.ones(4) for layer in range(2)}
    adapted = half_rotary.FAMILY.adapt(weights(original.tensors(HALF_ROTARY_PARTS) | table, HALF_ROTARY))
    assert set(adapted.ignored) == set(table)


def test_what_a_config_says_of_the_head() -> None:
    made = original.tensors(HUB_PARTS, tied=False)
    adapted = hub_llama.FAMILY.adapt(weights(made, HUB))
    assert not adapted.config.tied_head and "another matrix" in adapted.warnings[0]
    del made["lm_head.weight"]
    with pytest.raises(CheckpointError, match=r"has no lm_head\.weight"):
        hub_llama.FAMILY.adapt(weights(made, HUB | {"tie_word_embeddings": False}))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model_type": "gemma"}, "only plain Llama"),
        ({"hidden_act": "gelu"}, "SiLU"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "scaled"),
        ({"rope_parameters": {"rope_type": "llama3", "factor": 8.0}}, "scaled"),
        ({"partial_rotary_factor": 0.5}, "partial"),
        ({"sliding_window": 8}, "window"),
        ({"rope_scaling": "twice"}, "makes no sense"),
        ({"rope_theta": "much"}, "gives rope_theta"),
        ({"rms_norm_eps": float("nan")}, "gives rms_norm_eps"),
        ({"attention_bias": True}, "has no .*bias"),
        ({"mlp_bias": "yes"}, "true or false"),
        ({"eos_token_id": "</s>"}, "number of a token"),
        ({"num_key_value_heads": 3}, "key/value heads"),
        ({"head_dim": 16}, "do not divide"),
    ],
)
def test_hub_configs_that_mean_something_else_are_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(CheckpointError, match=sentence):
        hub_llama.FAMILY.adapt(weights(original.tensors(HUB_PARTS), HUB | changes))


def test_begin_and_end_of_a_hub_model_come_from_its_config() -> None:
    made = original.tensors(HUB_PARTS)
    adapted = hub_llama.FAMILY.adapt(weights(made, HUB | {"bos_token_id": None, "eos_token_id": [5, 7, VOCAB]}))
    assert (adapted.begin_id, adapted.end_ids) == (None, (5, 7))


@EVERY_KIND
def test_layers_that_are_not_there(kind: str) -> None:
    family, parts, config = KINDS[kind]
    made, key = original.tensors(parts), "num_hidden_layers" if kind == "Hub" else "n_layers"
    more = {"model": HALF_ROTARY["model"] | {key: 3}} if kind == "half-rotary" else config | {key: 3}
    with pytest.raises(CheckpointError, match="holds 2 of the 3 layers"):
        family.adapt(weights(made, more))
    fewer = {"model": HALF_ROTARY["model"] | {key: 1}} if kind == "half-rotary" else config | {key: 1}
    assert family.adapt(weights(made, fewer)).config.layers == 2  # the tensors are believed
    gap = {name.replace("s.1.", "s.5."): tensor for name, tensor in made.items()}
    with pytest.raises(CheckpointError, match=r"has no .*s\.1\."):
        family.adapt(weights(gap, config))
