"""Verdicts on recorded curves of real runs (see `curves/README.md`) and on made-up ones at the edges of the rules."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from engine.run_status import RunStatus
from engine.watching.evidence import Best, Curve, Evidence, evidence_of
from engine.watching.feed import Feed
from engine.watching.table import MetricsTable
from engine.watching.trends import spoken
from engine.watching.verdict import LEVELS, RULES, Verdict, judge

CURVES = Path(__file__).parent / "curves"
NOW = 1_800_000_000.0


def feed_of(rows: Sequence[dict[str, Any]], state: str = "running", total: int | None = 900, **settings_: Any) -> Feed:
    """A feed that holds these lines, heard of at the time of the last one."""
    feed = Feed(CURVES)
    feed.loading, feed.table, feed.settings = None, MetricsTable(), settings_
    feed.table.add([row | {"time": row["time"] + NOW} if "time" in row else row for row in rows])
    last = rows[-1] if rows else {"step": 0}
    feed.status = RunStatus(state, state, last["step"], total, 1, None, NOW + last.get("time", 0.0), 0.0, None)
    return feed


def recorded(name: str, up_to: float = math.inf) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (CURVES / f"{name}.jsonl").read_text().splitlines()]
    return [row for row in rows if row["step"] <= up_to]


def course(name: str, **settings_: Any) -> list[tuple[int, Verdict]]:
    """The verdicts along a recorded run, one for each line."""
    rows = recorded(name)
    feed = feed_of(rows[:1], **settings_)
    found = []
    for row in rows:
        assert feed.table is not None
        feed.table.add([row | {"time": row["time"] + NOW}])
        feed.status = replace(feed.status, step=row["step"], heartbeat=NOW + row["time"])
        found.append((row["step"], judge(evidence_of(feed, NOW + row["time"]))))
    return found


def curve(values: Sequence[float] | np.ndarray, every: int = 1) -> Curve:
    values = np.asarray(values, dtype=np.float64)
    return Curve((np.arange(len(values)) + 1.0) * every, values)


def noisy(start: float, end: float, count: int, noise: float = 0.05, seed: int = 0) -> np.ndarray:
    return np.linspace(start, end, count) + np.random.default_rng(seed).normal(0, noise, count)


def running(**changes: Any) -> Evidence:
    """A run of 10,000 steps at step 1,000 whose loss falls, a second a step."""
    base = Evidence(
        now=NOW, state="running", claimed="running", step=1000, total_steps=10_000, silent_s=1.0, train=curve(noisy(3, 2.5, 1000)),
        usual_step_s=1.2, usual_gap_s=1.2, longest_gap_s=2.0, last_step_at=NOW - 1, val_unit="bits a byte",
        settings={"warmup_steps": 100, "evaluate_every": 250},
    )  # fmt: skip
    return replace(base, **changes)


def said(evidence: Evidence) -> tuple[str, str]:
    verdict = judge(evidence)
    return verdict.rule, verdict.words


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


# How a run stands


@pytest.mark.parametrize(
    ("changes", "rule", "words"),
    [
        ({"state": "failed", "message": None}, "failed", "failed at step 1,000: it did not say why."),
        ({"state": "failed", "message": "No memory."}, "failed", "failed at step 1,000: No memory."),
        (
            {"state": "stale", "silent_s": 720.0}, "stale",
            "its process is gone: no sign of life for 12 min; it last said running, at step 1,000",
        ),
        (
            {"state": "stale", "silent_s": 720.0, "here": False}, "stale",
            "no sign of life for 12 min; it last said running, at step 1,000",
        ),
        (
            {"state": "stale", "silent_s": 0.0, "ahead_s": 7200.0}, "stale",
            "no sign of life to go by: its clock is 2 h 00 min ahead of this one; it last said running, at step 1,000",
        ),
        (
            {"state": "paused", "message": "The disk is full; the run goes on by itself when there is room."}, "held up",
            "held up at step 1,000: The disk is full; the run goes on by itself when there is room.",
        ),
        ({"state": "paused"}, "paused", "paused at step 1,000"),
        ({"state": "paused", "events": [{"event": "paused", "time": NOW - 150}]}, "paused", "paused for 2 min at step 1,000"),
        ({"state": "paused", "events": [{"event": "paused", "time": NOW + 150}]}, "paused", "paused at step 1,000"),
        ({"state": "stopping"}, "stopped", "stopping after step 1,000, with a checkpoint"),
        (
            {"state": "stopped", "best": Best(0.6161, 750)}, "stopped",
            "stopped at step 1,000: best 0.616 bits a byte at step 750",
        ),
        (
            {"state": "finished", "step": 8000, "total_steps": 8000, "best": Best(0.6161, 7750)}, "finished",
            "finished: best 0.616 bits a byte at step 7,750",
        ),
        (
            {"state": "finished", "total_steps": 1000, "last_loss": 2.5}, "finished",
            "finished: training loss 2.500 at step 1,000, never validated",
        ),
        ({"state": "starting", "step": 0, "train": Curve()}, "starting", "starting: reading data and making the model"),
        ({"train": Curve(), "step": 0}, "starting", "waiting for the first step"),
        ({"train": Curve(), "loading": 0.41}, "starting", "reading its figures: 41%"),
        ({"train": Curve(), "last_loss": math.nan}, "not a number", "loss is not a number at step 1,000"),
        ({"train": Curve()}, "nothing to say", "training at step 1,000"),
        ({"state": "unknown", "train": Curve(), "step": None}, "starting", "it does not say how it stands, and has no figures yet"),
        (
            {"state": "quiet", "own": False, "silent_s": 7200.0, "settings": {}}, "quiet",
            "quiet: nothing new for 2 h 00 min (usual: 1.2 s); it ends at step 1,000",
        ),
    ],
)  # fmt: skip
def test_how_a_run_stands(changes: dict[str, Any], rule: str, words: str) -> None:
    assert said(running(**changes)) == (rule, words)


def test_a_run_that_hangs() -> None:
    late = running(last_step_at=NOW - 180, settings={"evaluate_every": 300})
    assert said(late) == ("stalled", "no step for 3 min (usual: 1.2 s), after step 1,000")
    assert judge(running(last_step_at=NOW - 59, settings={"evaluate_every": 300})).rule == "loss falls"
    # After step 1,000 of those validated every 250, a validation is at work.
    assert judge(running(last_step_at=NOW - 180)).rule == "loss falls"
    assert judge(running(last_step_at=NOW - 700)).rule == "stalled"
    # Steps that take long, and figures that are written rarely, are no stall.
    assert judge(replace(late, usual_step_s=30.0, usual_gap_s=30.0, longest_gap_s=40.0)).rule == "loss falls"
    assert judge(replace(late, longest_gap_s=100.0)).rule == "loss falls"
    assert judge(replace(late, step=1003)).rule == "loss falls"
    # The trainer says so itself.
    stall = {"event": "warning", "kind": "stalled", "step": 1000}
    assert judge(running(last_step_at=NOW - 70, events=[stall])).rule == "stalled"
    assert judge(running(last_step_at=NOW - 70, events=[stall | {"step": 400}])).rule == "loss falls"


@pytest.mark.parametrize("ahead", [5.0, 3600.0, 1e9])
def test_clocks_that_jump(ahead: float) -> None:
    assert judge(running(last_step_at=NOW + ahead)).rule == "loss falls"
    feed = feed_of([{"step": step, "time": ahead - step, "train_loss": 3.0} for step in range(1, 40)])
    evidence = evidence_of(feed, NOW - ahead - 100)
    assert evidence.silent_s == 0.0 and "-" not in judge(evidence).words


# Curves


def test_loss_that_is_no_number() -> None:
    rows = [{"step": step, "train_loss": 3.0 if step < 812 else "nan"} for step in range(1, 1000)]
    verdict = judge(evidence_of(feed_of(rows), NOW))
    assert verdict == Verdict("bad", "not a number", "loss is not a number since step 812", 812)
    rows.append({"step": 1000, "train_loss": 3.0})
    verdict = judge(evidence_of(feed_of(rows), NOW))
    assert verdict == Verdict(
        "warning", "gaps", "loss was not a number 188 times lately, last at step 999; it goes on since", 999
    )
    rows.append({"step": 1001, "train_loss": 3.0, "val_loss": "inf"})
    assert judge(evidence_of(feed_of(rows), NOW)).words == "validation loss is infinite since step 1,001"
    only = [{"step": step, "train_loss": math.nan} for step in range(100_000)]
    assert judge(evidence_of(feed_of(only), NOW)).words == "loss is not a number since step 0"


@pytest.mark.parametrize("tail", [1, 4, 20, 150])
def test_one_jump_is_told_until_it_has_come_back(tail: int) -> None:
    values = noisy(2, 2, 500)
    values[-tail] = 4.0
    rule, words = said(running(train=curve(values)))
    assert rule == ("spike" if tail <= 5 else "spike, recovered")
    assert words.startswith("loss jumped ") and f" sigma to 4.000 at step {501 - tail}" in words
    values[-tail:] = 4.0
    assert said(running(train=curve(values)))[0] == ("diverging" if tail >= 60 else "spike")


def test_an_old_jump_is_past() -> None:
    values = noisy(2, 2, 1000)
    values[500] = 40.0
    assert said(running(train=curve(values)))[0] == "no clear change"


def test_loss_that_comes_down_again() -> None:
    values = np.concatenate([noisy(3, 2, 500), noisy(5, 5, 100), noisy(5, 2.5, 200)])
    rule, words = said(running(train=curve(values)))
    assert rule == "risen" and "is coming down again" in words


@pytest.mark.parametrize("seed", range(30))
def test_noise_alone_is_no_news(seed: int) -> None:
    flat = curve(noisy(2, 2, 2000, noise=0.3, seed=seed))
    assert judge(running(train=flat)).level in ("good", "note")
    falling = curve(noisy(2.5, 2, 2000, noise=0.3, seed=seed))
    assert said(running(train=falling, step=2000))[0] == "loss falls"


def test_gradients_that_explode() -> None:
    usual = np.abs(noisy(1, 1, 600, 0.2))
    assert judge(running(grad=curve(usual))).rule == "loss falls"
    usual[-20:] = 45.0
    rule, words = said(running(grad=curve(usual)))
    assert rule == "exploding gradient" and words.startswith("gradient norm exploding: 45.000 at step 600, 4")
    usual[-20:] = np.inf
    assert said(running(grad=curve(usual)))[1].startswith("gradient norm exploding: inf at step 600")
    single = np.abs(noisy(1, 1, 600, 0.2))
    single[-1] = 1e6
    assert judge(running(grad=curve(single))).rule == "loss falls"


def test_validation() -> None:
    def with_val(*values: float, **changes: Any) -> tuple[str, str]:
        low = int(np.argmin(values))
        best = Best(values[low], (low + 1) * 250)
        return said(running(**({"val": curve(values, 250), "best": best, "step": 250 * len(values)} | changes)))

    long = curve(noisy(3, 2.5, 2500))
    assert said(running())[1].endswith("; first validation at step 1,250")
    assert with_val(3.0)[0] == "loss falls" and with_val(3.0)[1].endswith("; validation is at its best at step 250")
    assert with_val(3.0, 2.9) == (
        "validation falls",
        "healthy: validation fell at the last evaluation, to 2.900 bits a byte at step 500",
    )
    assert with_val(3.0, 3.1, 2.9, 2.8, 2.7)[1].startswith("healthy: validation fell 3 evaluations in a row, to 2.700")
    assert with_val(2.0, 2.1, train=long)[1].endswith("validation is 5.0 % above its best at step 250")
    assert with_val(2.0, 2.001, 2.004, 2.002, train=long) == (
        "no better", "validation no better for 3 evaluations: best 2.000 bits a byte at step 250"
    )  # fmt: skip
    stops = running().settings | {"patience": 8}
    assert with_val(2.0, 2.001, 2.004, 2.002, train=long, settings=stops)[1].endswith("; the run ends after 8")
    assert with_val(2.0, 2.02, 2.04, 2.06, train=long)[0] == "overfitting"
    # The training loss does not fall: that is no overfitting.
    assert with_val(2.0, 2.02, 2.04, 2.06, train=curve(noisy(2.5, 2.5, 2500)))[0] == "no better"
    assert with_val(2.0, 2.02, 2.04, 2.06, train=Curve())[0] == "no better"
    flat = (3.0, 2.5, 2.0, 2.0001, 2.0002, 2.0, 2.0001, 2.0003)
    assert with_val(*flat, train=long) == ("plateau", "plateau since step 750: validation moved 0.015 % over 6 evaluations")
    # In warm-up little is to be expected.
    assert with_val(*flat, settings={"warmup_steps": 10_000})[0] == "warm-up"
    rising = curve(np.linspace(1e-5, 1e-4, 40))
    assert with_val(*flat, settings={}, lr=rising)[0] == "warm-up"
    assert with_val(*flat, settings={}, lr=curve([1e-4] * 40), train=long)[0] == "plateau"


def test_logs_of_other_programs() -> None:
    foreign = running(state="following", own=False, claimed=None, settings={}, val_unit="", total_steps=None)
    assert said(foreign)[1].startswith("healthy: training loss fell ") and said(foreign)[1].endswith("; no validation yet")
    assert judge(replace(foreign, last_step_at=NOW - 9000)).rule == "loss falls"  # whether it is quiet, its feed says
    assert said(replace(foreign, train=Curve(), step=None))[1] == "waiting for the first step"
    only = replace(foreign, train=Curve(), val=curve([3.0, 2.8, 2.7], 100))
    assert said(only)[1] == "too early to tell: 3 figures so far, at step 1,000"
    assert judge(replace(only, val=curve([3.0, 2.9, 2.8, 2.7], 100))).rule == "validation falls"


def test_a_disk_that_fills() -> None:
    full = {"event": "warning", "kind": "disk", "step": 900, "message": "The disk is nearly full: 120 MB are free, and so on."}
    assert said(running(events=[full])) == ("disk", "disk nearly full at step 900: 120 MB are free, and so on.")
    assert judge(running(events=[full, {"event": "resumed", "step": 900}])).rule == "loss falls"
    assert judge(running(events=[{"event": "started", "step": 0}])).rule == "loss falls"


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
