"""What a person knows better than a checkpoint's files: the dialog, what is kept of it, and the engine that hears of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from checkpoint_pane import Places, toasts
from train_runs import press

from engine.catalog.notes import Notes
from engine.checkpoints.choices import Choices
from engine.errors import UsageError
from tinytales_tui import paths
from tinytales_tui.checkpoints.choices_dialog import ChoicesDialog, parse

pytest_plugins = ["checkpoint_fixtures"]


async def test_a_prompt_style_is_chosen_kept_and_heard_of(places: Places, pane: Callable, until: Callable) -> None:
    async with pane((120, 40)) as (pilot, text):
        app = pilot.app
        await app.engine.ready()
        await press(pilot, "e")
        await until(pilot, lambda: isinstance(app.screen, ChoicesDialog))
        await press(pilot, "left", "tab", "tab", *"1 2", "enter")
        await until(pilot, lambda: not isinstance(app.screen, ChoicesDialog))
        await until(pilot, lambda: app.engine.load.choices == Choices("plain", end_ids=(1, 2)))
        assert dict(Notes(paths.checkpoint_notes()).choices) == {"default": {"prompt_style": "plain", "end_ids": [1, 2]}}
        assert "prompt style plain" in toasts(pilot)
        await until(pilot, lambda: "As you chose: prompt style" in text())
        await press(pilot, "e")
        await until(pilot, lambda: isinstance(app.screen, ChoicesDialog))
        await press(pilot, "right", "tab", "tab", "backspace", "backspace", "backspace", "enter")
        await until(pilot, lambda: not Notes(paths.checkpoint_notes()).choices)
        assert "as its files say" in toasts(pilot)


async def test_a_tokenizer_that_is_none_is_said_in_the_dialog(places: Places, pane: Callable, until: Callable) -> None:
    async with pane((80, 24)) as (pilot, text):
        await press(pilot, "e", "tab", *"/nowhere", "enter")
        await until(pilot, lambda: "There is no tokenizer at" in text())
        await press(pilot, "escape")
        assert not Notes(paths.checkpoint_notes()).choices


def test_what_stands_in_the_fields() -> None:
    assert parse("as-found", " ", "", "") == Choices() and not Choices()
    assert parse("plain", "gpt2", "1, 2", "-1") == Choices("plain", "gpt2", (1, 2), -1)
    for wrong in (("plain", "", "one", ""), ("plain", "", "", "x"), ("plain", "", "-3", ""), ("plain", "", "", "-2")):
        with pytest.raises(UsageError):
            parse(*wrong)


def test_what_is_given_now_stands_over_what_was_kept(tmp_path: Path) -> None:
    kept, given = Choices("plain", "gpt2", (1,)), Choices(prompt_style="topic-ending", begin_id=0)
    assert given.over(kept) == Choices("topic-ending", "gpt2", (1,), 0)
    assert Choices.from_json(kept.to_json()) == kept
