"""Fixtures for tests of the Checkpoints pane, named there as a plugin: the places where checkpoints lie, and the pane on top of them."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from checkpoint_pane import Places
from made_cache import MadeCache


@pytest.fixture
def places(tmp_path: Path, runs: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    """Nothing in them yet but the shipped checkpoint and one folder to add."""
    from huggingface_hub import constants

    home = tmp_path / "hf"
    monkeypatch.setenv("HF_HOME", str(home))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))  # read once, when the library is imported
    folder = tmp_path / "mine"
    shutil.copytree(tiny_checkpoint, folder)
    return Places(MadeCache(home / "hub"), runs, folder, tiny_checkpoint)


@pytest.fixture
def pane(make_app: Callable, until: Callable, screen_text: Callable, places: Places) -> Callable:
    """`async with pane(size, **options) as (pilot, text)`: the app with its Checkpoints pane open, everything looked through."""

    @contextlib.asynccontextmanager
    async def start(size: tuple[int, int] = (100, 30), **options: Any) -> AsyncIterator[tuple[Any, Callable[[], str]]]:
        app = make_app(pane="checkpoints", **options)
        async with app.run_test(size=size) as pilot:
            screen = app.screen
            await until(pilot, lambda: screen.shelf is not None and screen.shelf.looks and screen._downloads is not None)
            screen.draw()
            await pilot.pause()
            yield pilot, lambda: "\n".join(screen_text(app))

    return start
