"""Going back and forth in a tree: nothing that was typed or generated is lost, whatever is undone."""

from __future__ import annotations

import random

import pytest

from engine.errors import UsageError
from tinytales_tui.library.recipe import Recipe
from tinytales_tui.library.runs import Run
from tinytales_tui.library.tokens import Tokens
from tinytales_tui.library.tree import Edit, Tree

WORDS = Run("model", "one two three", Tokens.of([(1, 3, -1.0), (2, 4, -1.0), (3, 6, -1.0)]))


def generated() -> Tree:
    return Tree().add(None, (WORDS,), now=1.0, recipe=Recipe(seed=1), stop_reason="length")


def test_what_was_typed_on_comes_back_and_goes_forth() -> None:
    first = generated().write(1, " and", now=2.0)
    second = first.edit(2, Edit(17, 17, " four"), now=3.0, same_go=True)
    assert (second.text(2), len(second.nodes)) == ("one two three and four", 2)
    back = second.as_at(first)
    assert back.text(back.current) == "one two three and" and back.as_at(second).text(2) == second.text(2)


def test_an_older_text_below_which_the_story_goes_on_stands_beside_it() -> None:
    first = generated().write(1, " and", now=2.0)
    second = first.edit(2, Edit(17, 17, " four"), now=3.0, same_go=True).add(2, (WORDS,), now=4.0, recipe=Recipe(seed=2))
    back = second.as_at(first)
    assert back.text(back.current) == "one two three and" and back.text(3) == "one two three and fourone two three"
    assert back.as_at(first).nodes.keys() == back.nodes.keys()  # the same one again, not another copy


def test_marks_go_back_and_new_nodes_stay() -> None:
    tree = generated()
    marked = tree.change(1, bookmark=True, rating=3).delete(1)
    grown = marked.add(None, (WORDS,), now=2.0, recipe=Recipe(seed=2))
    back = grown.as_at(tree)
    assert (back.node(1).bookmark, back.node(1).rating, back.node(1).deleted) == (False, 0, False)
    assert back.current == 1 and 2 in back.nodes


def test_what_was_undone_and_typed_over_stays_as_a_branch() -> None:
    typed = generated().write(1, " and four", now=2.0)
    over = typed.as_at(typed).edit(2, Edit(13, 22, " or five"), now=3.0, same_go=True)
    kept = over.keeping(typed)
    assert kept.text(kept.current) == "one two three or five"
    assert "one two three and four" in {kept.text(number) for number in kept.nodes}
    assert over.keeping(over) == over  # nothing was lost, so nothing is added


def test_another_branch_from_the_middle_keeps_the_tokens_before_it() -> None:
    tree = generated()
    other = Run("model", " five", Tokens.of([(9, 5, -2.0)]))
    forked = tree.until(1, 7, other, now=2.0)
    node = forked.node(forked.current)
    assert (node.parent, node.text, [token.id for token in node.tokens]) == (None, "one two five", [1, 2, 9])
    assert forked.until(1, 7, other, now=3.0).nodes.keys() == forked.nodes.keys()  # the same fork is the same branch
    assert tree.until(1, 13, None, now=2.0).current == 1 and tree.until(1, 0, None, now=2.0).current is None


def test_only_an_empty_end_is_dropped() -> None:
    tree = generated().add(1, now=2.0, recipe=Recipe(seed=2))
    assert tree.drop(2).current == 1
    for wrong in (1, 2):
        with pytest.raises(UsageError):
            tree.write(2, "x", now=3.0).drop(wrong)


def test_whatever_is_done_and_undone_no_text_is_lost() -> None:
    draw = random.Random(5)
    for _ in range(60):
        tree, past, texts = generated(), [], set()
        for step in range(30):
            past.append(tree)
            text, choice = tree.text(tree.current), draw.random()
            if choice < 0.4:
                start = draw.randrange(len(text) + 1)
                tree = tree.edit(tree.current, Edit(start, start, f"<{step}>"), now=float(step), same_go=draw.random() < 0.5)
            elif choice < 0.6:
                tree = tree.add(tree.current, (Run("model", f"[{step}]"),), now=float(step), recipe=Recipe(seed=step))
            elif choice < 0.8:
                old = draw.choice(past)
                tree = tree.as_at(old).keeping(tree)
                assert tree.text(tree.current) == old.text(old.current)
            else:
                tree = tree.go(draw.choice([*tree.nodes]))
            texts |= {node.text for node in tree.nodes.values() if node.recipe is not None}
        held = {node.text for node in tree.nodes.values()}
        assert texts <= held
        for number in tree.nodes:
            tree.path(number)
