"""`tinytales-tui bench`, as a person or a script calls it, with checkpoints so small that it takes seconds."""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import typer

from engine.bench.plan import METHOD, kinds
from tinytales_tui.bench_command import bench, in_words
from tinytales_tui.engine_start import engine_environment
from tinytales_tui.report import report

LONG = 60.0

_SCRIPT = """
import sys, typer
from tinytales_tui.bench_command import bench
from tinytales_tui.report import report
app = typer.Typer()
app.command()(bench)
sys.exit(report(lambda: app(sys.argv[1:], standalone_mode=False)))
"""


def call(*arguments: str) -> int:
    app = typer.Typer()
    app.command()(bench)
    return report(lambda: app(list(arguments), prog_name="tinytales-tui bench", standalone_mode=False))


def tell(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = call(*arguments)
    heard = capsys.readouterr()
    assert "Traceback" not in heard.err
    return code, heard.out, heard.err


def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=engine_environment() | environment,
    )


@pytest.fixture(scope="module")
def measured(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, str, str]:
    """Exit code, standard output and standard error, with one checkpoint that there is and one that there is not."""
    home, compiled = tmp_path_factory.mktemp("home"), tmp_path_factory.getbasetemp().parent / "compiled"
    compiled.mkdir(mode=0o700, exist_ok=True)
    (home / "cache").mkdir()
    (home / "cache" / "kernels").symlink_to(compiled)  # compiled once for all tests
    limits = ("--quick", "--tokens", "4", "--device", "cpu", "--threads", "1", "--json")
    running = start(str(tiny_checkpoint), "/no/such/checkpoint", *limits, TINYTALES_HOME=str(home))
    out, err = running.communicate(timeout=240)
    assert "Traceback" not in err
    return running.returncode, out, err


def test_a_checkpoint_that_cannot_be_opened_is_told_and_the_others_go_on(measured: tuple[int, str, str]) -> None:
    code, out, err = measured
    whole = json.loads(out)
    assert code == 1 and len(whole["checkpoints"]) == 1
    told = [line for line in err.splitlines() if "There is no checkpoint at" in line]
    assert len(told) == 1 and told[0].startswith("/no/such/checkpoint: ")
    assert [(one["checkpoint"], one["kind"]) for one in whole["failed"]] == [("/no/such/checkpoint", "CheckpointError")]


def test_the_object(measured: tuple[int, str, str], tiny_checkpoint: Path) -> None:
    whole = json.loads(measured[1])
    assert whole.keys() == {"machine", "settings", "checkpoints", "failed", "method"} and whole["method"] == METHOD
    assert {"processor", "cores", "memory_bytes", "python", "load_average", "busy"} <= whole["machine"].keys()
    assert whole["settings"]["tokens"] == 4 and whole["settings"]["sampling"]["top_k"] == 50
    (found,) = whole["checkpoints"]
    assert found["source"] == str(tiny_checkpoint) and found["torch"] and found["threads"] == 1
    assert [(row["step"], row["precision"], row["batch"]) for row in found["rows"]] == [
        (step, precision, batch) for step, precision in kinds((), ()) for batch in (1, 4, 16)
    ]
    for row in found["rows"]:
        assert (row["program"], row["threads"], row["tokens"]) == ("tinytales-tui", 1, 4)
        figures = [row["load_s"], row["ttft_s"], row["decode_tokens_per_s"]]
        figures += [row["prefill_tokens_per_s"]] if row["batch"] == 1 else []
        for figure in figures:
            assert 0 < figure["min"] <= figure["median"] <= figure["max"]
        assert (row["prefill_tokens_per_s"] is None) == (row["batch"] > 1)
        assert row["memory_bytes"] > 0 and row["floor_share"] > 0 and 1 <= row["runs"] <= whole["settings"]["repeats"]
        steps = row["decode_tokens_per_s"]["median"] / row["batch"]
        assert row["floor_share"] == pytest.approx(steps * row["weight_bytes"] / row["read_bytes_per_s"], rel=0.01)
    wide, narrow = found["rows"][0], found["rows"][3]
    assert wide["weight_bytes"] == 2 * narrow["weight_bytes"]
    assert found["training"]["tokens_per_s"]["median"] > 0 and found["training"]["context"] == 256


@pytest.mark.parametrize("others", [False, True])
def test_the_table_fits_eighty_columns(measured: tuple[int, str, str], others: bool) -> None:
    whole: dict[str, Any] = json.loads(measured[1])
    (found,) = whole["checkpoints"]
    if others:
        nothing = {"step": None, "load_s": None, "prefill_tokens_per_s": None, "floor_share": None}
        found["rows"].append(found["rows"][0] | nothing | {"program": "transformers", "precision": "bfloat16"})
        found["ratios"] = [
            {"precision": "bf16", "step": step, "program": "transformers", "their_precision": "bfloat16", "times": times}
            for step, times in (("plain", 1.25), ("compiled", 5.0), ("plain", 2.0))
        ]
    lines = in_words(whole, 80)
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    for part in ("load average", "1 thread", "precision", "batch", "tokens/s", "first", "floor", "Training:", "--json"):
        assert part in text
    (header,) = (line for line in lines if line.startswith(("step", "program")))
    assert header.split()[-1] == "floor" and {"batch", "tokens/s", "first"} <= set(header.split())
    assert others or {"prompt/s", "load", "memory"} <= set(header.split())
    assert [line for line in lines if "times as fast" in line] == [
        "compiled bf16 is 5 times as fast as transformers bfloat16, batch 1"
    ] * others


def test_the_words_of_a_checkpoint_steer_no_terminal(measured: tuple[int, str, str]) -> None:
    whole = json.loads(measured[1])
    whole["checkpoints"][0]["name"] = "bad\x1b[2Jname\nand more"
    lines = in_words(whole, 80)
    assert not any("\x1b" in line or "\n" in line for line in lines) and any("name and more" in line for line in lines)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--against", "nanogpt"), "--against knows transformers and llama.cpp, and not 'nanogpt'."),
        (("--tokens", "1"), "--tokens"),
        (("--threads", "0"), "--threads"),
        (("--step", "fast"), "--step knows plain and compiled, and not 'fast'."),
        (("--step", "plain", "--precision", "int8"), "The plain step has no precision int8; leave --step out."),
    ],
)
def test_wrong_usage(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str) -> None:
    code, out, err = tell(capsys, *arguments)
    assert code == 2 and out == "" and says in err and len(err.splitlines()) == 1


@pytest.mark.skipif(importlib.util.find_spec("llama_cpp") is not None, reason="llama_cpp is installed")
def test_a_program_that_is_not_installed_is_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = tell(capsys, "--against", "llama.cpp")
    assert code == 2 and out == "" and "pip install llama-cpp-python" in err and len(err.splitlines()) == 1


def test_where_nothing_can_be_measured_there_is_no_table(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, err = tell(capsys, str(tmp_path / "nothing"), "--quick", "--quiet")
    assert code == 1 and out == "" and err.count("There is no checkpoint at") == 1


def test_ctrl_c_ends_it_and_leaves_no_process(tiny_checkpoint: Path) -> None:
    running = start(str(tiny_checkpoint), "--tokens", "4096", "--device", "cpu", "--threads", "1")
    children: list[psutil.Process] = []
    while not children and running.poll() is None:
        children = psutil.Process(running.pid).children()
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=LONG)
    assert running.returncode == 130 and out == "" and "Traceback" not in err
    gone, left = psutil.wait_procs(children, timeout=LONG)
    assert gone and not left
