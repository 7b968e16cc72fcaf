"""`tinytales-tui runs …`, with run directories as a trainer leaves them and a real process that stands in for the trainer."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_runs import live_trainer, make_run, write_lines, write_status
from small import save_tiny

import engine
from tinytales_tui import runs_steer
from tinytales_tui.cli import run as run_command
from tinytales_tui.figures import duration, fitting_table, short_count, short_duration, size
from tinytales_tui.plot.text_chart import text_chart


@pytest.fixture
def runs(own_data_folder: Path) -> Path:
    return own_data_folder / "runs"


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """`tell("list")`: exit code, standard output and standard error of that command."""

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run_command(["runs", *arguments])
        heard = capsys.readouterr()
        assert "Traceback" not in heard.err
        return code, heard.out, heard.err

    return call


def start(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tinytales_tui", "runs", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def test_list(runs: Path, tell: Callable) -> None:
    assert tell("list")[:2] == (0, "") and "There are no runs" in tell("list")[2]
    assert tell("list", "--json")[1] == "[]\n"
    for number, (name, state) in enumerate(
        (("default-20261120-101112", "finished"), ("second", "stopped"), ("third", "running"))
    ):
        path = make_run(runs, name, state, step=100 if state == "finished" else 40)
        write_lines(path / "events.jsonl", [{"event": "started", "step": 0, "time": time.time() - 10_000 + number}])
    code, out, err = tell("list")
    assert tell() == (code, out, err)  # `runs` alone is the list
    lines = out.splitlines()
    assert code == 0 and not err and max(map(len, lines)) <= 80
    assert lines[0].split() == ["name", "state", "step", "loss", "bpb", "tok/s", "left", "age"]
    assert lines[1].split() == ["third", "stale", "40/100", "40%", "6.000", "2.600", "1.2k", "-", "2.8h"]
    assert lines[2].startswith("second") and "default-20261120-101112  finished  100/100 100%" in lines[3]
    rows = json.loads(tell("list", "--json")[1])
    assert [(row["name"], row["state"], row["best_step"]) for row in rows][::2] == [
        ("third", "stale", 40), ("default-20261120-101112", "finished", 100)
    ]  # fmt: skip


def test_list_starts_in_a_blink_and_without_torch(runs: Path) -> None:
    make_run(runs)
    for commands, none_of in (("'list', 'log'", {"torch", "numpy", "textual", "rich.table"}), ("'show',", {"torch", "textual"})):
        code = f"import sys\nfrom tinytales_tui.cli import run\nfor c in ({commands}): run(['runs', c])\n"
        code += "print(*sys.modules, file=sys.stderr)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and not none_of & set(done.stderr.split())


def test_show(runs: Path, tell: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_run(runs, "a run", "failed", message="The loss became nan; try a lower learning rate.")
    save_tiny(path / "checkpoints" / "best", "rope")
    events = [{"event": "started", "step": 0, "time": time.time()}]
    events += [{"event": "warning", "kind": "spike", "message": "The loss jumped.", "step": 7, "time": time.time()}]
    write_lines(path / "events.jsonl", events)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    code, out, err = tell("show")
    assert code == 0 and not err and max(len(line) for line in out.splitlines() if str(path) not in line) <= 80
    for part in (
        "a run: failed, step 40 of 100 (40%)", "try a lower learning rate", "12,345 parameters", "stories.txt", "6.0000 nats",
        "at step 40", "The loss jumped.", "best", "Go on with it: tinytales-tui runs resume 'a run'", "│",
    ):  # fmt: skip
        assert part in out
    assert "There was a cat." not in out and "There was a cat." in tell("show", "--samples")[1]
    monkeypatch.setenv("LC_ALL", "C")
    plain = tell("show", "a run")[1]
    assert plain.isascii() and "*" in plain and "o: validation" in plain
    known = json.loads(tell("show", "a run", "--json", "--samples")[1])
    assert known["config"]["settings"]["steps"] == 100 and known["samples"] and known["checkpoints"][0]["best"] is True
    assert (tell("show", "a rum")[0], "did you mean a run?" in tell("show", "a rum")[2]) == (2, True)
    assert tell("show", str(path))[0] == 0 and str(path) not in tell("show", "a run")[1].splitlines()[0]


def test_nothing_from_a_file_steers_the_terminal(runs: Path, tell: Callable) -> None:
    evil = "\x1b]0;title\x07\x1b[2J\u202eevil"
    path = make_run(runs, "evil\x1b[31m", "failed", message=evil)
    (path / "config.json").write_text(
        json.dumps({"settings": {"model": evil, "data": [evil]}, "device": evil, "parameters": evil})
    )
    write_lines(path / "events.jsonl", [{"event": evil, "message": evil, "step": evil, "time": evil, "folder": evil}] * 2)
    write_lines(path / "samples.jsonl", [{"step": 1, "prompt": evil, "story": evil}])
    (path / "output.log").write_text(evil + "\n")
    for arguments in (("list",), ("list", "--json"), ("show",), ("show", "--samples"), ("show", "--samples", "--json"), ("log",)):
        code, out, err = tell(*arguments)
        assert code == 0
        for character in ("\x1b", "\x07", "\u202e"):
            assert character not in out + err, arguments


def test_log(runs: Path, tell: Callable) -> None:
    path = make_run(runs)
    assert tell("log", "-n", "2")[1] == "line 99\nline 100\n"
    assert len(tell("log")[1].splitlines()) == 40 and tell("log", "mine", "-n", "0")[1] == ""
    code, out, err = tell("log", "-f", "-n", "1")  # a run that has ended: nothing to wait for
    assert (code, out) == (0, "line 100\n") and "stopped" in err
    (path / "output.log").unlink()
    assert tell("log")[0] == 2 and "has no log" in tell("log")[2]


def test_following_a_log_until_the_run_ends(runs: Path) -> None:
    path = make_run(runs)
    with live_trainer(path):
        following = start("log", "mine", "--follow", "-n", "1")
        assert following.stdout and following.stdout.readline() == "line 100\n"
        with open(path / "output.log", "a") as file:
            file.write("half ")
            file.flush()
            time.sleep(0.5)
            file.write("and half\n")
        assert following.stdout.readline() == "half and half\n"
        (path / "output.log").write_text("begun again\n")
        assert following.stdout.readline() == "begun again\n"
        (path / "requests" / "stop").touch()
        out, err = following.communicate(timeout=20)
    assert out == "stopping\nlast words\n" and "stopped" in err and following.returncode == 0


def test_ctrl_c_ends_following(runs: Path) -> None:
    path = make_run(runs)
    with live_trainer(path):
        following = start("log", "-f", "-n", "1")
        assert following.stdout and following.stdout.readline() == "line 100\n"
        following.send_signal(signal.SIGINT)
        _, err = following.communicate(timeout=20)
    assert following.returncode == 130 and "Traceback" not in err


def test_requests(runs: Path, tell: Callable) -> None:
    assert tell("stop")[0] == 2 and "no runs yet" in tell("stop")[2]
    path = make_run(runs)
    make_run(runs, "another")
    assert tell("stop")[0] == 2 and "No run is being trained now" in tell("stop")[2]
    assert tell("pause", "mine")[0] == 2 and "has stopped" in tell("pause", "mine")[2]
    with live_trainer(path):
        code, out, err = tell("checkpoint", "--wait")  # the one that is alive
        assert (code, out) == (0, f"{path / 'checkpoints' / 'step-000005'}\n") and "mine is asked for a checkpoint" in err
        assert tell("sample", "mine", "-w")[:2] == (0, "a made-up cat\nIt sat.\n")
        code, out, err = tell("pause", "--wait")
        assert (code, out) == (0, "") and "mine: paused" in err
        assert tell("pause")[0] == 2
        assert tell("resume", "mine", "--foreground")[0] == 2 and tell("resume", "mine", "--set", "steps=9")[0] == 2
        assert tell("resume", "mine")[0] == 0
        while (path / "requests" / "resume").exists():
            time.sleep(0.02)
        with live_trainer(make_run(runs, "third")):
            assert tell("stop")[0] == 2 and "say which one: " in tell("stop")[2]
        begun = time.perf_counter()
        assert tell("stop", "mine")[0] == 0 and time.perf_counter() - begun < 2
        code, out, err = tell("stop", "mine", "--wait")
        assert code == 0 and "mine: stopped" in err


def test_waiting_for_a_run_that_dies(runs: Path) -> None:
    path = make_run(runs)
    with live_trainer(path) as trainer:
        os.kill(trainer.pid, signal.SIGSTOP)
        waiting = start("checkpoint", "mine", "--wait")
        while not (path / "requests" / "checkpoint").exists():
            time.sleep(0.02)
        os.kill(trainer.pid, signal.SIGKILL)
        out, err = waiting.communicate(timeout=20)
    assert (waiting.returncode, out) == (1, "") and "stale" in err


def test_resume(runs: Path, tell: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[Any] = []
    monkeypatch.setattr(runs_steer, "_start", lambda folder: done.append(folder))
    monkeypatch.setattr(runs_steer, "_train_here", lambda folder: done.append(("here", folder)) or 0)
    monkeypatch.setattr(runs_steer, "_change_settings", lambda folder, values: done.append(values))
    path = make_run(runs)
    code, _, err = tell("resume", "mine", "--set", "steps=200", "--set", "schedule=linear")
    assert code == 0 and done == [{"steps": 200, "schedule": "linear"}, path] and "runs log -f mine" in err
    done.clear()
    assert tell("resume", "mine", "--set", "steps=20")[0] == 2 and not done
    for state in ("failed", "running"):  # nobody is there: the second is stale
        write_status(path, state=state)
        assert tell("resume", "mine", "--foreground")[0] == 0
    assert done == [("here", path)] * 2
    done.clear()
    write_status(path, state="finished", step=100)
    code, _, err = tell("resume", "mine")
    assert code == 2 and "has done 100 steps already" in err and not done
    assert tell("resume", "mine", "--set", "steps=150")[0] == 0 and done == [{"steps": 150}, path]
    assert tell("resume", "mine", "--set", "steps")[0] == 2
    (path / "config.json").write_text("{")
    assert tell("resume", "mine")[0] == 2 and "cannot go on" in tell("resume", "mine")[2]
    with live_trainer(make_run(runs, "busy")):
        assert tell("resume", "busy")[0] == 2 and "running already" in tell("resume", "busy")[2]


def test_delete(runs: Path, tell: Callable) -> None:
    path = make_run(runs)
    make_run(runs, "second")
    with open(os.devnull) as nobody:
        refused = start("delete", "mine", stdin=nobody)
        out, err = refused.communicate(timeout=60)
    assert (refused.returncode, out) == (2, "") and "--yes" in err and path.exists()
    with live_trainer(path):
        assert tell("delete", "second", "mine", "--yes")[0] == 2
    assert (runs / "second").exists()  # none or all
    assert tell("delete", "nobody", "--yes")[0] == 2 and tell("delete", str(runs), "--yes")[0] == 2
    write_status(path, state="stopped")
    code, out, err = tell("delete", "mine", "second", "mine", "-y")
    assert (code, out) == (0, "") and err.count("deleted ") == 2 and "kB" in err and not any(runs.iterdir())


@pytest.mark.parametrize(("answer", "code"), [(b"y\n", 0), (b"n\n", 1), (b"\n", 1), (b"\x04", 1), (b"\x03", 130)])
def test_delete_asks_a_person(runs: Path, answer: bytes, code: int) -> None:
    path = make_run(runs)
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-m", "tinytales_tui", "runs", "delete", "mine"])
    heard = b""
    while b"[y/N]" not in heard:
        heard += os.read(terminal, 1024)
    time.sleep(0.3)  # a signal just before the program waits for its line would be seen only with the next one
    os.write(terminal, answer)
    try:
        while part := os.read(terminal, 1024):
            heard += part
    except OSError:
        pass
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == code
    assert path.exists() == (code != 0) and b"kB" in heard and b"Traceback" not in heard
    os.close(terminal)


def test_export(runs: Path, tell: Callable, tmp_path: Path) -> None:
    path = make_run(runs)
    save_tiny(path / "checkpoints" / "best", "rope")
    save_tiny(path / "checkpoints" / "step-000040", "learned")
    target = str(tmp_path / "mine")
    code, out, err = tell("export", "mine", target)
    assert (code, out) == (0, f"{target}\n") and "best (step 0) of mine" in err
    assert engine.load_checkpoint(target, device="cpu").family == "llama"
    assert tell("export", "mine", target)[0] == 2
    assert tell("export", "mine", target, "--latest", "--force")[0] == 0
    assert engine.load_checkpoint(target, device="cpu").family == "gpt2"
    assert tell("export", "mine", target + "2", "--step", "40")[0] == 0
    assert tell("export", "mine", target + "3", "--step", "41")[0] == 2
    assert tell("export", "mine", target + "3", "--best", "--latest")[0] == 2
    assert tell("export", "mine", str(path / "x"))[0] == 2


def test_a_reader_that_goes_away_is_no_failure(runs: Path) -> None:
    path = make_run(runs)
    (path / "output.log").write_text("a line of a log\n" * 100_000)
    command = f"{sys.executable} -m tinytales_tui runs log -n 100000 | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "a line of a log\n", "")


def test_curves() -> None:
    falling = [(float(step), 8.0 / (1 + step)) for step in range(50)]
    for unicode in (True, False):
        lines = text_chart(falling, [(10.0, 1.0)], 60, 6, unicode, "loss")
        assert len(lines) == 9 and max(map(len, lines)) <= 60 and " 3.0" in lines[1] and " 0.3" in lines[4]
        assert "(logarithmic), o: validation" in lines[8] and sum(line.count("o") for line in lines[:6]) == 1
    assert text_chart([], [], 60, 6, True, "loss") == [] and text_chart([(1.0, 2.0)], [], 60, 6, True, "") == []
    odd = [(0.0, float("nan")), (1.0, 2.0), (2.0, float("inf")), (3.0, 2.0), (4.0, -1.0), (5.0, 1e300)]
    assert len(text_chart(odd, [(2.0, float("nan")), (99.0, 0.0)], 20, 4, False, "loss")) == 6
    assert len(text_chart([(1.0, 2.0), (2.0, 2.0)], [], 5, 3, True, "level")) == 6


def test_figures() -> None:
    assert [duration(s) for s in (0, 59.6, 125, 5000, 300_000)] == ["0 s", "1 min", "2 min 05 s", "1 h 23 min", "3 d 11 h"]
    assert [short_duration(s) for s in (5, 300, 5000, 40_000, 200_000)] == ["5s", "5m", "83m", "11h", "2.3d"]
    assert [size(n) for n in (0, 999, 12_345, 45.2e6)] == ["0 bytes", "999 bytes", "12.3 kB", "45.2 MB"]
    assert [short_count(n) for n in (0, 812, 12_345, 2e6, float("inf"))] == ["0", "812", "12.3k", "2.0M", "inf"]
    rows = [("a", "bbbb", "c"), ("aaa", "b", "ccccc")]
    assert fitting_table(("x", "y", "z"), rows, 80) == ["x       y      z", "a    bbbb      c", "aaa     b  ccccc"]
    assert fitting_table(("x", "y", "z"), rows, 12, spare=(1, 2)) == ["x        z", "a        c", "aaa  ccccc"]
