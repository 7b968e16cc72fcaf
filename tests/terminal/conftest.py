"""Every test here has a data folder of its own and, where it opens the app, a scripted worker in place of the engine."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

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


@pytest.fixture
def runs(home: Path) -> Path:
    """The folder of the runs."""
    from tinytales_tui import paths

    return paths.runs_folder()


@pytest.fixture
def train_pane(make_app: Callable, until: Callable, screen_text: Callable) -> Callable:
    """`async with train_pane(size, **options) as (pilot, text)`: the app with its Train pane open and drawn."""

    @contextlib.asynccontextmanager
    async def start(size: tuple[int, int] = (100, 30), **options: Any) -> AsyncIterator[tuple[Any, Callable[[], str]]]:
        app = make_app(pane="train", **options)
        async with app.run_test(size=size) as pilot:
            screen = app.screen
            await until(
                pilot, lambda: screen.follower.listed and all(f.summary and f.loading is None for f in screen.follower.feeds)
            )
            screen._tick()
            await until(pilot, lambda: not screen.follower.feeds or screen.opened is not None)
            if screen.opened is not None:
                await until(pilot, lambda: screen.opened.table is not None and len(screen.opened.table))
                screen.draw()
            await pilot.pause()
            yield pilot, lambda: "\n".join(screen_text(app))

    return start
