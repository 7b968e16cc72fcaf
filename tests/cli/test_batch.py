"""Batch mode as a person or a script uses it: the real command, its output, its exit codes."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "tinytales_tui"]
FIELDS = {"prompt", "ending", "story", "tokens", "stop_reason", "seed", "checkpoint", "sampling", "ttft_s", "tokens_per_s"}


def run(*arguments: str, stdin: str = "", **changes: object) -> subprocess.CompletedProcess[str]:
    options = {"capture_output": True, "text": True, "timeout": 120, "input": stdin} | changes
    return subprocess.run([*COMMAND, *arguments], **options)  # type: ignore[call-overload]


@pytest.fixture
def tiny(tiny_checkpoint: Path) -> list[str]:
    return ["--checkpoint", str(tiny_checkpoint), "--device", "cpu", "--max-tokens", "30"]


def test_the_same_seed_gives_the_same_bytes(tiny: list[str]) -> None:
    first, second = (run("--prompt", "a lost dog", "--ending", "sad", "--seed", "7", *tiny) for _ in range(2))
    assert first.returncode == 0 and first.stdout == second.stdout and first.stdout.endswith("\n") and len(first.stdout) > 10
    assert run("--prompt", "a lost dog", "--ending", "sad", "--seed", "8", *tiny).stdout != first.stdout
    assert "seed: 7" in first.stderr


def test_prompts_from_standard_input_as_json(tiny: list[str]) -> None:
    done = run("--prompt", "-", "--json", "--count", "2", "--seed", "3", *tiny, stdin="a cat\n\n  a dog  \na boat")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["prompt"] for row in rows] == ["a cat", "a cat", "a dog", "a dog", "a boat", "a boat"]
    assert [row["seed"] for row in rows] == [3, 4, 3, 4, 3, 4]
    assert all(set(row) >= FIELDS and row["ending"] == "happy" and row["sampling"]["seed"] == row["seed"] for row in rows)
    assert "ending: happy" in done.stderr


def test_a_record_is_enough_to_write_the_story_again(tiny: list[str]) -> None:
    row = json.loads(run("--prompt", "a cat", "--json", "--count", "3", "--preset", "creative", *tiny).stdout.splitlines()[2])
    again = json.loads(
        run("-p", row["prompt"], "-e", row["ending"], "-s", str(row["seed"]), "--preset", "creative", "--json", *tiny).stdout
    )
    assert again["story"] == row["story"] and again["sampling"] == row["sampling"]


def test_text_that_is_continued_as_it_stands(tiny: list[str]) -> None:
    for option in (["--raw"], ["--ending", "none"]):
        done = run("--prompt", "One day Mia", *option, "--seed", "1", *tiny)
        assert done.returncode == 0 and done.stdout.startswith("One day Mia")


def test_a_model_without_endings(plain_checkpoint: Path) -> None:
    source = ["--checkpoint", str(plain_checkpoint), "--max-tokens", "5", "--device", "cpu"]
    done = run("--prompt", "One day", *source)
    assert done.returncode == 0 and done.stdout.startswith("One day") and "no endings" in done.stderr
    refused = run("--prompt", "One day", "--ending", "sad", *source)
    assert refused.returncode == 2 and refused.stdout == "" and "not trained on topics" in refused.stderr


def test_a_file_is_written_whole(tiny: list[str], tmp_path: Path) -> None:
    target = tmp_path / "story.txt"
    done = run("--prompt", "a cat", "--seed", "1", "--output", str(target), *tiny)
    assert done.returncode == 0 and done.stdout == ""
    assert target.read_text() == run("--prompt", "a cat", "--seed", "1", *tiny).stdout
    assert [path.name for path in tmp_path.glob("*.part")] == []


def test_quiet_means_quiet(tiny: list[str]) -> None:
    assert run("--prompt", "a cat", "--quiet", *tiny).stderr == ""


def test_options_reach_the_engine(tiny: list[str]) -> None:
    row = json.loads(
        run(
            *(
                "--prompt",
                "a cat",
                "--json",
                "--seed",
                "5",
                "--temperature",
                "0.5",
                "--top-k",
                "7",
                "--top-p",
                "0.8",
                "--min-p",
                "0.1",
            ),
            *(
                "--repetition-penalty",
                "1.4",
                "--no-repeat-ngram",
                "3",
                "--stop",
                "xyz",
                "--ban",
                "kite",
                "--favour",
                "snow",
                "--favour",
                "rain",
                "--must-mention",
                "boat",
                "--favour-strength",
                "4.5",
                "--no-stop-loops",
                *tiny,
            ),
        ).stdout
    )
    expected = {
        "temperature": 0.5, "top_k": 7, "top_p": 0.8, "min_p": 0.1, "repetition_penalty": 1.4, "no_repeat_ngram": 3,
        "max_tokens": 30, "min_tokens": 0, "seed": 5, "stop": ["xyz"], "banned_words": ["kite"], "stop_loops": False,
        "favoured_words": ["snow", "rain"], "must_mention": ["boat"], "favour": 4.5,
    }  # fmt: skip
    assert row["sampling"] == expected


def test_what_ended_a_story_is_told(tiny_checkpoint: Path) -> None:
    endless = [
        "--max-tokens",
        "200",
        "--min-tokens",
        "200",
        "--temperature",
        "0",
        "--checkpoint",
        str(tiny_checkpoint),
        "--device",
        "cpu",
    ]
    done = run("--prompt", "a cat", "--repetition-penalty", "0.5", *endless)
    assert done.returncode == 0 and re.search(
        r"ended by: loop \(“.*” came \d+ times in a row\)|ended by: loop \(blank", done.stderr
    )


def test_tidy_changes_no_word(tiny: list[str]) -> None:
    raw, tidy = (run("--prompt", "a cat", "--seed", "2", option, *tiny).stdout for option in ("--no-tidy", "--tidy"))
    letters = [[letter for letter in text.lower() if letter.isalnum()] for text in (raw, tidy)]
    assert letters[1] == letters[0][: len(letters[1])]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--prompt", "x", "--temperature", "-1"], 2, "temperature must lie between"),
        (["--prompt", "x", "--top-k", "many"], 2, "--top-k"),
        (["--prompt", ""], 2, "prompt is empty"),
        (["--prompt", "   "], 2, "prompt is empty"),
        (["--prompt", "-"], 2, "no prompt"),
        (["--prompt", "x", "--ending", "funny"], 2, "happy, sad or none"),
        (["--prompt", "x", "--raw", "--ending", "sad"], 2, "--raw"),
        (["--prompt", "x", "--preset", "wild"], 2, "balanced"),
        (["--prompt", "x", "--count", "0"], 2, "between 1 and 64"),
        (["--prompt", "x", "--seed", "-3"], 2, "seed"),
        (["--prompt", "x", "--favour", " "], 2, "favoured word cannot be empty"),
        (["--prompt", "x", "--favour-strength", "11"], 2, "favour must lie between"),
        (["--prompt", "x", "--checkpoint", "nowhere"], 1, "no checkpoint at nowhere"),
        (["--prompt", "x", "--checkpoint", "nobody/nothing"], 3, "Hub could not be reached"),
        (["--prompt", "x", "--output", "/nonexistent/story.txt"], 2, "folder does not exist"),
        (["--prompt", "x", "--output", "."], 2, "is a folder"),
        (["--prompt", "x", "--device", "abacus"], 2, "no device"),
        (["--nonsense"], 2, "--nonsense"),
        (["nonsense"], 2, "nonsense"),
        (["--json"], 2, "belongs to --prompt"),
        (["--temperature", "0.5"], 2, "belongs to --prompt"),
        (["--prompt", "x", "--theme", "nord"], 2, "belongs to the app"),
        (["--checkpoint", "nowhere", "doctor"], 2, "before doctor"),
        ([], 2, "needs a terminal"),
    ],
)  # fmt: skip
def test_bad_input_gets_one_sentence(arguments: list[str], code: int, says: str) -> None:
    done = run(*arguments)
    assert done.returncode == code, done.stderr
    assert says in done.stderr and "Traceback" not in done.stderr and done.stdout == ""
    complaint = [line for line in done.stderr.splitlines() if line.startswith("tinytales-tui: ")]
    assert len(complaint) == 1 and complaint[0].endswith(".")


def test_a_corrupt_checkpoint(tmp_path: Path, tiny_checkpoint: Path) -> None:
    for name in ("config.json", "tinytales.json", "tokenizer.json", "model.safetensors"):
        (tmp_path / name).write_bytes((tiny_checkpoint / name).read_bytes()[: 700 if name == "model.safetensors" else None])
    done = run("--prompt", "x", "--checkpoint", str(tmp_path))
    assert done.returncode == 1 and "cut off or damaged" in done.stderr and "Traceback" not in done.stderr


def test_a_closed_pipe_ends_it_quietly(tiny: list[str]) -> None:
    lines = "a cat\n" * 50
    process = subprocess.Popen(
        [*COMMAND, "--prompt", "-", *tiny, "--quiet"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin and process.stdout and process.stderr
    process.stdin.write(lines.encode())
    process.stdin.close()
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == 0 and process.stderr.read() == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_sentence(tiny: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = run("--prompt", "a cat", *tiny, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1 and "the disk is full" in done.stderr and "Traceback" not in done.stderr
    done = run("--prompt", "a cat", "--output", "/dev/full", *tiny)
    assert done.returncode == 1 and "the disk is full" in done.stderr


def test_ctrl_c_leaves_the_text_so_far(tiny_checkpoint: Path) -> None:
    long = [
        "--max-tokens",
        "4096",
        "--min-tokens",
        "4096",
        "--no-stop-loops",
        "--checkpoint",
        str(tiny_checkpoint),
        "--device",
        "cpu",
    ]
    output, screen = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "--prompt", "a cat", *long], stdout=screen, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    os.close(screen)
    seen = b""
    while len(seen) < 40:
        seen += os.read(output, 100)  # a story streams to a terminal as it is written
    process.send_signal(signal.SIGINT)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and select.select([output], [], [], 5)[0]:
        try:
            seen += os.read(output, 65536)
        except OSError:
            break
    assert process.wait(30) == 130
    assert process.stderr and b"Traceback" not in process.stderr.read()
    assert seen.endswith(b"\r\n") and len(seen) > 40
    os.close(output)


def test_a_terminal_shows_what_a_pipe_gets(tiny: list[str]) -> None:
    arguments = ["--prompt", "a cat", "--seed", "4", "--count", "3", "--quiet", *tiny]
    output, screen = pty.openpty()
    process = subprocess.Popen([*COMMAND, *arguments], stdout=screen, stderr=screen, stdin=subprocess.DEVNULL)
    os.close(screen)
    seen = b""
    while True:
        try:
            part = os.read(output, 65536)
        except OSError:
            break
        if not part:
            break
        seen += part
    assert process.wait(60) == 0
    os.close(output)
    shown = seen.decode().replace("\r\n", "\n")
    assert shown.split() == run(*arguments).stdout.split()
    assert not any(ord(letter) < 32 and letter != "\n" for letter in shown)
