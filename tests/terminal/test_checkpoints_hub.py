"""The Hub in the Checkpoints pane, with a Hub on this machine: searching, downloading, cancelling; and without any network."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from checkpoint_pane import Places, names, toasts
from hub_server import Hub, running_hub
from train_runs import press

pytest_plugins = ["checkpoint_fixtures"]


@pytest.fixture(scope="module")
def hub(tiny_checkpoint: Path) -> Iterator[Hub]:
    files = {path.name: path.read_bytes() for path in tiny_checkpoint.iterdir()} | {"README.md": b"# A tiny one\n"}
    odd = {"one.pt": b"x" * 300, "two.pt": b"y" * 300}
    site: dict[str, dict[str, Any]] = {
        "some/tiny": {"files": files, "card": {"license": "mit"}, "downloads": 1234},
        "some/several": {"files": odd},
        "some/huge": {"files": files, "sizes": {"model.safetensors": 10**13}},
        "some/slow": {"files": files | {"model.safetensors": os.urandom(400_000)}},
        "some/gated": {"files": files, "gated": "manual"},
    }
    with running_hub(site) as hub:
        yield hub


@pytest.fixture
def online(hub: Hub, places: Places, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Hub:
    """This process and its children ask that Hub."""
    from huggingface_hub import constants

    from engine.hub import search

    for name, value in hub.environment(tmp_path / "hf").items():
        if name.startswith("HF_"):
            monkeypatch.setenv(name, value)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # these are read once, when the library is imported
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(search, "KNOWN", search.KNOWN[:2])
    return hub


async def find(pilot: Any, until: Callable, words: str) -> None:
    """Search for these words and wait for what the Hub says."""
    screen = pilot.app.screen
    await press(pilot, "3", "slash", *words, "enter")
    await until(pilot, lambda: not screen.searching and screen.found and any(words in m.repo for m in screen.found.models))
    await pilot.pause()


async def wanted(pilot: Any, until: Callable) -> Any:
    """Ask for the model under the cursor; the dialog, when it has its answer."""
    await press(pilot, "d")
    await until(pilot, lambda: len(pilot.app.screen_stack) == 2)
    dialog = pilot.app.screen
    await until(pilot, lambda: dialog.query("#list") and "Asking" not in str(dialog.query_one("#list").render()))
    return dialog


async def test_without_a_network_the_known_models_are_shown(pane: Callable, until: Callable) -> None:
    async with pane((120, 40)) as (pilot, text):
        await press(pilot, "3")
        await until(pilot, lambda: "HF_HUB_OFFLINE is set" in text())
        await until(pilot, lambda: "★ roneneldan/TinyStories-33M" in text())
        await press(pilot, "d")
        await until(pilot, lambda: len(pilot.app.screen_stack) == 2)
        await until(pilot, lambda: "HF_HUB_OFFLINE" in text())
        assert pilot.app.screen.query_one("#do").disabled
        await press(pilot, "escape")


async def test_found_downloaded_and_in_the_list(online: Hub, places: Places, pane: Callable, until: Callable) -> None:
    async with pane((120, 40)) as (pilot, text):
        await find(pilot, until, "some/tiny")
        await until(pilot, lambda: "some/tiny" in text() and "mit" in text())
        dialog = await wanted(pilot, until)
        assert "model.safetensors" in text()
        assert "to fetch;" in text()
        assert dialog.query_one("#do").has_focus
        await press(pilot, "enter")
        await until(pilot, lambda: "some/tiny is here" in toasts(pilot))
        await until(pilot, lambda: "some/tiny" in names(pilot))
        await press(pilot, "4")
        await until(pilot, lambda: "100 %" in text() and "done" in text())
        assert "model.safetensors" in text()
        await press(pilot, "3")
        await until(pilot, lambda: " here" in text())
        await press(pilot, "4", "backspace")
        await until(pilot, lambda: "No downloads yet" in text())
    assert (places.cache.repo("some/tiny") / "refs" / "main").is_file()


async def test_of_several_models_one_is_chosen(online: Hub, pane: Callable, until: Callable) -> None:
    async with pane((120, 40)) as (pilot, text):
        await find(pilot, until, "some/several")
        dialog = await wanted(pilot, until)
        assert "holds several models (one.pt, two.pt)" in text()
        field = dialog.query_one("#pattern")
        assert field.value == "one.pt"
        field.value = "two.pt"
        await press(pilot, "enter")
        await until(pilot, lambda: not dialog.query_one("#do").disabled)
        assert "two.pt" in text()
        await press(pilot, "enter")
        await until(pilot, lambda: "some/several is here" in toasts(pilot))
        await press(pilot, "4")
        await until(pilot, lambda: "some/several two.pt" in text())


async def test_what_does_not_fit_is_not_begun(online: Hub, pane: Callable, until: Callable) -> None:
    async with pane((120, 40)) as (pilot, text):
        await find(pilot, until, "some/huge")
        dialog = await wanted(pilot, until)
        assert "It does not fit: 10.0 TB to fetch" in text()
        assert dialog.query_one("#do").disabled
        await press(pilot, "escape")


async def test_cancelled_then_tried_again(online: Hub, places: Places, pane: Callable, until: Callable) -> None:
    online.fault("some/slow", where="body", file="model.safetensors", slow=60_000)
    async with pane((120, 40)) as (pilot, text):
        await find(pilot, until, "some/slow")
        await wanted(pilot, until)
        await press(pilot, "enter", "4")
        await until(pilot, lambda: pilot.app.screen.queue.highlighted and pilot.app.screen.queue.highlighted.done_bytes > 50_000)
        assert "downloading" in text()
        await press(pilot, "R")
        assert "is under way" in toasts(pilot)
        await press(pilot, "x")
        await until(pilot, lambda: "was cancelled" in toasts(pilot))
        assert not list(places.cache.folder.rglob("*.incomplete"))
        online.fault("some/slow")
        await press(pilot, "R")
        await until(pilot, lambda: "some/slow is here" in toasts(pilot))


async def test_quitting_ends_what_is_under_way(online: Hub, places: Places, pane: Callable, until: Callable) -> None:
    online.fault("some/slow", where="body", file="model.safetensors", slow=30_000)
    async with pane((120, 40)) as (pilot, _):
        await find(pilot, until, "some/slow")
        await wanted(pilot, until)
        await press(pilot, "enter", "4")
        await until(pilot, lambda: pilot.app.screen.queue.highlighted and pilot.app.screen.queue.highlighted.done_bytes > 20_000)
        downloads = pilot.app.screen._downloads
        await press(pilot, "ctrl+q")
    assert [one.state for one in downloads.all] == ["cancelled"]
    assert not list(places.cache.folder.rglob("*.incomplete"))
    online.fault("some/slow")


async def test_a_gated_model_says_how_to_get_it(online: Hub, pane: Callable, until: Callable) -> None:
    async with pane((120, 40)) as (pilot, text):
        await find(pilot, until, "some/gated")
        await until(pilot, lambda: "gated" in text())
        dialog = await wanted(pilot, until)
        await until(pilot, lambda: "conditions" in text())
        assert dialog.query_one("#do").disabled
        await press(pilot, "escape")


async def test_what_has_moved_on_at_the_hub_is_marked(pane: Callable, until: Callable, places: Places, online: Hub) -> None:
    places.download("some/tiny")  # at a commit that is not the Hub's
    async with pane((120, 40)) as (pilot, text):
        await until(pilot, lambda: "newer" in text())
        assert pilot.app.screen.offline == ""


async def test_offline_the_list_says_so(pane: Callable, until: Callable, places: Places) -> None:
    places.download("some/other")
    async with pane((120, 40)) as (pilot, text):
        await until(pilot, lambda: "no network: cache only" in text())
