"""Starting a run from the form by keyboard: a real run to its end, a real estimate, refusals in place, nothing left behind."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from textual.pilot import Pilot
from textual.widgets import Button, Input

from tinytales_tui.train.new_run.form_view import FormView
from tinytales_tui.train.new_run.run_form import Field, Heading
from tinytales_tui.train.new_run.screen import NewRunScreen

NOT_CLOSED = "not closed"
TINY = """# A model of some ten thousand parameters.
width = 32
layers = 1
heads = 2
mlp_width = 64
context = 64
tokenizer = "bpe"
vocab_size = 300
steps = 2
batch_tokens = 256
warmup_steps = 1
sample_every = 0
device = "cpu"
precision = "fp32"
threads = 1
"""


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return str(path)


class Form:
    """The open form with what it closed with."""

    def __init__(self, pilot: Pilot, screen: NewRunScreen, until: Callable) -> None:
        self.pilot, self.screen, self.until = pilot, screen, until
        self.closed: str | None = NOT_CLOSED

    @property
    def view(self) -> FormView:
        return self.screen.view

    @property
    def key(self) -> str:
        row = self.view.row
        return row.key if isinstance(row, Field) else row.group if row else ""

    @property
    def info(self) -> str:
        return str(self.screen.query_one("#new-run-info").render())

    @property
    def command(self) -> str:
        return str(self.screen.query_one("#new-run-command").render())

    @property
    def estimate(self) -> str:
        return str(self.screen.panel.body.render())

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def fill(self, key: str, text: str) -> None:
        """Go to a field and type, as a person who knows where it is."""
        self.view.go_to(key)
        await self.pilot.pause()
        await self.press("ctrl+u", *text)


@pytest.fixture
def opened(make_app: Callable, until: Callable) -> Callable:
    @asynccontextmanager
    async def open_form(*arguments: object, size: tuple[int, int] = (80, 24), **options: object) -> AsyncIterator[Form]:
        app = make_app(**options)
        async with app.run_test(size=size, notifications=True) as pilot:
            screen = NewRunScreen(*arguments)
            form = Form(pilot, screen, until)
            app.push_screen(screen, lambda name: setattr(form, "closed", name))
            await until(pilot, lambda: screen.form is not None and screen.view.row is not None)
            yield form

    return open_form


async def test_a_run_is_started_and_trains_to_its_end(opened: Callable, tiny: str, home: Path) -> None:
    async with opened(tiny) as form:
        assert form.key == "data"  # the one thing that has to be said
        await form.press(*"sto")
        await form.until(form.pilot, lambda: form.view.editor._suggestion == "storybook")
        await form.press("right", *":60", "enter")
        assert form.key == "name"
        await form.press(*"mine", "ctrl+s")
        await form.until(form.pilot, lambda: form.closed != NOT_CLOSED)
        assert form.closed == "mine"
        status = home / "runs" / "mine" / "status.json"
        await form.until(form.pilot, lambda: json.loads(status.read_text())["state"] in ("finished", "failed"))
        assert json.loads(status.read_text())["state"] == "finished", (home / "runs" / "mine" / "output.log").read_text()
        config = json.loads((home / "runs" / "mine" / "config.json").read_text())
        assert config["settings"]["data"] == ["storybook:60"] and config["settings"]["steps"] == 2


async def test_a_real_estimate_greys_when_a_setting_changes(opened: Callable, tiny: str) -> None:
    async with opened(tiny, ["storybook:60"]) as form:
        assert form.key == "recipe"
        await form.press("ctrl+t")
        estimate = form.screen.estimate
        assert estimate is not None
        await form.until(form.pilot, lambda: form.screen.estimate is None)
        for words in ("time", "tokens/s on cpu", "parameters", "stories", "2 steps", "free", "measured with this machine"):
            assert words in form.estimate, form.estimate
        assert not psutil.pid_exists(estimate.pid)
        await form.fill("steps", "9")
        assert "of other settings" in form.estimate and "2 steps" in form.estimate
        await form.fill("steps", "2")
        assert "of other settings" not in form.estimate
        await form.fill("name", "another")  # it changes nothing of what the run takes
        assert "of other settings" not in form.estimate


@pytest.mark.parametrize("how", ["escape", "change", "start", "quit"])
async def test_no_child_outlives_its_use(opened: Callable, tiny: str, how: str) -> None:
    async with opened(tiny, ["storybook:20000"]) as form:
        await form.press("ctrl+t")
        estimate = form.screen.estimate
        await form.until(form.pilot, lambda: estimate.pid)
        assert psutil.pid_exists(estimate.pid)
        if how == "escape":
            await form.press("escape")
            assert form.closed == NOT_CLOSED and "ctrl+t measures" in form.estimate
        elif how == "change":
            await form.fill("steps", "9")
            assert form.screen.estimate is None
        elif how == "start":
            await form.fill("name", "bad/name")
            await form.press("ctrl+s")
            assert form.screen.estimate is not None  # nothing was started, so it goes on
            form.screen.dismiss(None)
        await form.press("tab") if how != "quit" else form.pilot.app.exit()
        if how != "quit":
            await form.until(form.pilot, lambda: not psutil.pid_exists(estimate.pid))
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(estimate.pid).wait(20)
    assert not psutil.pid_exists(estimate.pid)


async def test_what_the_child_refuses_is_said(opened: Callable, tiny: str) -> None:
    async with opened(tiny, ["storybook:60"]) as form:
        await form.fill("device", "tpu")
        await form.press("ctrl+t")
        await form.until(form.pilot, lambda: form.screen.estimate is None)
        assert "no device 'tpu'" in form.estimate and "Traceback" not in form.estimate


async def test_refusals_are_said_in_place(opened: Callable, tiny: str, home: Path, tmp_path: Path) -> None:
    async with opened(tiny) as form:

        async def refused(key: str, words: str, press: str = "ctrl+s") -> None:
            await form.press(press)
            await form.until(
                form.pilot, lambda: not form.screen._starting and form.screen.estimate is None and words in form.info
            )
            assert form.key == key and form.closed == NOT_CLOSED

        form.view.go_to("steps")
        await refused("data", "There is nothing to train on")
        await form.fill("data", "[red]gone[/red].txt")
        await refused("data", "[red]gone[/red].txt.")  # shown as it is, never read as markup
        await refused("data", "No file fits", "ctrl+t")
        await form.fill("data", "'storybook")
        assert "quotation mark is not closed" in form.info
        await form.fill("data", "~nobody-here/x")
        await refused("data", "There is no file or folder")
        await form.fill("data", "storybook:50")
        await form.fill("steps", "0")
        form.view.go_to("recipe")
        await refused("steps", "steps must be at least 1")
        await form.press("ctrl+r")
        assert form.view.editor.value == "2" and "must be" not in form.info
        await form.fill("start_from", "./nowhere")
        await refused("start_from", "There is no checkpoint at ./nowhere")
        await form.press("ctrl+u")
        await form.fill("tokenizer", "nowhere.json")
        await refused("tokenizer", "no tokenizer")
        await form.press("ctrl+u")
        (home / "runs" / "taken").mkdir(parents=True)
        (home / "runs" / "taken" / "config.json").write_text("{}")
        await form.fill("name", "taken")
        await refused("name", "holds a training run already")
        assert [path.name for path in (home / "runs").iterdir()] == ["taken"]


async def test_leaving_asks_once_if_something_was_typed(opened: Callable, tiny: str) -> None:
    async with opened(tiny) as form:
        await form.press("escape")
        await form.until(form.pilot, lambda: form.closed is None)
    async with opened(tiny) as form:
        await form.press("x", "escape")
        assert "Press esc again" in form.info and form.closed == NOT_CLOSED
        await form.press("y")
        assert "Press esc again" not in form.info
        await form.press("escape", "escape")
        await form.until(form.pilot, lambda: form.closed is None)


async def test_keys(opened: Callable, home: Path) -> None:
    async with opened() as form:
        await form.press("shift+tab")
        assert form.key == "recipe" and "travels with the package" in form.info
        await form.press("n")
        assert form.screen.form.recipe == "nano" and "--recipe nano" in form.command
        await form.press("left", "left", "right")
        assert form.screen.form.recipe == "medium"
        await form.press("n", "tab", "tab", "down", "enter")
        assert form.key == "steps"
        await form.press(*"12", "up", "down")
        assert form.view.editor.value == "12" and "--steps 12" in form.command
        assert "The recipe has 2000" in form.info
        await form.press("/", *"compile", "enter")
        assert form.key == "compile" and not isinstance(form.view.row, Heading)
        await form.press("space")
        assert form.command.endswith("--compile") and form.screen.form.text("compile") == "on"
        await form.press("right")
        assert "--compile" not in form.command
        await form.press("escape")
        assert form.screen.query_one("#new-run-find", Input).value == "" and form.closed == NOT_CLOSED
        form.view.go_to("start_from")
        await form.press("down")
        assert form.key == "Data"
        before = len(form.view._rows)
        await form.press("enter")
        assert len(form.view._rows) == before + 6
        await form.press("left")
        assert len(form.view._rows) == before
        await form.press("pagedown", "pagedown", "tab")
        assert form.pilot.app.focused is form.screen.query_one("#start", Button)
        await form.press("shift+tab")
        assert form.view.lines.has_focus
        await form.press("f5")
        await form.until(form.pilot, lambda: (home / "last_copy.txt").exists())
        assert shlex.split((home / "last_copy.txt").read_text()) == shlex.split(form.command.removeprefix("$ "))


async def test_the_mouse(opened: Callable) -> None:
    async with opened() as form:
        await form.pilot.click(form.view.lines, offset=(30, 0))
        assert form.key == "recipe" and form.screen.form.recipe == "default"
        await form.pilot.click(form.view.lines, offset=(30, 0))
        assert form.screen.form.recipe != "default"
        at = next(at for at, row in enumerate(form.view._rows) if isinstance(row, Heading))
        await form.pilot.click(form.view.lines, offset=(5, at))
        assert form.view.row.open
        await form.pilot.click("#close")
        assert "Press esc again" in form.info
        button = form.screen.query_one("#close", Button)
        await form.until(form.pilot, lambda: not button.has_class("-active"))  # it takes no second click that soon
        await form.pilot.click("#close")
        await form.until(form.pilot, lambda: form.closed is None)


async def test_help_and_an_estimate_with_little_room(opened: Callable, tiny: str) -> None:
    async with opened(tiny, ["storybook:60"], size=(40, 12)) as form:
        await form.press("ctrl+t")
        await form.until(form.pilot, lambda: "tokens/s" in form.estimate and form.screen.panel.can_focus)
        form.screen.panel.focus()
        await form.press("down", "down")
        assert form.screen.panel.scroll_offset.y == 2
        await form.press("f1")
        await form.until(form.pilot, lambda: form.pilot.app.screen is not form.screen)
        await form.press("escape")
        assert form.pilot.app.screen is form.screen


@pytest.mark.parametrize("size", [(120, 40), (80, 24), (60, 20), (40, 12)])
async def test_the_present_field_is_always_seen(opened: Callable, screen_text: Callable, size: tuple[int, int]) -> None:
    async with opened(size=size, ascii=True) as form:
        seen = set()
        for _ in range(40):
            await form.pilot.press("down")
            if isinstance(form.view.row, Heading) and not form.view.row.open and len(seen) < 12:
                await form.pilot.press("right")
            await form.pilot.pause()
            marked = [line for line in screen_text(form.pilot.app) if line.lstrip("| ")[:1] == ">"]
            row = form.view.row
            label = row.label if isinstance(row, Field) else row.group
            assert len(marked) == 1 and label in marked[0], (label, marked)
            seen.add(label)
            if form.view.editor.display:
                assert form.view.editor.region.y == form.view.lines.region.y + form.view._at - form.view.lines.scroll_offset.y
        assert len(seen) > 20


async def test_down_from_the_search_goes_to_the_first_match_and_not_past_it(opened: Callable) -> None:
    async with opened() as form:
        await form.press("f6", *"steps")
        await form.press("down")
        assert form.key == "steps"
        assert form.view.row is form.view._rows[0]
