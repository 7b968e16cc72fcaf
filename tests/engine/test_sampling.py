"""Sampling: each function by its definition, and the whole against the field's own code."""

from __future__ import annotations

import math

import pytest
import torch

from engine.errors import UsageError
from engine.sampling import (
    ban,
    candidates,
    draw,
    draw_from_likeliest,
    log_probability,
    penalise_repetition,
    repeating_tokens,
)
from engine.settings import SAMPLING_PRESETS, SamplingSettings


def settings(**values: object) -> SamplingSettings:
    return SamplingSettings(**({"top_k": 0, "top_p": 1.0, "temperature": 1.0} | values))  # type: ignore[arg-type]


def logits_of(*probabilities: float) -> torch.Tensor:
    return torch.tensor(probabilities).log()


def test_repetition_penalty_makes_negative_logits_more_negative() -> None:
    before = torch.tensor([2.0, -2.0, 1.0])
    after = penalise_repetition(before, [0, 1, 1], 2.0)
    assert after.tolist() == [1.0, -4.0, 1.0] and before.tolist() == [2.0, -2.0, 1.0]


def test_top_k_keeps_k_even_among_equals() -> None:
    _, ids = candidates(torch.zeros(10), settings(top_k=3))
    assert len(ids) == 3


def test_top_p_keeps_the_least_set_that_reaches_p() -> None:
    logits = logits_of(0.1, 0.5, 0.15, 0.25)
    assert candidates(logits, settings(top_p=0.7))[1].tolist() == [1, 3]
    assert candidates(logits, settings(top_p=0.76))[1].tolist() == [1, 3, 2]
    assert candidates(logits, settings(top_p=0.0))[1].tolist() == [1]


def test_min_p_is_a_share_of_the_likeliest() -> None:
    probabilities, ids = candidates(logits_of(0.1, 0.5, 0.15, 0.25), settings(min_p=0.4))
    assert ids.tolist() == [1, 3] and probabilities.tolist() == pytest.approx([2 / 3, 1 / 3])


def test_temperature_is_applied_before_the_cuts() -> None:
    logits = logits_of(0.6, 0.3, 0.1)
    assert len(candidates(logits, settings(min_p=0.4))[1]) == 2
    assert len(candidates(logits, settings(min_p=0.4, temperature=0.5))[1]) == 1
    assert len(candidates(logits, settings(min_p=0.4, temperature=2.0))[1]) == 3


def test_banned_tokens_are_never_kept() -> None:
    logits = ban(logits_of(0.6, 0.3, 0.1), [0])
    for cut in ({}, {"top_k": 3}, {"top_p": 0.999}):
        assert 0 not in candidates(logits, settings(**cut))[1].tolist()
    assert draw(logits, settings(temperature=0.0), torch.Generator()) == 1


def test_no_repeat_ngram() -> None:
    assert repeating_tokens([1, 2, 3, 1, 2], 3) == [3]
    assert repeating_tokens([1, 2, 3, 1, 2], 0) == []
    assert sorted(repeating_tokens([1, 2, 1], 1)) == [1, 2]


def test_draws_follow_the_probabilities() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = logits_of(0.1, 0.2, 0.3, 0.4)
    counts = torch.zeros(4)
    for _ in range(4000):
        counts[draw(logits, settings(), generator)] += 1
    assert (counts / 4000).tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=0.03)


def test_one_number_a_draw_whatever_is_kept() -> None:
    one, other = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    logits = torch.randn(100, generator=torch.Generator().manual_seed(1))
    draw(logits, settings(top_k=5), one)
    draw(logits, settings(), other)
    assert one.get_state().equal(other.get_state())


def test_log_probability() -> None:
    assert log_probability(logits_of(0.25, 0.75), 0) == pytest.approx(math.log(0.25))


@pytest.mark.parametrize(
    "values", [{}, {"top_k": 20}, {"top_p": 0.8}, {"min_p": 0.1}, {"top_k": 30, "top_p": 0.9, "min_p": 0.05}]
)
def test_the_kept_distribution_equals_that_of_transformers(values: dict[str, float]) -> None:
    processors = pytest.importorskip("transformers").generation.logits_process
    chosen = settings(temperature=0.7, repetition_penalty=1.3, **values)
    logits, used = torch.randn(200, generator=torch.Generator().manual_seed(9)) * 3, [3, 5, 5, 90]
    chain = [processors.RepetitionPenaltyLogitsProcessor(1.3), processors.TemperatureLogitsWarper(0.7)]
    chain += [processors.TopKLogitsWarper(values["top_k"])] if "top_k" in values else []
    chain += [processors.TopPLogitsWarper(values["top_p"])] if "top_p" in values else []
    chain += [processors.MinPLogitsWarper(values["min_p"])] if "min_p" in values else []
    theirs = logits[None]
    for processor in chain:
        theirs = processor(torch.tensor([used]), theirs)
    probabilities, ids = candidates(penalise_repetition(logits, used, 1.3), chosen)
    ours = torch.zeros(200).index_put((ids,), probabilities)
    torch.testing.assert_close(ours, theirs[0].softmax(-1), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1.0}, {"temperature": float("nan")}, {"top_p": 1.5}, {"top_k": -1}, {"max_tokens": 0}, {"seed": -4},
        {"stop": ("",)}, {"min_tokens": 50, "max_tokens": 20}, {"banned_words": (" ",)}, {"top_k": "5"},
        {"max_tokens": 150.5}, {"seed": 1.5}, {"stop": (5,)}, {"banned_words": "cat"}, {"top_k": 10**400}, {"stop_loops": 1},
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused_in_one_sentence(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError) as refusal:
        SamplingSettings(**wrong)  # type: ignore[arg-type]
    assert str(refusal.value).count(". ") == 0 and str(refusal.value).endswith(".")


def test_presets_are_those_of_the_field() -> None:
    told = {
        name: (values.temperature, values.top_k, values.top_p, values.repetition_penalty)
        for name, values in SAMPLING_PRESETS.items()
    }
    assert told == {"balanced": (0.8, 50, 0.95, 1.2), "conservative": (0.7, 40, 0.9, 1.3), "creative": (0.9, 60, 0.95, 1.1)}


@pytest.mark.parametrize("penalty", [1.0, 1.15, 2.0])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_a_draw_from_the_likeliest_is_the_draw_from_all(penalty: float, temperature: float) -> None:
    """Wherever it draws at all; and it says so where penalties and bans leave too few of the list."""
    settings = SamplingSettings(temperature=temperature, top_k=20, top_p=0.9, repetition_penalty=penalty)
    drawn = refused = 0
    for seed in range(60):
        random = torch.Generator().manual_seed(seed)
        logits = torch.randn(500, generator=random) * (0.5 + seed % 5)
        used = torch.rand(500, generator=random) < 0.02 * (seed % 12)
        banned = torch.randint(0, 500, (seed % 9,), generator=random).tolist()
        values, ids = logits.topk(30)
        found = draw_from_likeliest(values, ids, used, banned, settings, torch.Generator().manual_seed(seed))
        if found is None:
            refused += 1
            continue
        drawn += 1
        penalised = penalise_repetition(logits, used.nonzero()[:, 0].tolist(), penalty)
        assert found == draw(ban(penalised, banned), settings, torch.Generator().manual_seed(seed))
    assert drawn > 20 and (refused > 0 or penalty < 2.0 or temperature == 0.0)
