"""`tinytales-tui train` as a person types it: in the background, in the foreground, refused, measured, fine-tuned."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

TINY = (
    "--width 32 --heads 2 --layers 1 --mlp-width 64 --vocab-size 300 --context 64 --warmup-steps 1 --sample-every 0 --threads 1 "
    "--batch-tokens 512 --device cpu --precision fp32"
).split()


def run(*arguments: str, **how: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tinytales_tui", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **how)


def runs_folder() -> Path:
    return Path(os.environ["TINYTALES_HOME"]) / "runs"


def state(name: str) -> str:
    try:
        return json.loads((runs_folder() / name / "status.json").read_text())["state"]
    except OSError:
        return ""


def wait_for(name: str, *states: str) -> None:
    end = time.monotonic() + 60
    while state(name) not in states:
        assert time.monotonic() < end, (state(name), (runs_folder() / name / "output.log").read_text())
        time.sleep(0.1)


def test_a_run_trains_in_the_background_and_is_written_with(tmp_path: Path) -> None:
    done = run("train", "--data", "storybook:300", "--name", "mine", "--steps", "6", "--evaluate-every=3", *TINY)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "mine\n" and "tinytales-tui watch mine" in done.stderr
    wait_for("mine", "finished", "failed")
    shown = json.loads(run("runs", "show", "mine", "--json").stdout)
    assert (shown["state"], shown["step"]) == ("finished", 6)
    assert "synthetic" in (runs_folder() / "mine" / "output.log").read_text()
    card = json.loads((runs_folder() / "mine" / "checkpoints" / "best" / "tinytales.json").read_text())
    assert card["synthetic_data"] is True
    written = run("--prompt", "a red kite", "--checkpoint", str(runs_folder() / "mine"), "--max-tokens", "5", "--seed", "1")
    assert written.returncode == 0 and written.stdout
    again = run("train", "--data", "storybook:300", "--name", "mine", *TINY)
    assert again.returncode == 2 and "holds a training run already" in again.stderr
    longer = run("runs", "resume", "mine", "--set", "steps=9")
    assert longer.returncode == 0, longer.stderr
    wait_for("mine", "finished", "failed")
    assert json.loads(run("runs", "show", "mine", "--json").stdout)["step"] == 9
    exported = run("runs", "export", "mine", str(tmp_path / "out"), "--best")
    assert exported.returncode == 0 and (tmp_path / "out" / "model.safetensors").is_file()


def test_the_foreground_shows_progress_and_gives_the_best_checkpoint() -> None:
    done = run("train", "-f", "--data", "storybook:200", "--name", "here", "--set", "steps=4", "--no-compile", *TINY)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_dir() and "step 4/4" in done.stderr and "tokens/s" in done.stderr


def test_ctrl_c_in_the_foreground_ends_with_a_checkpoint() -> None:
    command = [
        sys.executable,
        "-m",
        "tinytales_tui",
        "train",
        "-f",
        "--data",
        "storybook:200",
        "--name",
        "cut",
        "--steps",
        "100000",
        *TINY,
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while not (runs_folder() / "cut" / "metrics.jsonl").exists():
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and out == "" and "Traceback" not in err
    assert state("cut") == "stopped" and any((runs_folder() / "cut" / "state").glob("*.json"))


def test_fine_tuning_from_a_checkpoint(tiny_checkpoint: Path) -> None:
    options = ["--recipe", "sft", "--from", str(tiny_checkpoint), "--data", "storybook:200", "--steps", "3", "--threads", "1"]
    done = run("train", "--foreground", "--name", "tuned", "--lora-rank", "2", "--device", "cpu", *options, "--too-long", "split")
    assert done.returncode == 0, done.stderr
    config = json.loads((runs_folder() / "tuned" / "config.json").read_text())
    assert config["model"]["width"] == 32 and config["settings"]["lora_rank"] == 2


def test_a_dry_run_measures_and_writes_nothing() -> None:
    done = run("train", "--dry-run", "--json", "--data", "storybook:300", "--epochs", "2", "--evaluate-every", "10", *TINY)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["steps"] == pytest.approx(2 * figures["steps_an_epoch"], abs=1)
    assert figures["seconds"] >= figures["steps"] * figures["seconds_a_step"] > 0
    assert figures["tokens_per_s"] == pytest.approx(figures["tokens_a_step"] / figures["seconds_a_step"], rel=0.1)
    assert figures["peak_memory_bytes"] > 1e7 and 0 <= figures["padding_share"] < 0.5
    text = run("train", "--dry-run", "--data", "storybook:300", "--steps", "50", *TINY).stdout
    for word in ("parameters", "tokens/s", "memory", "time", "padding"):
        assert word in text
    assert not runs_folder().exists()


def test_recipes_and_settings_are_listed() -> None:
    recipes = run("train", "--recipes").stdout
    assert all(name in recipes for name in ("default", "pretrain-30m", "sft-125m", "replica-33m", "llama-24m"))
    settings = run("train", "--settings", "--recipe", "llama-24m").stdout
    assert "--learning-rate" in settings and "Peak learning rate" in settings and "10000" in settings


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--name", "../x"], "cannot be the name"),
        (["--set", "steps"], "KEY=VALUE"),
        (["--set", "colour=red"], "colour"),
        (["--colour", "red"], "no option or setting --colour"),
        (["--stepz", "5"], "--steps"),
        (["--steps"], "needs a value"),
        (["--steps", "many"], "whole number"),
        (["--steps", "9" * 5000], "whole number"),
        (["--epochs", "1e400"], "at most"),
        (["--name", "x" * 300], "short"),
        (["--tokenizer", "nowhere.json"], "no tokenizer"),
        (["--recipe", "cake"], "no recipe"),
        (["stories.txt"], "--data"),
        (["--data", "gone.txt"], "gone.txt"),
        (["--from", "gone/from/here"], "no checkpoint"),
        (["--model", "bert"], "bert"),
        (["--layers", "2", "--heads", "3"], "divided"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_written(arguments: list[str], words: str) -> None:
    done = run("train", "--data", "storybook:100", *arguments)
    assert done.returncode in (1, 2) and words in done.stderr, done.stderr
    assert done.stderr.startswith("tinytales-tui: ") and len(done.stderr.splitlines()) == 1
    assert not runs_folder().exists()


def test_no_data_an_empty_folder_and_a_broken_checkpoint(tmp_path: Path, tiny_checkpoint: Path) -> None:
    assert "nothing to train on" in run("train").stderr
    (tmp_path / "empty").mkdir()
    assert run("train", "--data", str(tmp_path / "empty")).returncode == 2
    nothing = run("train", "--data", "storybook:100", "--from", str(tmp_path / "empty"))
    assert nothing.returncode == 1 and "holds no checkpoint" in nothing.stderr
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in tiny_checkpoint.iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    whole = (broken / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    done = run("train", "--data", "storybook:100", "--recipe", "sft", "--from", str(broken))
    assert done.returncode == 1 and "cut off" in done.stderr and not runs_folder().exists()


def test_data_for_another_vocabulary_are_refused_at_once() -> None:
    assert run("data", "prepare", "storybook:50", "--tokenizer", "gpt2", "--name", "words").returncode == 0
    done = run("train", "--data", "words", "--from", "default", "--recipe", "sft")
    assert done.returncode == 2 and "--tokenizer default" in done.stderr and not runs_folder().exists()
    assert run("data", "prepare", "storybook:50", "--tokenizer", "default", "--name", "own").returncode == 0
    assert run("train", "--data", "own", "--from", "default", "--recipe", "sft", "--no-start").returncode == 0


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TINYTALES_HOME", str(tmp_path / "file" / "below"))
    done = run("train", "--data", "storybook:100", *TINY)
    assert done.returncode == 2 and "cannot be written" in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_failure_in_the_background_is_told_by_the_run() -> None:
    done = run("train", "--data", "storybook:100", "--name", "bad", "--steps", "3", *TINY, "--device", "tpu")
    assert done.returncode == 0
    wait_for("bad", "failed")
    assert "no device 'tpu'" in json.loads((runs_folder() / "bad" / "status.json").read_text())["message"]
    assert "no device" in run("runs", "show", "bad").stdout


def test_starting_needs_no_torch() -> None:
    script = (
        "import sys\nfrom tinytales_tui.cli import run\n"
        "assert run(['train', '--data', 'storybook:50', '--no-start', '--name', 'x', '--recipe', 'nano']) == 0\n"
        "print('torch' in sys.modules, 'textual' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "False False", done.stderr
    assert "torchrun" in done.stderr
