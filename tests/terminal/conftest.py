"""Every test here has a data folder of its own and, where it opens the app, a scripted worker in place of the engine."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
WORKER = HERE / "scripted_worker.py"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder; nothing of the machine's own terminal, desktop or settings reaches a test."""
    folder = tmp_path / "home"
    monkeypatch.setenv("TINYTALES_HOME", str(folder))
    monkeypatch.setenv("PYTHONPATH", str(HERE.parents[1]))
    monkeypatch.setenv("LANG", "C.UTF-8")
    for name in (
        "TMUX",
        "SSH_CONNECTION",
        "SSH_TTY",
        "SSH_CLIENT",
        "NO_COLOR",
        "LC_ALL",
        "LC_CTYPE",
        "DISPLAY",
        "WAYLAND_DISPLAY",
    ):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def make_app(home: Path) -> Callable:
    """`make_app("--rate", "100", theme=...)`: an app with a scripted worker of these switches."""

    def make(*switches: str, **options: object):
        from tinytales_tui.app import TinyTalesApp
        from tinytales_tui.options import AppOptions

        return TinyTalesApp(AppOptions(worker_command=(sys.executable, str(WORKER), *switches), **options))

    return make


@pytest.fixture
def until() -> Callable:
    """`await until(pilot, condition)`: go on as soon as the condition holds, fail after 20 seconds."""

    async def wait(pilot, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await pilot.pause(0.02)
        await pilot.pause()

    return wait


@pytest.fixture
def screen_text() -> Callable:
    """What the screen shows, as lines of text."""

    def lines(app) -> list[str]:
        strips = app.screen._compositor.render_strips()
        return ["".join(segment.text for segment in line) for line in strips]

    return lines
