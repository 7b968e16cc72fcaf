"""The GPT-2-shaped families: each miniature, in its original names, gives the logits of its original maths; what is wrong is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import original_gpt as original
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from engine.checkpoints.families import gpt_neo, gpt_shape, hub_gpt2, nanogpt, per_head_gpt2, refused
from engine.checkpoints.foreign import Adapted, Family, Weights
from engine.errors import CheckpointError
from engine.model import Decoder
from engine.prompts import PromptStyle

FAMILIES = (per_head_gpt2.FAMILY, refused.FAMILY, gpt_neo.FAMILY, nanogpt.FAMILY, hub_gpt2.FAMILY)
IDS = [3, 66, 0, 12, 12, 5, 41, 7, 60, 33, 2, 18, 25, 9]  # longer than the windows in use
PER_HEAD, REFUSED, NEO, NANO, HUB = FAMILIES
FAMILY_OF = {"separate": PER_HEAD, "nanoGPT": NANO, "notebook": NANO, "GPT-Neo": NEO, "Hub": HUB}
MINIATURES = {name: (FAMILY_OF[name.split()[0]], *parts) for name, parts in original.MINIATURES.items()}


def weights(
    tensors: original.Tensors, config: dict[str, Any] | None = None, path: str = "models/tiny/model.safetensors"
) -> Weights:
    return Weights(tensors, config or {}, "safetensors", Path(path))


def adapted(which: str, **changes: Any) -> Adapted:
    """A miniature with some of its settings changed; None takes one away."""
    family, make, config, _ = MINIATURES[which]
    return family.adapt(weights(make(), {key: value for key, value in (config | changes).items() if value is not None}))


def logits(model: Adapted, ids: list[int] | Tensor = IDS) -> Tensor:
    """What the one decoder says, (T, vocab); every tensor of its state must be there, and none besides."""
    with torch.device("meta"):
        network = Decoder(model.config)
    network.load_state_dict(model.state, assign=True)
    assert all(tensor.dtype == torch.float32 and tensor.is_contiguous() for tensor in model.state.values())
    with torch.inference_mode():
        return network.eval()(torch.as_tensor(ids).view(1, -1))[0]


def refuse(family: Family, given: Weights, about: str | None = None) -> None:
    with pytest.raises(CheckpointError, match=about) as refusal:
        family.adapt(given)
    assert "\n" not in str(refusal.value) and str(refusal.value).endswith(".")


# The same numbers


@pytest.mark.parametrize("which", MINIATURES)
def test_a_miniature_gives_the_logits_of_its_original_maths(which: str) -> None:
    family, make, config, literal = MINIATURES[which]
    tensors = make()
    model = family.adapt(weights(tensors, config))
    expected = literal(tensors, IDS)
    assert expected.std() > 0.5  # numbers that differ, so that an equality says something
    torch.testing.assert_close(logits(model), expected, atol=1e-5, rtol=1e-5)
    assert model.family == family.name and not model.warnings and model.begin_id is None
    dropped = {name for name in tensors if name.endswith("mask") or "masked_bias" in name or tensors[name].dim() == 4}
    assert {name for name in model.ignored if name != "lm_head.weight"} == dropped
    assert ("lm_head.weight" in model.ignored) == ("lm_head.weight" in tensors)


@pytest.mark.parametrize("which", MINIATURES)
def test_one_family_is_sure_and_the_others_are_not(which: str) -> None:
    family, make, _, _ = MINIATURES[which]
    shapes = {name: tuple(tensor.shape) for name, tensor in make().items()}
    assert [known.name for known in FAMILIES if known.recognises(shapes)] == [family.name]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions_become_float32(dtype: torch.dtype) -> None:
    for which, (family, make, config, literal) in MINIATURES.items():
        stored = {name: tensor.to(dtype) for name, tensor in make().items()}
        expected = literal({name: tensor.float() for name, tensor in stored.items()}, IDS)
        found = logits(family.adapt(weights(stored, config)))
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5, msg=lambda text, which=which: f"{which}: {text}")


@pytest.mark.parametrize("container", ["safetensors", "pickle"])
@pytest.mark.parametrize("name", ["GPTNeoForCausalLM", "GPT2LMHeadModel", "GPT2Model"])
def test_what_transformers_saves_gives_its_logits(tmp_path: Path, name: str, container: str) -> None:
    model = original.from_transformers(name)
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    if container == "pickle":
        torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
        tensors = torch.load(tmp_path / "pytorch_model.bin", weights_only=True)
    else:
        tensors = load_file(tmp_path / "model.safetensors")
    read = weights(tensors, config, str(tmp_path / "model.safetensors"))
    family = next(family for family in FAMILIES if family.recognises({name: tuple(t.shape) for name, t in tensors.items()}))
    found = family.adapt(read)
    ids = torch.tensor([IDS])
    with torch.inference_mode():
        expected = model(ids).last_hidden_state @ model.wte.weight.T if name == "GPT2Model" else model(ids).logits
    assert expected.std() > 0.5
    torch.testing.assert_close(logits(found), expected[0], atol=1e-5, rtol=1e-5)
    assert found.end_ids == (0,) and found.vocabulary == "tokenizer.json" and not found.warnings


@pytest.mark.parametrize("activation", ["gelu", "gelu_pytorch_tanh"])
def test_hub_models_with_another_activation_and_unscaled_attention(activation: str) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        n_embd=32, n_layer=2, n_head=4, n_positions=20, vocab_size=67, activation_function=activation, scale_attn_weights=False,
        layer_norm_epsilon=0.01, tie_word_embeddings=False, eos_token_id=0, bos_token_id=0,
    )  # fmt: skip
    model = original.with_numbers(transformers.GPT2LMHeadModel(config), 8)
    found = HUB.adapt(weights(dict(model.state_dict()), config.to_dict()))
    with torch.inference_mode():
        torch.testing.assert_close(logits(found), model(torch.tensor([IDS])).logits[0], atol=1e-5, rtol=1e-5)
    assert not found.config.tied_head and found.config.norm_eps == 0.01


# Heads of their own


@pytest.mark.parametrize("which", ["nanoGPT", "GPT-Neo", "Hub"])
def test_a_copy_that_differs_is_a_head_of_its_own(which: str) -> None:
    family, make, config, literal = MINIATURES[which]
    tensors = make() | {"lm_head.weight": original.numbers(original.ROWS, original.WIDTH, seed=99)}
    found = family.adapt(weights(tensors, config | {"tie_word_embeddings": False}))
    assert not found.config.tied_head and "lm_head.weight" not in found.ignored
    torch.testing.assert_close(logits(found), literal(tensors, IDS), atol=1e-5, rtol=1e-5)
    if which != "nanoGPT":
        assert "two different ones" in family.adapt(weights(tensors, config | {"tie_word_embeddings": True})).warnings[0]


@pytest.mark.parametrize("which", ["nanoGPT", "GPT-Neo", "Hub"])
def test_either_name_of_a_shared_matrix_is_enough(which: str) -> None:
    family, make, config, _ = MINIATURES[which]
    tensors = make()
    whole = logits(family.adapt(weights(tensors, config)))
    tensors["lm_head.weight"] = tensors.pop("transformer.wte.weight")
    alone = family.adapt(weights(tensors, config))
    assert alone.config.tied_head and torch.equal(logits(alone), whole)
    refuse(family, weights(tensors, config | {"tie_word_embeddings": False}), "has no transformer.wte.weight")


def test_a_separate_head_that_equals_the_embedding_is_kept_once() -> None:
    tensors = original.per_head_tensors()
    tensors["output_layer.weight"] = tensors["embeddings.token_embedding.weight"].clone()
    found = PER_HEAD.adapt(weights(tensors))
    assert found.config.tied_head and found.config.head_bias and "output_layer.weight" in found.ignored
    torch.testing.assert_close(logits(found), original.per_head_logits(tensors, IDS), atol=1e-5, rtol=1e-5)


# Settings


def test_padded_rows_stay_and_gpt2s_table_goes_with_them() -> None:
    tensors = original.nanogpt_tensors()
    tensors["transformer.wte.weight"] = tensors["lm_head.weight"] = original.numbers(50_304, original.WIDTH, seed=6)
    found = NANO.adapt(weights(tensors, {"n_head": original.HEADS, "vocab_size": 50_304}))
    assert found.config.vocab_size == 50_304 and found.vocabulary == "gpt2" and not found.warnings
    assert logits(found).shape == (len(IDS), 50_304)


def test_which_vocabulary_goes_with_how_many_rows() -> None:
    found = [gpt_shape.vocabulary_of(rows) for rows in (50_256, 50_257, 51_200, 51_201)]
    assert found == ["tokenizer.json", "gpt2", "gpt2", "tokenizer.json"]
    assert adapted("separate heads").vocabulary == "gpt2"  # whose program knows no other


def test_tensors_are_believed_before_settings() -> None:
    found = adapted("separate heads", num_layers=12, context_length=1024, num_heads=7, embedding_dim=original.WIDTH)
    assert (found.config.layers, found.config.context, found.config.heads) == (original.LAYERS, original.CONTEXT, original.HEADS)
    assert [warning.split(",")[0] for warning in found.warnings] == [
        "The settings say num_layers is 12", "The settings say num_heads is 7", "The settings say context_length is 1024",
    ]  # fmt: skip
    assert "block_size is 9" in adapted("nanoGPT", block_size=9).warnings[0]
    assert "n_positions is 'long'" in adapted("Hub", n_positions="long").warnings[0]
    assert "num_layers is 9" in adapted("GPT-Neo", num_layers=9).warnings[0]


def test_heads_that_nothing_names_are_of_the_usual_size() -> None:
    tensors = original.nanogpt_tensors(width=128)
    found = NANO.adapt(weights(tensors))
    assert found.config.heads == 2 and "2 were assumed" in found.warnings[0]
    torch.testing.assert_close(logits(found), original.nanogpt_logits(tensors, IDS, heads=2), atol=2e-5, rtol=2e-5)
    refuse(NANO, weights(original.nanogpt_tensors()), "does not say how many attention heads")
    refuse(HUB, weights(original.hub_tensors()), "does not say how many attention heads")
    assert adapted("GPT-Neo", num_heads=None).config.heads == 16 and adapted("nanoGPT", n_head=16).config.heads == 16


def test_layers_of_gpt_neo_that_see_only_a_window() -> None:
    assert adapted("GPT-Neo").config.windows == (None, 5) and adapted("GPT-Neo").config.attention_scale == 1.0
    assert adapted("GPT-Neo", attention_types=None, attention_layers=["local", "global"]).config.windows == (5, None)
    assert adapted("GPT-Neo", attention_types=[[["global"], 1], [["local"], 1]]).config.windows == (None, 5)
    assert adapted("GPT-Neo", window_size=20).config.windows == (None, None)  # as long as the context
    differing = adapted("GPT-Neo", attention_layers=["local", "global", "local"])  # of which a model of two layers asks for two
    assert differing.config.windows == (5, None) and "in two ways that differ" in differing.warnings[0]
    silent = adapted("GPT-Neo", attention_types=None)
    assert silent.config.windows == (None, 5) and "does not say which layers" in silent.warnings[0]


def test_gpt_neo_warns_of_positions_beyond_its_training() -> None:
    tensors = original.neo_tensors(masks=False) | {"transformer.wpe.weight": original.numbers(2048, original.WIDTH, seed=3)}
    config = original.neo_config(window=256) | {"max_position_embeddings": 2048}
    found = NEO.adapt(weights(tensors, config))
    assert found.config.context == 2048 and "were trained on 512" in found.warnings[0] and len(found.warnings) == 1
    ids = torch.randint(0, original.ROWS, (300,), generator=torch.Generator().manual_seed(2)).tolist()
    far = original.neo_logits(tensors, ids, window=256)  # the local layer has forgotten the first tokens
    torch.testing.assert_close(logits(found, ids), far, atol=3e-5, rtol=3e-5)
    assert not torch.allclose(far, original.neo_logits(tensors, ids, window=300), atol=1e-3)


@pytest.mark.parametrize(
    ("which", "path", "style"),
    [
        ("separate heads", "hub/models--0rn0--gpt2-30m-tinystories-sft/snapshots/88fc2df/model.safetensors", "topic-ending"),
        ("separate heads", "hub/models--0rn0--gpt2-30m-tinystories/snapshots/88fc2df/model.safetensors", "plain"),
        ("separate heads", "gpt2-125m-tinystories-sft/model.safetensors", "topic-ending"),
        ("separate heads", "runs/finetune_epoch_5.pt", "topic-ending"),
        ("separate heads", "runs/model_epoch_5.pt", "plain"),
        ("separate heads", "my_sft.pt", "topic-ending"),
        ("separate heads", "all-sft-models/pretrained/model_epoch_1.pt", "plain"),
        ("separate heads", "copied_by_sftp/model_sftp.pt", "plain"),
        ("GPT-Neo", "models--roneneldan--TinyStories-Instruct-33M/snapshots/1/pytorch_model.bin", "instruct-fields"),
        ("GPT-Neo", "models--roneneldan--TinyStories-Instuct-1Layer-21M/snapshots/1/model.safetensors", "instruct-fields"),
        ("GPT-Neo", "models--roneneldan--TinyStories-33M/snapshots/1/pytorch_model.bin", "plain"),
        ("nanoGPT", "tuned-sft/ckpt.pt", "plain"),
        ("Hub", "instruct/model.safetensors", "plain"),
    ],
)
def test_what_a_model_was_tuned_on_is_told_by_its_name(which: str, path: str, style: str) -> None:
    family, make, config, _ = MINIATURES[which]
    assert family.adapt(weights(make(), config, path)).prompt_style == PromptStyle(style)  # type: ignore[arg-type]


def test_end_tokens_of_the_settings_are_taken_where_the_model_has_them() -> None:
    assert adapted("Hub", eos_token_id=[5, 66, 67, -1, True, "x"]).end_ids == (5, 66)
    assert adapted("GPT-Neo", eos_token_id=50_256).end_ids == ()


# Refusals


def is_spare(name: str, tensors: original.Tensors) -> bool:
    """Tensors that a file may do without: masks, and either name of a shared matrix."""
    shared = "lm_head.weight" in tensors and name in ("lm_head.weight", "transformer.wte.weight")
    return shared or name.endswith("mask") or "masked_bias" in name or tensors[name].dim() == 4


@pytest.mark.parametrize("which", MINIATURES)
def test_every_tensor_that_is_missing_misshapen_or_no_number_is_refused(which: str) -> None:
    family, make, config, _ = MINIATURES[which]
    tensors = make()
    for name, tensor in tensors.items():
        without = {other: t for other, t in tensors.items() if other != name}
        if is_spare(name, tensors):
            family.adapt(weights(without, config))
        else:
            refuse(family, weights(without, config))
            refuse(family, weights(tensors | {name: tensor.to(torch.int64)}, config))
        longer = tensor.new_zeros(2) if tensor.dim() == 0 else tensor.new_zeros(*tensor.shape[:-1], tensor.shape[-1] + 1)
        refuse(family, weights(tensors | {name: longer}, config))
        refuse(family, weights(tensors | {name: tensor.new_zeros(0, 3)}, config))


@pytest.mark.parametrize("extra", ["spare", "blocks.0.mha.heads.9.q.bias", "transformer.h.7.ln_1.weight"])
@pytest.mark.parametrize("which", MINIATURES)
def test_a_tensor_that_nobody_knows_is_refused(which: str, extra: str) -> None:
    family, make, config, _ = MINIATURES[which]
    refuse(family, weights(make() | {extra: torch.zeros(original.WIDTH)}, config), "holds tensors that|has no|has \\d+ heads")


def test_the_list_of_unknown_tensors_is_shown() -> None:
    spare = {f"adapter.{n}": torch.zeros(3) for n in range(10)}
    refuse(HUB, weights(original.hub_tensors() | spare, original.hub_config()), r"adapter\.0, adapter\.1, .* and 2 more")
    biased = {"transformer.h.0.attn.attention.q_proj.bias": torch.zeros(original.WIDTH)}
    refuse(NEO, weights(original.neo_tensors() | biased, original.neo_config()), r"q_proj\.bias")


@pytest.mark.parametrize(
    ("which", "about", "all_changes"),
    [
        ("nanoGPT", "cannot be divided into the 5 heads", [{"n_head": 5}]),
        ("GPT-Neo", "cannot be divided into the 7 heads", [{"num_heads": 7}]),
        ("Hub", "cannot be divided", [{"n_head": 3}, {"n_head": 10**30}]),
        ("nanoGPT", "not a number above zero", [{"n_head": bad} for bad in (0, True, 4.0, "four\nheads", [4] * 10**5)]),
        ("GPT-Neo", "not a number above zero", [{"window_size": -1}, {"num_heads": "all"}]),
        ("Hub", "do not belong together", [{"model_type": "gpt_neo"}, {"model_type": 3}]),
        ("GPT-Neo", "do not belong together", [{"model_type": "gpt2"}]),
        ("Hub", "only GELU", [{"activation_function": bad} for bad in ("relu", ["gelu"], 0)]),
        ("GPT-Neo", "only GELU", [{"activation_function": "silu"}]),
        ("Hub", "layer_norm_epsilon", [{"layer_norm_epsilon": bad} for bad in (-1, float("nan"), "small", True)]),
        ("Hub", "number of the layer", [{"scale_attn_by_inverse_layer_idx": True}]),
        ("Hub", "has no lm_head.weight", [{"tie_word_embeddings": False}]),
        ("GPT-Neo", "global or local", [{"attention_types": [bad]} for bad in (
            [["global", "local"], 2], [["global"], 1], [["global", "sparse"], 1], [["global"], 10**15], ["global", 2], "global",
        )]),
        ("GPT-Neo", "global or local", [{"attention_layers": bad} for bad in (["local"], ["global", "far"], 2, "gl")]),
        ("GPT-Neo", "global or local", [{"attention_types": None, "attention_layers": [{}, []]}, {"attention_types": "global"}]),
    ],
)  # fmt: skip
def test_settings_that_contradict_the_tensors_or_themselves(which: str, about: str, all_changes: list[dict[str, Any]]) -> None:
    for changes in all_changes:
        family, make, config, _ = MINIATURES[which]
        refuse(family, weights(make(), {key: value for key, value in (config | changes).items() if value is not None}), about)


def test_separate_heads_that_do_not_make_up_the_width() -> None:
    tensors = {name: t for name, t in original.per_head_tensors().items() if ".heads.3." not in name}
    refuse(PER_HEAD, weights(tensors), "3 heads of 8 dimensions, which do not make up its width of 32")


def test_the_design_with_its_mask_the_wrong_way_round() -> None:
    tensors = original.inverted_tensors()
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    assert [family.name for family in FAMILIES if family.recognises(shapes)] == [REFUSED.name]
    refuse(REFUSED, weights(tensors), "only the words to come")
    assert not REFUSED.recognises({"token_embedding_table.weight": (9, 4), "blocks.0.sa.heads.0.key.weight": (4, 4)})


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_settings_give_a_model_or_a_refusal(data: st.DataObject) -> None:
    """Whatever stands in config.json: a decoder that takes its state, or one sentence; never another exception."""
    which = data.draw(st.sampled_from(["separate heads", "nanoGPT", "GPT-Neo", "Hub"]))
    family, make, config, _ = MINIATURES[which]
    keys = ["n_head", "num_heads", "attention_types", "attention_layers", "window_size", "activation_function", "model_type"]
    keys += ["layer_norm_epsilon", "eos_token_id", "tie_word_embeddings", "scale_attn_weights", "n_layer", "num_layers"]
    plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["global", "gelu"])
    value = (
        plain
        | st.lists(plain | st.lists(plain, max_size=3), max_size=3)
        | st.dictionaries(st.text(max_size=3), plain, max_size=2)
    )
    changed = config | data.draw(st.dictionaries(st.sampled_from(keys), value, max_size=3))
    try:
        found = family.adapt(weights(make(), changed))
    except CheckpointError as refusal:
        assert "\n" not in str(refusal)
    else:
        assert logits(found).shape == (len(IDS), original.ROWS)
        assert all("\n" not in warning for warning in found.warnings)
