"""The form that starts a run, without a screen: its fields, its sentences, its command line, its estimate."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from rich.style import Style

from engine.errors import TinyTalesError
from engine.training.recipes import load_recipe, recipe_names
from engine.training.settings import options
from tinytales_tui import paths
from tinytales_tui.run_plan import planned_settings
from tinytales_tui.train.new_run.completing import complete
from tinytales_tui.train.new_run.estimate_panel import figures_text
from tinytales_tui.train.new_run.estimating import Estimate, Machine, Stopped, lines, look_at_machine
from tinytales_tui.train.new_run.run_form import Heading, RunForm, command, estimate_command, read_recipes, rows

FIGURES = {
    "parameters": 5_700_000, "trained_parameters": 5_700_000, "context": 512, "stories": 20_000, "device": "cpu", "precision": "fp32",
    "steps": 8000, "steps_an_epoch": 1600, "epochs": 5.0, "tokens_a_step": 3600, "padding_share": 0.1, "tokens": 28_800_000,
    "seconds_a_step": 0.975, "tokens_per_s": 3692.3, "seconds_a_validation": 3.0, "seconds": 7800.0, "peak_memory_bytes": 2_000_000_000,
    "checkpoint_bytes": 20_000_000, "state_bytes": 60_000_000, "measured_steps": 10,
}  # fmt: skip


@pytest.fixture
def form() -> RunForm:
    return RunForm(read_recipes("default"), "default")


def filled(form: RunForm, **texts: str) -> RunForm:
    for key, text in texts.items():
        form = form.with_text(key, text)
    return form


def test_every_training_setting_has_its_line(form: RunForm) -> None:
    keys = [about.key for about in form.fields]
    assert sorted(keys) == sorted([*options(), "recipe", "name"])
    assert set(form.by_key["recipe"].choices) == set(recipe_names())


def test_a_recipes_values_stand_in_the_fields(form: RunForm) -> None:
    settings = load_recipe("default", {})
    assert form.text("learning_rate") == f"{settings.learning_rate:g}" and form.text("compile") == "off"
    assert shlex.split(form.text("sample_prompts")) == list(settings.sample_prompts)
    assert form.text("epochs") == "" and not form.changed and not form.problems
    assert command(form.request()) == ["tinytales-tui", "train", "--recipe", "default"]


def test_what_was_typed_stays_when_the_recipe_changes(form: RunForm) -> None:
    other = filled(form, learning_rate="0.003", steps="12", recipe="nano")
    assert (other.text("learning_rate"), other.text("steps")) == ("0.003", "12")
    assert other.text("batch_tokens") == "4096" and other.text("model") == "nano"
    same = filled(form, learning_rate="0.001", recipe="nano")  # what the other recipe has anyway
    assert "learning_rate" not in same.changed and "--learning-rate" not in command(same.request())
    assert "learning_rate" in same.with_text("recipe", "default").changed


def test_an_empty_field_and_the_recipes_own_value_change_nothing(form: RunForm) -> None:
    assert filled(form, steps="9").with_text("steps", " ").text("steps") == "8000"
    assert not filled(form, steps="8000", learning_rate="2e-3", compile="off").changed
    assert filled(form, epochs="2").text("steps") == ""  # the recipe's own length gives way
    assert filled(form, name="a\0b").text("name") == "ab"


@pytest.mark.parametrize(
    ("key", "text", "sentence"),
    [
        ("steps", "12x", "steps must be a whole number, not '12x'."),
        ("steps", "0", "steps must be at least 1 and at most"),
        ("learning_rate", "2", "learning-rate must be above 0 and at most 1, and 2 is not."),
        ("learning_rate", "nan", "learning-rate must be above 0"),
        ("steps", "9" * 5000, "whole number"),
        ("sample_prompts", "'a cat", "A quotation mark is not closed."),
        ("name", "../x", "cannot be the name of a run"),
        ("heads", "5", "divided"),
    ],
)
def test_limits_are_said_in_the_trainers_own_words(form: RunForm, key: str, text: str, sentence: str) -> None:
    problems = filled(form, **{key: text}).problems
    assert list(problems) == [key] and sentence in problems[key]


def test_what_only_fails_together(form: RunForm) -> None:
    assert "not in both" in filled(form, steps="5", epochs="2").problems["steps"]
    assert "needs a checkpoint" in filled(form, lora_rank="4").problems["lora_rank"]
    assert not filled(form, lora_rank="4", start_from="default").problems
    assert "needs width" in filled(form, recipe="nano", model="llama").problems["model"]


def test_a_recipe_that_cannot_be_used(tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text("steps = ")
    form = RunForm(read_recipes(str(bad)), str(bad))
    assert "not valid TOML" in form.problems["recipe"] and not form.with_text("recipe", "nano").problems


def test_the_command_line_asks_for_the_same(form: RunForm, tmp_path: Path) -> None:
    """What the form shows, typed into a shell, makes a run with exactly the form's settings."""
    stories = tmp_path / "my stories.txt"
    stories.write_text("Once upon a time there was a cat.\n<|endoftext|>\n" * 50)
    whole = filled(
        form, recipe="nano", data=shlex.join([str(stories), "storybook:50"]), name="-odd name", start_from="default", steps="7",
        learning_rate="1e-4", compile="on", layout="stories", threads="1", lora_rank="2", device="cpu",
        sample_prompts=shlex.join(["sad: a lost dog", "[1]", "-x"]),
    )  # fmt: skip
    assert not whole.problems
    shown = shlex.join(command(whole.request(), (sys.executable, "-m", "tinytales_tui")))
    done = subprocess.run([*shlex.split(shown), "--no-start"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    config = json.loads((paths.runs_folder() / "-odd name" / "config.json").read_text())
    ours = json.loads(json.dumps(planned_settings(whole.request()).to_json()))
    assert config["settings"] == ours and ours["steps"] == 7 and ours["sample_prompts"] == ["sad: a lost dog", "[1]", "-x"]
    assert estimate_command(whole.request())[-2:] == ["--dry-run", "--json"] and "--name=-odd name" not in estimate_command(
        whole.request()
    )


def test_groups_fold_and_words_find(form: RunForm) -> None:
    folded = rows(form, frozenset(), "")
    assert [row.group for row in folded if isinstance(row, Heading)][:2] == ["Data", "Model"]
    opened = rows(filled(form, beta1="0.8"), frozenset({"Optimizer"}), "")
    heading = next(row for row in opened if isinstance(row, Heading) and row.group == "Optimizer")
    assert heading.open and heading.changed == 1 and len(opened) == len(folded) + heading.count
    found = {row.key for row in rows(form, frozenset(), "LEARNING rate") if not isinstance(row, Heading)}
    assert {"learning_rate", "final_learning_rate", "warmup_steps"} <= found and "seed" not in found
    assert rows(form, frozenset(), "no such words") == []


def test_completion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paths.ensure(paths.data_sets_folder() / "tales")
    (tmp_path / "stories.txt").touch()
    (tmp_path / "two words.txt").touch()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / ".hidden").touch()
    assert complete("data", "sto") == "storybook"
    assert complete("data", "storybook ta") == "storybook tales"
    assert complete("data", "stori") == "stories.txt" and complete("data", f"{tmp_path}/su") == f"{tmp_path}/sub/"
    assert complete("start_from", "de") == "default" and complete("start_from", "two") == "two words.txt"
    for key, text in (
        ("data", "two"),
        ("data", ""),
        ("data", "sub/"),
        ("data", "nowhere/x"),
        ("data", "~nobody-here/x"),
        ("seed", "1"),
    ):
        assert complete(key, text) is None, (key, text)


def test_figures_for_a_person() -> None:
    shown = {line.name: line for line in lines(FIGURES, Machine(4_000_000_000, 100_000_000_000))}
    assert shown["time"].words == "about 2 h 10 min" and "3,692 tokens/s on cpu" in shown["speed"].words
    assert shown["length"].words == "8,000 steps, 5.00 passes" and not any(line.warning for line in shown.values())
    scarce = {line.name: line for line in lines(FIGURES, Machine(1_000_000_000, 200_000_000))}
    assert scarce["memory"].warning and scarce["disk"].warning and "1.0 GB free" in scarce["memory"].words
    kept = {line.name: line for line in lines(FIGURES, Machine(None, 10**9), keep_every=100)}
    assert kept["disk"].warning and kept["memory"].words == "2.0 GB"
    gpu = {line.name: line for line in lines(FIGURES | {"device": "cuda:0"}, Machine(1, 1))}
    assert not gpu["memory"].warning
    with pytest.raises(TinyTalesError, match="another version"):
        lines({"steps": 3}, Machine(None, None))


def test_figures_in_one_column_and_in_two() -> None:
    all_lines = lines(FIGURES, Machine(1_000_000_000, 10**12))
    for width in (20, 46, 76, 150):
        text = figures_text(all_lines, width, False, Style(), Style()).plain
        assert all(line.words in text for line in all_lines) and "! 2.0 GB (1.0 GB free)" in text
        assert len(text.splitlines()) == (len(all_lines) if width < 70 else 4)


def test_the_machine_is_looked_at_where_the_runs_will_lie(tmp_path: Path) -> None:
    machine = look_at_machine(tmp_path / "not" / "there" / "yet")
    assert machine.free_disk and machine.free_memory


def test_the_form_needs_no_torch_and_its_logic_no_textual() -> None:
    script = (
        "import sys, tinytales_tui.train.new_run.run_form, tinytales_tui.train.new_run.estimating\n"
        "import tinytales_tui.train.new_run.completing\nprint('textual' in sys.modules)\n"
        "import tinytales_tui.train.new_run.screen\nprint('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.split() == ["False", "False"]


def python(script: str, said: list[str] | None = None) -> Estimate:
    return Estimate([sys.executable, "-c", script], (said if said is not None else []).append)


def test_a_child_that_refuses_says_why() -> None:
    said: list[str] = []
    script = "import sys; print('reading', file=sys.stderr); sys.exit('tinytales-tui: There is no \\x1b[31m red file.')"
    with pytest.raises(TinyTalesError) as caught:
        python(script, said).measure()
    assert str(caught.value) == "There is no [31m red file." and said[0] == "reading"
    for script, words in (("import sys; sys.exit(3)", "exit code 3"), ("print('no figures')", "without a word")):
        with pytest.raises(TinyTalesError, match=words):
            python(script).measure()
    with pytest.raises(TinyTalesError, match="cannot be started"):
        Estimate(["/nowhere/at/all"], said.append).measure()
    assert python("print('{\"steps\": 3}')").measure() == {"steps": 3}


def test_stopping_ends_the_child_its_children_and_its_files() -> None:
    said: list[str] = []
    script = (
        "import subprocess, sys, tempfile, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, tempfile.mkdtemp(), file=sys.stderr, flush=True)\ntime.sleep(600)"
    )
    estimate = python(script, said)
    ended: list[type[BaseException]] = []

    def measure() -> None:
        try:
            estimate.measure()
        except Stopped:
            ended.append(Stopped)

    thread = threading.Thread(target=measure)
    thread.start()
    end = time.monotonic() + 30
    while not said:
        assert time.monotonic() < end and thread.is_alive()
        time.sleep(0.02)
    number, folder = said[0].split()
    assert psutil.pid_exists(int(number)) and os.path.isdir(folder)
    estimate.stop()
    thread.join(30)
    assert ended == [Stopped] and estimate.pid and not psutil.pid_exists(estimate.pid)
    assert not psutil.pid_exists(int(number)) or psutil.Process(int(number)).status() == psutil.STATUS_ZOMBIE
    assert not os.path.exists(folder)
    estimate.stop()  # twice is once
    late = python("print('{}')")
    late.stop()
    with pytest.raises(Stopped):
        late.measure()
