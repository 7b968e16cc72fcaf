"""Trying checkpoints: the engine they are tried on, the sample below the list, two side by side."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from checkpoint_pane import Places

from engine import protocol
from engine.catalog.entries import Entry, Facts
from engine.checkpoints.choices import Choices
from tinytales_tui.checkpoints.trial.bench import Bench
from tinytales_tui.checkpoints.trial.compare import CompareScreen, differences
from tinytales_tui.checkpoints.trial.panel import Sample
from tinytales_tui.checkpoints.trial.probe import Attempt, Probe
from tinytales_tui.engine_client import Deliver, EngineClient

pytest_plugins = ["checkpoint_fixtures"]
WORKER = Path(__file__).with_name("scripted_worker.py")


def made(*switches: str, command: tuple[str, ...] = ()):
    """What starts the second engine: a scripted one, or a real one with no switches at all."""

    def make(deliver: Deliver, load: protocol.Load) -> EngineClient:
        return EngineClient(deliver, load, command=command or (sys.executable, str(WORKER), *switches), interval=0.01)

    return make


def attempt(source: str) -> Attempt:
    return Attempt(source, Path(source).name, Choices())


async def test_two_write_one_after_the_other_from_the_same_seed() -> None:
    seen: list[tuple[str, ...]] = []
    bench = Bench(made("--tokens", "30"), lambda: seen.append(tuple(one.state for one in bench.attempts)))
    await bench.run([attempt("one"), attempt("two")], Probe("a kite", "sad", seed=11))
    first, second = bench.attempts
    assert (first.state, second.state) == ("done", "done") and first.text == second.text and first.tokens == 30
    assert first.tokens_per_s and first.checkpoint and first.checkpoint.name == "one" and not bench.running
    assert ("writing", "waiting") in seen and ("done", "loading") in seen and ("writing", "writing") not in seen
    await bench.run([attempt("one")], Probe("a kite", "happy", seed=11))
    assert bench.attempts[0].text != first.text
    await bench.close()


async def test_what_cannot_be_opened_says_so_and_the_other_still_writes() -> None:
    bench = Bench(made("--tokens", "5"), lambda: None)
    await bench.run([attempt("missing"), attempt("there")], Probe())
    assert bench.attempts[0].state == "failed" and "no checkpoint at missing" in bench.attempts[0].message
    assert bench.attempts[1].state == "done"
    await bench.close()
    await bench.run([attempt("there")], Probe())  # another engine starts
    assert bench.attempts[0].state == "done"
    await bench.close()


async def test_a_newer_question_ends_the_one_before_and_a_death_is_told() -> None:
    bench = Bench(made("--tokens", "2000", "--rate", "50"), lambda: None)
    earlier = asyncio.create_task(bench.run([attempt("slow")], Probe()))
    while not (bench.attempts and bench.attempts[0].text):
        await asyncio.sleep(0.01)
    later = asyncio.create_task(bench.run([attempt("other")], Probe()))
    await earlier
    while bench.attempts[0].source != "other" or not bench.attempts[0].text:
        await asyncio.sleep(0.01)
    await bench.stop()
    await later
    assert bench.attempts[0].reason == "cancelled" and bench.attempts[0].text
    await bench.close()
    dying = Bench(made("--die-after", "5"), lambda: None)
    await dying.run([attempt("frail")], Probe())
    assert dying.attempts[0].state == "failed" and "stopped" in dying.attempts[0].message
    await dying.run([attempt("frail"), attempt("frail")], Probe())
    assert [one.state for one in dying.attempts] == ["failed", "failed"]
    await dying.close()


async def test_real_models_of_two_styles_are_asked_the_same(tiny_checkpoint: Path, plain_checkpoint: Path) -> None:
    real = (sys.executable, "-m", "engine.worker")
    bench = Bench(made(command=real), lambda: None)
    await bench.run([attempt(str(tiny_checkpoint)), attempt(str(plain_checkpoint))], Probe(plainly=True, opening="Mia"))
    assert [one.state for one in bench.attempts] == ["done", "done"], [one.message for one in bench.attempts]
    assert all(one.given == "Mia" and one.tokens_per_s for one in bench.attempts)
    await bench.run([attempt(str(tiny_checkpoint))], Probe("a kite", "sad"))
    assert bench.attempts[0].given == "" and bench.attempts[0].checkpoint.prompt_style == "topic-ending"
    await bench.close()


def test_what_differs_is_marked() -> None:
    one = Entry("a", "a", "first", "hub", Path("a"), Facts("Llama", 1000, 256, format="safetensors"), 10)
    two = Entry("b", "b", "second", "hub", Path("b"), Facts("Llama", 2000, 256, format="safetensors"), 10)
    lines = {text.split()[1] if text.startswith("≠") else text.split()[0]: text for _, text in differences(one, two, 70)}
    assert lines["parameters"].startswith("≠") and "1,000" in lines["parameters"] and "2,000" in lines["parameters"]
    assert lines["context"].startswith(" ") and all(len(text) <= 74 for text in lines.values())


async def test_a_sample_below_the_list_and_two_compared(pane, places: Places, until) -> None:
    places.download("mia/tales")
    async with pane((120, 40)) as (pilot, text):
        screen = pilot.app.screen
        await pilot.press("t")
        await until(pilot, lambda: screen.trial_shown and screen.bench.attempts and screen.bench.attempts[0].ended)
        assert "tokens/s" in text() and "a brave knight" in text() and screen.query_one(Sample).story.text
        before = screen.query_one(Sample).story.text
        await pilot.press("t")
        await until(pilot, lambda: screen.bench.attempts[0].ended and screen.query_one(Sample).story.text != before)
        await pilot.press("escape")
        assert not screen.trial_shown
        await pilot.press("m", "down", "m")
        await until(pilot, lambda: isinstance(pilot.app.screen, CompareScreen))
        await until(pilot, lambda: all(one.ended for one in screen.bench.attempts) and len(screen.bench.attempts) == 2)
        await until(pilot, lambda: text().count("tokens/s") == 2 and "≠" in text())
        await pilot.press("b")
        await until(pilot, lambda: pilot.app.current_mode == "write")
        await until(pilot, lambda: pilot.app.screen.checkpoint is not None)
        assert pilot.app.engine.load.source == screen.list.highlighted.source
