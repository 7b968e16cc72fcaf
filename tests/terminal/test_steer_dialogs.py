"""The dialogs with which runs are steered, driven by keys: asking, choosing a checkpoint, more steps, copying a checkpoint."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from made_runs import make_run
from small import save_tiny
from textual.app import App
from textual.screen import Screen
from textual.widgets import Button, Input, OptionList

from engine import run_actions
from engine.run_view import RunView
from tinytales_tui import app as app_module
from tinytales_tui.theme import DARK
from tinytales_tui.train.steer.dialogs import CheckpointDialog, MoreStepsDialog
from tinytales_tui.train.steer.export_dialog import ExportDialog
from tinytales_tui.widgets.confirm import ConfirmDialog
from tinytales_tui.widgets.plain_filters import AsciiFilter

NOTHING = object()
SIZES = [(80, 24), (120, 40), (60, 20), (40, 12)]


class Bench(App[None]):
    """A bare app with the looks of the real one, that keeps what a dialog answered."""

    CSS_PATH = Path(app_module.__file__).with_name("app.tcss")
    HORIZONTAL_BREAKPOINTS = app_module.TinyTalesApp.HORIZONTAL_BREAKPOINTS
    low_bandwidth = False

    def __init__(self, plain: bool = False) -> None:
        super().__init__()
        self.ascii = plain
        self.answer: Any = NOTHING
        self.register_theme(DARK)
        self.theme = DARK.name

    def get_line_filters(self) -> list:
        return [*super().get_line_filters(), *([AsciiFilter()] if self.ascii else [])]

    def take(self, answer: Any) -> None:
        self.answer = answer


@asynccontextmanager
async def shown(dialog: Screen, size: tuple[int, int] = (80, 24), plain: bool = False) -> AsyncIterator[tuple[Bench, Any]]:
    bench = Bench(plain)
    async with bench.run_test(size=size) as pilot:
        await bench.push_screen(dialog, bench.take)
        await pilot.pause()
        yield bench, pilot


@pytest.fixture
def run(tmp_path: Path) -> RunView:
    path = make_run(tmp_path / "runs")
    for name, shape in (("best", "rope"), ("step-000020", "learned"), ("step-000040", "learned")):
        save_tiny(path / "checkpoints" / name, shape)
    (path / "checkpoints" / "best" / "tinytales.json").write_text('{"step": 20}')
    return RunView(path)


# Asking


@pytest.mark.parametrize(
    ("keys", "answer"),
    [
        (["enter"], False), (["escape"], False), (["n"], False), (["y"], True), (["left", "enter"], True),
        (["shift+tab", "enter"], True), (["left", "right", "enter"], False),
    ],
)  # fmt: skip
async def test_confirming(keys: list[str], answer: bool) -> None:
    async with shown(ConfirmDialog("Delete [red]mine?", ["45 MB [b]go.\x1b[2J"], "Delete it")) as (bench, pilot):
        await pilot.press(*keys)
        await pilot.pause()
        assert bench.answer is answer


async def test_typing_to_confirm() -> None:
    async with shown(ConfirmDialog("Delete mine?", ["2 GB go."], "Delete it", typed="mine")) as (bench, pilot):
        assert isinstance(bench.screen.focused, Input)
        await pilot.press("y", "enter", "left", "enter")
        assert bench.answer is NOTHING and bench.screen.query_one("#do", Button).disabled
        bench.screen.query_one(Input).value = ""
        await pilot.press(*"mine")
        await pilot.pause()
        assert not bench.screen.query_one("#do", Button).disabled
        await pilot.press("enter")
        await pilot.pause()
        assert bench.answer is True


@pytest.mark.parametrize("size", SIZES)
async def test_many_sentences_leave_room_for_the_buttons(size: tuple[int, int], screen_text: Callable) -> None:
    sentences = [f"run-{number}: stopped at step 40, 3 checkpoints, 45.2 MB." for number in range(30)]
    async with shown(ConfirmDialog("Delete 30 runs?", sentences, "Delete 30 runs"), size, plain=True) as (bench, pilot):
        await pilot.pause()
        text = "\n".join(screen_text(bench))
        assert "Delete 30 runs?" in text and "Delete 30 runs  " in text and "Cancel" in text and "run-0:" in text
        assert "run-29:" not in text or size[1] > 36
        for _ in range(70):
            await pilot.press("down")
        await pilot.pause()
        assert "run-29:" in "\n".join(screen_text(bench))
        await pilot.press("escape")
        await pilot.pause()
        assert bench.answer is False


# Choosing a checkpoint


@pytest.mark.parametrize(("keys", "name"), [([], "best"), (["down"], "step-000040"), (["G"], "step-000020"), (["G", "g"], "best"),
                                            (["j", "j", "k"], "step-000040")])  # fmt: skip
async def test_choosing_a_checkpoint(run: RunView, until: Callable, keys: list[str], name: str) -> None:
    async with shown(CheckpointDialog(run)) as (bench, pilot):
        await until(pilot, lambda: bench.screen.query_one(OptionList).option_count == 3)
        await pilot.press(*keys, "enter")
        await until(pilot, lambda: bench.answer is not NOTHING)
        assert bench.answer.name == name and bench.answer.path.is_dir()


@pytest.mark.parametrize("size", SIZES)
async def test_what_the_list_says(run: RunView, until: Callable, screen_text: Callable, size: tuple[int, int]) -> None:
    for step in range(60, 800, 20):
        shutil.copytree(run.path / "checkpoints" / "step-000020", run.path / "checkpoints" / f"step-{step:06d}")
    async with shown(CheckpointDialog(run, {20: "[b]0.616 bits"}), size, plain=True) as (bench, pilot):
        await until(pilot, lambda: bench.screen.query_one(OptionList).option_count == 40)
        await pilot.pause()
        text = "\n".join(screen_text(bench))
        assert "Write with which checkpoint?" in text and "validation" in text and "[b]0.616 bits" in text
        assert "step-000780" in text and "step-000020" not in text
        await pilot.press("G")
        await pilot.pause()
        assert "step-000020" in "\n".join(screen_text(bench))
        await pilot.resize_terminal(60, 20)
        await pilot.pause()
        assert bench.screen.query_one(OptionList).highlighted == 39
        assert "step-000020" in "\n".join(screen_text(bench))
        await pilot.press("escape")
        await pilot.pause()
        assert bench.answer is None


async def test_the_chosen_row_is_marked_without_colour(run: RunView, until: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with shown(CheckpointDialog(run)) as (bench, pilot):
        await until(pilot, lambda: bench.screen.query_one(OptionList).option_count == 3)
        await pilot.press("down")
        await pilot.pause()
        rows = [segment for strip in bench.screen._compositor.render_strips() for segment in strip if "kB" in segment.text]
        assert [bool(row.style and row.style.underline) for row in rows] == [False, True, False]


async def test_a_checkpoint_that_went_meanwhile(run: RunView, until: Callable, screen_text: Callable) -> None:
    async with shown(CheckpointDialog(run)) as (bench, pilot):
        options = bench.screen.query_one(OptionList)
        await until(pilot, lambda: options.option_count == 3)
        shutil.rmtree(run.path / "checkpoints" / "step-000040")
        await pilot.press("down", "enter")
        await until(pilot, lambda: options.option_count == 2)
        assert bench.answer is NOTHING and "step-000040 has been removed meanwhile" in "\n".join(screen_text(bench))
        await pilot.press("g", "enter")
        await until(pilot, lambda: bench.answer is not NOTHING)
        assert bench.answer.name == "best"


async def test_a_run_without_checkpoints(tmp_path: Path, until: Callable, screen_text: Callable) -> None:
    run = RunView(make_run(tmp_path / "runs", "e[b]mpty"))
    for dialog in (CheckpointDialog(run), ExportDialog(run)):
        async with shown(dialog) as (bench, pilot):
            await until(pilot, lambda bench=bench: "e[b]mpty has no checkpoint yet." in "\n".join(screen_text(bench)))
            await pilot.press("enter" if isinstance(dialog, ExportDialog) else "q")
            await pilot.pause()
            assert bench.answer is None


# More steps


async def test_more_steps(screen_text: Callable) -> None:
    async with shown(MoreStepsDialog("[b]mine", 100)) as (bench, pilot):
        field = bench.screen.query_one(Input)
        text = "\n".join(screen_text(bench))
        assert field.value == "200" and "[b]mine has done its 100 steps" in text and "100 more than now" in text
        for wrong in ("", "100", "many", "-5", "1e9", "²", "9" * 40):
            field.value = wrong
            await pilot.press("enter")
            await pilot.pause()
            assert bench.answer is NOTHING and "whole number above 100" in "\n".join(screen_text(bench)), wrong
        field.value = "20 000"
        await pilot.press("enter")
        await pilot.pause()
        assert bench.answer == 20_000
    async with shown(MoreStepsDialog("mine", 100, 150), (40, 12)) as (bench, pilot):
        await pilot.press("tab", "enter")
        await pilot.pause()
        assert bench.answer == 150


# Copying


def checkpoint_shape(folder: Path) -> str:
    return "gpt2" if '"gpt2"' in (folder / "config.json").read_text() else "llama"


async def test_copying_a_checkpoint(run: RunView, tmp_path: Path, until: Callable, screen_text: Callable) -> None:
    folder = tmp_path / "here"
    folder.mkdir()

    async def loaded(bench: Bench, pilot: Any) -> Input:
        field = bench.screen.query_one("#where", Input)
        await until(pilot, lambda: field.value)
        return field

    async with shown(ExportDialog(run, folder=folder)) as (bench, pilot):
        await loaded(bench, pilot)
        text = "\n".join(screen_text(bench))
        assert "best, step 20, 2.800 bits a byte" in text and "kB" in text
        await pilot.press("enter")
        await until(pilot, lambda: bench.answer is not NOTHING)
    assert bench.answer == folder / "mine" and checkpoint_shape(folder / "mine") == "llama"

    async with shown(ExportDialog(run, folder=folder)) as (bench, pilot):
        field = await loaded(bench, pilot)
        assert field.value == "mine-2"
        bench.screen.query_one("#which").focus()
        await pilot.press("right")
        field.value = "mine"
        field.focus()
        await pilot.press("enter")
        await until(pilot, lambda: "press Copy again to replace it" in " ".join(" ".join(screen_text(bench)).split()))
        assert checkpoint_shape(folder / "mine") == "llama"
        field.value = "other"  # another name has to be asked for anew
        await pilot.pause()
        field.value = "mine"
        await pilot.press("enter")
        await until(pilot, lambda: "press Copy again to replace it" in " ".join(" ".join(screen_text(bench)).split()))
        assert checkpoint_shape(folder / "mine") == "llama"
        await pilot.press("enter")
        await until(pilot, lambda: bench.answer is not NOTHING)
    assert checkpoint_shape(folder / "mine") == "gpt2" and os.listdir(folder) == ["mine"]


@pytest.mark.parametrize("size", SIZES)
async def test_refusals_stay_in_the_dialog(
    run: RunView, tmp_path: Path, until: Callable, screen_text: Callable, size: tuple[int, int]
) -> None:
    folder = tmp_path / "here"
    (folder / "letters").mkdir(parents=True)
    (folder / "letters" / "love.txt").write_text("x")
    (folder / "file").write_text("x")
    async with shown(ExportDialog(run, folder=folder), size) as (bench, pilot):
        field = bench.screen.query_one("#where", Input)
        await until(pilot, lambda: field.value)
        trouble = bench.screen.query_one("#trouble")
        for name, words in (
            ("", "Give the copy a name"), ("letters", "is not a checkpoint"), ("file/below", "cannot be written"),
            (str(run.path / "x"), "inside the run"), ("~nobody-is-called-this/x", "no home folder"), ("n" * 300, "too long"),
        ):  # fmt: skip
            field.value = name
            await pilot.press("enter")
            await until(pilot, lambda words=words: words in str(trouble.render()))
            assert bench.answer is NOTHING and bench.screen.focused is field
        await pilot.press("tab", "tab", "enter")
        await pilot.pause()
        assert bench.answer is None
    assert sorted(os.listdir(folder)) == ["file", "letters"]


async def test_breaking_a_copy_off(
    run: RunView, tmp_path: Path, until: Callable, screen_text: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    copy, reached, go_on = run_actions._copy_folder, threading.Event(), threading.Event()

    def slow_copy(source: Path, target: Path, progress: Callable[[int], None]) -> None:
        def told(count: int) -> None:
            progress(count)
            reached.set()
            assert go_on.wait(60)

        copy(source, target, told)

    monkeypatch.setattr(run_actions, "_copy_folder", slow_copy)
    async with shown(ExportDialog(run, folder=folder)) as (bench, pilot):
        await until(pilot, lambda: bench.screen.query_one("#where", Input).value)
        await pilot.press("enter")
        await until(pilot, reached.is_set)
        await until(pilot, lambda: "Copying, " in "\n".join(screen_text(bench)))
        assert bench.screen.query_one("#where").disabled and bench.answer is NOTHING
        await pilot.press("escape")
        go_on.set()
        await until(pilot, lambda: "broken off; nothing is left of it" in "\n".join(screen_text(bench)))
        assert bench.answer is NOTHING and os.listdir(folder) == []
        await pilot.press("enter")  # and once more, to the end
        await until(pilot, lambda: bench.answer is not NOTHING)
    assert os.listdir(folder) == ["mine"]


async def test_a_copy_that_is_made_while_something_lies_over_the_dialog(run: RunView, tmp_path: Path, until: Callable) -> None:
    async with shown(ExportDialog(run, folder=tmp_path)) as (bench, pilot):
        await until(pilot, lambda: bench.screen.query_one("#where", Input).value)
        bench.screen._copy()
        await bench.push_screen(ConfirmDialog("Over it", [], "Yes"))
        await until(pilot, (tmp_path / "mine").exists)
        assert bench.answer is NOTHING
        await pilot.press("escape")
        await until(pilot, lambda: bench.answer is not NOTHING)
    assert bench.answer == tmp_path / "mine"


async def test_a_copy_ends_with_the_app(run: RunView, tmp_path: Path, until: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    copy, reached, go_on, ended = run_actions._copy_folder, threading.Event(), threading.Event(), threading.Event()

    def slow_copy(source: Path, target: Path, progress: Callable[[int], None]) -> None:
        reached.set()
        assert go_on.wait(60)
        try:
            copy(source, target, progress)
        finally:
            ended.set()

    monkeypatch.setattr(run_actions, "_copy_folder", slow_copy)
    async with shown(ExportDialog(run, folder=folder)) as (bench, pilot):
        await until(pilot, lambda: bench.screen.query_one("#where", Input).value)
        await pilot.press("enter")
        await until(pilot, reached.is_set)
    go_on.set()
    assert ended.wait(60) and not (folder / "mine").exists()
