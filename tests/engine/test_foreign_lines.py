"""Logs of rows with columns: usual and chosen names, counters of steps, JSON lines and CSV, followed while they grow."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from foreign_logs import aged, json_lines, points, read, write

from engine.errors import UsageError
from engine.watching.foreign import Columns, open_feed
from engine.watching.foreign.names import Naming, meaning, moment
from engine.watching.foreign.steps import StepCount

# Names


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("loss", "train_loss"), ("train/loss", "train_loss"), ("Loss/train", "train_loss"), ("training_loss", "train_loss"),
        ("train/CrossEntropyLoss", "train_loss"), ("epoch_loss", "train_loss"), ("lm loss", "train_loss"),
        ("eval_loss", "val_loss"), ("loss/validation", "val_loss"), ("Valid Loss", "val_loss"), ("validation/epoch_loss", "val_loss"),
        ("bits_per_byte/validation", "val_bits_per_byte"), ("val_bpb", "val_bits_per_byte"), ("eval_perplexity", "val_perplexity"),
        ("learning_rate", "lr"), ("train/lr", "lr"), ("training/grad_norm", "grad_norm"), ("tok/sec", "tokens_per_s"),
        ("throughput/total_tokens", "tokens"),
        ("trainer/global_step", "step"), ("iter", "step"), ("_step", "step"), ("_timestamp", "time"),
        ("aux_loss", None), ("loss_scale", None), ("best_val_loss", None), ("accuracy", None), ("", None),
    ],
)  # fmt: skip
def test_usual_names_are_recognised(theirs: str, ours: str | None) -> None:
    assert (found[0] if (found := meaning(theirs)) else None) == ours


def test_of_two_names_for_one_thing_the_surer_counts_and_the_other_keeps_its_own() -> None:
    assert Naming().line_names(["step", "train_loss", "loss", "lr"]) == ["step", "train_loss_2", "train_loss", "lr"]
    assert Naming().line_names(["epoch", "loss"]) == ["step", "train_loss"]
    naming = Naming()
    assert naming.line_names(["step", "loss"]) == ["step", "train_loss"]
    assert naming.line_names(["step", "train_loss"]) == ["step", "train_loss_2"]


def test_chosen_columns_are_parsed_or_refused() -> None:
    assert Columns.parse("step=a, loss=b c") == Columns(step="a", loss="b c")
    for wrong in ("", "step", "step=", "colour=a", "step=a,step=b"):
        with pytest.raises(UsageError, match="--columns"):
            Columns.parse(wrong)


def test_times_in_several_forms() -> None:
    assert (
        moment(1_700_000_000) == moment(1_700_000_000_000) == moment("1700000000") == moment("2023-11-14T22:13:20+00:00") == 1.7e9
    )
    assert moment(12.5) is None and moment("soon") is None and moment(True) is None


# Steps


def count(*steps: float, total: float | None = None) -> tuple[list[float], StepCount]:
    counter = StepCount()
    return [row["step"] for row in counter.follow([{"step": step} for step in steps], total)], counter


def test_a_counter_that_begins_anew_is_counted_on() -> None:
    steps, counter = count(*range(5), *range(5), *range(5))
    assert steps == list(range(15))
    assert counter.sentence == "Its steps began again at 0 2 times; they are counted on here."
    steps, _ = count(*range(10, 60, 10), *range(10, 60, 10))
    assert steps == list(range(10, 110, 10))


def test_a_training_that_went_back_keeps_its_steps() -> None:
    steps, counter = count(*range(0, 100, 10), 50, 60, 70)
    assert steps[-3:] == [50, 60, 70] and counter.sentence == ""
    steps, _ = count(*range(0, 100, 10), 0, 10, 20, total=1000)  # broke off long before its end, and began from the start
    assert steps[-3:] == [0, 10, 20]


def test_a_late_line_stands_at_the_step_before_it() -> None:
    assert count(0, 10, 20, 30, 25, 40)[0] == [0, 10, 20, 30, 30, 40]
    counter = StepCount()
    assert len(counter.follow([{"step": step} for step in (0, 10, 20, 30, 25)])) == 4  # the next line tells
    assert [row["step"] for row in counter.follow([{"step": 40}])] == [30, 40]


# JSON lines


def test_json_lines_grow_in_small_pieces(tmp_path: Path) -> None:
    rows = [{"_step": at, "train/loss": 5 - at / 10, "train/lr": 1e-3, "_timestamp": 1.7e9 + at} for at in range(20)]
    rows[10]["eval/loss"] = 4.5
    data = json_lines(rows).encode()
    path = tmp_path / "history.jsonl"
    feed = open_feed(path)
    assert feed.kind == "waiting" and "not there yet" in feed.trouble
    for start in range(0, len(data), 37):
        write(path, data[start : start + 37], add=True)
        feed._due = 0.0
        read(feed)
    assert feed.kind == "JSON lines" and feed.trouble == "" and feed.loading is None
    assert points(feed, "train_loss") == {at: round(5 - at / 10, 5) for at in range(20)}
    assert points(feed, "val_loss") == {10: 4.5} and feed.summary.best_step == 10 and feed.summary.best_val_loss == 4.5
    assert feed.usual_step_s == pytest.approx(1.0) and feed.status.state == "following" and feed.status.step == 19


def test_json_lines_truncated_and_rewritten(tmp_path: Path) -> None:
    path = write(tmp_path / "log.jsonl", json_lines([{"step": at, "loss": 1.0} for at in range(50)]))
    feed = read(open_feed(path))
    assert len(feed.table) == 50
    write(path, json_lines([{"step": at, "loss": 2.0} for at in range(7)]))
    assert points(read(feed), "train_loss") == dict.fromkeys(range(7), 2.0)


def test_json_lines_of_several_layouts(tmp_path: Path) -> None:
    text = json_lines([
        {"config": {"layers": 2}},
        {"step": 1, "train": {"loss": 3.0, "aux_loss": 9.0}, "max_steps": 40},
        {"step": "2", "train": {"loss": "2.5"}, "max_steps": 40},
        {"val_loss": 2.75},
        {"step": 3, "train": {"loss": math.nan, "aux_loss": None}, "max_steps": 40},
    ])  # fmt: skip
    feed = read(open_feed(write(tmp_path / "log.jsonl", text + '{"step": 4, "tra')))
    assert points(feed, "train_loss") == {1: 3.0, 2: 2.5, 3: pytest.approx(math.nan, nan_ok=True)}
    assert points(feed, "val_loss") == {2: 2.75} and points(feed, "train/aux_loss") == {1: 9.0}
    assert feed.status.total_steps == 40 and math.isnan(feed.summary.train_loss)


def test_json_lines_without_a_step_are_counted(tmp_path: Path) -> None:
    feed = read(open_feed(write(tmp_path / "log.jsonl", json_lines([{"loss": 3.0}, {"loss": 2.0}, {"loss": 1.0}]))))
    assert points(feed, "train_loss") == {1: 3.0, 2: 2.0, 3: 1.0} and "counted" in feed.trouble


def test_damaged_lines_are_counted(tmp_path: Path) -> None:
    feed = read(open_feed(write(tmp_path / "log.jsonl", '{"step": 1, "loss": 2}\n{"step": 2, "lo\0\n{"step": 3, "loss": 1}\n')))
    assert points(feed, "train_loss") == {1: 2, 3: 1} and "One line" in feed.trouble


def test_a_line_of_many_megabytes_is_left_out(tmp_path: Path) -> None:
    path = write(
        tmp_path / "log.jsonl",
        '{"step": 1, "loss": 3}\n{"step": 2, "text": "' + "x" * 18_000_000 + '"}\n{"step": 3, "loss": 2}\n',
    )
    assert points(read(open_feed(path)), "train_loss") == {1: 3, 3: 2}


def test_a_last_line_without_a_newline_counts_once_the_log_is_quiet(tmp_path: Path) -> None:
    path = write(tmp_path / "log.jsonl", '{"step": 1, "loss": 2}\n{"step": 2, "loss": 1.5}')
    feed = read(open_feed(path))
    assert points(feed, "train_loss") == {1: 2}
    aged(path, 30)
    assert points(read(feed), "train_loss") == {1: 2, 2: 1.5}
    write(path, '\n{"step": 3, "loss": 1}\n', add=True)
    assert points(read(feed), "train_loss") == {1: 2, 2: 1.5, 3: 1}


def test_wrong_names_are_refused_with_the_way_out_and_chosen_ones_taken(tmp_path: Path) -> None:
    path = write(tmp_path / "log.jsonl", json_lines([{"tick": at, "badness": 9 - at} for at in range(5)]))
    with pytest.raises(
        UsageError, match=r"no column that looks like a loss; its columns are tick, badness: .*--columns step=tick,loss=badness"
    ):
        open_feed(path)
    with pytest.raises(UsageError, match="no column called nope; its columns are tick, badness"):
        open_feed(path, Columns(step="tick", loss="nope"))
    feed = read(open_feed(path, Columns(step="tick", loss="badness")))
    assert points(feed, "train_loss") == {at: 9 - at for at in range(5)}


# CSV


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
def test_csv_of_any_delimiter(tmp_path: Path, delimiter: str) -> None:
    text = 'epoch,step,train_loss,val_loss,note\n0,10,3.5,,"a"\n0,20,3.25,3.3,"b"\n0,30,nan,,c\n'.replace(",", delimiter)
    feed = read(open_feed(write(tmp_path / "metrics.csv", "\ufeff" + text.replace("\n", "\r\n"))))
    assert feed.kind == "CSV" and feed.trouble == ""
    assert points(feed, "train_loss") == {10: 3.5, 20: 3.25, 30: pytest.approx(math.nan, nan_ok=True)} and points(
        feed, "val_loss"
    ) == {20: 3.3}


def test_csv_grows_in_small_pieces_and_changes_its_header(tmp_path: Path) -> None:
    data = b'step,"loss, mean",loss\n1,9,3.0\n2,9,2.5\nstep,loss,lr\n3,2.25,0.5\n4,2.0,0.5\nbroken\nstep,loss,lr\n5,1.75,0.5\n'
    path = tmp_path / "log.csv"
    feed = open_feed(path)
    for start in range(0, len(data), 5):
        write(path, data[start : start + 5], add=True)
        feed._due = 0.0
        read(feed)
    assert points(feed, "train_loss") == {1: 3.0, 2: 2.5, 3: 2.25, 4: 2.0, 5: 1.75}
    assert points(feed, "lr") == {3: 0.5, 4: 0.5, 5: 0.5} and "One line" in feed.trouble


def test_csv_whose_header_is_rewritten_with_more_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "metrics.csv", "step,loss\n1,3.0\n2,2.5\n")
    feed = read(open_feed(path))
    write(path, "step,loss,val_loss\n1,3.0,\n2,2.5,\n3,,2.75\n")
    assert points(read(feed), "val_loss") == {3: 2.75} and points(feed, "train_loss") == {1: 3.0, 2: 2.5}


def test_csv_wrong_and_chosen_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "tick,badness\n1,5\n2,4\n")
    with pytest.raises(UsageError, match="its columns are tick, badness"):
        open_feed(path)
    assert points(read(open_feed(path, Columns.parse("step=tick,loss=badness"))), "train_loss") == {1: 5, 2: 4}
    bare = write(tmp_path / "b.csv", "1,5,0.1\n2,4,0.1\n")
    with pytest.raises(UsageError, match="no line with the names of its columns"):
        open_feed(bare)
    assert points(read(open_feed(bare, Columns.parse("step=1,loss=2"))), "train_loss") == {1: 5, 2: 4}


def test_csv_whose_first_column_has_no_name(tmp_path: Path) -> None:
    feed = read(open_feed(write(tmp_path / "frame.csv", ",step,loss\n0,10,3.5\n1,20,3.25\n")))
    assert points(feed, "train_loss") == {10: 3.5, 20: 3.25}


def test_csv_with_decimal_commas_and_dates(tmp_path: Path) -> None:
    text = "time;step;loss\n2026-01-01T00:00:00+00:00;1;3,5\n2026-01-01T00:00:05+00:00;2;3,25\n"
    feed = read(open_feed(write(tmp_path / "log.csv", text)))
    assert points(feed, "train_loss") == {1: 3.5, 2: 3.25} and feed.usual_step_s == pytest.approx(5.0)
