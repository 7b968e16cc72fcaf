"""The Library pane, driven with keys: what is listed and found, what is noted and put away, what goes out and comes in."""

from __future__ import annotations

import contextlib
import json
import time
import zipfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from checkpoint_pane import toasts
from library.made_stories import generated, small_story

from tinytales_tui import paths
from tinytales_tui.library.pane.asking import Asked, places, with_tag
from tinytales_tui.library.pane.screen import LibraryScreen
from tinytales_tui.library.store import Library
from tinytales_tui.library.story import Story
from tinytales_tui.library.tree import Tree

SIZES = [(80, 24), (120, 40), (60, 20)]


@pytest.fixture
def library(home: Path) -> Library:
    """The library of this data folder, as another process would hold it."""
    home.mkdir()
    with Library.open(paths.library_file()) as opened:
        yield opened


@pytest.fixture
def some(library: Library) -> list[Story]:
    """Three stories, the first changed last; the third says "owl" only in a branch that is not in front."""
    now = time.time()
    owls = small_story("a cat")
    owls = generated(owls, None, "An owl sat on the [b]roof[/b].", topic="a cat").go(owls.current)
    trees = [small_story("a lost dog").change(3, rating=4), small_story("the \x1b[31mred [b]boat"), owls]
    return [
        library.add(tree, tags=tags, created=now - 90_000 + at, changed=now - at * 40_000, favourite=at == 1)
        for at, (tree, tags) in enumerate(zip(trees, ([], ["bedtime"], ["bedtime", "for ada"]), strict=True))
    ]


@pytest.fixture
def pane(make_app: Callable, until: Callable, screen_text: Callable) -> Callable:
    """`async with pane(size) as (pilot, text)`: the app with its Library pane open, and what it shows."""

    @contextlib.asynccontextmanager
    async def start(size: tuple[int, int] = (80, 24), **options: Any) -> AsyncIterator[tuple[Any, Callable[[], str]]]:
        app = make_app(pane="library", **options)
        async with app.run_test(size=size) as pilot:
            await until(pilot, lambda: app.screen.found is not None or app.screen.trouble)
            yield pilot, lambda: "\n".join(screen_text(app))

    return start


@pytest.fixture
def press(until: Callable) -> Callable:
    """`await press(pilot, *keys)`: until the pane has looked at the library again; `=text` is a text for the field."""

    async def keys(pilot: Any, *names: str) -> None:
        for name in names:
            if name.startswith("="):  # a whole text at once, as pasting does
                pilot.app.screen.focused.value = name[1:]
                await pilot.pause()
            else:
                await pilot.press(name)
        [screen] = [one for stack in pilot.app._screen_stacks.values() for one in stack if isinstance(one, LibraryScreen)]
        await until(pilot, lambda: not screen._looking and not [w for w in screen.workers if w.group in ("noting", "using")])

    return keys


def names(pilot: Any) -> list[str]:
    listed = pilot.app.screen_stack[0].list
    return [listed.line_of(id).name for id in listed.items]


def test_what_is_typed_becomes_what_is_wanted() -> None:
    asked = Asked('dragon tag:bedtime "a dark wood" #"for ada" tag:')
    assert asked.tags == ("bedtime", "for ada") and asked.words.split() == ["dragon", '"a', "dark", 'wood"']
    assert with_tag("dragon tag:bedtime", "for ada") == 'tag:"for ada" dragon' and with_tag("#x dragon", "") == "dragon"
    assert places("The thefts, the end", "the") == [(0, 3), (4, 7), (12, 15)] and places("a (b)", "(b)") == [(2, 5)]
    assert not places("bathe", "the") and not places("text", "")


@pytest.mark.parametrize("size", SIZES)
async def test_stories_stand_in_the_list_and_the_preview_as_plain_text(
    some: list[Story], pane: Callable, until: Callable, size
) -> None:
    async with pane(size) as (pilot, text):
        wide = size[0] >= 72
        assert names(pilot) == ["a lost dog", "the [31mred [b]boat", "a cat"]
        await until(pilot, lambda: ("A dog named Spot" in text()) is wide)
        shown = text()
        assert "3 stories" in shown and "last changed first" in shown and "★★★★" in shown and "\x1b" not in shown
        assert "[31mred [b]boat" in shown.replace("…", "")
        if wide:
            assert "4 of 5 stars" in shown and "with a sad ending" in shown and "bedtime" in shown
        if size == (120, 40):
            row = next(line for line in text().split("\n") if "a lost dog" in line)
            assert "name" in row  # the preview begins beside the head of the list


async def test_orders_and_favourites(some: list[Story], pane: Callable, press: Callable) -> None:
    async with pane() as (pilot, text):
        found = []
        for _ in range(5):
            await press(pilot, "s")
            found.append(names(pilot)[0])
        assert found == ["a cat", "a cat", "a cat", "a lost dog", "a lost dog"]  # created, name, words, rating, changed
        await press(pilot, "F")
        assert len(names(pilot)) == 1 and "1 of 3 stories" in text() and "only favourites" in text()
        await press(pilot, "f")
        assert names(pilot) == [] and "No favourites yet" in text()
        await press(pilot, "escape")
        assert len(names(pilot)) == 3


async def test_search_as_you_type(some: list[Story], pane: Callable, press: Callable, until: Callable) -> None:
    async with pane() as (pilot, text):
        await press(pilot, "slash", *"owl")
        assert names(pilot) == ["a cat"] and "1 of 3 stories" in text()
        await until(pilot, lambda: "In another branch: An owl sat" in text())
        tones = {tone for row in pilot.app.screen.preview._rows for tone, words in row if words == "owl"}
        assert tones == {"found"}
        await press(pilot, "enter", "down", "slash", "end", "s")  # the field has kept its words
        assert names(pilot) == [] and "No story has all of that" in text()
        await press(pilot, "escape")
        assert len(names(pilot)) == 3 and not pilot.app.screen.search_line.display
        await press(pilot, "slash", "=tag:bedtime boat", "down")
        assert names(pilot) == ["the [31mred [b]boat"]
        await press(pilot, "escape", "number_sign")
        await until(pilot, lambda: "for ada  1 story" in text())
        await press(pilot, "down", "down", "enter")
        assert names(pilot) == ["a cat"] and pilot.app.screen.asked.search == 'tag:"for ada"'


async def test_notes_reach_the_disk(some: list[Story], library: Library, pane: Callable, press: Callable) -> None:
    async with pane() as (pilot, _):
        await press(pilot, "f", "t", "=Sleep, x  y", "enter")
        await press(pilot, "r", "=Spot", "enter")
        await press(pilot)
        story = library.get(some[0].id)
        assert story.favourite and story.tags == ("sleep", "x y") and story.title == "Spot"
        assert names(pilot)[0] == "Spot"
        await press(pilot, "down", "space", "space", "t")  # of two: only what both have is shown, the rest is left alone
        assert pilot.app.screen.query_one("#line").value == "bedtime"
        await press(pilot, "=night", "enter")
        await press(pilot)
        assert [library.get(story.id).tags for story in some[1:]] == [("night",), ("for ada", "night")]
        await press(pilot, "escape", "home", "c")
        assert sorted(names(pilot))[:2] == ["Spot", "Spot (copy)"]
        copy = library.get(pilot.app.screen.list.highlighted)
        assert copy.title == "Spot (copy)" and copy.tree.nodes == some[0].tree.nodes


async def test_the_trash_and_the_way_back(
    some: list[Story], library: Library, pane: Callable, press: Callable, until: Callable
) -> None:
    async with pane() as (pilot, text):
        await press(pilot, "space", "space", "x")
        assert names(pilot) == ["a cat"]
        await until(pilot, lambda: "2 stories in the trash; u brings them back." in toasts(pilot))
        await press(pilot, "u")
        assert len(names(pilot)) == 3
        await until(pilot, lambda: "2 stories brought back." in toasts(pilot))
        await press(pilot, "home", "x", "T")
        assert names(pilot) == ["a lost dog"] and "Trash: 1 story" in text()
        await press(pilot, "enter", "D", "escape")
        assert library.get(some[0].id).trashed is not None
        await press(pilot, "D", "y")
        await press(pilot)
        assert library.count() == 2 and "The trash is empty." in text() and not library.lines([some[0].id])
        await press(pilot, "T")
        assert len(names(pilot)) == 2


async def test_export_and_import(some: list[Story], library: Library, pane: Callable, press: Callable, until: Callable) -> None:
    folder = paths.stories_folder()
    async with pane() as (pilot, text):
        await press(pilot, "e", "=x.html", "enter")
        await until(pilot, lambda: (folder / "x.html").exists() and len(pilot.app.screen_stack) == 1)
        assert "<h1>a lost dog</h1>" in (folder / "x.html").read_text("utf-8")
        await press(pilot, "e", "=x.html", "enter")
        await until(pilot, lambda: "x.html is there already" in text())
        await press(pilot, "escape", "down", "space", "space", "e")
        assert "2 marked" in text() and "all 3 listed" in text()
        await press(pilot, "shift+tab", "right", "right", "right", "enter")
        await until(pilot, lambda: (folder / "stories.epub").exists() and len(pilot.app.screen_stack) == 1)
        assert sum("story-" in name for name in zipfile.ZipFile(folder / "stories.epub").namelist()) == 2
        await press(pilot, "e", "=all.json", "shift+tab", "shift+tab", "right", "right", "enter")
        await until(pilot, lambda: (folder / "all.json").exists() and len(pilot.app.screen_stack) == 1)
        assert len(json.loads((folder / "all.json").read_text())["stories"]) == 3
        library.delete(some[0].id)
        await press(pilot, "i", "=nothing.json", "enter")
        await until(pilot, lambda: "There is no file" in text())
        await press(pilot, "=x.html", "enter")
        await until(pilot, lambda: "x.html, line 1: this is not JSON" in text())
        await press(pilot, "=all.json", "enter")
        await until(pilot, lambda: len(pilot.app.screen_stack) == 1 and library.count() == 3)
        await until(pilot, lambda: "1 story taken in, 2 were there already." in toasts(pilot))
        assert library.get(some[0].id).tree == some[0].tree


async def test_what_another_process_changes_is_seen(some: list[Story], library: Library, pane: Callable, until: Callable) -> None:
    async with pane() as (pilot, _):
        library.add(small_story("a new hat"))
        library.trash(some[2].id)
        await until(pilot, lambda: names(pilot) == ["a new hat", "a lost dog", "the [31mred [b]boat"])
        assert pilot.app.screen.list.highlighted == some[0].id  # the cursor stays with its story


async def test_a_story_is_read_and_opened(
    some: list[Story], pane: Callable, press: Callable, until: Callable, screen_text
) -> None:
    async with pane() as (pilot, text):
        await press(pilot, "v")
        await until(pilot, lambda: "page 1 of 1" in text())
        assert "He barked at the moon." in text() and "written by default" in text()
        await press(pilot, "escape", "enter")
        await until(pilot, lambda: pilot.app.current_mode == "write" and "He barked at the moon." in text())


async def test_thousands_of_stories_are_listed_by_what_is_in_sight(
    library: Library, pane: Callable, press: Callable, until
) -> None:
    library.add_all([Story("", Tree().write(None, f"Number {n}.", now=1.0), created=1.0, changed=1.0 + n) for n in range(600)])
    async with pane() as (pilot, text):
        assert "600 stories" in text() and "Number 599." in text() and len(pilot.app.screen.list._lines) <= 60
        await press(pilot, "end")
        await until(pilot, lambda: "Number 0." in text())
        for _ in range(8):
            await pilot.press("pageup")
            await pilot.pause()
        await until(pilot, lambda: all(pilot.app.screen.list.line_of(id) for id in pilot.app.screen.list.in_sight))
        assert len(pilot.app.screen.list._lines) < 400


@pytest.mark.parametrize("kept", [True, False])
async def test_an_empty_library_says_how_stories_come(home: Path, pane: Callable, press: Callable, kept: bool) -> None:
    home.mkdir()
    paths.settings_file().write_text(json.dumps({"keep_stories": kept}))
    async with pane(ascii=True) as (pilot, text):
        assert ("kept here\n" in text() or "kept here" in text()) is kept and ('"keep_stories" is false' in text()) is not kept
        await press(pilot, *"efrcxtuvs", "enter", "T")
        assert "The trash is empty." in text()


async def test_a_library_that_cannot_be_opened_is_a_sentence_until_it_can(home: Path, pane: Callable, until: Callable) -> None:
    paths.library_file().mkdir(parents=True)
    async with pane() as (pilot, text):
        await until(pilot, lambda: "cannot be used: it is a" in text() and "looks again by itself" in text())
        await pilot.press(*"efrcxtuvFTs", "enter")
        paths.library_file().rmdir()
        await until(pilot, lambda: pilot.app.screen.found is not None and not pilot.app.screen.trouble)
    paths.library_file().write_bytes(b"no database at all " * 100)
    async with pane() as (pilot, text):
        await until(pilot, lambda: "was damaged: it is kept as" in text())
