"""The one decoder: every switch against the plain twin, sizes of the presets, masks."""

from __future__ import annotations

import pytest
import torch
from plain_decoder import plain_logits
from small import SHAPES, tiny_config, tiny_model

from engine.cache import KeyValueCache
from engine.errors import UsageError
from engine.model import Decoder
from engine.settings import MODEL_PRESETS, ModelConfig, gpt2_config


@pytest.mark.parametrize("shape", SHAPES)
def test_logits_equal_the_plain_twin(shape: str) -> None:
    network = tiny_model(tiny_config(shape), spread=4.0)
    ids = torch.randint(0, 320, (1, 14), generator=torch.Generator().manual_seed(1))
    logits = network(ids)
    assert logits.dtype == torch.float32 and logits.shape == (1, 14, 320)
    torch.testing.assert_close(logits[0].double(), plain_logits(network, ids[0].tolist()), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape.startswith("rope")])
def test_rotary_text_past_the_context_sees_only_the_context(shape: str) -> None:
    network = tiny_model(tiny_config(shape, context=8), spread=4.0)
    ids = torch.randint(0, 320, (1, 20), generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(network(ids)[0].double(), plain_logits(network, ids[0].tolist()), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_cached_steps_equal_one_pass(shape: str) -> None:
    config = tiny_config(shape)
    network = tiny_model(config, spread=4.0)
    ids = torch.randint(0, 320, (2, 16), generator=torch.Generator().manual_seed(3))
    whole = network(ids)
    cache = KeyValueCache(config, 2, 16, torch.device("cpu"), torch.float32)
    parts = [network(ids[:, :7], cache), network(ids[:, 7:10], cache)] + [
        network(ids[:, at : at + 1], cache) for at in range(10, 16)
    ]
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=2e-4, rtol=1e-4)


def test_learned_positions_run_out_with_a_plain_error() -> None:
    network = tiny_model(tiny_config("learned"))
    with pytest.raises(ValueError, match="17 positions"):
        network(torch.zeros(1, 17, dtype=torch.int64))


def test_last_only_is_the_last_row() -> None:
    network = tiny_model(tiny_config("rope"))
    ids = torch.arange(9)[None]
    torch.testing.assert_close(network(ids, last_only=True), network(ids)[:, -1:], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("preset", "millions"),
    [
        ("nano", 7.2),
        ("small", 30.0),
        ("medium", 51.1),
        ("large", 124.0),
        ("gpt2-30m", 30.1),
        ("gpt2-125m", 124.0),
        ("llama-24m", 24.6),
    ],
)
def test_preset_sizes(preset: str, millions: float) -> None:
    with torch.device("meta"):
        network = Decoder(MODEL_PRESETS[preset])
    assert network.parameter_count() / 1e6 == pytest.approx(millions, abs=0.06)


def test_fresh_weights_predict_almost_evenly() -> None:
    network = Decoder(gpt2_config(64, 2, 2, 32, vocab_size=500))
    network.initialise(torch.Generator().manual_seed(0))
    loss = torch.nn.functional.cross_entropy(network(torch.arange(30)[None])[0, :-1], torch.arange(1, 30))
    assert float(loss.detach()) == pytest.approx(6.21, abs=0.3)  # ln 500


@pytest.mark.parametrize(
    "wrong",
    [{"width": 0}, {"heads": 5}, {"kv_heads": 3}, {"windows": (4,)}, {"dropout": 1.0}, {"layers": "2"}, {"context": True}],
)
def test_a_shape_that_makes_no_sense_is_refused_in_one_sentence(wrong: dict[str, object]) -> None:
    right = {"vocab_size": 10, "width": 32, "layers": 2, "heads": 4, "context": 8}
    with pytest.raises(UsageError) as refusal:
        ModelConfig(**(right | wrong))  # type: ignore[arg-type]
    assert str(refusal.value).endswith(".")


def test_config_round_trip() -> None:
    config = tiny_config("learned, windows")
    assert ModelConfig.from_json(config.to_json()) == config
    with pytest.raises(UsageError, match="colour"):
        ModelConfig.from_json(config.to_json() | {"colour": "red"})
