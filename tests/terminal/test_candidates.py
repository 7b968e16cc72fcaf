"""Several candidates at once: one batch, side by side, one taken, all kept as branches."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tinytales_tui.app import TinyTalesApp
from tinytales_tui.compare.candidates import CandidatesScreen
from tinytales_tui.options import AppOptions


async def test_one_of_three_is_taken_and_the_others_stay(make_app, until, screen_text) -> None:
    app = make_app("--tokens", "15")
    async with app.run_test(size=(120, 30)) as pilot:
        await until(pilot, lambda: app.screen.checkpoint is not None)
        write, desk = app.screen, app.screen.desk
        await pilot.press(*"a dog", "ctrl+n")
        await until(pilot, lambda: isinstance(app.screen, CandidatesScreen))
        await until(pilot, lambda: app.screen.columns and not app.screen.running.busy)
        texts = [node.text for node in desk.tree.children(None)]
        shown = "\n".join(screen_text(app))
        assert len(set(texts)) == 3 and all(text.split()[0] in shown for text in texts) and "candidate 3" in shown
        await pilot.press("plus", "r")
        await until(pilot, lambda: len(desk.tree.nodes) == 7 and not app.screen.running.busy)
        assert app.ui.candidates == 4 and len(app.screen.columns) == 4
        await pilot.press("2")
        await until(pilot, lambda: app.screen is write)
        assert desk.tree.current == 5 and write.page.text == desk.tree.text(5).lstrip() and "branch 5 of 7" in write.status.words
        await pilot.press("ctrl+n")  # on the page: ways to go on from here
        await until(pilot, lambda: isinstance(app.screen, CandidatesScreen) and len(desk.tree.nodes) == 11)
        assert {node.parent for node in list(desk.tree.nodes.values())[7:]} == {5}
        await until(pilot, lambda: app.screen.columns and not app.screen.running.busy)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is write)
        await pilot.press("alt+left", "alt+left", "ctrl+r")  # from the page before the first words
        await until(pilot, lambda: len(desk.tree.nodes) == 12 and desk.writing is None)
        assert desk.tree.node(12).parent is None and desk.record.prompt == "a dog"


async def test_stopping_candidates_and_taking_one_while_it_writes(make_app, until) -> None:
    app = make_app("--tokens", "3000", "--rate", "100")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.screen.checkpoint is not None)
        write, desk = app.screen, app.screen.desk
        await pilot.press(*"a dog", "ctrl+n")
        await until(pilot, lambda: isinstance(app.screen, CandidatesScreen) and desk.tree.nodes and len(desk.tree.text(3)) > 20)
        await pilot.press("3")
        await until(pilot, lambda: app.screen is write)
        length = len(desk.text)
        assert desk.tree.current == 3
        await until(pilot, lambda: len(desk.text) > length + 20)
        assert write.page.text == desk.text.lstrip()
        await pilot.press("escape")
        await until(pilot, lambda: desk.writing is None)
        assert [node.stop_reason for node in desk.tree.children(None)] == ["cancelled"] * 3


async def test_candidates_of_the_real_engine_can_be_replayed(tiny_checkpoint: Path) -> None:
    from tinytales_tui.library.replaying import Replayer

    app = TinyTalesApp(AppOptions(checkpoint=str(tiny_checkpoint), device="cpu", warm=False))
    async with app.run_test(size=(100, 30)) as pilot, asyncio.timeout(120):
        desk = app.screen.desk
        await pilot.press(*"a dog", "ctrl+n")
        while not (desk.tree.nodes and desk.writing is None):
            await pilot.pause(0.05)
        tree = desk.tree
    replayer = Replayer(device="cpu")
    for node in tree.children(None):
        done = await asyncio.to_thread(replayer.replay, tree, node)
        assert done.same and done.tokens == len(node.tokens) > 0, done
