"""The Write pane keeps its stories in the library: by themselves, at the end, and never in the writer's way."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import UsageError
from tinytales_tui import paths
from tinytales_tui.app import TinyTalesApp
from tinytales_tui.library.store import Library
from tinytales_tui.options import AppOptions
from tinytales_tui.settings import UiSettings


async def test_stories_of_a_sitting_are_in_the_library(make_app: Callable, until: Callable) -> None:
    app = make_app("--tokens", "12")
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press(*"a dog", "enter")
        await until(pilot, lambda: app.screen.desk.record and app.screen.desk.writing is None)
        await until(pilot, lambda: paths.library_file().exists() and not app.screen.keeper.wants(app.screen.desk.revision))
        for key in ("ctrl+r", "ctrl+g"):
            await pilot.press(key)
            await until(pilot, lambda: app.screen.desk.record.story and app.screen.desk.writing is None)
        shown = app.screen.desk.record.full_text
        await app.action_quit()
    with Library.open(paths.library_file()) as library:
        [line] = library.listing()
        story = library.get(line.id)
    assert story.text == shown and (story.topic, story.ending) == ("a dog", "happy")
    assert [(node.number, node.parent) for node in story.tree.nodes.values()] == [(1, None), (2, None), (3, 2)]
    assert all(len(node.tokens) == 12 and node.recipe.checkpoint == "default" for node in story.tree.nodes.values())


async def test_a_library_in_the_way_is_one_notice(make_app: Callable, until: Callable) -> None:
    paths.library_file().mkdir(parents=True)
    app = make_app("--tokens", "12")
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press(*"a dog", "enter")
        await until(pilot, lambda: app.screen.desk.record and app.screen.desk.writing is None)
        told = [app.screen.keep_now() for _ in range(3)]
        await pilot.press("ctrl+g")
        await until(pilot, lambda: app.screen.desk.record.before and app.screen.desk.writing is None)
        assert len(app.screen.desk.record.parts()) == 2
    said = [line for line in told if line]
    assert len(said) <= 1 and all("not in your library for now" in line for line in said)
    assert len(list(paths.autosave_folder().glob("*.json"))) == 1


async def test_nothing_is_kept_where_a_person_wants_none(make_app: Callable, until: Callable) -> None:
    paths.ensure(paths.data_folder())
    paths.settings_file().write_text(json.dumps({"keep_stories": False}))
    app = make_app("--tokens", "12")
    async with app.run_test(size=(100, 30)) as pilot:
        assert app.ui == dataclasses.replace(app.ui, keep_stories=False)
        await pilot.press(*"a dog", "enter")
        await until(pilot, lambda: app.screen.desk.record and app.screen.desk.writing is None)
        assert app.screen.keep_now() is None
        await app.action_quit()
    with pytest.raises(UsageError, match="keep_stories cannot be 3"):
        UiSettings(keep_stories=3)  # type: ignore[arg-type]
    assert not paths.library_file().exists() and len(list(paths.autosave_folder().glob("*.json"))) == 1


async def test_what_the_real_engine_wrote_can_be_replayed(tiny_checkpoint: Path) -> None:
    """A story, one that goes on from it and is stopped, and a retry in front: token for token, from the library alone."""
    app = TinyTalesApp(AppOptions(checkpoint=str(tiny_checkpoint), device="cpu", warm=False))
    async with app.run_test(size=(100, 30)) as pilot, asyncio.timeout(120):
        desk = app.screen.desk
        await pilot.press(*"a dog", "enter")
        while not (desk.record and desk.record.story and desk.writing is None):
            await pilot.pause(0.05)
        await pilot.press("ctrl+g")
        while not (len(desk.tree.nodes) == 2 and desk.record.tokens):
            await pilot.pause(0.01)
        await pilot.press("escape")
        while desk.writing is not None:
            await pilot.pause(0.05)
        shown = desk.record.full_text
        await app.action_quit()
    with Library.open(paths.library_file()) as library:
        story = library.get(library.listing()[0].id)
    assert story.text == shown
    one, two = story.tree.path(story.tree.current)
    assert one.recipe and len(one.recipe.sha256) == 64 and one.recipe.torch and one.recipe.threads and one.recipe.device == "cpu"
    command = [sys.executable, "-m", "tinytales_tui", "stories", "replay", story.id]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=120)
    counts = [len(one.tokens), len(two.tokens)]
    assert done.stdout == "".join(f"node {n}: the same, {count} tokens\n" for n, count in enumerate(counts, 1)), done.stderr
    assert done.returncode == 0 and min(counts) > 0
