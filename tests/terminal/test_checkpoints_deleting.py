"""Deleting in the Checkpoints pane: what is asked, what stays, the way back, and what is free once the program has ended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from checkpoint_pane import Places, names, toasts
from filelock import FileLock
from made_cache import commit_of, tree
from train_runs import press

from engine.catalog import holding
from engine.catalog.entries import Entry, Facts
from engine.hub import trash
from tinytales_tui.checkpoints.deleting import sort_out

pytest_plugins = ["checkpoint_fixtures"]


async def ask(pilot: Any, until: Callable, *keys: str) -> str:
    """Press these, and wait for the dialog; what it says."""
    await press(pilot, *keys)
    await until(pilot, lambda: len(pilot.app.screen_stack) == 2)
    return "\n".join([pilot.app.screen._title, *pilot.app.screen._sentences])


async def test_deleted_brought_back_and_deleted_for_good(places: Places, pane: Callable, until: Callable) -> None:
    places.download("someone/tiny")
    places.download("other/kept", 2)
    before = tree(places.cache.folder)
    async with pane() as (pilot, _):
        await press(pilot, "G")
        assert "Delete someone/tiny?" in await ask(pilot, until, "D")
        await press(pilot, "n")
        assert tree(places.cache.folder) == before
        await ask(pilot, until, "D")
        await press(pilot, "y")
        await until(pilot, lambda: "someone/tiny" not in names(pilot))
        assert "other/kept" in names(pilot)
        await press(pilot, "u")
        await until(pilot, lambda: "someone/tiny" in names(pilot))
        assert tree(places.cache.folder) == before
        await press(pilot, "u")
        assert "Nothing was deleted here" in toasts(pilot)
        await press(pilot, "G")
        await ask(pilot, until, "D")
        await press(pilot, "y")
        await until(pilot, lambda: "someone/tiny" not in names(pilot))
        assert list(places.cache.folder.parent.glob(".tinytales-trash/*"))
    left = [path.name for path in places.cache.folder.parent.rglob("*") if "someone" in path.name and ".locks" not in path.parts]
    assert left == []
    assert not list(places.cache.folder.parent.glob(".tinytales-trash/*"))


async def test_what_was_brought_back_elsewhere_gives_way_to_the_deletion_before(
    places: Places, pane: Callable, until: Callable
) -> None:
    places.download("someone/early")
    places.download("someone/late", 2)
    async with pane() as (pilot, _):
        for name in ("someone/late", "someone/early"):
            await press(pilot, "G")
            assert f"Delete {name}?" in await ask(pilot, until, "D")
            await press(pilot, "y")
            await until(pilot, lambda name=name: name not in names(pilot))
        trash.restore(trash.trashed()[0].id)  # as `checkpoints undo` does in another terminal
        await press(pilot, "u")
        await until(pilot, lambda: {"someone/late", "someone/early"} <= set(names(pilot)))
        assert "someone/late brought back." in toasts(pilot) and "nothing called" not in toasts(pilot)
        await press(pilot, "u")
        await until(pilot, lambda: "Nothing was deleted here" in toasts(pilot))


async def test_what_is_asked_for_during_a_deletion_waits_for_it(
    places: Places, pane: Callable, until: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trash, "WAIT", 60.0)
    places.download("someone/tiny")
    async with pane() as (pilot, _):
        await press(pilot, "G")
        await ask(pilot, until, "D")
        with FileLock(places.cache.folder / trash.LOCK):  # a slow disk
            await press(pilot, "y")
            await until(pilot, lambda: len(pilot.app.screen_stack) == 1)
            await press(pilot, "P", "u")
            assert "deleted" not in toasts(pilot) and "Nothing" not in toasts(pilot)
        await until(pilot, lambda: len(pilot.app.screen_stack) == 2)  # P has waited, and finds it in the trash
        assert "tiny deleted" in toasts(pilot) and len(trash.trashed()) == 1
        await press(pilot, "n")
        await until(pilot, lambda: "someone/tiny brought back." in toasts(pilot))
        assert trash.trashed() == []


async def test_the_trash_is_emptied_on_request(places: Places, pane: Callable, until: Callable) -> None:
    places.download("someone/tiny")
    async with pane() as (pilot, _):
        await press(pilot, "G")
        await ask(pilot, until, "D")
        await press(pilot, "y")
        await until(pilot, lambda: len(trash.trashed()) == 1)
        assert "In the trash: someone/tiny" in await ask(pilot, until, "P")
        await press(pilot, "y")
        await until(pilot, lambda: not trash.trashed())
        await press(pilot, "u")
        await until(pilot, lambda: "Nothing was deleted here" in toasts(pilot))


async def test_what_another_window_has_taken_into_use_meanwhile_stays(
    places: Places, pane: Callable, until: Callable, home: Path
) -> None:
    places.download("someone/tiny")
    async with pane() as (pilot, _):
        await press(pilot, "G")
        await ask(pilot, until, "D")
        holding.hold(home / holding.FOLDER, ["someone/tiny"], "the Write pane of another window")
        await press(pilot, "y")
        await until(pilot, lambda: "nothing was deleted" in toasts(pilot))
        await press(pilot, "D")
        await until(pilot, lambda: "is in use" in toasts(pilot))
        assert not trash.trashed()
        holding.let_go(home / holding.FOLDER)


async def test_marked_ones_go_together_and_the_bytes_are_those_that_will_be_free(
    places: Places, pane: Callable, until: Callable
) -> None:
    files = places.bytes_of()
    shared, own = files.pop("model.safetensors"), b"of its own " * 100
    places.cache.add("someone/tiny", commit_of(1), {**files, "model.safetensors": shared})
    places.cache.add("someone/tiny", commit_of(2), {**files, "model.safetensors": shared, "notes.json": own}, refs=("v2",))
    places.download("other/one", 3)
    async with pane() as (pilot, _):
        await press(pilot, "slash", *"v2", "escape", "slash", *"tiny", "enter", "G")
        said = await ask(pilot, until, "D")
        assert "1.1 kB will be free" in said
        assert "stay, because other versions use them too" in said
        await press(pilot, "n", "escape", "g", "j", "space", "space", "space")
        said = await ask(pilot, until, "D")
        assert "Delete 3 checkpoints?" in said
        await press(pilot, "y")
        await until(pilot, lambda: names(pilot) == ["tinytales (default)"])


async def test_more_than_a_gigabyte_is_typed(places: Places, pane: Callable, until: Callable) -> None:
    snapshot = places.download("someone/huge")
    blob = places.cache.repo("someone/huge") / "blobs" / ("f" * 64)
    with blob.open("wb") as file:
        file.truncate(1_100_000_000)  # a hole: it takes no room on the disk
    places.cache.link(snapshot / "model-extra.bin", blob)
    async with pane() as (pilot, text):
        await press(pilot, "G")
        await ask(pilot, until, "D")
        assert "Type delete to go on" in text()
        await press(pilot, "y", "enter")
        assert len(pilot.app.screen_stack) == 2
        await press(pilot, "backspace", *"delete", "enter")
        await until(pilot, lambda: len(pilot.app.screen_stack) == 1)
        await until(pilot, lambda: "someone/huge" not in names(pilot))


async def test_what_is_shipped_or_belongs_to_a_run_stays(places: Places, pane: Callable, until: Callable) -> None:
    run = places.train("brave")
    async with pane() as (pilot, _):
        await press(pilot, "D")
        assert "travels with the program" in toasts(pilot)
        await press(pilot, "j", "D")
        assert "delete that in the Train pane (F3)" in toasts(pilot)
        assert len(pilot.app.screen_stack) == 1
    assert (run / "checkpoints" / "best" / "model.safetensors").is_file()


async def test_an_added_folder_is_only_forgotten(places: Places, pane: Callable, until: Callable) -> None:
    before = tree(places.folder)
    async with pane() as (pilot, _):
        notes = pilot.app.screen.shelf.notes
        notes.add_folder(places.folder)
        notes.set_standing(str(places.folder))
        pilot.app.screen.action_look()
        await until(pilot, lambda: len(names(pilot)) == 2)
        await press(pilot, "G")
        said = await ask(pilot, until, "D")
        assert "only taken off the list" in said
        assert "The standing checkpoint is among them" in said
        await press(pilot, "y")
        await until(pilot, lambda: len(names(pilot)) == 1)
        assert notes.folders == ()
        assert notes.standing is None
    assert tree(places.folder) == before


async def test_partial_files_are_pruned_after_a_question(places: Places, pane: Callable, until: Callable) -> None:
    places.download("someone/tiny")
    partial = places.cache.partial("someone/tiny", 5000)
    async with pane() as (pilot, text):
        assert "5.0 kB of broken-off downloads" in text()
        assert "5.0 kB will be free" in await ask(pilot, until, "P")
        await press(pilot, "y")
        await until(pilot, lambda: not partial.exists() and "broken-off" not in text())
        await press(pilot, "P")
        await until(pilot, lambda: "No broken-off download" in toasts(pilot))


def entry(name: str, origin: Any = "hub", **more: Any) -> Entry:
    return Entry(f"{origin}:{name}", name, name, origin, Path("/models") / name, Facts("llama"), **more)


def test_a_revision_stays_while_one_of_its_files_is_in_use() -> None:
    one = entry("a/b/one.pt", repo="a/b", revision="c" * 40)
    two = entry("a/b/two.pt", repo="a/b", revision="c" * 40, in_use="the Write pane")
    found = sort_out([one], [one, two], [])
    assert found.revisions == ()
    assert "two.pt is in use (the Write pane)" in found.left[0]
    found = sort_out([one], [one, entry("a/b/three.pt", repo="a/b", revision="c" * 40)], [])
    assert found.revisions == (("a/b", "c" * 40),)
    assert len(found.entries) == 2


def test_a_checkpoint_in_an_added_folder_takes_the_folder_and_all_in_it_off_the_list() -> None:
    one, two, other = entry("x/one", "folder"), entry("x/two", "folder"), entry("y", "folder")
    found = sort_out([one], [one, two, other], [Path("/models/x"), Path("/models/y")])
    assert found.folders == (Path("/models/x"),)
    assert found.forgotten == (one, two)


def test_what_is_pinned_stays() -> None:
    one = entry("a/b", repo="a/b", revision="c" * 40)
    assert sort_out([one], [one], [], {"a/b"}).left == ("a/b is pinned and stays.",)


def test_the_standing_one_stays_where_nobody_is_asked_about_it() -> None:
    one, two = (entry(f"a/b@cc/{name}.pt", repo="a/b", revision="c" * 40) for name in ("one", "two"))
    found = sort_out([one], [one, two], [], standing={two.key})
    assert found.revisions == () and "two.pt is the standing checkpoint and stays" in found.left[0]
    assert sort_out([one], [one, two], []).revisions == (("a/b", "c" * 40),)
