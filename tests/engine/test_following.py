"""Following run directories: feeds against what was written, the follower's thread, and everything that may befall a file."""

from __future__ import annotations

import json
import os
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from made_runs import make_run, write_lines, write_status

from engine.growing_files import LARGEST, GrowingFile, JsonLines
from engine.watching.feed import Feed, RunFeed
from engine.watching.follower import Follower


def read_all(feed: Feed) -> Feed:
    while feed.poll():
        pass
    return feed


def curve(feed: Feed, name: str) -> list[tuple[float, float]]:
    assert feed.table is not None
    series = feed.table.series(name)
    return [] if series is None else list(zip(feed.table.axis("step")[series.rows].tolist(), series.values.tolist(), strict=True))


def row(step: int, **values: object) -> bytes:
    return json.dumps({"step": step, "time": 1000.0 + step, "tokens": step * 10, **values}).encode() + b"\n"


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it did not come true within 20 seconds"
        time.sleep(0.01)


@pytest.fixture
def follow(tmp_path: Path) -> Iterator[Callable[..., Follower]]:
    made: list[Follower] = []

    def start(folder: Path, changed: Callable[[], None] = lambda: None) -> Follower:
        follower = Follower(folder, changed)
        follower.set_interval(0.02)
        made.append(follower)
        follower.start()
        return follower

    yield start
    for follower in made:
        follower.close()


def test_a_run_is_read_whole_and_then_read_on(tmp_path: Path) -> None:
    path = make_run(tmp_path, step=40)
    feed = read_all(RunFeed(path, full=True))
    assert curve(feed, "train_loss") == [(10, 7.5), (20, 7.0), (30, 6.5), (40, 6.0)]
    assert [step for step, _ in curve(feed, "val_loss")] == [20, 40]
    assert feed.summary is not None
    assert feed.summary.train_loss == 6.0
    assert feed.summary.best_step == 40
    assert feed.status.state == "stopped"
    assert feed.loading is None
    version = feed.version
    assert not feed.poll()
    assert feed.version == version  # nothing new
    with open(path / "metrics.jsonl", "ab") as file:
        file.write(row(50, train_loss=5.0)[:-4])
    read_all(feed)
    assert len(curve(feed, "train_loss")) == 4  # half a line is no line
    with open(path / "metrics.jsonl", "ab") as file:
        file.write(row(50, train_loss=5.0)[-4:])
    read_all(feed)
    assert curve(feed, "train_loss")[-1] == (50, 5.0)
    assert feed.version > version


def test_a_list_needs_no_table_and_says_the_same(tmp_path: Path) -> None:
    path = make_run(tmp_path, step=100)
    full, light = read_all(RunFeed(path, full=True)), read_all(RunFeed(path))
    assert light.table is None
    assert light.summary == full.summary
    light.set_full(True)  # type: ignore[attr-defined]
    read_all(light)
    assert curve(light, "train_loss") == curve(full, "train_loss")


def test_steps_that_were_done_again_do_not_count_twice_and_a_best_one_among_them_is_forgotten(tmp_path: Path) -> None:
    path = make_run(tmp_path, step=40)
    write_lines(path / "metrics.jsonl", [json.loads(row(step, train_loss=1.0, val_loss=9.0 - step)) for step in range(1, 9)])
    feed = read_all(RunFeed(path, full=True))
    assert feed.summary is not None
    assert feed.summary.best_step == 8
    with open(path / "metrics.jsonl", "ab") as file:
        file.write(row(5, train_loss=2.0, val_loss=5.0))
    read_all(feed)
    assert feed.summary.best_step == 4
    assert feed.summary.best_val_loss == 5.0
    assert curve(feed, "train_loss")[-2:] == [(4, 1.0), (5, 2.0)]


def test_a_file_that_is_truncated_replaced_or_not_there_yet(tmp_path: Path) -> None:
    path = make_run(tmp_path, step=40)
    metrics = path / "metrics.jsonl"
    metrics.unlink()
    feed = read_all(RunFeed(path, full=True))
    assert curve(feed, "train_loss") == []
    metrics.write_bytes(row(1, train_loss=3.0) + row(2, train_loss=2.0))
    assert curve(read_all(feed), "train_loss") == [(1, 3.0), (2, 2.0)]
    metrics.write_bytes(row(1, train_loss=7.0))  # cut back, and rewritten in place
    assert curve(read_all(feed), "train_loss") == [(1, 7.0)]
    aside = path / "aside"
    aside.write_bytes(row(1, train_loss=8.0) + row(2, train_loss=8.5))
    aside.replace(metrics)  # another file of the same name
    assert curve(read_all(feed), "train_loss") == [(1, 8.0), (2, 8.5)]
    metrics.unlink()
    assert curve(read_all(feed), "train_loss") == []


def test_random_bytes_long_lines_nan_and_wrong_kinds(tmp_path: Path) -> None:
    path = make_run(tmp_path, step=40)
    noise = random.Random(0).randbytes(200_000)
    (path / "metrics.jsonl").write_bytes(
        noise + b"\n" + row(1, train_loss=2.0) + b"x" * 10_000_000 + b"\n" + b'{"step": 2, "time": 1, "train_loss": NaN}\n'
        + b'{"step": 3, "time": 1, "train_loss": "inf", "lr": [1]}\n[1]\n\0\0\0\n' + row(4, train_loss=1.0)
    )  # fmt: skip
    feed = read_all(RunFeed(path, full=True))
    assert [step for step, _ in curve(feed, "train_loss")] == [1, 2, 3, 4]
    assert [value for _, value in curve(feed, "train_loss")][2:] == [float("inf"), 1.0]
    assert "cannot be read" in feed.trouble
    (path / "events.jsonl").write_bytes(noise)
    (path / "samples.jsonl").write_bytes(noise)
    (path / "status.json").write_bytes(noise)
    read_all(RunFeed(path, full=True))


def test_a_line_without_end_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"first\n" + b"y" * (LARGEST + 5000))
    log = GrowingFile(path)
    lines = []
    for _ in range(20):
        lines += log.new_lines(1 << 20)[0]
        if not log.behind:
            break
    assert lines[0] == b"first"
    with open(path, "ab") as file:
        file.write(b"yyy\nlast\n")
    while True:
        fresh, restarted = log.new_lines(1 << 20)
        assert not restarted
        lines += fresh
        if not log.behind:
            break
    assert lines[-1] == b"last"
    assert len(lines) == 3  # the first thousand bytes stand for the long one
    assert set(lines[1]) == {ord("y")}
    assert len(lines[1]) < 2000


@pytest.mark.parametrize("most", [1, 7, 100, 1 << 20])
def test_slices_of_any_size_give_the_same_rows(tmp_path: Path, most: int) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"".join(row(step, train_loss=step / 7) for step in range(200)) + b'{"half')
    reader, rows = JsonLines(path), []
    while True:
        fresh, restarted = reader.new_rows(most)
        assert not restarted
        rows += fresh
        if not reader.behind:
            break
    assert rows == [json.loads(row(step, train_loss=step / 7)) for step in range(200)]


def test_the_follower_finds_runs_follows_the_open_one_and_lets_go(tmp_path: Path, follow: Callable[..., Follower]) -> None:
    runs = tmp_path / "runs"
    told = threading.Event()
    follower = follow(runs, told.set)
    until(lambda: follower.listed)
    assert follower.feeds == ()
    assert follower.trouble == ""
    path = make_run(runs, "one", state="stopped")
    follower.look_now()
    until(lambda: [feed.name for feed in follower.feeds] == ["one"])
    feed = follower.feeds[0]
    until(lambda: feed.summary is not None and feed.loading is None)
    assert feed.table is None
    follower.set_open([feed.key])
    until(lambda: feed.table is not None and len(feed.table) == 4)
    told.clear()
    with open(path / "metrics.jsonl", "ab") as file:
        file.write(row(50, train_loss=1.5))
    until(lambda: feed.summary.train_loss == 1.5)
    until(told.is_set)
    follower.set_open([])
    until(lambda: feed.table is None)
    make_run(runs, "two")
    shutil.rmtree(path)
    follower.look_now()
    until(lambda: [feed.name for feed in follower.feeds] == ["two"])


def test_a_file_in_place_of_the_folder_is_said_in_a_sentence(tmp_path: Path, follow: Callable[..., Follower]) -> None:
    (tmp_path / "runs").write_text("no folder")
    follower = follow(tmp_path / "runs")
    until(lambda: follower.trouble)
    assert "cannot be read" in follower.trouble
    assert follower.feeds == ()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_run_that_may_not_be_read_is_listed_and_harms_no_other(tmp_path: Path, follow: Callable[..., Follower]) -> None:
    make_run(tmp_path, "closed").chmod(0)
    make_run(tmp_path, "mine")
    try:
        follower = follow(tmp_path)
        until(lambda: len(follower.feeds) == 2 and all(feed.summary for feed in follower.feeds))
        assert {feed.name: feed.status.state for feed in follower.feeds} == {"closed": "unknown", "mine": "stopped"}
    finally:
        (tmp_path / "closed").chmod(0o755)


def test_a_run_that_comes_to_life_is_seen_at_once(tmp_path: Path, follow: Callable[..., Follower]) -> None:
    path = make_run(tmp_path, "mine", state="stopped")
    follower = follow(tmp_path)
    until(lambda: follower.feeds and follower.feeds[0].status.state == "stopped")
    follower.set_open([follower.feeds[0].key])
    write_status(path, state="running", pid=os.getpid(), process_started=None, heartbeat=time.time())
    until(lambda: follower.feeds[0].status.claimed == "running")


def test_long_following_does_not_grow_the_memory(tmp_path: Path) -> None:
    """A fast writer: 4,000 looks, each with a new line, as in an hour and more at the pane's own pace; what a list needs stays small."""
    import tracemalloc

    path = make_run(tmp_path, "mine", step=40)
    feed = RunFeed(path)
    file = open(path / "metrics.jsonl", "ab", buffering=0)  # noqa: SIM115
    sizes = []
    tracemalloc.start()
    try:
        for look in range(4000):
            file.write(row(100 + look, train_loss=2.0, lr=1e-3))
            feed.poll()
            if look % 1000 == 999:
                sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
        file.close()
    assert feed.summary is not None
    assert feed.summary.tokens == (100 + 3999) * 10
    assert sizes[-1] - sizes[0] < 50_000


def test_metrics_that_cannot_be_read_for_a_while_are_kept_and_nothing_spins(tmp_path: Path) -> None:
    path = make_run(tmp_path, step=40)
    feed = read_all(RunFeed(path, full=True))
    (path / "metrics.jsonl").rename(path / "aside")
    (path / "metrics.jsonl").mkdir()  # opening it fails, as with a network that is away
    assert not feed.poll()
    assert "cannot be read now" in feed.trouble
    assert len(curve(feed, "train_loss")) == 4
    (path / "metrics.jsonl").rmdir()
    (path / "aside").rename(path / "metrics.jsonl")
    read_all(feed)
    assert feed.trouble == ""
    assert len(curve(feed, "train_loss")) == 4


def test_a_folder_that_cannot_be_listed_for_a_while_keeps_its_runs(tmp_path: Path, follow: Callable[..., Follower]) -> None:
    runs = tmp_path / "runs"
    make_run(runs, "mine")
    follower = follow(runs)
    until(lambda: follower.feeds)
    feed = follower.feeds[0]
    runs.rename(tmp_path / "away")
    runs.write_text("no folder now")
    follower.look_now()
    until(lambda: follower.trouble)
    assert follower.feeds == (feed,)
    runs.unlink()
    (tmp_path / "away").rename(runs)
    follower.look_now()
    until(lambda: not follower.trouble)
    assert follower.feeds == (feed,)


def test_a_feed_that_fails_does_not_end_the_following_of_others(tmp_path: Path, follow: Callable[..., Follower]) -> None:
    make_run(tmp_path, "good")
    make_run(tmp_path, "bad")
    follower = follow(tmp_path)
    until(lambda: len(follower.feeds) == 2)
    bad = next(feed for feed in follower.feeds if feed.name == "bad")
    bad.poll = lambda: 1 / 0  # type: ignore[method-assign]
    follower.look_now()
    until(lambda: bad.trouble)
    assert "ZeroDivisionError" in bad.trouble
    good = next(feed for feed in follower.feeds if feed.name == "good")
    before = good.version
    (good.path / "metrics.jsonl").write_bytes(row(1, train_loss=3.0))
    follower.look_now()
    until(lambda: good.version > before)


def test_the_time_that_is_left_counts_validations(tmp_path: Path) -> None:
    path = make_run(tmp_path, step=10)
    rows, at = [], 1000.0
    for step in range(1, 31):
        at += 1
        rows.append({"step": step, "time": at, "train_loss": 2.0})
        if step % 10 == 0:
            at += 30
            rows.append({"step": step, "time": at, "val_loss": 2.0})
    write_lines(path / "metrics.jsonl", rows)
    feed = read_all(RunFeed(path))
    assert feed.usual_step_s == pytest.approx((at - 1001) / 29, rel=0.01)
