"""Tidying: what is mended, and that no word ever changes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.postprocess import tidy


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("the fox ran . it fell !", "The fox ran. It fell!"),
        ("He  had  a kite , a red one.", "He had a kite, a red one."),
        ("One.\nshe slept.", "One.\nShe slept."),
        ('"stop" she said. "go away!" said Tim.', '"Stop" she said. "Go away!" said Tim.'),
        ("Mr. fox met Dr. owl. they ate.", "Mr. fox met Dr. owl. They ate."),
        ("Wait... what was it?", "Wait... what was it?"),
    ],
)
def test_spaces_and_capitals(before: str, after: str) -> None:
    assert tidy(before, cut_off=False) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("It rained. The fox ran to the", "It rained."),
        ('It rained. "Come in," said Mia. "You are', 'It rained. "Come in," said Mia.'),
        ('It rained. "Come in!', 'It rained. "Come in!'),
        ("the fox ran to the", "The fox ran to the…"),
        ("It rained.", "It rained."),
        ("It rained. He met Mr. Sm", "It rained."),
        ('He said, "It rained. We', 'He said, "It rained."'),
        ("", ""),
    ],
)
def test_a_last_sentence_that_was_cut_off(before: str, after: str) -> None:
    assert tidy(before, cut_off=True) == after


@pytest.mark.parametrize(
    ("before", "story", "after"),
    [
        ("Once upon a", " time , there was a cat. it sat", " time, there was a cat."),
        ("Once upon a ", "time there was a cat.", "time there was a cat."),
        ("It rained.", " the cat sat .", " The cat sat."),
        ("It rained. the cat", " sat .", " sat."),
        ("One day", "", ""),
    ],
)
def test_a_story_that_goes_on_from_given_words(before: str, story: str, after: str) -> None:
    assert tidy(story, cut_off=True, before=before) == after


@given(st.text("abC .,!?\"\n'’é", max_size=80), st.booleans())
def test_words_stay_and_tidying_twice_changes_nothing_more(story: str, cut_off: bool) -> None:
    def words(text: str) -> list[str]:
        return re.findall(r"\w+", text.lower())

    once = tidy(story, cut_off)
    assert words(story)[: len(words(once))] == words(once)
    assert cut_off or words(once) == words(story)
    assert words(tidy(once, cut_off)) == words(once)
