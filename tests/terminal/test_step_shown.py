"""What writes a story, in which precision and what that costs: on the status line and in the recipes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import pytest

from engine.errors import UsageError
from engine.protocol import Started, StepChanged
from engine.settings import GenerationRequest
from tinytales_tui.engine_client import Written
from tinytales_tui.story import StoryRecord, step_words, written_with
from tinytales_tui.write.desk import Desk


def started(number: int, step: str, precision: str, loss: float | None = None) -> Started:
    return Started(number, 12, 256, 7, "a kite", step, precision, 2, loss)


@pytest.mark.parametrize(
    ("step", "precision", "loss", "words"),
    [
        ("plain", "fp32", None, ""),
        ("compiled", "fp32", None, "compiled, fp32"),
        ("plain", "bf16", None, "bf16, loss not measured"),
        ("compiled", "int8", 0.000139, "compiled, int8, +0.014 % loss"),
        ("compiled", "int4", 0.0182, "compiled, int4, +1.82 % loss"),
        ("compiled", "bf16", 0.0, "compiled, bf16, +0.000 % loss"),
    ],
)
def test_in_words(step: str, precision: str, loss: float | None, words: str) -> None:
    assert step_words(started(1, step, precision, loss)) == words
    assert step_words(started(1, step, precision, loss), always=True) == (words or "fp32")


def test_each_part_of_a_continued_story_says_what_wrote_it() -> None:
    desk = Desk()
    desk.begin(1, GenerationRequest(topic="a kite", ending="happy"), None)
    desk.on_event(started(1, "plain", "fp32"))
    desk.on_event(Written(1, 0, " Once.", 2, 0.1, 0.2, ((5, 6, -1.0),)))
    desk.let_go()
    first = desk.record
    assert first is not None
    request = GenerationRequest(topic="a kite", ending="happy", opening=first.full_text)
    desk.begin(2, request, None, below=desk.tree.current, new=False)
    desk.on_event(started(2, "compiled", "int8", 0.0))
    desk.on_event(Written(2, 0, " Then.", 2, 0.1, 0.2, ((6, 6, -1.0),)))
    desk.let_go()
    record = desk.record
    assert record is not None
    assert (first.step, first.precision, first.threads, first.precision_loss) == ("", "", None, None)
    assert (record.step, record.precision, record.threads, record.precision_loss) == ("compiled", "int8", 2, 0.0)
    assert not {"step", "precision", "threads", "precision_loss"} & set(first.to_json())
    assert StoryRecord.from_json(json.loads(json.dumps(record.to_json()))) == record


def test_a_record_with_a_wrong_step_is_refused() -> None:
    good = {"prompt": "a kite", "story": "Once.", **written_with(started(1, "compiled", "int8"))}
    assert StoryRecord.from_json(good).threads == 2
    for wrong in ({"step": 1}, {"precision": []}, {"threads": "2"}, {"precision_loss": "none"}):
        with pytest.raises(UsageError):
            StoryRecord.from_json(good | wrong)


async def test_the_status_line_tells_when_another_step_writes(make_app: Callable, until: Callable) -> None:
    app = make_app()
    async with app.run_test(size=(140, 30)) as pilot:
        screen = app.screen
        await until(pilot, lambda: screen.checkpoint is not None)
        assert "int8" not in screen.status.words
        faster = dataclasses.replace(screen.checkpoint, step="compiled", precision="int8", loss=0.00014)
        app.engine_events.publish([StepChanged(faster)])
        await until(pilot, lambda: "compiled, int8, +0.014 % loss" in screen.status.words)
        assert screen.checkpoint == faster and screen._loaded
