"""Marks on the curve: from the events of a run, its settings or its learning rate, and the way from one to the next."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from made_runs import make_run, write_lines

from engine.run_digest import Summary
from engine.run_status import RunStatus
from engine.watching.feed import Feed, RunFeed
from engine.watching.marks import KINDS, Mark, marks_of, next_mark, previous_mark
from engine.watching.table import MetricsTable


def event(name: str, step: int, **details: Any) -> dict[str, Any]:
    return {"event": name, "step": step, "time": 1.0 + step} | details


def marks(*events: dict[str, Any], **more: Any) -> list[Mark]:
    feed = Feed(Path("a run"))
    feed.events = events
    for name, value in more.items():
        setattr(feed, name, value)
    return marks_of(feed)


def test_events_become_marks() -> None:
    found = marks(
        event("started", 0), event("checkpoint", 500, folder="checkpoints/step-000500"),
        event("checkpoint", 500, folder="checkpoints/best", best=True),
        event("sample", 500, prompt="a"), event("sample", 500, prompt="b"), event("sample", 600, prompt="a"),
        event("warning", 520, kind="spike", message="The loss jumped\nto 9."), event("warning", 520, kind="spike", message="Again."),
        event("warning", 520, kind="disk"), event("paused", 550), event("resumed", 550, after="pause"),
        event("finished", 700, message="Stopped early."), event("strange", 3), {"event": "checkpoint"}, {"event": 7, "step": "7"},
    )  # fmt: skip
    assert [(mark.step, mark.kind, mark.detail, mark.words) for mark in found] == [
        (0, "started", "", "started"),
        (500, "checkpoint", "", "checkpoint"),
        (500, "sample", "", "2 sample stories"),
        (520, "warning", "spike", "Again."),
        (520, "warning", "disk", "the disk was nearly full"),
        (550, "resumed", "", "went on after a pause"),
        (550, "paused", "", "paused"),
        (600, "sample", "", "a sample story"),
        (700, "finished", "", "finished: Stopped early."),
    ]


def test_steps_that_are_done_again_lose_their_marks() -> None:
    before = [event("started", 0), *(event("checkpoint", step) for step in (100, 200, 300)), event("sample", 300)]
    found = marks(*before, event("warning", 310, kind="nan", message="no number"), event("failed", 310), event("resumed", 200))
    assert [(mark.step, mark.kind) for mark in found] == [
        (0, "started"), (100, "checkpoint"), (200, "resumed"), (200, "checkpoint"), (310, "warning"), (310, "failed")
    ]  # fmt: skip


def test_the_way_from_mark_to_mark() -> None:
    found = [Mark(5, "checkpoint", ""), Mark(5, "sample", ""), Mark(9, "warning", "")]
    assert next_mark(found, 0) == found[0] and next_mark(found, 5) == found[2] and next_mark(found, 9) is None
    assert previous_mark(found, 9) == found[1] and previous_mark(found, 5) is None
    assert next_mark(found, 0, {"warning"}) == found[2] and previous_mark(found, 99, ("checkpoint",)) == found[0]
    assert next_mark([], 0) is None and previous_mark([], 0) is None


def test_phases_of_the_learning_rate() -> None:
    schedule = {"warmup_steps": 10, "steps": 100, "decay_start": 0.5, "schedule": "cosine"}
    status = RunStatus("running", "running", 60, 100, 1, None, None, None, None)

    def phases(at: int, **changes: Any) -> list[tuple[int, str]]:
        found = marks(settings=schedule | changes, status=replace(status, step=at))
        return [(mark.step, mark.detail) for mark in found if mark.kind == "phase"]

    assert phases(5) == [] and phases(10) == [(10, "warm-up")] and phases(60) == [(10, "warm-up"), (50, "decay")]
    assert phases(100)[-1] == (100, "end") and phases(100, schedule="wsd")[1] == (80, "decay")
    assert phases(100, schedule="constant") == [(10, "warm-up")] and phases(100, warmup_steps="many")[0] == (50, "decay")
    assert phases(100, decay_start=0.0) == [(10, "warm-up"), (10, "decay"), (100, "end")]


def test_phases_from_the_rates_themselves() -> None:
    rates = [at / 10 for at in range(1, 11)] + [1.0] * 20 + [1 - at / 40 for at in range(1, 31)]
    table = MetricsTable()
    table.add([{"step": 2 * at, "lr": rate} for at, rate in enumerate(rates)])
    assert [(mark.step, mark.detail) for mark in marks(table=table)] == [(18, "warm-up"), (58, "decay")]
    table = MetricsTable()
    table.add([{"step": at, "lr": 0.1} for at in range(50)])
    assert marks(table=table) == []


def test_marks_of_a_run_are_made_once_until_there_is_more(tmp_path: Path) -> None:
    path = make_run(tmp_path, "mine", "finished")
    write_lines(path / "events.jsonl", [event("started", 0), event("checkpoint", 20)])
    feed = RunFeed(path, full=True)
    assert [(mark.step, mark.kind) for mark in marks_of(feed)] == []  # nothing has been read yet
    while feed.poll():
        pass
    first = marks_of(feed)
    assert [(mark.step, mark.kind) for mark in first] == [(0, "started"), (20, "checkpoint"), (20, "sample"), (40, "best")]
    assert first[-1].words == "best validation: 2.600 bits a byte"
    feed.poll()
    assert marks_of(feed) is first
    with open(path / "events.jsonl", "a") as file:
        file.write('{"event": "finished", "step": 40}\n')
    feed.poll()
    assert marks_of(feed)[-1] == Mark(40, "finished", "finished")
    write_lines(path / "events.jsonl", [event("started", 0), event("checkpoint", 30), event("stopped", 40)])  # as many as before
    feed.poll()
    assert Mark(30, "checkpoint", "checkpoint") in marks_of(feed)


anything = st.none() | st.booleans() | st.integers(-5, 1 << 70) | st.floats() | st.text(max_size=5)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.fixed_dictionaries({}, optional={
        "event": st.sampled_from(("started", "resumed", "checkpoint", "sample", "warning", "paused", "failed")) | anything,
        "step": st.integers(0, 100) | anything, "kind": anything, "message": anything, "after": anything, "best": anything,
    })),
    st.dictionaries(st.sampled_from(("warmup_steps", "steps", "decay_start", "schedule")), anything),
    anything,
)  # fmt: skip
def test_whatever_the_events_say(events: list[dict[str, Any]], config: dict[str, Any], best: Any) -> None:
    summary = Summary(None, None, None, best if type(best) is int else None, None, None, None, None, None, 0)
    found = marks(*events, settings=config, summary=summary, samples=[{"step": best}])
    assert [mark.step for mark in found] == sorted(mark.step for mark in found)
    assert all(mark.kind in KINDS and len(mark.words.splitlines()) == 1 for mark in found)
