"""The tree of a story: nothing written is ever changed, every letter has its author, and what is deleted comes back."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from library.made_stories import generated, recipe, small_story, tokens_for

from engine.errors import UsageError
from tinytales_tui.library.runs import Run, cut, joined, pieces, text_of
from tinytales_tui.library.tokens import Token, Tokens
from tinytales_tui.library.tree import Edit, Tree

letters = st.text(alphabet="ab \n.é", max_size=12)


def marked(tree: Tree, number: int | None) -> str:
    """The authors letter by letter: `w` the writer's, `m` the model's."""
    return "".join(run.author[0] * len(run.text) for run in tree.runs(number))


@st.composite
def grown_trees(draw: st.DrawFn) -> Tree:
    """Trees of generations, typed text and edits in any order, some of it deleted."""
    tree = Tree()
    for step in range(draw(st.integers(1, 7))):
        at = draw(st.sampled_from([None, *tree.nodes]))
        kind = draw(st.sampled_from(["model", "writer", "edit", "delete"]))
        if kind == "model":
            tree = generated(tree, at, draw(letters))
        elif kind == "writer":
            tree = tree.write(at, draw(letters), now=float(step))
        elif kind == "edit":
            tree = tree.edit(at, draw(edits(tree.text(at))), now=float(step))
        elif at is not None:
            tree = tree.delete(at)
    return tree


@st.composite
def edits(draw: st.DrawFn, text: str) -> Edit:
    start = draw(st.integers(0, len(text)))
    return Edit(start, draw(st.integers(start, len(text))), draw(letters))


def test_a_retry_is_a_sibling_and_going_on_a_child() -> None:
    tree = small_story()
    assert [node.number for node in tree.children(None)] == [1, 2] and [node.number for node in tree.children(2)] == [3]
    assert tree.text(3) == "A dog named Spot was lost in the wood. He barked at the moon." and tree.current == 3
    assert tree.text(1) == "Once there was a dog." and tree.text_before(3) == tree.text(2) and tree.text(None) == ""
    assert [tree.beside(2, step) for step in (-5, -1, 0, 1)] == [1, 1, 2, 2] and tree.beside(1, 1) == 2
    assert [node.number for node in tree.siblings(2)] == [1, 2] and tree.leaf(None) == 3 and tree.leaf(1) == 1
    assert tree.node(3).recipe.request(tree.text_before(3)).opening == tree.text(2)
    with pytest.raises(UsageError, match="no node 9"):
        tree.text(9)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_the_text_at_every_old_node_never_changes(data: st.DataObject) -> None:
    before = data.draw(grown_trees())
    at = data.draw(st.sampled_from([None, *before.nodes]))
    edit = data.draw(edits(before.text(at)))
    after = before.edit(at, edit, now=99.0)
    whole = before.text(at)
    assert after.text(after.current) == whole[: edit.start] + edit.text + whole[edit.end :]
    for number in before.nodes:
        assert after.nodes[number] is before.nodes[number] and after.text(number) == before.text(number)
    assert len(after.nodes) <= len(before.nodes) + 1


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_the_authors_tell_apart_exactly_what_was_typed(data: st.DataObject) -> None:
    tree = data.draw(grown_trees())
    at = data.draw(st.sampled_from([None, *tree.nodes]))
    whole, authors = tree.text(at), marked(tree, at)
    edit = data.draw(edits(whole))
    least = edit.least(whole)
    after = tree.edit(at, edit, now=99.0)
    told = authors[: least.start] + "w" * len(least.text) + authors[least.end :]
    assert marked(after, after.current) == told
    assert whole[: least.start] + least.text + whole[least.end :] == whole[: edit.start] + edit.text + whole[edit.end :]
    for run in after.runs(after.current):
        assert not run.tokens or (run.author == "model" and run.tokens.letters == len(run.text))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_deleting_and_restoring_are_inverse(data: st.DataObject) -> None:
    tree = data.draw(grown_trees().filter(lambda tree: any(not node.deleted for node in tree.nodes.values())))
    number = data.draw(st.sampled_from([number for number, node in tree.nodes.items() if not node.deleted]))
    gone = tree.delete(number)
    assert gone.hidden(number) and number not in [node.number for node in gone.children(tree.node(number).parent)]
    assert gone.current is None or number not in [node.number for node in gone.path(gone.current)]
    back = gone.restore(number)
    assert back.nodes == tree.nodes and back.current == number


def test_deleting_shows_the_nearest_sibling_then_the_parent() -> None:
    tree = small_story()
    assert tree.delete(2).current == 1 and tree.delete(3).current == 2
    assert tree.delete(1).current == 3  # it was not in front
    assert tree.delete(2).delete(1).current is None


def test_an_edit_keeps_the_tokens_that_it_did_not_touch() -> None:
    tree = generated(Tree(), None, "Once there was a dog.")
    tree = generated(tree, 1, " It barked.", seed=9)
    place = tree.text(2).index("was")
    tree = tree.edit(2, Edit(place, place + 3, "lived"), now=20.0)
    node = tree.node(3)
    assert node.parent is None and node.recipe is None and tree.current == 3
    assert node.text == "Once there lived a dog. It barked."
    assert [(run.author, run.text, [t.id for t in run.tokens]) for run in node.runs] == [
        ("model", "Once there", [100, 101]),
        ("model", " ", []),  # of the token that was cut through, the letter that stayed is the model's
        ("writer", "lived", []),
        ("model", " a dog. It barked.", [103, 104, 101, 102]),
    ]


def test_a_walk_through_a_story_shows_each_token() -> None:
    tree = generated(Tree().write(None, "Once upon", now=1.0), 1, " a time there")
    walk = list(pieces(tree.runs(2)))
    assert [(piece.start, piece.text, piece.author, piece.token and piece.token.id) for piece in walk] == [
        (0, "Once upon", "writer", None),
        (9, " a", "model", 101),
        (11, " time", "model", 102),
        (16, " there", "model", 103),
    ]


def test_an_edit_begins_a_branch_at_the_node_before_the_place() -> None:
    tree = small_story()
    tree = tree.edit(3, Edit(len(tree.text(2)) + 4, len(tree.text(3)), "slept."), now=20.0)
    assert tree.node(4).parent == 2 and tree.text(4) == "A dog named Spot was lost in the wood. He slept."
    assert marked(tree, 4) == "m" * (len(tree.text(2)) + 4) + "w" * 5 + "m"  # the full stop stayed
    typed = tree.edit(4, Edit(len(tree.text(4)), len(tree.text(4)), " The end."), now=21.0)
    assert typed.node(5).parent == 4 and typed.node(5).runs == (Run("writer", " The end."),)


def test_edits_of_one_go_are_one_node() -> None:
    tree = small_story()
    for letter in " So":
        end = len(tree.text(tree.current))
        tree = tree.edit(tree.current, Edit(end, end, letter), now=30.0, same_go=True)
    assert len(tree.nodes) == 4 and tree.node(4).text == " So" and tree.node(4).parent == 3
    place = tree.text(4).index("moon")
    tree = tree.edit(4, Edit(place, place + 4, "stars"), now=31.0, same_go=True)  # the same go, further up in the story
    assert len(tree.nodes) == 4 and tree.node(4).parent == 2 and tree.text(4).endswith(" He barked at the stars. So")
    assert marked(tree, 4)[len(tree.text(2)) :] == "m" * 18 + "w" * 5 + "m" + "w" * 3
    tree = generated(tree, 4, " it ended.")
    end = len(tree.text(5))
    later = tree.edit(5, Edit(end, end, "!"), now=32.0, same_go=True)  # a generation is never written anew
    assert later.node(6).parent == 5 and later.text(5) == tree.text(5)
    assert tree.edit(4, Edit(0, 1, "B"), now=33.0, same_go=True).text(4) == tree.text(4)  # something hangs below it already


def test_an_edit_that_changes_nothing_or_leaves_nothing() -> None:
    tree = small_story()
    assert tree.edit(3, Edit(2, 5, "dog"), now=40.0).nodes == tree.nodes
    cut_off = tree.edit(3, Edit(len(tree.text(2)), len(tree.text(3)), ""), now=40.0)
    assert cut_off.nodes == tree.nodes and cut_off.current == 2  # that text is there already
    assert tree.edit(3, Edit(0, len(tree.text(3)), ""), now=40.0).current is None
    for start, end in ((0, 10_000), (5, 2), (-1, 0)):
        with pytest.raises(UsageError, match="outside of the story"):
            tree.edit(3, Edit(start, end, "x"), now=40.0)


@given(letters, letters)
def test_the_one_edit_between_two_texts(before: str, after: str) -> None:
    edit = Edit.between(before, after)
    assert before[: edit.start] + edit.text + before[edit.end :] == after
    assert len(edit.text) <= len(after)


def test_what_may_not_be_done_to_a_node() -> None:
    tree = small_story()
    with pytest.raises(UsageError, match="can grow no more"):
        tree.grow(2, "!", now=1.0)
    with pytest.raises(UsageError, match="0 \\(none\\) to 5"):
        tree.change(2, rating=6)
    with pytest.raises(TypeError):
        tree.change(2, runs=())
    assert tree.change(2, rating=5, bookmark=True).node(2).rating == 5 and tree.node(2).rating == 0


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 9), st.floats(-50, 0)), max_size=12), st.integers(0, 60))
def test_runs_are_cut_at_tokens(values: list[tuple[int, int, float]], at: int) -> None:
    tokens = Tokens.of(values)
    text = "".join(chr(97 + number % 26) for number in range(tokens.letters))
    assert [token[:2] for token in tokens] == [value[:2] for value in values] and Tokens(tokens.packed) == tokens
    left, right = cut((Run("model", text, tokens),), at)
    assert text_of(left) == text[:at] and text_of(right) == text[at:]
    for run in (*left, *right):
        assert not run.tokens or run.tokens.letters == len(run.text)
    lost = len(tokens) - sum(len(run.tokens) for run in (*left, *right))
    inside = any(0 < at - start < token.letters for start, token in zip(_starts(tokens), tokens, strict=True))
    assert bool(lost) == inside
    if not inside:
        assert joined((*left, *right)) == joined((Run("model", text, tokens),))


def _starts(tokens: Tokens) -> list[int]:
    starts, at = [], 0
    for token in tokens:
        starts.append(at)
        at += token.letters
    return starts


def test_tokens_tell_their_probability() -> None:
    [one] = Tokens.of([(5, 3, -0.5)])
    assert one == Token(5, 3, -0.5) and abs(one.probability - 0.6065) < 1e-3
    assert [t.probability for t in Tokens.of([(1, 1, float("-inf")), (1, 1, float("nan"))])] == [0.0, 0.0]
    assert not Tokens.of([(1, 70_000, -1.0)]) and not Tokens.of([(-1, 1, -1.0)])
    with pytest.raises(ValueError, match="missing"):
        Tokens(b"123")


def test_a_recipe_survives_json_and_makes_a_record() -> None:
    made = recipe(
        words=("cat",), device="cpu", torch="2.13", sha256="ab", revision="c0", step="compiled", precision="int8", threads=2
    )
    assert type(made).from_json(made.to_json()) == made
    record = made.record("", "Once.", 3, "length", None)
    assert (record.prompt, record.seed, record.step, record.threads) == ("a lost dog", 7, "compiled", 2)
    again = type(made).of(record, device="cpu", torch="2.13", sha256="ab", revision="c0")
    assert again == dataclasses.replace(made, tokens=3)
    for wrong in ({"seed": -1}, {"seed": True}, {"ending": "odd"}, {"sampling": []}, {"words": "x"}, {"torch": 3}):
        with pytest.raises(UsageError):
            type(made).from_json(wrong)
    assert tokens_for("a dog").letters == 5
