"""The state of a Hugging Face trainer, and TensorBoard event files, followed while they are written."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import foreign_logs as samples
import numpy as np
import pytest
from foreign_logs import aged, points, read, write

from engine.errors import UsageError
from engine.watching.foreign import open_feed
from engine.watching.foreign.tensorboard import TensorBoardFeed

# Hugging Face


def test_trainer_state_is_read_again_at_each_save(tmp_path: Path) -> None:
    path = write(tmp_path / "trainer_state.json", json.dumps(samples.TRAINER_STATE, indent=2))
    feed = read(open_feed(path))
    assert (
        feed.kind == "Hugging Face"
        and points(feed, "train_loss") == {10: 2.5, 20: 2.25, 30: 2.0}
        and points(feed, "val_loss") == {20: 2.2}
    )
    assert feed.table.series("lr").last == pytest.approx(3e-5) and points(feed, "grad_norm")[10] == 1.25
    assert (
        feed.status.step == 30
        and feed.status.total_steps == 100
        and feed.settings["best_metric"] == 2.2
        and feed.summary.best_step == 20
    )
    later = {
        **samples.TRAINER_STATE,
        "log_history": [*samples.TRAINER_STATE["log_history"], {"step": 40, "loss": math.nan, "epoch": 0.4}],
    }
    write(path, json.dumps(later)[:200])
    assert len(read(feed).table) == 3 and feed.trouble == ""  # half written: what was read still holds
    write(path, json.dumps(later))
    assert len(read(feed).table) == 4 and math.isnan(feed.summary.train_loss)


def test_the_newest_checkpoint_of_a_trainers_folder_is_followed(tmp_path: Path) -> None:
    def save(step: int, age: float) -> None:
        folder = tmp_path / "out" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        history = [{"step": at, "loss": 5 - at / 100, "epoch": at / 100} for at in range(10, step + 1, 10)]
        state = {**samples.TRAINER_STATE, "global_step": step, "log_history": history}
        aged(write(folder / "trainer_state.json", json.dumps(state)), age)

    save(20, 300)
    save(30, 200)
    feed = read(open_feed(tmp_path / "out"))
    assert feed.kind == "Hugging Face" and feed.status.step == 30 and feed.usual_step_s == pytest.approx(10.0, rel=1e-3)
    assert feed.status.state == "following" and feed.summary.eta_s == pytest.approx(700.0, rel=1e-3)
    save(50, 0)
    feed._look_due = 0.0
    assert read(feed).status.step == 50


# TensorBoard


def writer(folder: Path, **more: Any) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), **more)


def test_tensorboard_files_of_our_own_writer_grow_and_a_second_one_appears(tmp_path: Path) -> None:
    from engine.training.board import Board

    first = Board(tmp_path / "tb", 0)
    for step in range(1, 6):
        first.scalars(step, {"train_loss": 5.0 - step / 2, "lr": 0.5, "tokens": step * 100.0})
    first.scalars(4, {"val_loss": 4.5, "val_bits_per_byte": 1.5})
    first._writer.flush()
    feed = read(open_feed(tmp_path / "tb"))
    assert isinstance(feed, TensorBoardFeed) and points(feed, "train_loss") == {at: 5.0 - at / 2 for at in range(1, 6)}
    assert points(feed, "val_loss") == {4: 4.5} and points(feed, "lr")[3] == 0.5 and feed.summary.best_bits_per_byte == 1.5
    assert feed.table.axis("tokens").tolist() == [100, 200, 300, 400, 500] and np.isfinite(feed.table.axis("time")).all()
    first.scalars(6, {"train_loss": 2.0})
    first.close()
    assert points(read(feed), "train_loss")[6] == 2.0
    second = Board(tmp_path / "tb", 4)  # taken up from step 4: 5 and 6 no longer hold
    second.scalars(5, {"train_loss": 9.0})
    second.close()
    feed._look_due = 0.0
    assert points(read(feed), "train_loss") == {1: 4.5, 2: 4.0, 3: 3.5, 4: 3.0, 5: 9.0} and feed.status.step == 5


def test_tensorboard_files_byte_by_byte_damaged_and_replaced(tmp_path: Path) -> None:
    with writer(tmp_path / "made") as made:
        for step in range(40):
            made.add_scalar("loss", 4 - step / 16, step, new_style=step % 2 == 1)
        made.add_histogram("weights", np.arange(10.0), 3)
        made.add_text("note", "words", 3)
    data = next((tmp_path / "made").iterdir()).read_bytes()
    path = tmp_path / "events.out.tfevents.1.host"
    path.touch()
    feed = open_feed(path)
    for start in range(0, len(data), 97):
        write(path, data[start : start + 97], add=True)
        read(feed)
    assert points(feed, "train_loss") == {at: 4 - at / 16 for at in range(40)} and feed.trouble == ""
    write(path, data[:1000])
    assert 0 < len(read(feed).table) < 40
    write(path, data[:1000] + b"\xff" * 100)
    feed = read(open_feed(path))
    assert 0 < len(feed.table) < 40
    write(path, data + b"\xff" * 100)
    assert "damaged" in read(open_feed(path)).trouble


def test_tensorboard_folders_of_training_and_validation_are_one_run(tmp_path: Path) -> None:
    for name, shift in (("train", 0.0), ("validation", 0.5)):
        with writer(tmp_path / "logs" / name) as made:
            for step in range(5):
                made.add_scalar("epoch_loss", 3 + shift - step / 2, step)
    feed = read(open_feed(tmp_path / "logs"))
    assert points(feed, "train_loss") == {at: 3 - at / 2 for at in range(5)} and points(feed, "val_loss") == {
        at: 3.5 - at / 2 for at in range(5)
    }
    assert feed.trouble == ""


def test_of_several_tensorboard_runs_the_newest_is_shown_and_said(tmp_path: Path) -> None:
    for name, loss in (("old", 3.0), ("new", 2.0)):
        with writer(tmp_path / name) as made:
            made.add_scalar("train/loss", loss, 1)
    aged(next((tmp_path / "old").iterdir()), 100)
    feed = read(open_feed(tmp_path))
    assert points(feed, "train_loss") == {1: 2.0} and "Of the 2 runs" in feed.trouble and "new" in feed.trouble


def test_reading_tensorboard_files_needs_no_torch_and_no_tensorflow() -> None:
    code = (
        "import sys; from engine.watching.foreign.tensorboard import load_reader; load_reader(); "
        "from engine.watching.foreign import open_feed; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'tensorflow', 'textual')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_the_extra_one_sentence_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
    with pytest.raises(UsageError, match=r"pip install 'tinytales-tui\[tensorboard\]'"):
        open_feed(write(tmp_path / "events.out.tfevents.1.host", b""))
