"""The other commands, and what each part of the program may import."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from engine.version import __version__


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "tinytales_tui", *arguments], capture_output=True, text=True, timeout=120)


def modules_after(code: str) -> set[str]:
    """Names of the modules that are loaded once `code` has run in a fresh interpreter."""
    script = f"import sys\n{code}\nprint('\\nMODULES', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_the_engine_never_imports_textual() -> None:
    folder = Path(__file__).parents[2] / "engine"
    names = [".".join(path.relative_to(folder.parent).with_suffix("").parts) for path in sorted(folder.rglob("*.py"))]
    assert len(names) > 25
    loaded = modules_after("import importlib\nfor name in " + repr(names) + ": importlib.import_module(name)")
    assert "torch" in loaded and not loaded & {"textual", "tinytales_tui", "rich", "typer"}


def test_the_app_never_imports_torch() -> None:
    folder = Path(__file__).parents[2] / "tinytales_tui"
    names = [".".join(path.relative_to(folder.parent).with_suffix("").parts) for path in sorted(folder.rglob("*.py"))]
    loaded = modules_after("import importlib\nfor name in " + repr(names) + ": importlib.import_module(name)")
    assert "textual" in loaded and "tinytales_tui.app" in loaded
    assert not loaded & {"torch", "transformers", "huggingface_hub", "safetensors"}


def test_the_app_starts_without_numpy_and_without_the_panes_that_are_not_open() -> None:
    loaded = modules_after("import tinytales_tui.app, tinytales_tui.start, tinytales_tui.cli")
    assert "textual" in loaded
    assert not any(name == "numpy" or name.startswith(("tinytales_tui.train.", "tinytales_tui.plot")) for name in loaded)


def test_nothing_of_the_engine_that_is_followed_or_read_knows_the_screen() -> None:
    folder = Path(__file__).parents[2] / "engine"
    parts = [folder / "growing_files.py", folder / "run_digest.py", *sorted((folder / "watching").rglob("*.py"))]
    names = [".".join(path.relative_to(folder.parent).with_suffix("").parts) for path in parts]
    loaded = modules_after("import importlib\nfor name in " + repr(names) + ": importlib.import_module(name)")
    assert "engine.watching.follower" in loaded
    assert not loaded & {"torch", "textual", "rich", "typer"}


def test_a_prompt_never_imports_textual(tiny_checkpoint: Path) -> None:
    arguments = ["--prompt", "a cat", "--checkpoint", str(tiny_checkpoint), "--max-tokens", "3", "--device", "cpu"]
    loaded = modules_after(f"from tinytales_tui.cli import run\nassert run({arguments!r}) == 0")
    assert "torch" in loaded and not any(name.split(".")[0] in ("textual", "transformers", "huggingface_hub") for name in loaded)


@pytest.mark.parametrize(
    "module",
    [
        "settings",
        "interrupt",
        "protocol",
        "runs",
        "hub",
        "tokenizer",
        "prompts",
        "files",
        "text_stream",
        "training.recipes",
        "run_view",
        "run_actions",
        "evaluation.endings",
        "evaluation.measures",
        "data.held_out",
        "data.plan",
        "training.settings",
        "training.launch",
        "training.watchdog",
        "checkpoints.glance",
    ],
)
def test_what_stands_below_torch_does_not_import_it(module: str) -> None:
    assert "torch" not in modules_after(f"import engine.{module}")


def test_version_and_help() -> None:
    assert run("--version").stdout == f"tinytales-tui {__version__}\n"
    shown = run("--help")
    assert shown.returncode == 0
    for word in ("--prompt", "--ending", "--install-completion", "doctor", "train", "evaluate", "runs"):
        assert word in shown.stdout
    for command in ("doctor", "train", "evaluate", "runs"):
        assert run(command, "--help").returncode == 0


def test_completion_can_be_shown() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from tinytales_tui.cli import app; app(prog_name='tinytales-tui')"],
        env={"_TINYTALES_TUI_COMPLETE": "complete_bash", "COMP_WORDS": "tinytales-tui do", "COMP_CWORD": "1", "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split() == ["doctor"], done.stderr


def test_doctor_finds_this_installation_healthy() -> None:
    done = run("doctor")
    assert done.returncode == 0, done.stdout
    assert "All that is needed works." in done.stdout
    report = json.loads(run("doctor", "--json").stdout)
    checks = {check["name"]: check for check in report["checks"]}
    assert report["healthy"] and set(checks) == {
        "program",
        "Python",
        "torch",
        "device",
        "terminal",
        "data folder",
        "Hub cache",
        "compiled step",
        "story model",
    }
    assert checks["story model"]["facts"]["sentence"] and checks["torch"]["facts"]["cores"] >= 1


def test_doctor_says_what_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TINYTALES_HOME", str(tmp_path / "file" / "below"))
    done = run("doctor")
    assert done.returncode == 1 and "! " in done.stdout and "broken" in done.stdout and "Traceback" not in done.stderr


def test_no_line_of_the_terminal_imports_torch_and_none_of_the_engine_textual() -> None:
    """Not in a function either: what needs torch is the engine's."""
    root = Path(__file__).parents[2]
    for package, foreign in (("tinytales_tui", "torch"), ("engine", "textual")):
        for path in (root / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                assert foreign not in {name.partition(".")[0] for name in names}, path
