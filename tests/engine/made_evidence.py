"""Evidence for verdicts: recorded curves of real runs (see `curves/README.md`), and runs made up for the edges of the rules."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from engine.run_status import RunStatus
from engine.watching.evidence import Curve, Evidence, evidence_of
from engine.watching.feed import Feed
from engine.watching.table import MetricsTable
from engine.watching.verdict import Verdict, judge

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
