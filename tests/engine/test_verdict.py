"""Verdicts on recorded curves of real runs (see `curves/README.md`), and on whatever else a curve may be."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from made_evidence import NOW, course, curve, feed_of, recorded

from engine.watching.evidence import Best, Evidence, evidence_of
from engine.watching.trends import spoken
from engine.watching.verdict import LEVELS, RULES, judge

# Recorded runs


def test_a_healthy_run_is_never_warned_of() -> None:
    verdicts = course("healthy", warmup_steps=50, evaluate_every=50)
    assert {verdict.level for _, verdict in verdicts} <= {"good", "note"}
    assert verdicts[0][1].rule == "too early" and verdicts[0][1].words == "too early to tell: 3 steps"
    assert verdicts[-1][1].words == "healthy: validation fell 11 evaluations in a row, to 1.758 bits a byte at step 900"
    late = [verdict.rule for step, verdict in verdicts if step >= 60]
    assert set(late) == {"validation falls", "loss falls"}


def test_overfitting_is_told_at_the_third_validation_that_rises() -> None:
    verdicts = course("overfitting", warmup_steps=20, evaluate_every=25, patience=8)
    first = next(step for step, verdict in verdicts if verdict.rule == "overfitting")
    assert first == 175  # the best was at 100
    assert all(verdict.rule == "overfitting" for step, verdict in verdicts if step > first)
    last = verdicts[-1][1]
    assert (last.level, last.step) == ("warning", 100)
    assert last.words == "overfitting since step 100: validation rose from 2.390 to 3.176 bits a byte"
    ended = judge(evidence_of(feed_of(recorded("overfitting"), "finished"), NOW + 1e6))
    assert ended.words == "finished early, at step 300 of 900: best 2.390 bits a byte at step 100; it overfitted from there on"


def test_a_learning_rate_that_is_far_too_high() -> None:
    verdicts = course("diverging", warmup_steps=20, evaluate_every=50)
    first = next(step for step, verdict in verdicts if verdict.level in ("warning", "bad"))
    assert first == 502  # the loss jumps at about step 492, first within the noise of the figures before
    assert {verdict.rule for step, verdict in verdicts if 514 <= step < 540} == {"diverging"}
    assert not any(verdict.level == "good" for step, verdict in verdicts if step > 502)
    assert verdicts[-1][1].words == "diverging: loss rose from 4.207 at step 180 to 5.379"


def test_a_loss_that_explodes_is_told_before_it_is_no_number() -> None:
    rows = recorded("nan")
    verdict = judge(evidence_of(feed_of(rows), NOW + rows[-1]["time"]))
    assert verdict.rule == "diverging" and verdict.level == "bad"
    feed = feed_of(rows, "failed")
    feed.status = replace(
        feed.status, message="At step 43 the gradient became nan (stories 1, 2);\na lower learning rate may help."
    )
    failed = judge(evidence_of(feed, NOW + rows[-1]["time"]))
    assert failed.words == "failed: At step 43 the gradient became nan (stories 1, 2); a lower learning rate may help."


@pytest.mark.parametrize("name", ["healthy", "overfitting", "diverging", "nan"])
def test_every_beginning_of_a_curve_has_a_verdict(name: str) -> None:
    for step, verdict in course(name):
        assert verdict.words and "\n" not in verdict.words and verdict.level in LEVELS
        assert verdict.step is None or verdict.step <= step


# The whole


def test_a_million_steps_cost_no_more() -> None:
    """Only the ends of the curves are taken, however long they are."""
    feed = feed_of([])
    assert feed.table is not None
    for start in range(0, 1_000_000, 50_000):
        feed.table.add([{"step": start + at, "time": start + at, "train_loss": 2.0, "val_loss": 2.0} for at in range(50_000)])
    evidence = evidence_of(feed, 1_000_001.0)
    assert max(len(evidence.train), len(evidence.val), len(evidence.lr)) <= 4000
    assert evidence.train.steps[-1] == 999_999 and judge(evidence).rule == "plateau"
    before = evidence.train.values.copy()
    feed.table.add([{"step": 999_000, "train_loss": 9.0}])  # what was handed out does not change
    assert (evidence.train.values == before).all()


def test_gaps_in_a_series() -> None:
    """Steps of a series that stands in a few rows only are those rows' steps."""
    rows = [
        {"step": step, "train_loss": 3.0, **({"val_loss": 3.0 - step / 100} if step % 7 == 0 else {})} for step in range(1, 50)
    ]
    evidence = evidence_of(feed_of(rows), NOW)
    assert evidence.val.steps.tolist() == [7, 14, 21, 28, 35, 42, 49] and len(evidence.train) == 49
    assert evidence.best == Best(pytest.approx(2.51), 49) and evidence.val_unit == "nats a token"


numbers = st.floats(width=32) | st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 1e30, 3e38])
series = arrays.arrays(np.float64, st.integers(0, 300), elements=numbers)
maybe = st.none() | st.floats(0, 1e300) | st.floats(allow_nan=False, allow_infinity=False)
whole = st.none() | st.integers(0, 10**9)


@settings(max_examples=300, deadline=None)
@given(
    state=st.sampled_from(("starting", "running", "paused", "stopping", "finished", "stopped", "failed", "stale", "unknown", "following",
                           "quiet")),
    train=series, val=series, grad=series, lr=series, at=maybe, usual=maybe, step=whole, total=whole, own=st.booleans(),
    text=st.none() | st.text(),
    events=st.lists(st.fixed_dictionaries({}, optional={
        "event": st.sampled_from(("paused", "warning", "resumed", "started")) | st.text() | st.integers(),
        "kind": st.sampled_from(("disk", "stalled")) | st.integers(), "time": maybe | st.text(), "step": whole | st.text(),
        "message": st.text() | whole,
    }), max_size=4),
    config=st.dictionaries(st.sampled_from(("warmup_steps", "evaluate_every", "patience", "checkpoint_every")), whole | st.text()),
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_whatever_the_figures_there_is_a_verdict(
    state: str, train: Any, val: Any, grad: Any, lr: Any, at: Any, usual: Any, step: Any, total: Any, own: bool, text: Any,
    events: Any, config: Any,
) -> None:  # fmt: skip
    evidence = Evidence(
        now=NOW, state=state, own=own, step=step, total_steps=total, message=text, silent_s=abs(at) if at is not None else None,
        train=curve(train), val=curve(val), grad=curve(grad), lr=curve(lr), usual_step_s=usual, last_step_at=at, events=events,
        settings=config,
    )  # fmt: skip
    verdict = judge(evidence)
    assert verdict.words and len(verdict.words) <= 300 and len(verdict.words.splitlines()) == 1 and verdict.level in LEVELS


def test_the_table_of_rules() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)
    assert all(rule.level in LEVELS and rule.when.endswith(".") for rule in RULES)
    assert RULES[-1].find(Evidence(now=NOW, state="unknown")) is not None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-3, "0.0 s"), (0.012, "0.012 s"), (1.24, "1.2 s"), (60, "60 s"), (180, "3 min"), (7300, "2 h 02 min"), (4e5, "4 d 15 h")],
)
def test_times_in_words(seconds: float, words: str) -> None:
    assert spoken(seconds) == words
