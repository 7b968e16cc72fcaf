"""Each rule of a verdict by itself, on made-up evidence at its edges."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from made_evidence import NOW, curve, feed_of, noisy, running, said

from engine.watching.evidence import Best, Curve, evidence_of
from engine.watching.verdict import Verdict, judge

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
        ({"train": Curve(), "loading": 0.41}, "starting", "reading its figures: 41 %"),
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
    # It has only just gone on, after a night.
    again = {"event": "resumed", "step": 1000, "time": NOW - 20}
    assert judge(replace(late, last_step_at=NOW - 40_000, events=[again])).rule == "loss falls"
    assert said(replace(late, last_step_at=NOW - 40_000, events=[again | {"time": NOW - 150}]))[1].startswith("no step for 2 min")


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
