"""Checkpoints as rows: badges, orders, groups, filters, and the table that shows them; and work that nobody waits for at the end."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.app import App, ComposeResult

from engine.catalog.entries import Entry, Facts
from tinytales_tui.checkpoints.background import in_background
from tinytales_tui.checkpoints.list import EntryList
from tinytales_tui.checkpoints.rows import BADGE_WORDS, badge, grouped, loss_words, matching, ordered
from tinytales_tui.widgets.columns import Heading

KNOWN = Facts("llama", 1000, safe=True)


def entry(name: str, origin: Any = "hub", facts: Facts = KNOWN, **more: Any) -> Entry:
    return Entry(f"{origin}:{name}", name, name, origin, Path("/models") / name, facts, **more)


def test_the_gravest_badge_is_shown() -> None:
    one = entry("a", facts=Facts("llama"), newer="c" * 40)
    assert badge(entry("a")) == "safe"
    assert badge(entry("a", facts=Facts("llama"))) == "pickle"
    assert badge(entry("a", facts=Facts())) == "unknown"
    assert badge(one) == "newer"
    assert badge(replace(one, in_use="the run brave")) == "in use"
    assert badge(replace(one, in_use="the run brave", partial="weights")) == "partial"
    assert badge(replace(one, partial="weights"), {one.key}) == "damaged"
    assert badge(replace(one, facts=Facts(refused="It is odd."), partial="weights"), {one.key}) == "refused"
    assert {word for word, _ in BADGE_WORDS} == {
        "safe", "pickle", "unknown", "newer", "in use", "partial", "damaged", "refused",
    }  # fmt: skip


def test_what_is_not_known_stands_last_either_way_round() -> None:
    low, high, none = entry("low", bits_per_byte=0.5), entry("high", bits_per_byte=0.9), entry("none")
    nats = entry("nats", val_loss=0.1)
    assert ordered([none, nats, high, low], "loss") == [low, high, nats, none]
    assert ordered([none, nats, high, low], "loss", reverse=True) == [nats, high, low, none]
    assert loss_words(low) == "0.500 b/B"
    assert loss_words(nats) == "0.100 nat"
    assert ordered([low, high], "place", reverse=True) == [high, low]


def test_groups_in_the_order_of_the_places_and_families_by_name() -> None:
    hub, run, odd = entry("h"), entry("r", "run", Facts("GPT-2", 5)), entry("o", "folder", Facts())
    assert grouped([hub, odd, run], "origin") == [
        Heading("From your training runs (1)"), run, Heading("Downloaded from the Hub (1)"), hub,
        Heading("In folders you added (1)"), odd,
    ]  # fmt: skip
    assert [row.words for row in grouped([hub, odd, run], "family") if isinstance(row, Heading)] == [
        "GPT-2 (1)", "llama (1)", "Family not known (1)",
    ]  # fmt: skip


def test_a_filter_looks_in_name_family_and_origin() -> None:
    rows = [entry("owner/story"), entry("brave", "run", Facts("GPT-Neo (TinyStories)", 5))]
    assert matching(rows, "gptneo") == [rows[1]]
    assert matching(rows, "hub") == [rows[0]]
    assert matching(rows, "  ") == rows
    assert matching(rows, "qq") == []


class ListApp(App[None]):
    def compose(self) -> ComposeResult:
        yield EntryList()


async def test_only_what_is_in_sight_is_made_into_text_of_two_thousand_rows() -> None:
    made = []

    class Counted(str):
        __slots__ = ()

        def split(self, *args: Any) -> list[str]:  # type: ignore[override]  # what makes one line of a name
            made.append(self)
            return super().split(*args)

    entries = [entry(f"m{number}") for number in range(2000)]
    entries = [replace(one, name=Counted(one.name)) for one in entries]
    async with ListApp().run_test(size=(80, 24)) as pilot:
        table = pilot.app.query_one(EntryList)
        table.show_entries(entries)
        table.focus()
        await pilot.press("G")
        assert table.highlighted is entries[-1]
        await pilot.press("k", "pageup")
        assert table.highlighted is entries[-2 - 22]
        assert 0 < len(set(made)) < 200


async def test_the_cursor_stays_at_its_place_when_its_row_goes() -> None:
    rows = [entry(name) for name in "abcd"]
    async with ListApp().run_test() as pilot:
        table = pilot.app.query_one(EntryList)
        table.show_entries(rows)
        table.go_to(rows[1].key)
        table.show_entries([rows[3], rows[2], rows[1]])
        assert table.highlighted is rows[1]
        table.show_entries([rows[0], rows[3]])
        assert table.highlighted is rows[3]
        table.show_entries([])
        assert table.highlighted is None
        assert table.chosen == []


async def test_marks_that_a_filter_hides_are_left_alone() -> None:
    rows = [entry("one"), entry("two")]
    async with ListApp().run_test() as pilot:
        table = pilot.app.query_one(EntryList)
        table.show_entries(rows)
        table.focus()
        await pilot.press("space", "space")
        assert table.chosen == rows
        table.set_filter("two")
        assert table.chosen == [rows[1]]


async def test_work_in_the_background_gives_its_result_or_its_error() -> None:
    assert await in_background(lambda: threading.current_thread() is threading.main_thread()) is False
    with pytest.raises(KeyError):
        await in_background({}.__getitem__, "nothing")


def test_nobody_waits_at_the_end_for_work_in_the_background() -> None:
    code = (
        "import asyncio, time\n"
        "from tinytales_tui.checkpoints.background import in_background\n"
        "async def main():\n"
        "    waiting = asyncio.ensure_future(in_background(time.sleep, 600))\n"
        "    await asyncio.sleep(0.05)\n"
        "    waiting.cancel()\n"
        "asyncio.run(main())\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_the_pane_knows_no_torch() -> None:
    code = "import sys, tinytales_tui.checkpoints.screen, tinytales_tui.checkpoints.deleting; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
