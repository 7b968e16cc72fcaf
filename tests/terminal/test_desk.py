"""The desk without a screen: typing, generations and moves, each undone by one step, and nothing of it lost."""

from __future__ import annotations

from engine.protocol import Done, Finished, Started
from engine.settings import GenerationRequest, SamplingSettings
from tinytales_tui.engine_client import Written
from tinytales_tui.library.recipe import Recipe
from tinytales_tui.library.runs import Run
from tinytales_tui.library.tokens import Tokens
from tinytales_tui.library.tree import Edit, Tree
from tinytales_tui.write.desk import LEAST_LOSS, Desk
from tinytales_tui.write.draft import GO_S


def story(desk: Desk, number: int, *words: str, topic: str = "a dog", rows: int = 1, ends: bool = True, **where) -> None:
    request = GenerationRequest(
        topic=topic, ending="happy", opening=desk.text if where else "", sampling=SamplingSettings(seed=number), count=rows
    )
    desk.begin(number, request, None, **where)
    desk.on_event(Started(number, 12, 256, number, "prompt"))
    for row in range(rows):
        for place, word in enumerate(words):
            desk.on_event(
                Written(number, row, f"{word}{row}" if rows > 1 else word, 1, 0.1, 0.2, ((place, len(word) + (rows > 1), -1.0),))
            )
    if ends:
        for row in range(rows):
            desk.on_event(Finished(number, row, "length", "", number + row, 12, len(words), 0.1, 50.0))
        desk.on_event(Done(number))


def typed(desk: Desk, at: int, text: str, now: float) -> None:
    for place, letter in enumerate(text):
        desk.edit(Edit(at + place, at + place, letter), now + 0.1 * place)


def test_a_burst_of_typing_is_one_step_back() -> None:
    desk = Desk()
    story(desk, 1, "One", " day")
    typed(desk, 7, " there", 10.0)
    typed(desk, 13, " was", 10.0 + 5 * GO_S)
    assert desk.text == "One day there was" and len(desk.tree.nodes) == 2
    seen = []
    while desk.undo():
        seen.append(desk.text)
    assert seen == ["One day there", "One day", ""]
    forth = []
    while desk.redo():
        forth.append(desk.text)
    assert forth == ["One day", "One day there", "One day there was"]


def test_an_edit_in_the_middle_is_a_branch_and_the_models_words_stay_its_own() -> None:
    desk = Desk()
    story(desk, 1, "One", " day")
    desk.edit(Edit(0, 3, "Any"), 10.0)
    assert desk.text == "Any day" and desk.tree.text(1) == "One day"
    assert [(run.author, run.text, len(run.tokens)) for run in desk.tree.runs(desk.tree.current)] == [
        ("writer", "Any", 0), ("model", " day", 1)
    ]  # fmt: skip


def test_what_was_undone_and_typed_over_is_still_there() -> None:
    desk = Desk()
    story(desk, 1, "One")
    typed(desk, 3, " and a long thought", 10.0)
    desk.undo()
    typed(desk, 3, " or another", 20.0)
    assert desk.text == "One or another"
    assert "One and a long thought" in {desk.tree.text(number) for number in desk.tree.nodes}


def test_taking_out_much_of_what_was_typed_before_begins_a_branch() -> None:
    desk = Desk()
    text = "a thought that is worth more than a key"
    assert len(text) > LEAST_LOSS
    typed(desk, 0, text, 10.0)
    desk.edit(Edit(0, len(text), "no"), 100.0)
    assert desk.text == "no" and text in {desk.tree.text(number) for number in desk.tree.nodes}


def test_typing_lets_go_of_what_is_being_written() -> None:
    desk = Desk()
    story(desk, 1, "One", " day", ends=False)
    desk.edit(Edit(7, 7, "!"), 10.0)
    assert desk.writing is None and desk.text == "One day!" and desk.tree.node(1).stop_reason == "cancelled"
    assert desk.on_event(Written(1, 0, " late", 1, 0.3, 0.4, ((5, 5, -1.0),))) is None and desk.text == "One day!"


def test_candidates_are_siblings_that_grow_together() -> None:
    desk = Desk()
    story(desk, 1, "One")
    story(desk, 2, " a", " b", rows=3, below=1, new=False)
    tree = desk.tree
    assert [node.text for node in tree.children(1)] == [" a0 b0", " a1 b1", " a2 b2"]
    recipes = [node.recipe for node in tree.children(1)]
    assert [(recipe.seed, recipe.batch, recipe.row) for recipe in recipes] == [(2, 3, 0), (3, 3, 1), (4, 3, 2)]
    assert desk.writing is None and tree.current == 2
    desk.undo()
    assert desk.tree.current == 1 and len(desk.tree.children(1)) == 3


def test_of_candidates_that_were_let_go_only_those_with_words_stay() -> None:
    desk = Desk()
    story(desk, 1, "One")
    story(desk, 2, rows=3, ends=False, below=1, new=False)
    desk.on_event(Written(2, 1, " only", 1, 0.1, 0.1, ((5, 5, -1.0),)))
    desk.let_go()
    assert [node.text for node in desk.tree.children(1)] == [" only"] and desk.tree.current in (1, 3)
    story(desk, 9, rows=2, ends=False, below=1, new=False)
    desk.let_go()  # nothing came of it: as if it had never been
    assert [node.text for node in desk.tree.children(1)] == [" only"]


def test_a_flip_while_it_writes_leaves_it_writing() -> None:
    desk = Desk()
    story(desk, 1, "One")
    story(desk, 2, "Two", ends=False, new=False)
    assert desk.go(1) and desk.text == "One" and desk.writes(desk.front, 2)
    assert desk.on_event(Written(2, 0, " more", 1, 0.3, 0.4, ((5, 5, -1.0),))) == 2
    assert desk.text == "One" and desk.tree.text(2) == "Two more"
    assert desk.undo() and desk.text == "Two more" and desk.writing is None


def test_a_deleted_branch_comes_back_and_so_does_the_story_before() -> None:
    desk = Desk()
    story(desk, 1, "One")
    story(desk, 2, "Two", topic="a cat")
    desk.delete(1)
    assert desk.tree.current is None and desk.record is None
    desk.undo()
    assert desk.text == "Two" and desk.record.prompt == "a cat"
    desk.undo()
    assert desk.text == "One" and desk.record.prompt == "a dog"


def test_what_was_kept_of_a_comparison_is_a_branch_with_its_tokens() -> None:
    desk, other = Desk(), Desk()
    story(desk, 1, "One")
    story(other, 5, "Some", " way")
    desk.keep([other.generations[5, 1]], 0, below=None, new=False)
    assert desk.text == "Some way" and [node.number for node in desk.tree.children(None)] == [1, 2]
    assert len(desk.tree.node(2).tokens) == 2 and desk.tree.node(2).stop_reason == "length" and desk.generation is not None


def test_typing_while_a_request_waits_changes_the_story_that_is_shown() -> None:
    desk = Desk()
    story(desk, 1, "Story", " A")
    begun = GenerationRequest(opening="Once upon a time", sampling=SamplingSettings(seed=2))
    desk.begin(2, begun, None)
    desk.edit(Edit(16, 16, "!"), 10.0)
    assert desk.text == "Once upon a time!" and desk.drafts[1].tree.text(1) == "Story A"
    desk.begin(3, begun, None)
    desk.begin(4, begun, None, below=desk.tree.current, new=False)  # a retry before the first word
    assert desk.front == 3
    desk.delete(desk.tree.current)
    assert not desk.drafts[1].tree.node(1).deleted


def test_a_request_that_is_taken_back_before_its_first_word_is_as_if_it_had_never_been() -> None:
    desk = Desk()
    story(desk, 1, "One")
    desk.begin(2, GenerationRequest(topic="a cat", ending="sad"), None)
    desk.on_event(Started(2, 12, 256, 2, "prompt"))
    desk.on_event(Finished(2, 0, "cancelled", "", 2, 12, 0, 0.0, 0.0))
    assert desk.text == "One" and desk.writing is None and set(desk.drafts) == {1}
    assert desk.undo() and desk.text == "" and not desk.undo()


def test_the_words_that_are_gone_on_from_are_kept_with_what_is_kept() -> None:
    desk, other = Desk(), Desk()
    story(desk, 1, "Once there was a dog.")
    plain = GenerationRequest(topic="a dog", sampling=SamplingSettings(seed=3))
    other.begin(5, plain, None)
    other.on_event(Written(5, 0, " ran", 1, 0.1, 0.1, ((1, 4, -1.0),)))
    other.on_event(Finished(5, 0, "length", "", 3, 12, 1, 0.1, 1.0))
    other.begin(6, GenerationRequest(topic="a dog", ending="sad"), None)
    other.on_event(Written(6, 0, "Sad", 1, 0.1, 0.1, ((1, 3, -1.0),)))
    found = [other.generations[5, 2], other.generations[6, 1]]
    desk.keep(found, 0, below=None, new=False)
    assert desk.text == "a dog ran" and desk.record.full_text == "a dog ran"
    assert {desk.tree.text(number) for number in desk.tree.nodes} >= {"Once there was a dog.", "a dog ran", "Sad"}


def test_a_topic_that_turns_out_to_be_the_beginning_stands_in_the_story() -> None:
    desk = Desk()
    desk.begin(1, GenerationRequest(topic="a dog", ending="happy"), None)
    assert desk.amend(GenerationRequest(opening="a dog", sampling=SamplingSettings(seed=1)))
    desk.on_event(Written(1, 0, " ran", 1, 0.1, 0.1, ((1, 4, -1.0),)))
    assert desk.text == "a dog ran" and [run.author for run in desk.tree.runs(desk.tree.current)] == ["writer", "model"]


def test_a_number_is_never_given_twice() -> None:
    desk = Desk()
    story(desk, 1, "A.")
    desk.begin(2, GenerationRequest(opening="A."), None, below=1, new=False)
    desk.go(1)
    desk.let_go()
    typed(desk, 2, " typed", 10.0)
    assert desk.tree.current == 3
    while desk.text != "A.":
        assert desk.undo()
    assert desk.redo() and desk.text == "A. typed"


def test_another_way_at_the_end_goes_on_from_the_letters() -> None:
    desk = Desk()
    story(desk, 1, "One", " day")
    desk.on_event(Done(1))
    ended = Tokens.of([(1, 3, -1.0), (2, 4, -1.0), (0, 0, -0.1)])
    desk.add(Tree().add(None, (Run("model", "One day", ended),), now=1.0, recipe=Recipe(seed=1), stop_reason="end of text"))
    desk.fork(1, 7, Run("model", " so", Tokens.of([(9, 3, -2.0)])))
    assert [token.id for run in desk.tree.runs(desk.tree.current) for token in run.tokens] == [1, 2, 9]
