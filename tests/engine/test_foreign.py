"""Which kind of log is behind a path: told by its content, waited for, refused in a sentence; nothing makes a feed raise."""

from __future__ import annotations

import json
import os
import struct
import time
from pathlib import Path

import foreign_logs as samples
import pytest
from foreign_logs import aged, json_lines, points, read, until, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_runs import make_run

from engine.errors import UsageError
from engine.watching.feed import RunFeed
from engine.watching.foreign import copy_pipe, open_feed
from engine.watching.foreign.console import ConsoleFeed
from engine.watching.foreign.lines import CsvFeed, JsonFeed
from engine.watching.foreign.pipe import PipeCopy
from engine.watching.foreign.tensorboard import TensorBoardFeed
from engine.watching.foreign.trainer_state import TrainerStateFeed

# Opening


def test_runs_are_told_by_any_of_their_files(tmp_path: Path) -> None:
    run = make_run(tmp_path, "mine")
    checkpoint = run / "checkpoints" / "step-000020"
    checkpoint.mkdir()
    write(checkpoint / "config.json", "{}")
    (tmp_path / "link").symlink_to(run)
    for path in (run, run / "metrics.jsonl", checkpoint, checkpoint / "config.json", tmp_path / "link"):
        feed = open_feed(path)
        assert isinstance(feed, RunFeed) and feed.table is not None and feed.path == run, path


def test_content_counts_before_the_name(tmp_path: Path) -> None:
    cases = {
        "a.txt": (json_lines([{"step": 1, "loss": 2.0}]), JsonFeed),
        "b.log": ("step,loss\n1,2.0\n", CsvFeed),
        "c.csv.bak": (samples.NANOGPT, ConsoleFeed),
        "d.json": (json.dumps(samples.TRAINER_STATE), TrainerStateFeed),
    }
    for name, (text, kind) in cases.items():
        assert type(open_feed(write(tmp_path / name, text))) is kind


def test_a_folder_of_another_program_with_files_of_our_names_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "theirs" / "checkpoints").mkdir(parents=True)
    write(tmp_path / "theirs" / "metrics.jsonl", json_lines([{"step": at, "loss": 9.0 - at} for at in range(3)]))
    for path in (tmp_path / "theirs", tmp_path / "theirs" / "metrics.jsonl"):
        feed = read(open_feed(path))
        assert isinstance(feed, JsonFeed) and len(feed.table) == 3 and feed.name == "theirs/metrics.jsonl"


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("noise.log", bytes(range(256)) * 100, "no text"),
        ("packed.jsonl", b"\x1f\x8b" + b"x" * 50, "unpack it first"),
        ("wide.log", "step 1 loss 2\n".encode("utf-16"), "UTF-16"),
        ("whole.json", b'{\n  "a": 1\n}\n', "one piece of JSON"),
        ("list.json", b'[{"step": 1, "loss": 2}]', "one piece of JSON"),
        ("prose.md", b"A story of a dog.\nIt barked twice.\n\nThe end.\n", "no line that says a step and a loss"),
        ("long.log", b"x" * 11_000_000, "no line that says a step and a loss"),
        ("long.jsonl", b'{"step": 1, "loss": [' + b"1," * 5_000_000, "no line that says a step and a loss"),
    ],
)  # fmt: skip
def test_what_is_no_log_is_refused_in_one_sentence(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        open_feed(aged(write(tmp_path / name, content), 3600))


def test_pipes_devices_and_odd_names_do_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", Path("/dev/zero"), Path("a\0b"), tmp_path / ("x" * 400)):
        with pytest.raises(UsageError):
            open_feed(path)


def test_a_file_that_becomes_a_fifo_is_said(tmp_path: Path) -> None:
    path = write(tmp_path / "log.jsonl", json_lines([{"step": 1, "loss": 2.0}]))
    feed = read(open_feed(path))
    path.unlink()
    assert "not there" in read(feed).trouble
    os.mkfifo(path)
    assert "no file any more" in read(feed).trouble


def test_folders_wait_hold_one_log_or_ask_which(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    feed = open_feed(folder)
    read(feed)
    assert feed.kind == "waiting" and "empty" in feed.trouble
    write(folder / "metrics.csv", "step,loss\n1,2.0\n")
    feed._due = 0.0
    assert points(read(feed), "train_loss") == {1: 2.0} and feed.kind == "CSV"
    write(folder / "train.log", samples.NANOGPT)
    with pytest.raises(UsageError, match=r"holds 2 logs; name one of them: metrics.csv, train.log"):
        open_feed(folder)


def test_a_log_without_a_loss_so_far_waits_and_shows_its_text(tmp_path: Path) -> None:
    path = write(tmp_path / "slurm-12.out", "loading the data\nusing device cuda\n")
    feed = read(open_feed(path))
    assert feed.kind == "waiting" and "says a step and a loss yet" in feed.trouble and feed.log == path
    write(path, samples.NANOGPT, add=True)
    feed._due = 0.0
    assert read(feed).kind == "console log" and len(feed.table) == 4 and feed.trouble == ""


def test_a_log_is_quiet_after_ten_times_its_usual_gap(tmp_path: Path) -> None:
    begun = time.time() - 5000
    path = write(tmp_path / "log.jsonl", json_lines([{"step": at, "loss": 1.0, "time": begun + 100 * at} for at in range(40)]))
    aged(path, 500)
    assert read(open_feed(path)).status.state == "following"
    aged(path, 1500)
    status = read(open_feed(path)).status
    assert status.state == "quiet" and not status.alive and status.age == pytest.approx(1500, abs=60)


def test_a_feed_of_many_slices_tells_how_far_it_is(tmp_path: Path) -> None:
    path = write(tmp_path / "log.jsonl", json_lines([{"step": at, "loss": 1.0, "text": "x" * 100} for at in range(40_000)]))
    feed = open_feed(path)
    assert feed.poll() and 0 < feed.loading < 1
    assert len(read(feed).table) == 40_000 and feed.loading is None


# A pipe


def test_a_pipe_is_followed_and_its_file_removed(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    path = copy_pipe(reading)
    feed = open_feed(path)
    assert feed.name == "standard input" and "through the pipe" in feed.trouble
    os.write(writing, b"starting up\niter 0: loss 3.00\niter 10: lo")
    until(lambda: path.stat().st_size > 40)
    feed._due = 0.0
    assert points(read(feed), "train_loss") == {0: 3.0} and feed.status.state == "following"
    os.write(writing, b"ss 2.50")
    os.close(writing)
    until(lambda: read(feed).status.state == "quiet")
    assert points(feed, "train_loss") == {0: 3.0, 10: 2.5}
    feed.close()
    assert not path.exists()


def test_a_pipe_is_cut_at_its_limit_but_never_holds_the_writer_up() -> None:
    reading, writing = os.pipe()
    copy = PipeCopy(reading, limit=100_000)
    for _ in range(40):  # several times what a pipe holds
        os.write(writing, b"x" * 65_536)
    os.close(writing)
    until(lambda: copy.ended)
    assert copy.path.stat().st_size == 100_000 and "Only the first" in copy.trouble
    copy.close()
    copy.close()


def test_a_pipe_that_is_still_open_is_let_go_at_once() -> None:
    reading, writing = os.pipe()
    copy = PipeCopy(reading)
    copy.close()
    assert not copy._thread.is_alive() and not copy.path.exists()
    os.close(writing)


# Anything at all

_PIECES = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(samples.GARBAGE),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(_PIECES, max_size=12), st.sampled_from(["a.log", "a.csv", "trainer_state.json", "events.out.tfevents.1", "a.jsonl"])
)
def test_no_content_makes_a_feed_raise(tmp_path: Path, pieces: list[bytes], name: str) -> None:
    path = tmp_path / name
    data = b"".join(pieces)
    for feed_of in (JsonFeed, CsvFeed, ConsoleFeed, TrainerStateFeed, TensorBoardFeed):
        write(path, b"")
        feed = feed_of(path)
        for start in range(0, max(1, len(data)), 50):
            write(path, data[start : start + 50], add=True)
            read(feed)
        aged(path, 100)
        read(feed)
        assert feed.trouble.isprintable() and feed.summary is not None
    try:
        read(open_feed(path))
    except UsageError as error:
        assert str(error)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.booleans())
def test_no_record_makes_a_tensorboard_feed_raise(tmp_path: Path, record: bytes, sound: bool) -> None:
    from engine.watching.foreign.tensorboard import load_reader

    length = struct.pack("<Q", len(record))
    check = struct.pack("<I", load_reader()[1](length) if sound else 7)
    feed = read(TensorBoardFeed(write(tmp_path / "events.out.tfevents.1.host", length + check + record + b"\0\0\0\0")))
    assert sound or "damaged" in feed.trouble
