"""Steering: what the fields mean, what reaches the engine, what is ticked off, and where a story heads."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from engine.evaluation.beginnings import beginning, learn, measure
from engine.settings import SamplingSettings
from tinytales_tui.write.steering.panel import SteeringPanel
from tinytales_tui.write.steering.standing import Judge
from tinytales_tui.write.steering.steering import Steering


def test_fields_become_settings() -> None:
    steering = Steering.of_fields("wolf,  dark wood", "moon", "kite, Grandma", "The end|\\n\\n", 4.0)
    made = steering.apply(SamplingSettings(banned_words=("wolf", "fox")))
    assert (made.banned_words, made.favoured_words, made.must_mention) == (
        ("wolf", "fox", "dark wood"),
        ("moon",),
        ("kite", "Grandma"),
    )
    assert (made.stop, made.favour) == (("The end", "\n\n"), 4.0)
    assert steering.mentioned("Her grandma had kites.") == [("kite", False), ("Grandma", True)]
    assert not Steering().any and Steering().apply(made) is made


def test_where_a_story_heads_is_told_when_it_is_sure() -> None:
    judge = Judge()
    happy = (
        "Tom lost his kite. He looked for it all day. A girl found it in a tree. She gave it back and smiled. "
        "Tom was very happy and hugged her. They became best friends and played together. They all laughed and were happy."
    )
    sad = happy.replace("She gave it back and smiled. Tom was very happy and hugged her.", "").rsplit(" They became", 1)[0] + (
        " It was broken. Tom cried and cried. He was very sad. He never saw his kite again."
    )
    assert judge.standing("A dog. Ran.") is None
    found = judge.standing(happy)
    assert found is not None and found.ending == "happy" and "heads for a happy end" in found.words
    assert "3,663 stories" in found.method and "72% halfway" in found.method
    assert judge.standing(sad).ending == "sad"


def test_a_judge_of_beginnings_is_learnt_and_measured() -> None:
    stories, happy = [], []
    for number in range(60):
        good = number % 2 == 0
        stories.append(
            f"One day number {number} came. It rained. "
            + ("All smiled happily. We laughed!" if good else "All cried. It was gone.")
        )
        happy.append(good)
    judge = learn(stories, happy)
    assert judge.agreement(stories, happy) > 0.9
    told = measure(stories, happy)
    assert [row["share"] for row in told] == [0.25, 0.5, 0.75, 0.9, 1.0] and told[-1]["right"] > 0.9
    assert beginning("One. Two. Three. Four.", 0.5) == "One. Two."


def test_a_judge_of_beginnings_says_itself_where_it_comes_from(tmp_path: Path) -> None:
    from engine.evaluation.endings import EndingJudge
    from engine.evaluation.make_judge import main

    lines = [
        json.dumps(
            {
                "story": f"Day {n}. It rained. " + ("They smiled." if n % 2 else "They cried."),
                "ending": "happy" if n % 2 else "sad",
            }
        )
        for n in range(120)
    ]
    source, output = tmp_path / "marked.jsonl.gz", tmp_path / "judge.npz"
    source.write_bytes(gzip.compress("\n".join(lines).encode()))
    assert main(["--beginnings", str(source), str(output)]) == 0 and main([]) == 2
    about = EndingJudge.load(output).about
    assert about["happy"] == about["sad"] == 60 and about["measured"][-1]["share"] == 1.0


async def test_the_panel_steers_and_ticks_off(make_app, until, screen_text) -> None:
    app = make_app("--text", "Once a kite flew. It was red. It was lost. Nobody found it.")
    async with app.run_test(size=(100, 40)) as pilot:
        await until(pilot, lambda: app.screen.checkpoint is not None)
        screen = app.screen
        await pilot.press("f9", *"wolf", "tab", *"moon", "tab", "right", "tab", *"kite, sea")
        assert screen.query_one(SteeringPanel).display and not screen.panel.display
        screen.query_one("#topic").focus()
        await pilot.press(*"a dog", "enter")
        await until(pilot, lambda: screen.desk.record is not None and screen.desk.writing is None)
        sampling = screen.desk.generation.request.sampling
        assert (sampling.banned_words, sampling.favoured_words, sampling.must_mention) == (("wolf",), ("moon",), ("kite", "sea"))
        assert sampling.favour == 3.5
        await until(pilot, lambda: "✓ kite  ○ sea" in "\n".join(screen_text(app)))
        assert "1 of 2 mentioned" in screen.status.words
        assert screen.desk.node.recipe.sampling["must_mention"] == ["kite", "sea"]
        await pilot.press("f9")
        assert not screen.query_one(SteeringPanel).display and screen.panel.display


async def test_why_a_story_stopped_is_said(make_app, until) -> None:
    app = make_app("--ends", "loop")
    async with app.run_test(size=(120, 30)) as pilot:
        await until(pilot, lambda: app.screen.checkpoint is not None)
        await pilot.press(*"a dog", "enter")
        await until(pilot, lambda: app.screen.desk.record is not None and app.screen.desk.writing is None)
        assert "it repeated itself: " in app.screen.status.words
