"""The reading view: pages that lose no letter, places that stay, tidying that changes nothing, and a voice that can be stopped."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from checkpoint_pane import toasts

from engine.errors import UsageError
from engine.postprocess import tidy
from tinytales_tui import paths
from tinytales_tui.reading import paging
from tinytales_tui.reading.screen import ReadingScreen
from tinytales_tui.reading.speech import words_of
from tinytales_tui.settings import UiSettings

STORY = "\n\n".join(
    f"Part {n}: once upon a time , a little dog named Spot ran to the park . he found a red ball, and he was very happy with it."
    for n in range(1, 13)
)
ODD = " \n\n  日本語の話。😀 a\x1b[31mb \n" + "x" * 150 + "\n\n\n" + "word " * 90 + "\n  end"


@pytest.mark.parametrize("text", [STORY, ODD, "", "one"])
@pytest.mark.parametrize(("width", "height", "first"), [(66, 20, 16), (36, 9, 5), (10, 3, 1), (1, 1, 1)])
def test_every_letter_stands_on_exactly_one_page(text: str, width: int, height: int, first: int) -> None:
    text = paging.readable(text)
    pages = paging.pages(text, width, height, first)
    letters = "".join("".join(line.split()) for page in pages for line in page.lines)
    assert letters == "".join(text.split())
    assert all(len(page.lines) <= (height if number else first) for number, page in enumerate(pages))
    assert [paging.page_of(pages, page.start) for page in pages] == list(range(len(pages)))
    assert not any(page.lines and not (page.lines[0] and page.lines[-1]) for page in pages)


def test_a_place_is_found_again_in_the_tidied_text() -> None:
    tidied = tidy(STORY + " And then the", True)
    for part in ("Part 7", "ran to", "he found"):
        place = STORY.index(part)
        assert tidied[paging.same_place(STORY, place, tidied) :].lower().startswith(part.lower())
    assert paging.same_place("a b c", 4, "a") == 1


def test_the_foot_says_as_much_as_there_is_room_for() -> None:
    assert paging.foot(1, 3, 300, [], 120).startswith("page 1 of 3 · 300 words · 2 min read aloud at 150 words a minute")
    assert paging.foot(2, 11, 300, ["tidied"], 40) == "2/11 · 300 words · tidied"
    assert "under a minute" in paging.foot(1, 1, 20, [], 80) and paging.foot(1, 1, 0, [], 3) == "1/1"
    assert paging.count_words("a dog , and a cat .") == 5


@pytest.mark.parametrize("command", ["'open", "  ", "a\0b"])
def test_a_command_that_is_none_is_refused(command: str) -> None:
    with pytest.raises(UsageError):
        words_of(command)
    with pytest.raises(UsageError, match="speech_command cannot be 3"):
        UiSettings(speech_command=3)  # type: ignore[arg-type]


@pytest.fixture
def reading(make_app: Callable, until: Callable, screen_text: Callable) -> Callable:
    """`async with reading(text, size) as (pilot, screen, text)`."""

    @contextlib.asynccontextmanager
    async def start(text: str = STORY, size: tuple[int, int] = (80, 24), **options: Any) -> AsyncIterator[tuple[Any, ...]]:
        app = make_app(pane="checkpoints", **options)
        async with app.run_test(size=size) as pilot:
            screen = ReadingScreen("A lost [b]dog\x1b", text, facts="written by default", cut_off=True)
            await app.push_screen(screen)
            await until(pilot, lambda: screen.page_count)
            yield pilot, screen, lambda: "\n".join(screen_text(app))

    return start


@pytest.mark.parametrize("size", [(80, 24), (40, 12)])
async def test_pages_are_turned_and_the_place_outlives_a_resize(
    reading: Callable, until: Callable, size: tuple[int, int]
) -> None:
    async with reading(size=size, ascii=size[0] == 40) as (pilot, screen, text):
        assert "A lost [b]dog" in text() and "Part 1:" in text() and "written by default" in text()
        assert max(len(line.strip()) for line in text().split("\n")[:-1]) <= 66
        last = screen.page_count
        await pilot.press("space", "b", "right", "k", "end")
        assert screen.page_number == last and "happy with it." in text()
        await pilot.press("space", "home", "pagedown")
        assert screen.page_number == min(2, last) and "A lost" not in text()
        first = screen._pages[screen._number].start
        await pilot.resize_terminal(44, 14)
        await until(pilot, lambda: screen.page_count > 4)
        await pilot.resize_terminal(*size)
        await until(pilot, lambda: screen.page_count == last)
        assert screen._pages[screen._number].start == first
        await pilot.press("q")
        assert pilot.app.screen is not screen


async def test_tidying_shows_and_never_changes(reading: Callable) -> None:
    async with reading(STORY + " And then the") as (pilot, _, text):
        await pilot.press("end", "t")
        await pilot.pause()
        assert "tidied" in text() and "And then the" not in text() and "park. He found" in text()
        await pilot.press("t", "c")
        await pilot.pause()
        assert (
            "tidied" not in text() and "And then the" in " ".join(text().split()) and pilot.app.clipboard.endswith("And then the")
        )


async def test_light_and_dark_are_remembered(reading: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    async with reading("one") as (pilot, screen, _):
        assert screen.dark and not screen.has_class("-reading-dark")
        await pilot.press("d")
        assert pilot.app.ui.reading_dark is False and screen.styles.background.hex == "#FBF7F0"
        await pilot.press("d")
        assert pilot.app.ui.reading_dark is True and screen.has_class("-reading-dark")
        pilot.app._save_settings()
    assert json.loads(paths.settings_file().read_text())["reading_dark"] is True
    monkeypatch.setenv("NO_COLOR", "1")
    async with reading("one") as (pilot, _, _):
        await pilot.press("d")
        assert "no dark and no light" in toasts(pilot) and pilot.app.ui.reading_dark is True


async def test_a_page_is_read_aloud_and_stopped(reading: Callable, until: Callable, tmp_path: Path) -> None:
    heard, child = tmp_path / "heard.txt", tmp_path / "child.txt"
    script = tmp_path / "voice.py"
    script.write_text(
        "import pathlib, subprocess, sys\n"
        "if len(sys.argv) > 3:\n    sys.exit('no sound card')\n"
        "pathlib.Path(sys.argv[1]).write_text(sys.stdin.read())\n"
        "held = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "pathlib.Path(sys.argv[2]).write_text(str(held.pid))\nheld.wait()\n"
    )
    command = shlex.join([sys.executable, str(script), str(heard), str(child)])
    async with reading() as (pilot, _, text):
        await pilot.press("a")
        assert "A sets one, such as espeak-ng -s 140." in toasts(pilot)
        for key in ("a", "escape"):  # two ways to stop it
            child.unlink(missing_ok=True)
            pilot.app.change_settings(speech_command=command)
            await pilot.press("a")
            await until(pilot, lambda: child.exists() and child.read_text())
            assert "reading aloud" in text() and heard.read_text().startswith(
                "Part 1: once upon a time , a little dog named Spot ran"
            )
            assert "Part 12" not in heard.read_text() and heard.read_text().count("\n\n") >= 2
            held = psutil.Process(int(child.read_text()))
            await pilot.press(key)
            await until(pilot, lambda: not held.is_running() or held.status() == psutil.STATUS_ZOMBIE)  # noqa: B023
        another = ReadingScreen("One", "one")
        await pilot.app.push_screen(another)
        await until(pilot, lambda: another.page_count)
        for wrong, said in ((command + " more", "could not read aloud: no sound card"), ("/no/such/voice", "is not there")):
            pilot.app.change_settings(speech_command=wrong)
            await pilot.press("a")
            await until(pilot, lambda: said in toasts(pilot))  # noqa: B023
        await pilot.press("A", "ctrl+u", *"'x", "enter")
        await until(pilot, lambda: "cannot be understood" in text())
        await pilot.press("ctrl+u", *"cat", "enter")
        await until(pilot, lambda: pilot.app.ui.speech_command == "cat")
