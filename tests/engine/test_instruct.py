"""Instruction data: the raw format in any order, tables of several layouts, and a fair draw."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.data.instruct import FIELD, Fields, InstructReport, balanced, instruct_records, parse_raw
from engine.data.records import Record
from engine.data.sources import open_sources
from engine.errors import UsageError

RAW = """Features: Dialogue, BadEnding
Words: quit, oak, gloomy
Summary: Mia loses her key
in the rain.
Story:\x20

Mia had a key.

"Oh no," she said.
<|endoftext|>
Summary: A boat comes home.
Story: The boat was small.
It came home.
Random sentence: It came home.
Features: Twist
<|endoftext|>
Random sentence: Nothing.
Summary: A story that is missing.
<|endoftext|>
Story: Nobody asked for this one.
<|endoftext|>
"""


def read(path: Path, report: InstructReport | None = None) -> list[Record]:
    return list(instruct_records(open_sources([str(path)]), report or InstructReport()))


def test_the_raw_format(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(RAW)
    report = InstructReport()
    assert read(tmp_path / "a.txt", report) == [
        Record('Mia had a key.\n\n"Oh no," she said.', "Mia loses her key in the rain.", "sad"),
        Record("The boat was small.\nIt came home.", "A boat comes home.", "happy"),
    ]
    assert (report.records, report.happy, report.sad) == (4, 1, 1)
    assert report.dropped == {"no story": 1, "no summary": 1}


def test_fields_in_any_order_and_fields_behind_the_story() -> None:
    assert parse_raw("Story: Once.\nSummary: S\nFeatures: BadEnding") == [Fields("Once.", "S", ("BadEnding",))]
    assert parse_raw("SUMMARY:S\r\n story : \r\n\r\nOnce.\r\nTwice.\r\nWords: a, b\r\nrest of the words") == [
        Fields("Once.\nTwice.", "S")
    ]
    assert parse_raw("Summary: of another\nFeatures: Twist\nSummary: mine\nStory: Once.") == [Fields("Once.", "mine", ("Twist",))]
    two = "Summary: A\nStory: One.\nSummary: B\nFeatures: BadEnding\nStory: Two."  # the end-of-text line between them is missing
    assert parse_raw(two) == [Fields("One.", "A"), Fields("Two.", "B", ("BadEnding",))]
    assert parse_raw("") == parse_raw("no field at all") == parse_raw("Story:\nSummary: S") == []


line = st.one_of(
    st.sampled_from(
        ["Story:", "Summary: S", "Features: BadEnding, Twist", "Words: a", "Random sentence: R.", " story:x", "", "\r"]
    ),
    st.text(max_size=20),
)


@given(st.lists(line, max_size=20))
def test_no_field_ever_leaks_into_a_story(lines: list[str]) -> None:
    text = "\n".join(lines)
    for found in parse_raw(text):
        assert found.story.strip() and not any(FIELD.fullmatch(line) for line in found.story.split("\n"))
        assert found.ending == ("sad" if "BadEnding" in found.features else "happy")
        assert "\n" not in found.summary


@given(
    st.lists(st.text(max_size=20), max_size=6),
    st.permutations(["Summary: S", "Features: BadEnding", "Words: a, b"]),
    st.integers(0, 3),
)
def test_a_story_comes_through_whole_wherever_it_stands(lines: list[str], fields: list[str], at: int) -> None:
    body = "\n".join(lines).replace("\r", "").encode("utf-8", "replace").decode()
    if not body.strip() or any(FIELD.fullmatch(part) for part in body.split("\n")) or "<|" in body:
        return
    found = parse_raw("\n".join([*fields[:at], f"Story: \n\n{body}", *fields[at:]]))
    assert [(one.story, one.summary, one.ending) for one in found] == [(body.strip(), "S", "sad")]


def test_tables(tmp_path: Path) -> None:
    rows = [
        {"instruction": "Mia finds a key", "response": "She did.", "ending": "happy"},
        {"topic": "rain", "story": "It rained.", "ending": "sad"},
        {"topic": "rain", "story": "It rained.", "ending": "mixed"},
        {"story": "No topic here."},
        {"text": "Summary: From raw text.\nStory: It was raw."},
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    report = InstructReport()
    found = read(tmp_path / "a.jsonl", report)
    assert found == [
        Record("She did.", "Mia finds a key", "happy"),
        Record("It rained.", "rain", "sad"),
        Record("It was raw.", "From raw text.", "happy"),
    ]
    assert report.dropped == {"no ending": 1, "no topic": 1} and report.records == 5


def test_a_table_whose_rows_are_lines_of_records(tmp_path: Path) -> None:
    """As the Hub holds TinyStoriesInstruct: one row a line, also an empty one, and the end-of-text token in a row of its own."""
    (tmp_path / "a.txt").write_text(RAW)
    (tmp_path / "b.jsonl").write_text("\n".join(json.dumps({"text": line}) for line in RAW.split("\n")))
    assert read(tmp_path / "b.jsonl") == read(tmp_path / "a.txt") != []


def records(happy: int, sad: int) -> list[dict[str, str]]:
    rows = [{"topic": f"t{n}", "ending": "happy", "story": f"Happy {n}."} for n in range(happy)]
    for n in range(sad):
        rows.insert((n * 7919) % (len(rows) + 1), {"topic": f"s{n}", "ending": "sad", "story": f"Sad {n}."})
    return rows


def draw(path: Path, seed: int) -> list[Record]:
    return list(balanced(open_sources([str(path)]), seed, InstructReport()))


def test_balancing_keeps_every_sad_one_and_draws_as_many_happy_ones(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in records(200, 30)))
    found = draw(path, 1)
    assert sum(r.ending == "sad" for r in found) == sum(r.ending == "happy" for r in found) == 30
    order = [r.story for r in read(path)]
    assert [order.index(r.story) for r in found] == sorted(order.index(r.story) for r in found)
    assert found == draw(path, 1) != draw(path, 2)
    chosen = [r.story for seed in range(100) for r in draw(path, seed) if r.ending == "happy"]
    counts = [chosen.count(f"Happy {n}.") for n in range(200)]
    assert min(counts) > 2 and max(counts) < 35 and sum(counts) == 3000  # 15 are expected of each


def test_balancing_what_cannot_be_balanced(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in records(3, 9)))
    assert len(draw(path, 1)) == 12  # all happy ones, and still every sad one
    path.write_text(json.dumps(records(1, 0)[0]))
    with pytest.raises(UsageError, match="nothing to balance: 1 records end happily and 0 sadly"):
        draw(path, 1)
