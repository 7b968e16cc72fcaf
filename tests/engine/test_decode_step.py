"""The compiled step against the plain one: logits at every step, and the text that comes of them."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from compiled_steps import compiled_greedy, plain_greedy, plain_logits, read, twin
from small import SHAPES, tiny_config, tiny_model

from engine.decode.compiled import CompiledStep, available, verify
from engine.settings import llama_config

pytestmark = pytest.mark.skipif(bool(available()), reason=available())
PLACES = [(threads, batch) for threads in (1, 2) for batch in (1, 3)]


def prompts(batch: int, length: int, seed: int = 0) -> list[list[int]]:
    draw = random.Random(seed)
    return [[draw.randrange(320) for _ in range(length)] for _ in range(batch)]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8", "int4"])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_step_finds_the_logits_of_the_plain_step(shape: str, precision: str, compiled: Path) -> None:
    network = tiny_model(tiny_config(shape))
    rounded = twin(network, precision)
    steps = 10 if shape.startswith("learned") else 40  # the latter past the context, where the ring rolls over
    for threads, batch in PLACES:
        step = CompiledStep.build(network, precision, threads, compiled)
        given, following = prompts(batch, 6), prompts(steps, batch, seed=1)
        expected, cache = read(rounded, given, 6 + steps)
        step.start(batch, 6 + steps, top_k=7)
        found = step.read(given)
        for tokens in [None, *following]:
            if tokens:
                expected = plain_logits(rounded, cache, tokens)
                found = step.step(tokens)
            assert np.abs(found.logits - expected.numpy()).max() < 1e-4 * float(expected.std())
            values, ids = expected.topk(7)
            assert np.allclose(found.top_values, values.numpy(), rtol=1e-4, atol=1e-3)
            assert (found.top_ids[:, 0] == ids[:, 0].numpy()).all()
            assert np.allclose(found.logsumexp, expected.logsumexp(-1).numpy(), rtol=1e-5, atol=1e-3)
        step.close()


@pytest.mark.parametrize("shape", SHAPES)
def test_greedy_text_equals_the_plain_text_for_400_tokens(shape: str, compiled: Path) -> None:
    network = tiny_model(tiny_config(shape))
    given = prompts(3, 9)
    expected = [plain_greedy(network, ids, 400) for ids in given]
    for threads in (1, 2):
        step = CompiledStep.build(network, "fp32", threads, compiled)
        assert compiled_greedy(step, network, given[:1], 400) == expected[:1]
        assert compiled_greedy(step, network, given, 400) == expected
        step.close()


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8", "int4"])
def test_a_story_does_not_depend_on_threads_or_on_its_company(precision: str, compiled: Path) -> None:
    network = tiny_model(llama_config(96, 3, 6, 24, 320, mlp_width=100, kv_heads=2))
    given = prompts(7, 5)
    found = []
    for threads, rows in ((1, given[:1]), (2, given[:2]), (3, given)):
        step = CompiledStep.build(network, precision, threads, compiled)
        step.start(len(rows), 60)
        first = step.read(rows).logits[0].copy()
        step_ids = prompts(40, 7, seed=3)
        found.append([first, *(step.step(ids[: len(rows)]).logits[0].copy() for ids in step_ids)])
        step.close()
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])


def test_int8_differs_only_where_two_tokens_are_closer_than_its_error(compiled: Path) -> None:
    network = tiny_model(tiny_config("learned", context=64), spread=6.0)
    step = CompiledStep.build(network, "int8", 1, compiled)
    error = verify(step, network, prompts(1, 60, seed=5)[0])
    assert 1e-4 < error < 0.3
    ids = prompts(1, 60)[0]
    _, cache = read(network, [ids[:2]], 64)
    step.start(1, 64)
    step.read([ids[:2]])
    for token in ids[2:]:
        plain = plain_logits(network, cache, [token])[0]
        best = int(step.step([token]).top_ids[0, 0])
        assert float(plain.max() - plain[best]) <= 2 * error * float(plain.std())


def test_stories_leave_the_batch_and_are_doubled(compiled: Path) -> None:
    network = tiny_model(tiny_config("rope, grouped"))
    step = CompiledStep.build(network, "fp32", 2, compiled)
    _, cache = read(network, prompts(1, 6), 30)
    step.start(3, 30)
    step.read(prompts(1, 6))  # one reading serves all three
    cache.select(torch.tensor([0, 0, 0]))
    for rows, tokens in (([0, 1, 2], [1, 2, 3]), ([2, 0], [4, 5]), ([1, 0, 0, 1, 1], [6, 7, 8, 9, 10])):
        step.select(rows)
        cache.select(torch.tensor(rows))
        expected = plain_logits(network, cache, tokens).numpy()
        assert np.allclose(step.step(tokens).logits, expected, atol=1e-4 * expected.std())
        assert step.rows == len(tokens) and step.length == cache.length
    step.close()


@pytest.mark.parametrize("length", [1, 31, 32, 33, 64, 99])
def test_a_prompt_is_read_in_parts_of_any_length(length: int, compiled: Path) -> None:
    network = tiny_model(tiny_config("rope, grouped", context=100))
    step = CompiledStep.build(network, "fp32", 2, compiled)
    for rows in ([prompts(1, length)[0]] * 3, prompts(3, length)):
        expected, cache = read(network, rows, 100)
        step.start(3, 100, top_k=5)
        found = step.read(rows[:1] if rows[0] == rows[1] else rows)
        assert np.allclose(found.logits, expected.numpy(), atol=1e-4 * float(expected.std()))
        assert (found.top_ids[:, 0] == expected.argmax(-1).numpy()).all() and step.length == length
        assert np.allclose(
            step.room.keys[:, :3, :, :length, : network.config.dim_per_head], cache.keys[:, :, :, :length], atol=1e-4
        )
    step.close()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("shape", ["learned, exact gelu, own head", "rope, grouped"])
def test_a_screened_head_names_the_likeliest_exactly(shape: str, precision: str, compiled: Path) -> None:
    """Bit for bit what the whole head finds, for spreads from nearly flat to sharp, and nothing else reaches that far."""
    for spread, k in ((0.2, 256), (1.0, 40), (6.0, 1)):
        network = tiny_model(tiny_config(shape, vocab_size=2000), spread=spread)
        step = CompiledStep.build(network, precision, 2, compiled)
        step.start(2, 16, top_k=k)
        step.read(prompts(2, 3))
        for tokens in prompts(10, 2, seed=4):
            whole = step.step(tokens)
            logits, values, ids, total = (x.copy() for x in (whole.logits, whole.top_values, whole.top_ids, whole.logsumexp))
            step.length -= 1
            found = step.step(tokens, screened=True)
            assert found.screened and np.array_equal(found.top_values, values) and np.array_equal(found.top_ids, ids)
            assert ((found.logits >= values[:, -1:]) == (logits >= values[:, -1:])).all()
            assert not np.array_equal(found.logits, logits) and np.allclose(found.logsumexp, total, atol=3e-3)
            assert np.array_equal(step.all_logits().logits, logits)
        step.close()


def test_what_does_not_fit_is_refused(compiled: Path) -> None:
    step = CompiledStep.build(tiny_model(tiny_config("rope")), "fp32", 1, compiled)
    step.start(2, 12)
    for texts in ([list(range(13))] * 2, [[1]] * 3, [[]] * 2):
        with pytest.raises(ValueError, match="do not fit"):
            step.read(texts)
    with pytest.raises(ValueError, match="no such token"):
        step.read([[1, 320]])
    with pytest.raises(ValueError, match="no such token"):
        step.step([-1, 0])


def test_learned_positions_end(compiled: Path) -> None:
    network = tiny_model(tiny_config("learned"))
    step = CompiledStep.build(network, "fp32", 1, compiled)
    step.start(1, 100)
    for token in range(16):
        assert not step.full
        step.step([token])
    assert step.full and step.capacity == 16
    with pytest.raises(ValueError, match="do not fit"):
        step.step([0])


def test_rows_that_pad_the_vocabulary_are_left_out(compiled: Path) -> None:
    network = tiny_model(tiny_config("learned, exact gelu, own head", vocab_size=333))
    step = CompiledStep.build(network, "int8", 1, compiled, vocab=301)
    _, cache = read(twin(network, "int8"), [[5]], 16)
    expected = plain_logits(twin(network, "int8"), cache, [7])[:, :301].numpy()
    step.start(1, 16, top_k=256)
    step.step([5])
    found = step.step([7])
    assert found.logits.shape == (1, 301) and np.allclose(found.logits, expected, atol=1e-4 * expected.std())
    assert (np.diff(found.top_values[0]) <= 0).all() and len(set(found.top_ids[0].tolist())) == 256
