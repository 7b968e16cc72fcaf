"""What programs print for people: the losses of each wording at their steps, followed in small pieces."""

from __future__ import annotations

import math
from pathlib import Path

import foreign_logs as samples
import pytest
from foreign_logs import aged, points, read, write

from engine.errors import UsageError
from engine.watching.foreign import Columns, open_feed
from engine.watching.foreign.console import ConsoleReader

CONSOLE = {
    "NANOGPT": ({0: 4.2654, 10: 3.1432, 20: 2.7311, 30: 2.5021}, {0: 4.2823, 20: 2.6832}, None),
    "LLM_C": ({1: 11.0099, 2: 10.9654, 3: 10.88}, {3: 10.7123}, 19560),
    "NANOCHAT": ({0: 11.0904, 1: 10.8012, 2: 10.3312}, {}, 500),
    "LLAMA2_C": ({0: 10.435, 1: 10.421, 2: 10.399}, {0: 10.431}, None),
    "PRINTED_DICTS": ({1: 2.3113, 2: 2.1013, 3: 1.9}, {2: 2.2001}, None),
    "DICTS_AND_BARS": ({20: 2.3113, 40: 2.1013, 60: 1.9}, {40: 2.2001}, 60),
    "TQDM": ({at: round(5 - at / 50, 5) for at in range(0, 46, 5)}, {}, 100),
    "KERAS": ({469: 0.2912, 938: 0.1211}, {469: 0.1423, 938: 0.1022}, 1407),
    "KERAS_3": ({10: 2.1, 100: 1.1, 200: 0.8}, {100: 0.9, 200: 0.7}, 200),
    "TORCHTITAN": ({1: 8.1309, 10: 6.4012}, {}, None),
    "MEGATRON": ({100: 6.5123, 200: 5.5123}, {200: 5.4123}, 1000),
    "TORCH_EXAMPLE": ({0: 2.3054, 640: 1.3598, 60000: 0.1598, 60640: 0.1398}, {640: 0.2012}, None),
    "STEPS_OF_EPOCHS": (
        {at: round(2 - (at > 600) - (at - 600 * (at > 600)) / 1000, 4) for at in range(100, 1201, 100)},
        {},
        None,
    ),
    "LIGHTNING": ({50: 2.5, 100: 2.0, 150: 1.5, 200: 1.0}, {}, None),
    "FAIRSEQ": ({100: 8.123, 200: 7.123}, {}, None),
    "OLMO": ({1: 11.31, 2: 10.31}, {}, 740),
    "LITGPT": ({25: 2.31, 50: 2.21}, {50: 2.5}, None),
    "SPEEDRUN": ({}, {0: 10.8258, 125: 4.6012, 250: 4.1012}, 1750),
    "BARE": ({0: 10.9551, 1: 10.6551}, {0: 10.9484, 250: 6.0012}, None),
    "LLM_C_FILE": ({1: 10.9812, 2: 10.8812}, {0: 11.0012, 250: 6.5012}, None),
}
"""Training losses, validation losses and the last step that each sample says."""


@pytest.mark.parametrize("name", CONSOLE)
@pytest.mark.parametrize("piece", [1 << 20, 61])
def test_console_logs_are_followed(tmp_path: Path, name: str, piece: int) -> None:
    data = getattr(samples, name).encode()
    path = tmp_path / "train.log"
    feed = open_feed(path)
    for start in range(0, len(data), piece):
        write(path, data[start : start + piece], add=True)
        feed._due = 0.0
        read(feed)
    train, validation, total = CONSOLE[name]
    assert feed.kind == "console log" and feed.log == path
    assert points(feed, "train_loss") == train and points(feed, "val_loss") == validation and feed.status.total_steps == total


def test_figures_of_console_lines() -> None:
    row = ConsoleReader().rows(samples.LLM_C.encode().split(b"\n"))[1]
    assert (
        row["grad_norm"] == 15.12
        and row["lr"] == 1.71e-06
        and row["tokens_per_s"] == 645123
        and row["step_s"] == pytest.approx(0.8125)
    )
    row = ConsoleReader().rows(samples.NANOCHAT.encode().split(b"\n"))[1]
    assert row["tokens_per_s"] == 42467 and row["step_s"] == pytest.approx(12.34567) and row["grad_norm"] == 0.4512
    row = ConsoleReader().rows(samples.TORCHTITAN.encode().split(b"\n"))[0]
    assert row["memory_bytes"] == pytest.approx(5.22 * 2**30) and row["mfu"] == 3.2 and row["tokens_per_s"] == 2345
    rows = ConsoleReader().rows(samples.MEGATRON.encode().split(b"\n"))
    assert rows[0]["lr"] == 1.5e-4 and rows[0]["step_s"] == 0.2505 and rows[1]["time"] - rows[0]["time"] == 25


def test_logging_prefixes_give_the_time(tmp_path: Path) -> None:
    feed = read(open_feed(write(tmp_path / "out.log", samples.LOGGING)))
    assert (
        feed.usual_step_s == pytest.approx(1.0)
        and points(feed, "val_loss") == {20: 3.31}
        and math.isnan(points(feed, "train_loss")[30])
    )


def test_what_is_no_figure_of_training_is_passed_over() -> None:
    lines = [
        b"Saving checkpoint at step 100",
        b"step 200",
        b"the loss of 3 dogs",
        b"loaded 12 files in 3.2s",
        b"",
        b"version 1.2.3",
        b"best val loss 2.1",
    ]
    assert ConsoleReader().rows(lines[:2] + lines[3:]) == []


def test_a_training_that_went_back_in_a_console_log_replaces(tmp_path: Path) -> None:
    text = "".join(f"iter {at}: loss {9 - at / 100:.2f}\n" for at in range(0, 300, 10))
    again = "".join(f"iter {at}: loss {5 - at / 100:.2f}\n" for at in range(200, 260, 10))
    feed = read(open_feed(write(tmp_path / "out.log", text + again)))
    assert points(feed, "train_loss")[200] == 3.0 and feed.status.step == 250 and feed.trouble == ""


def test_chosen_names_in_a_console_log(tmp_path: Path) -> None:
    path = aged(write(tmp_path / "out.log", "tick=1 badness=5\ntick=2 badness=4\ntick=3 badness=3\n"), 3600)
    with pytest.raises(UsageError, match=r"step 100 \| loss"):
        open_feed(path)
    assert points(read(open_feed(path, Columns(step="tick", loss="badness"))), "train_loss") == {1: 5, 2: 4, 3: 3}
