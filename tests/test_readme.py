"""What the README promises: that CI runs its test line, and that its examples are real options and settings."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINES = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines() if line]


def test_ci_runs_the_test_line_as_it_stands() -> None:
    test_line = next(line for line in LINES if line.startswith("python3") and "pytest" in line)
    assert test_line in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_the_pictures_and_files_it_points_to_are_there() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", README):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target


def test_its_options_exist() -> None:
    typed = [line.split()[1:3] for line in LINES if line.startswith("tinytales-tui ") and not line.split()[1].startswith("-")]
    groups = {"runs", "data", "checkpoints", "stories", "engine"}
    commands = ["", *sorted({" ".join(words[: 1 + (words[0] in groups)]) for words in typed})]
    asked = [*([*command.split(), "--help"] for command in commands), ["train", "--settings"]]
    code = f"from tinytales_tui.cli import run\nfor arguments in {asked!r}: run(arguments)"  # one process for all of them
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=ROOT).stdout
    for line in LINES:
        if line.startswith("tinytales-tui "):
            for option in re.findall(r"(?<= )--[a-z-]+", line):
                assert option in shown, option


def test_the_python_example_runs() -> None:
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert code
    done = subprocess.run([sys.executable, "-c", code[1]], capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == 0 and len(done.stdout) > 100, done.stderr
