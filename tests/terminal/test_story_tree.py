"""The tree on the screen: its lines, and what its keys do."""

from __future__ import annotations

from tinytales_tui.library.recipe import Recipe
from tinytales_tui.library.runs import Run
from tinytales_tui.library.tree import Tree
from tinytales_tui.write.tree.rows import line, rows_of
from tinytales_tui.write.tree.screen import TreeScreen


def tree() -> Tree:
    made = Tree()
    for parent, text in ((None, "One day"), (1, " a dog"), (2, " ran"), (1, " a dog that slept"), (None, "Two\x1b[2J days")):
        made = made.add(parent, (Run("model", text),), now=1.0, recipe=Recipe(seed=1))
    return made.go(3).change(2, bookmark=True, rating=4).write(4, " [b]long[/b]", now=2.0).go(3)


def test_lines_move_in_where_branches_part() -> None:
    lines = [line(row, ascii=True).rstrip() for row in rows_of(tree())]
    assert lines == [
        "* |- One day",
        "*   |- # 4* a dog",
        ">     ran",
        "    `- a dog that slept",
        "      (you) [b]long[/b]",
        "  `- Two[2J days",
    ]
    assert [row.node.number for row in rows_of(tree().delete(4))] == [1, 2, 3, 5]
    shown = rows_of(tree().delete(4), deleted=True)
    assert [row.node.number for row in shown if row.hidden] == [4, 6]


def test_branches_that_begin_alike_show_where_they_part() -> None:
    made = Tree().add(None, (Run("model", "Once upon a time there was a dog."),), now=1.0, recipe=Recipe(seed=1))
    made = made.add(None, (Run("model", "Once upon a time there was a cat."),), now=1.0, recipe=Recipe(seed=2))
    assert [row.words for row in rows_of(made)] == ["Once upon a time there was a dog.", "… cat."]


def test_a_story_of_thousands_of_steps_has_its_lines() -> None:
    made = Tree()
    for number in range(3000):
        made = made.add(number or None, (Run("model", f" {number}"),), now=1.0)
    assert len(rows_of(made)) == 3000


async def test_rating_deleting_restoring_and_going_there(make_app, until, screen_text) -> None:
    app = make_app()
    async with app.run_test(size=(100, 24)) as pilot:
        await until(pilot, lambda: app.screen.checkpoint is not None)
        write = app.screen
        write.desk.add(tree())
        write._show_current()
        await pilot.press("f7")
        await until(pilot, lambda: isinstance(app.screen, TreeScreen))
        shown = "\n".join(screen_text(app))
        assert "One day a dog ran" in shown and "6 parts" in shown and "[b]long" in shown and "\x1b" not in shown
        await pilot.press("5", "b", "down", "x")
        desk = write.desk
        assert (desk.tree.node(3).rating, desk.tree.node(3).bookmark, desk.tree.node(4).deleted) == (5, True, True)
        assert "4 parts, 1 deleted" in "\n".join(screen_text(app))
        await pilot.press("d", "up", "u")
        await until(pilot, lambda: "deleted" in "\n".join(screen_text(app)))
        numbers = [row.node.number for row in app.screen._rows]
        app.screen._list.highlighted = numbers.index(6)
        await pilot.press("u")
        assert not desk.tree.node(4).deleted and not desk.tree.hidden(6)
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is write)
        assert desk.tree.current == 6 and write.page.text == "One day a dog that slept [b]long[/b]"
        await pilot.press("escape", "ctrl+z")
        assert desk.tree.current == 3
        await pilot.press("f7", "escape")
        await until(pilot, lambda: app.screen is write)
        assert desk.tree.current == 3
