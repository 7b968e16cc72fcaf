"""The token cursor: the walk, the alternatives, and a fork that goes on with exactly the tokens that stood before it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from engine.protocol import Chance
from tinytales_tui.app import TinyTalesApp
from tinytales_tui.library.recipe import Recipe
from tinytales_tui.library.runs import Run
from tinytales_tui.library.tokens import Tokens
from tinytales_tui.library.tree import Tree
from tinytales_tui.options import AppOptions
from tinytales_tui.widgets.chance_bars import token_label
from tinytales_tui.write.tokens.screen import TokenScreen
from tinytales_tui.write.tokens.steps import fork_at, steps_of, tail_of, with_scores

ONE = Run("model", "One day", Tokens.of([(1, 3, -0.5), (2, 4, -3.5)]))


def test_the_walk_knows_what_was_read_as_drawn() -> None:
    tree = Tree().add(None, (ONE,), now=1.0, recipe=Recipe(seed=1))
    tree = tree.write(1, " my", now=2.0)
    more = Run("model", " dog ran", Tokens.of([(5, 4, -1.0), (6, 4, -1.0), (0, 0, -0.1)]))
    tree = tree.add(2, (more,), now=3.0, recipe=Recipe(seed=2), stop_reason="end of text")
    steps = steps_of(tree, 3)
    assert [(step.text, step.token, step.start, step.ends) for step in steps] == [
        ("One", 1, 0, False), (" day", 2, 3, False), (" my", None, 7, False), (" dog", 5, 10, False), (" ran", 6, 14, False),
        ("", 0, 18, True),
    ]  # fmt: skip
    assert [tail_of(steps, at) for at in (0, 1, 3, 4, 5)] == [(), (1,), (), (5,), (5, 6)]
    scored = with_scores(steps, [(1, 3, -0.5), (2, 4, -1.0), (7, 2, -2.0), (8, 5, -9.0), (6, 4, -1.0)])
    assert [(step.text, step.token, step.logprob) for step in scored][2:4] == [(" m", 7, -2.0), ("y", 8, -9.0)]
    assert tail_of(scored, 5) == (5,)  # cutting up what was typed changes nothing for what comes after
    fork = fork_at(steps[4], Chance(9, " sat", -2.0, 0.1), tail_of(steps, 4))
    assert (fork.node, fork.place, fork.tail, fork.run.text) == (3, 4, (5, 9), " sat")
    grown = tree.until(3, fork.place, fork.run, now=4.0)
    assert grown.text(grown.current) == "One day my dog sat"
    again = grown.add(grown.current, (ONE,), now=5.0, recipe=Recipe(seed=3, tail=2))
    steps = steps_of(again, again.current)
    assert tail_of(steps, len(steps) - 1) == (5, 9, 1)


def test_a_token_can_be_read() -> None:
    assert [token_label(text) for text in (" the", "\n\n", "", "a\x1bb")] == ["·the", "↵↵", "(part)", "a\ufffdb"]
    assert token_label("", ends=True) == "(the end)" and token_label(" a\n", ascii=True) == "_a\\n"


async def test_walking_and_forking(make_app, until, screen_text) -> None:
    app = make_app("--tokens", "12")
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: app.screen.checkpoint is not None)
        write = app.screen
        await pilot.press(*"a dog", "enter")
        await until(pilot, lambda: write.desk.record is not None and write.desk.writing is None)
        story = write.desk.text
        await pilot.press("ctrl+t")
        await until(pilot, lambda: isinstance(app.screen, TokenScreen))
        tokens = app.screen
        await pilot.press("home", "right", "right")
        await until(pilot, lambda: tokens._asked is not None and tokens._asked[0] == tokens._at)
        shown = "\n".join(screen_text(app))
        step = tokens._steps[tokens._at]
        assert step.text == write.desk.tree.runs(1)[0].text[step.place :][: len(step.text)]
        assert "by the model itself" in shown and "perplexity" in shown and "sliders leave" in " ".join(shown.split())
        await pilot.press("shift+right", "shift+right")
        assert "passage of 3" in "\n".join(screen_text(app))
        await pilot.press("left", "left")
        await until(pilot, lambda: tokens._asked is not None and tokens._asked[0] == tokens._at)
        at, chances = tokens._at, tokens._bars.chances
        which = next(i for i, c in enumerate(chances) if c.token != tokens._steps[at].token and c.whole and not c.ends)
        before, chosen = "".join(step.text for step in tokens._steps[:at]), chances[which]
        await pilot.press(str((which + 1) % 10))
        await until(pilot, lambda: app.screen is write and write.desk.writing is None and len(write.desk.tree.nodes) == 3)
        assert write.desk.text.startswith(before + chosen.text) and write.desk.tree.text(1) == story
        request = write.desk.generation.request
        assert request.tail[-1] == chosen.token and len(request.tail) == at + 1
        forked = write.desk.text
        await pilot.press("alt+up")  # the branch beside the fork, and back to where the fork has come
        assert write.desk.text == story
        await pilot.press("alt+down")
        assert write.desk.text == forked
        await pilot.press(*["ctrl+z"] * 4)
        assert write.desk.text == story


async def test_a_typed_text_is_read_by_the_model(make_app, until, screen_text) -> None:
    app = make_app()
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.screen.checkpoint is not None)
        await pilot.press("escape", *"My dog sat", "ctrl+t")
        await until(pilot, lambda: isinstance(app.screen, TokenScreen) and len(app.screen._steps) == 3)
        assert all(step.token is not None and step.author == "writer" for step in app.screen._steps)
        await pilot.press("home")
        await until(pilot, lambda: "yours" in "\n".join(screen_text(app)))
        await pilot.press("escape")


async def test_the_real_engine_goes_on_with_the_drawn_tokens_and_replays_it(tiny_checkpoint: Path) -> None:
    """A fork of a fork with the real engine: what it drew is what the same recipe draws again, exact tokens before it included."""
    from tinytales_tui.library.replaying import Replayer

    app = TinyTalesApp(AppOptions(checkpoint=str(tiny_checkpoint), device="cpu", warm=False))
    async with app.run_test(size=(100, 30)) as pilot, asyncio.timeout(120):
        write, desk = app.screen, app.screen.desk
        write.query_one("#seed").focus()
        await pilot.press("7", "enter")
        write.query_one("#topic").focus()
        await pilot.press(*"a dog", "enter")
        while not (desk.record and desk.record.story and desk.writing is None):
            await pilot.pause(0.05)
        for place in (3, 5):
            await pilot.press("ctrl+t")
            while not isinstance(app.screen, TokenScreen):
                await pilot.pause(0.02)
            tokens = app.screen
            await pilot.press("home", *["right"] * place)
            while tokens._asked is None or tokens._asked[0] != tokens._at:
                await pilot.pause(0.02)
            drawn = tokens._steps[tokens._at]
            told = next(c for c in tokens._bars.chances if c.token == drawn.token)
            assert abs(told.logprob - drawn.logprob) < 0.01  # what it says now is what it said then
            count = len(desk.tree.nodes)
            chances = tokens._bars.chances
            which = next(i for i, c in enumerate(chances) if c.token != drawn.token and c.whole and not c.ends)
            await pilot.press(str((which + 1) % 10))
            while not (app.screen is write and len(desk.tree.nodes) == count + 2 and desk.writing is None):
                await pilot.pause(0.05)
        tree = desk.tree
        forked = [node for node in tree.nodes.values() if node.recipe is not None and node.recipe.tail]
    assert len(forked) == 2
    replayer = Replayer(device="cpu")
    for node in forked:
        done = await asyncio.to_thread(replayer.replay, tree, node)
        assert done.same and done.tokens == len(node.tokens), done
