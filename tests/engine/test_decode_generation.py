"""Stories by the compiled step: the same words as by the network itself, from prompt to end, alone and several at once."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("numba")

from small import SHAPES, save_tiny, tiny_loaded

from engine.checkpoints import Checkpoint, load_checkpoint
from engine.checkpoints.exporting import export
from engine.decode import choose
from engine.decode.compiled import CompiledStep
from engine.errors import UsageError
from engine.generation import generate
from engine.protocol import Finished, Token
from engine.settings import GenerationRequest, SamplingSettings


def tokens(checkpoint: Checkpoint, request: GenerationRequest) -> list[tuple[int, int]]:
    return [(event.story, event.token) for event in generate(checkpoint, request) if isinstance(event, Token)]


@pytest.mark.parametrize("shape", SHAPES)
def test_stories_are_the_same_past_the_context_and_in_batches(shape: str, compiled: Path) -> None:
    checkpoint = tiny_loaded(shape, context=16)
    requests = [
        GenerationRequest(opening="Mia found", sampling=SamplingSettings(temperature=0.0, max_tokens=60, stop_loops=False)),
        GenerationRequest(
            opening="Mia", count=3, sampling=SamplingSettings(temperature=0.8, seed=5, max_tokens=40, min_tokens=5)
        ),
    ]
    plain = [tokens(checkpoint, request) for request in requests]
    checkpoint.compiled = CompiledStep.build(checkpoint.network, "fp32", 1, compiled, checkpoint.tokenizer.vocab_size)
    assert [tokens(checkpoint, request) for request in requests] == plain
    checkpoint.compiled.close()


def test_a_story_ends_within_a_token_of_the_cancelling(compiled: Path) -> None:
    checkpoint = tiny_loaded("rope")
    checkpoint.compiled = CompiledStep.build(checkpoint.network, "int8", 1, compiled, checkpoint.tokenizer.vocab_size)
    drawn: list[int] = []
    request = GenerationRequest(
        opening="Mia", sampling=SamplingSettings(max_tokens=500, min_tokens=500, seed=1, stop_loops=False)
    )
    for event in generate(checkpoint, request, lambda: len(drawn) >= 5):
        if isinstance(event, Token):
            drawn.append(event.token)
        elif isinstance(event, Finished):
            assert event.reason == "cancelled"
    assert len(drawn) == 5


def test_a_checkpoint_is_loaded_for_it(tmp_path: Path, compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYTALES_HOME", str(tmp_path / "home"))
    assert choose.kernel_folder() == tmp_path / "home" / "cache" / "kernels"
    monkeypatch.setattr(choose, "kernel_folder", lambda: compiled)  # compiled once for all tests
    folder = save_tiny(tmp_path / "tiny", "rope")
    loaded = load_checkpoint(folder, device="cpu", precision="int8", step="compiled", threads=1)
    assert loaded.compiled is not None and loaded.precision == "int8"
    for wrong in ({"precision": "int8", "step": "plain"}, {"step": "magic"}, {"step": "compiled", "precision": "int3"}):
        with pytest.raises(UsageError):
            load_checkpoint(folder, device="cpu", **wrong)  # type: ignore[arg-type]


def test_a_checkpoint_of_8_bit_weights_is_written_with_as_it_is(
    tmp_path: Path, compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choose, "kernel_folder", lambda: compiled)
    export(tiny_loaded("rope"), "int8", tmp_path / "small")
    request = GenerationRequest(opening="Mia", sampling=SamplingSettings(temperature=0.0, max_tokens=60, stop_loops=False))
    plain = tokens(load_checkpoint(tmp_path / "small", device="cpu"), request)
    loaded = load_checkpoint(tmp_path / "small", device="cpu", step="compiled")
    assert loaded.precision == "int8" and tokens(loaded, request) == plain
    assert all(parameter.is_meta for parameter in loaded.network.parameters())  # nothing is held twice
    assert tokens(load_checkpoint(tmp_path / "small", device="cpu", step="compiled", precision="fp32"), request) == plain


def test_two_requests_at_once_are_refused(compiled: Path) -> None:
    checkpoint = tiny_loaded("rope")
    checkpoint.compiled = CompiledStep.build(checkpoint.network, "fp32", 1, compiled, checkpoint.tokenizer.vocab_size)
    request = GenerationRequest(opening="Mia", sampling=SamplingSettings(max_tokens=30, min_tokens=30, seed=1, stop_loops=False))
    first = generate(checkpoint, request)
    for _ in range(3):
        next(first)
    alone = tokens(checkpoint, request)
    with pytest.raises(RuntimeError, match="one request after the other"):
        list(first)
    assert tokens(checkpoint, request) == alone
