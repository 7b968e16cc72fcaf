"""The app with the real engine worker and the model that travels with the package."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

import engine
from tinytales_tui.app import TinyTalesApp
from tinytales_tui.options import AppOptions

CHECKPOINT = Path(engine.__file__).parent / "default_checkpoint" / "model.safetensors"
pytestmark = pytest.mark.skipif(not CHECKPOINT.exists(), reason="this source folder has no model in it")


async def until(pilot, condition) -> None:
    async with asyncio.timeout(120):  # the first import of torch on a busy machine
        while not condition():
            await pilot.pause(0.05)
    await pilot.pause()


async def test_a_sitting_with_the_real_engine() -> None:
    app = TinyTalesApp(AppOptions(device="cpu"))
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: app.screen.checkpoint)
        screen = app.screen
        desk = screen.desk
        assert screen.panel.settings().temperature == screen.checkpoint.sampling.temperature
        screen.query_one("#seed").focus()
        await pilot.press("7", "enter")
        screen.query_one("#topic").focus()
        await pilot.press(*"a lost dog", "enter")
        await until(pilot, lambda: desk.record and not desk.writing)
        first = desk.record
        assert first.tokens > 10
        assert first.seed == 7
        assert first.tokens_per_s > 0
        assert first.ttft_s > 0
        assert screen.page.text.strip() == first.story.strip()

        await pilot.press("ctrl+r")
        await until(pilot, lambda: len(desk.tree.nodes) == 2 and not desk.writing)
        assert desk.record.story == first.story  # the seed is locked

        await pilot.press("ctrl+g")
        await until(pilot, lambda: len(desk.tree.nodes) == 3 and desk.record.tokens > 2)
        os.kill(app.engine.pid, signal.SIGKILL)
        await until(pilot, lambda: not desk.writing and app.engine.pid is None)
        assert desk.record.full_text.startswith(first.full_text)

        kept = desk.record.full_text
        await pilot.press("ctrl+g")  # the next request starts the engine again
        await until(pilot, lambda: len(desk.tree.nodes) == 4 and not desk.writing and desk.record.tokens > 0)
        assert desk.record.full_text.startswith(kept)
