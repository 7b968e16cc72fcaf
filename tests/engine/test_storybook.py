"""The storybook: the same stories everywhere, readable ones, and never taken for written ones."""

from __future__ import annotations

import hashlib
import itertools
import re
from pathlib import Path

import pytest

from engine.data.records import Record
from engine.data.sources import open_sources
from engine.data.storybook import LONGEST, MARK, storybook_stories, storybook_story

MANY = 6000
BOOK = list(itertools.islice(storybook_stories(1), MANY))


def test_a_story_follows_from_its_seed_and_number_alone() -> None:
    assert storybook_story(1, 77) == BOOK[77]
    assert list(itertools.islice(storybook_stories(1, first=500), 3)) == BOOK[500:503]
    assert storybook_story(2, 77) != BOOK[77]
    digest = hashlib.sha256("\n".join(f"{r.topic}|{r.ending}|{r.story}" for r in BOOK[:200]).encode()).hexdigest()
    # Pinned, because runs are compared by it: a change of the grammar has to be meant.
    assert digest == "f01dee10ef6cfda5f24a0e9b4cdbefe92b5428472ddf9e294019171ade2cbcd9"


def test_stories_are_many_and_evenly_happy_and_sad() -> None:
    assert len({record.story for record in BOOK}) == MANY
    assert len({record.topic for record in BOOK}) > 1500
    assert 0.47 < sum(record.ending == "happy" for record in BOOK) / MANY < 0.53
    assert all(record.synthetic and record.topic and record.ending for record in BOOK)
    lengths = [len(record.story.split()) for record in BOOK]
    assert min(lengths) >= 60 and max(lengths) <= LONGEST
    words = {word for record in BOOK for word in re.findall(r"[a-z']+", record.story.lower())}
    assert len(words) > 900


@pytest.mark.parametrize(
    ("wrong", "pattern"),
    [
        ("a slot or a choice is left", r"[{}\[\]|]"),
        ("a before a vowel", r"\b[Aa] [aeiou]"),
        ("an before a consonant", r"\b[Aa]n [^aeiou]"),
        ("blanks at the wrong place", r"  | \n|\n | [.,!?]"),
        ("marks that do not go together", r"[?!.,]{2}|[?!.],|,\n"),
        ("a sentence that begins small", r"[.!?] [a-z]"),
        ("a quotation without an end mark", r"[a-z]\"(?=[ \n]|$)"),
        ("a word twice", r"\b(\w+) \1\b"),
        ("a paragraph that does not end", r"[^.!?\"]\n|[^.!?\"]$"),
    ],
)
def test_stories_are_clean(wrong: str, pattern: str) -> None:
    for record in BOOK:
        found = re.search(pattern, re.sub(r'[?!]" [a-z]', "", record.story))
        assert not found, (wrong, record.story)
        assert not re.search(r"[{}\[\]|.]|\ba [aeiou]|\ban [^aeiou]|  ", record.topic or ""), record.topic


def test_pronouns_fit_the_people() -> None:
    """Where hero and friend are both girls (or both boys), no word of the other sort is left but the family's and the driver's."""
    for record in BOOK:
        told = re.search(r"\b(?:girl|boy)\b", record.story)
        heroes = re.search(r"\b(girl|boy) (?:named|called|who lived)", record.story)
        if not (told and heroes):
            continue
        name = re.search(r"(?:named|called) (\w+)|^(\w+) was", record.story)
        assert name, record.story
        own, other = ("her", "his") if heroes[1] == "girl" else ("his", "her")
        assert not re.search(rf"\b{name[1] or name[2]}\b[^.]* {other} (?:mom|dad|grandma|grandpa)\b", record.story), record.story
        assert re.search(rf"\b{own}\b|\b{'she' if own == 'her' else 'he'}\b", record.story, re.IGNORECASE), record.story


def test_every_quotation_is_closed() -> None:
    for record in BOOK:
        for paragraph in record.story.split("\n"):
            assert paragraph.count('"') % 2 == 0, record.story


def test_a_text_file_of_it_says_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(f"{MARK} two stories\n<|endoftext|>\nOne.\n<|endoftext|>\nTwo.\n")
    (tmp_path / "b.txt").write_text("One.\n<|endoftext|>\n# synthetic: later on it is text\n")
    (tmp_path / "c.jsonl").write_text('{"story": "One.", "synthetic": true}\n')
    marked, plain, rows = (open_sources([str(tmp_path / name)])[0] for name in ("a.txt", "b.txt", "c.jsonl"))
    assert list(marked.records()) == [Record("One.", synthetic=True), Record("Two.", synthetic=True)] and marked.synthetic
    assert [r.synthetic for r in plain.records()] == [False, False] and not plain.synthetic
    assert list(rows.records()) == [Record("One.", synthetic=True)] and rows.synthetic
    (tmp_path / "d.txt").write_text(f"{MARK} blank lines divide here\n\nOne.\n\nTwo.\n")
    assert [r.story for r in open_sources([str(tmp_path / "d.txt")])[0].records()] == ["One.", "Two."]
