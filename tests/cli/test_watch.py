"""`tinytales-tui watch` without its screen: the real command on real folders, with a process that stands in for the trainer."""

from __future__ import annotations

import json
import math
import os
import pty
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_runs import live_trainer, make_run, write_lines, write_status

from tinytales_tui.cli import run as run_command


@pytest.fixture
def runs(own_data_folder: Path) -> Path:
    return own_data_folder / "runs"


@pytest.fixture
def watch(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """`watch("mine", "--once")`: exit code, standard output and standard error of that command."""

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run_command(["watch", *arguments])
        heard = capsys.readouterr()
        assert "Traceback" not in heard.err and "fault of its own" not in heard.err
        return code, heard.out, heard.err

    return call


def start(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tinytales_tui", "watch", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def test_a_look_at_a_run(runs: Path, watch: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_run(runs, "a run", "failed", message="The loss became nan; try a lower learning rate.")
    events = [{"event": "started", "step": 0, "time": time.time()}]
    events += [{"event": "warning", "kind": "spike", "message": "The loss jumped.", "step": 7, "time": time.time()}]
    write_lines(path / "events.jsonl", events)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    code, out, err = watch("a run", "--once")
    assert code == 0 and not err
    for part in (
        "a run: failed, step 40 of 100 (40%)", "[bad] failed at step 40: The loss became nan", "loss     6.0000 nats a token",
        "2.6000 bits a byte, 7.0000 nats a token at step 40", "1.2k tokens/s, 1 s a step", "spike        The loss jumped.",
        "last sample at step 20: a cat\n  There was a cat.", "Go on with it: tinytales-tui runs resume 'a run'", "│", "o: validation",
    ):  # fmt: skip
        assert part in out
    for arguments in (("--once",), (str(path), "--once")):  # without a name: the newest
        again = watch(*arguments)[1]
        assert [line for line in again.splitlines() if "ago)" not in line] == [l for l in out.splitlines() if "ago)" not in l]
    monkeypatch.setenv("LC_ALL", "C")
    assert watch("--once")[1].isascii()


def test_all_that_is_known_as_json(runs: Path, watch: Callable) -> None:
    path = make_run(runs, "mine", "finished")
    lines = (path / "metrics.jsonl").read_text() + '{"step": 50, "tokens": 1, "time": 5, "train_loss": "nan"}\n'
    (path / "metrics.jsonl").write_text(lines)
    code, out, err = watch("mine", "--json")
    known = json.loads(out, parse_constant=pytest.fail)
    assert code == 0 and not err and len(out.splitlines()) == 1
    assert known["verdict"] == {"level": "bad", "rule": "not a number", "words": "loss is not a number since step 50", "step": 50}
    assert known["last"]["train_loss"] == {"step": 50, "value": "nan"} and known["train_loss"] == "nan"
    assert known["last"]["val_bits_per_byte"]["step"] == 40 and known["best_bits_per_byte"] == pytest.approx(2.6)
    assert (known["name"], known["kind"], known["state"], known["step"], known["total_steps"]) == (
        "mine",
        "run",
        "finished",
        40,
        100,
    )
    assert [(mark["step"], mark["kind"]) for mark in known["marks"]] == [
        (0, "started"),
        (20, "sample"),
        (40, "best"),
        (50, "warning"),
    ]
    assert known["samples"][0]["story"] == "There was a cat." and known["events"][0]["event"] == "started"
    assert known["process"]["alive"] is False and known["settings"]["steps"] == 100 and known["trouble"] is None


def test_the_process_of_a_live_run(runs: Path, watch: Callable) -> None:
    path = make_run(runs)
    with live_trainer(path) as trainer:
        known = json.loads(watch("--json")[1])
        assert (known["state"], known["process"]["pid"], known["process"]["here"]) == ("running", trainer.pid, True)
        assert known["process"]["memory_bytes"] > 1e6 and known["process"]["alive"] is True
        assert f"  {trainer.pid} on " in watch("--once")[1]


def test_wrong_usage(runs: Path, watch: Callable, tmp_path: Path) -> None:
    assert watch("--once")[0] == 2 and "There are no runs yet" in watch("--once")[2]
    make_run(runs, "mine")
    for arguments, words in (
        (("mina", "--once"), "did you mean mine? No file here has that name either."),
        (("mine", "--once", "--columns", "step=a"), "--columns is for logs of other programs"),
        (("mine", "--until", "done"), "--until takes finished, failed, stale or step:N"),
        (("mine", "--until", "step:many"), "step:N"),
        (("mine", "--timeout", "3"), "--timeout belongs to --until"),
        (("mine", "--timeout", "-3", "--until", "failed"), "timeout"),
        (("mine", "--once", "--theme", "nord"), "--theme belongs to the screen"),
        (("", "--once"), "Say which run or file to watch"),
        (("a\0b", "--once"), "Say which run or file to watch"),
    ):
        code, out, err = watch(*arguments)
        assert (code, out) == (2, "") and words in err and len(err.splitlines()) == 1, arguments


def test_nothing_from_a_file_steers_the_terminal(runs: Path, watch: Callable) -> None:
    evil = "\x1b]0;title\x07\x1b[2J\u202eevil"
    path = make_run(runs, "evil\x1b[31m", "failed", message=evil)
    write_lines(path / "events.jsonl", [{"event": evil, "message": evil, "step": evil, "time": evil, "folder": evil}] * 2)
    write_lines(path / "samples.jsonl", [{"step": 1, "prompt": evil, "story": evil}])
    for option in ("--once", "--json"):
        code, out, err = watch(option)
        assert code == 0 and not {"\x1b", "\x07", "\u202e"} & set(out + err), option


@pytest.mark.parametrize("columns", [60, 120])
def test_on_a_terminal(runs: Path, columns: int) -> None:
    """Fits its width, without a colour code."""
    import fcntl
    import termios

    make_run(
        runs,
        "mine",
        "failed",
        message="At step 41 the loss became nan, for reasons that take very long to tell, on and on, to an end.",
    )
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
    command = [sys.executable, "-m", "tinytales_tui", "watch", "mine", "--once"]
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment | {"LC_ALL": "C.UTF-8"}
    ) as process:
        os.close(theirs)
        heard = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:
                break
            if not part:
                break
            heard += part
    os.close(ours)
    assert process.returncode == 0 and b"\x1b" not in heard
    lines = heard.decode().splitlines()
    assert max(map(len, lines)) <= columns and "└" in heard.decode()


def test_waiting_for_what_has_come_already(runs: Path, watch: Callable) -> None:
    make_run(runs, "done", "finished", step=100)
    assert watch("done", "--until", "finished") == (
        0, "", "done: finished, step 100\ndone: finished: best 2.000 bits a byte at step 100\n"
    )  # fmt: skip
    assert watch("done", "--until", "step:100", "--quiet") == (0, "", "")
    code, out, err = watch("done", "--until", "failed")
    assert (code, out) == (1, "") and "it will not be failed any more" in err
    assert watch("done", "--until", "step:101")[0] == 1
    code, out, _ = watch("done", "--until", "failed", "--quiet", "--json")
    assert code == 1 and json.loads(out)["state"] == "finished"
    assert "done: finished, step 100 of 100" in watch("done", "--until", "finished", "-q", "--once")[1]


def test_waiting_for_a_run(runs: Path) -> None:
    path = make_run(runs)
    with live_trainer(path):
        waiting = start("mine", "--until", "step:45", "--json")
        assert waiting.stderr and waiting.stderr.readline() == "mine: running, step 5\n"
        (path / "requests" / "pause").touch()
        assert waiting.stderr.readline() == "mine: paused, step 5\n"
        with open(path / "metrics.jsonl", "a") as file:
            file.write(json.dumps({"step": 50, "tokens": 5000, "time": time.time(), "train_loss": 1.0}) + "\n")
        out, err = waiting.communicate(timeout=60)
        assert waiting.returncode == 0 and json.loads(out)["last"]["train_loss"] == {"step": 50, "value": 1.0}
        ending = start("mine", "--until", "finished")
        assert ending.stderr and ending.stderr.readline() == "mine: paused, step 5\n"
        (path / "requests" / "stop").touch()
        out, err = ending.communicate(timeout=60)
        assert ending.returncode == 1 and out == "" and "mine: stopped, step 5\n" in err
        assert err.endswith("it will not be finished any more (stopped at step 5: best 2.600 bits a byte at step 40).\n")


def test_a_run_that_is_killed_while_somebody_waits(runs: Path) -> None:
    path = make_run(runs)
    with live_trainer(path) as trainer:
        stale, finished = start("mine", "--until", "stale"), start("mine", "--until", "finished")
        assert stale.stderr and stale.stderr.readline() and finished.stderr and finished.stderr.readline()
        trainer.kill()
        assert stale.wait(timeout=60) == 0 and finished.wait(timeout=60) == 1
        assert "its process is gone" in stale.stderr.read() and "will not be finished" in finished.stderr.read()
        for process in (stale, finished):
            process.communicate()


def test_a_run_that_disappears_while_somebody_waits(runs: Path) -> None:
    path = make_run(runs)
    with live_trainer(path):
        waiting = start("mine", "--until", "finished")
        assert waiting.stderr and waiting.stderr.readline()
        path.rename(path.parent / "elsewhere")
        assert waiting.wait(timeout=60) == 1 and "mine: its folder is gone.\n" in waiting.communicate()[1]


def test_waiting_no_longer_than_asked(runs: Path, watch: Callable) -> None:
    path = make_run(runs)
    with live_trainer(path):
        code, out, err = watch("mine", "--until", "step:99", "--timeout", "0.2")
        assert (code, out) == (1, "") and "mine: not at step 99 within 0 s; it is running at step 5." in err


def test_ctrl_c_ends_the_waiting(runs: Path) -> None:
    path = make_run(runs)
    with live_trainer(path):
        waiting = start("mine", "--until", "finished")
        assert waiting.stderr and waiting.stderr.readline()
        waiting.send_signal(signal.SIGINT)
        _, err = waiting.communicate(timeout=60)
        assert waiting.returncode == 130 and "Traceback" not in err


def test_it_starts_without_textual_and_torch(runs: Path) -> None:
    make_run(runs)
    code = "import sys\nfrom tinytales_tui.cli import run\nfor c in ('--once', '--json'): run(['watch', c])\n"
    code += "print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and not {"torch", "textual", "rich.table"} & set(done.stderr.split())


def test_a_run_with_next_to_nothing_in_it(runs: Path, watch: Callable) -> None:
    path = runs / "bare"
    path.mkdir(parents=True)
    (path / "status.json").write_text('{"state": "starting"}')
    code, out, err = watch("bare", "--once")
    assert code == 0 and not err and "bare: stale" in out and "[bad]" in out
    known = json.loads(watch("bare", "--json")[1])
    assert known["last"] == {} and known["process"] is None
    write_status(path, state="strange")
    assert "it does not say how it stands" in watch("bare", "--once")[1]


# Logs of other programs


def foreign_log(path: Path, count: int = 100, **more: Any) -> Path:
    rows = [{"step": step, "loss": 3.0 - step / 100 + math.sin(step) / 50} | more for step in range(1, count + 1)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_log_of_another_program(tmp_path: Path, watch: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    foreign_log(tmp_path / "train.jsonl")
    for target in ("train.jsonl", "./train.jsonl", str(tmp_path / "train.jsonl")):
        code, out, err = watch(target, "--once")
        assert code == 0 and not err
        assert (
            "train.jsonl: following, step 100 (JSON lines)" in out
            and "[good] healthy: training loss fell" in out
            and "100" in out
        )
    known = json.loads(watch("train.jsonl", "--json")[1])
    assert known["last"]["train_loss"]["step"] == 100 and known["process"] is None and known["kind"] == "JSON lines"
    assert watch("train.jsonl", "--until", "step:100")[0] == 0
    assert watch("train.jsonl", "--until", "step:101", "--timeout", "0")[0] == 1
    code, _, err = watch("train.jsonl", "--until", "finished")
    assert code == 2 and "wait for step:N, or for stale" in err
    os.utime(tmp_path / "train.jsonl", (1.7e9, 1.7e9))
    assert "[note] quiet: nothing new for" not in watch("train.jsonl", "--json")[1]
    assert "quiet for" in watch("train.jsonl", "--once")[1] and watch("train.jsonl", "--until", "stale")[0] == 0
    assert watch("train.jsonl", "--once", "--columns", "oops")[0] == 2
    assert watch("./not-there.jsonl", "--once")[0] == 2


def test_chosen_columns(tmp_path: Path, watch: Callable) -> None:
    path = tmp_path / "odd.jsonl"
    path.write_text("".join(json.dumps({"a": at, "b": 5 - at / 10}) + "\n" for at in range(1, 31)))
    assert watch(str(path), "--once")[0] == 2
    known = json.loads(watch(str(path), "--json", "--columns", "step=a,loss=b")[1])
    assert known["last"]["train_loss"] == {"step": 30, "value": 2.0}


def test_a_log_through_a_pipe(tmp_path: Path) -> None:
    looking = start("-", "--json", stdin=subprocess.PIPE)
    out, err = looking.communicate(
        "".join(f'{{"step": {step}, "loss": {4 - step / 50}}}\n' for step in range(1, 101)), timeout=60
    )
    assert looking.returncode == 0 and json.loads(out)["last"]["train_loss"] == {"step": 100, "value": 2.0}, err
    for goal, code in (("step:50", 0), ("step:200", 1), ("stale", 0), ("finished", 2)):
        waiting = start("-", "--until", goal, stdin=subprocess.PIPE)
        _, err = waiting.communicate(
            "".join(f'{{"step": {step}, "loss": {4 - step / 50}}}\n' for step in range(1, 101)), timeout=60
        )
        assert waiting.returncode == code, (goal, err)
