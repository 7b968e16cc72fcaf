"""The Checkpoints pane, driven with keys: what stands in the list, orders, groups, filter, details, and writing with one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from checkpoint_pane import Places, look_again, names, toasts
from train_runs import press

pytest_plugins = ["checkpoint_fixtures"]


async def test_every_place_stands_in_the_list(places: Places, pane: Callable, until: Callable) -> None:
    places.download("someone/tiny")
    places.train("brave")
    async with pane((120, 30)) as (pilot, text):
        assert [entry.origin for entry in pilot.app.screen.entries] == ["shipped", "run", "hub"]
        await press(pilot, "plus")
        await until(pilot, lambda: len(pilot.app.screen_stack) == 2)
        pilot.app.screen.query_one("#folder").value = str(places.folder)
        await press(pilot, "enter")
        await until(pilot, lambda: "folder" in [entry.origin for entry in pilot.app.screen_stack[0].entries])
        pilot.app.screen.draw()
        await pilot.pause()
        shown = text()
        for words in ("shipped", "brave best", "someone/tiny", "mine", "37.0k", "safe"):
            assert words in shown
        assert "4 checkpoints" in shown


async def test_a_folder_that_is_none_is_said_in_the_dialog(pane: Callable, until: Callable) -> None:
    async with pane() as (pilot, text):
        await press(pilot, "plus")
        await until(pilot, lambda: len(pilot.app.screen_stack) == 2)
        await press(pilot, *"/no", "enter")
        await until(pilot, lambda: "There is no folder /no" in text())
        await press(pilot, "escape")
        assert len(pilot.app.screen_stack) == 1


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (100, 28), (160, 45), (40, 12)])
async def test_every_view_is_drawn_at_every_size(places: Places, pane: Callable, size: tuple[int, int]) -> None:
    places.download("someone/tiny")
    async with pane(size) as (pilot, text):
        for number, word in zip("1234", ("List", "Details", "Hub", "Down"), strict=True):
            await press(pilot, number)
            await pilot.pause()
            assert f"[{number} {word}" in text()
        await press(pilot, "1")
        assert "badge" in text()
        assert ("tokenizer" in text()) is (size[0] >= 80)  # a column, the panel beside the list, or the lines below it


async def test_narrow_lists_keep_what_matters_and_wide_ones_have_all(places: Places, pane: Callable) -> None:
    async with pane((80, 24)) as (pilot, _):
        assert [column.title for column in pilot.app.screen.list.columns] == [
            "name", "params", "loss", "size", "used", "origin", "badge",
        ]  # fmt: skip
    async with pane((120, 30)) as (pilot, _):
        await press(pilot, "N")
        await pilot.pause()
        assert len(pilot.app.screen.list.columns) == 10


async def test_order_and_groups(places: Places, pane: Callable) -> None:
    places.download("b/second", 1)
    places.download("a/first", 2, card=CARD_OF_MORE)
    places.train()
    async with pane() as (pilot, text):
        assert names(pilot) == ["tinytales (default)", "brave best", "a/first", "b/second"]
        await press(pilot, "s")
        assert names(pilot) == ["a/first", "b/second", "brave best", "tinytales (default)"]
        assert "by name" in text()
        await press(pilot, "S")
        assert names(pilot)[0] == "tinytales (default)"
        await press(pilot, "s", "s", "s")
        assert "by size" in text()
        assert names(pilot)[:2] == ["tinytales (default)", "a/first"]
        await press(pilot, "o")
        assert "Downloaded from the Hub (2)" in text()
        assert "From your training runs (1)" in text()
        await press(pilot, "o")
        assert "llama (4)" in text()
        await press(pilot, "o")
        assert "(4)" not in text()


CARD_OF_MORE = "# Larger\n" + "words " * 200


async def test_the_filter_and_the_cursor_that_stays_with_its_row(places: Places, pane: Callable, until: Callable) -> None:
    for number, repo in enumerate(("a/one", "b/two", "c/three"), 1):
        places.download(repo, number)
    async with pane() as (pilot, text):
        screen = pilot.app.screen
        await press(pilot, "G")
        assert screen.list.highlighted.name == "c/three"
        await press(pilot, "k")
        places.download("a/zero", 9)
        await look_again(pilot, until)
        assert "a/zero" in names(pilot)
        assert screen.list.highlighted.name == "b/two"
        await press(pilot, "slash", *"thr", "enter")
        assert names(pilot) == ["c/three"]
        assert "only thr" in text()
        await press(pilot, "escape")
        assert len(names(pilot)) == 5
        await press(pilot, "slash", *"hub", "escape")
        assert len(names(pilot)) == 5
        await press(pilot, "slash", *"qqq")
        assert "No name, family or origin matches" in text()


async def test_what_comes_or_goes_is_seen_without_being_asked_for(places: Places, pane: Callable, until: Callable) -> None:
    async with pane() as (pilot, _):
        shelf = pilot.app.screen.shelf
        before = shelf._times()
        places.download("someone/tiny")
        assert shelf._times() != before
        await look_again(pilot, until)
        assert "someone/tiny" in names(pilot)


async def test_details_say_what_it_is_and_where_it_is_from(places: Places, pane: Callable, until: Callable) -> None:
    places.download("someone/tiny")
    async with pane((100, 120)) as (pilot, text):
        await press(pilot, "G", "2")
        await until(pilot, lambda: "A tiny model" in text())
        shown = text()
        for words in ("37,024", "256 tokens", "topic and ending", "mit", "model.safetensors", "0" * 39 + "1", "it fits",
                      '"model_type": "llama"', "short stories for children (https://example.org/kids)"):  # fmt: skip
            assert words in shown, words
        await press(pilot, "escape")
        assert pilot.app.screen.view == "list"


async def test_a_card_from_outside_can_steer_nothing(places: Places, pane: Callable, until: Callable) -> None:
    evil = "# T\n\x1b[31mred\x1b[0m [red]m[/red] <b onclick='x'>bold</b> [go](javascript:alert(1)) &#27;[2J \u202eback\n"
    places.download("someone/tiny", card=evil)
    async with pane((120, 100)) as (pilot, text):
        await press(pilot, "G", "2")
        await until(pilot, lambda: "[red]m[/red]" in text())
        assert "\x1b" not in text()
        assert "\u202e" not in text()
        assert "<b" not in text()
        assert "go (javascript:alert(1" in text()
        strips = pilot.app.screen._compositor.render_strips()
        assert not [
            seg for line in strips for seg in line if seg.style and (seg.style.link or "@click" in (seg.style.meta or {}))
        ]


async def test_enter_writes_with_it(places: Places, pane: Callable, until: Callable) -> None:
    places.download("someone/tiny")
    async with pane() as (pilot, text):
        await press(pilot, "G", "enter")
        await until(pilot, lambda: pilot.app.current_mode == "write")
        await until(pilot, lambda: "someone/tiny" in text())
        assert pilot.app.engine.load.source == "someone/tiny"
        await press(pilot, "f4")
        await until(pilot, lambda: "in use" in text())
        await press(pilot, "D")
        await until(pilot, lambda: "is in use" in toasts(pilot))
        assert len(pilot.app.screen_stack) == 1


async def test_what_cannot_be_opened_says_why(places: Places, pane: Callable, until: Callable) -> None:
    places.cache.add("cut/off", "2" * 40, {"config.json": b"{}"})
    places.cache.add("bad/one", "3" * 40, {"config.json": b"{}", "model.safetensors": b"\xff" * 300})
    async with pane() as (pilot, text):
        assert "partial" in text()
        assert "refused" in text()
        await press(pilot, "slash", *"cut", "enter", "enter")
        assert "Not all of cut/off is here" in toasts(pilot)
        await press(pilot, "escape", "slash", *"bad", "enter", "enter")
        assert "bad/one cannot be opened" in toasts(pilot)
        assert pilot.app.current_mode == "checkpoints"


async def test_the_standing_checkpoint_and_its_command_line(places: Places, pane: Callable, until: Callable, home: Path) -> None:
    places.download("someone/tiny")
    async with pane() as (pilot, text):
        notes = pilot.app.screen.shelf.notes
        await press(pilot, "G", "U")
        await until(pilot, lambda: notes.standing == "someone/tiny")
        await until(pilot, lambda: "▸someone/tiny" in text())
        await press(pilot, "y")
        await until(pilot, lambda: (home / "last_copy.txt").is_file())
        assert (home / "last_copy.txt").read_text() == "tinytales-tui --checkpoint someone/tiny"
        await press(pilot, "U")
        await until(pilot, lambda: notes.standing is None)


async def test_checksums_are_compared(places: Places, pane: Callable, until: Callable) -> None:
    snapshot = places.download("someone/tiny")
    async with pane() as (pilot, text):
        await press(pilot, "G", "v")
        await until(pilot, lambda: "as they should be" in toasts(pilot))
        blob = Path(os.path.realpath(snapshot / "model.safetensors"))
        data = blob.read_bytes()
        blob.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        await press(pilot, "v")
        await until(pilot, lambda: "Damaged: someone/tiny: model.safetensors" in toasts(pilot))
        await until(pilot, lambda: "damaged" in text())


async def test_help_names_the_keys_and_the_badges(pane: Callable) -> None:
    async with pane((100, 90)) as (pilot, text):
        await press(pilot, "f1")
        shown = text()
        for words in ("On the Checkpoints pane", "Badges", "Bring back what was deleted last", "refused", "Mark a checkpoint"):
            assert words in shown


@pytest.mark.parametrize("looks", [{"ascii": True}, {"low_bandwidth": True}])
async def test_plainer_looks(places: Places, pane: Callable, looks: dict[str, bool]) -> None:
    places.download("someone/tiny")
    async with pane(**looks) as (pilot, text):
        await press(pilot, "space", "3", "1")
        assert "someone/tiny" in text()


async def test_the_row_with_the_cursor_is_set_off(places: Places, pane: Callable) -> None:
    places.download("someone/tiny")
    async with pane() as (pilot, _):
        first, second = ({segment.style.bgcolor for segment in pilot.app.screen.list.render_line(y)} for y in (1, 2))
        assert len(first) == 1
        assert first != second


async def test_without_colour_the_cursor_is_seen(places: Places, pane: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with pane() as (pilot, _):
        table = pilot.app.screen.list
        assert any(segment.style and segment.style.reverse for segment in table.render_line(1))
