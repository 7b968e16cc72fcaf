"""The plain parts of a comparison: what differs in the columns, where stories part, what is measured of them."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest

from engine import protocol
from engine.errors import UsageError
from engine.protocol import CheckpointInfo
from engine.settings import SAMPLING_PRESETS, SamplingSettings
from tinytales_tui.compare.columns import (
    Column,
    Model,
    Plan,
    asked_words,
    check_count,
    columns_of,
    common_ground,
    obstacle,
    temperatures,
)
from tinytales_tui.compare.differences import Mark, live_marks, parting, word_marks
from tinytales_tui.compare.facts import DASH, Measured, different_steps, ending_estimate, measure, table
from tinytales_tui.compare.question import Question
from tinytales_tui.engine_client import Written
from tinytales_tui.generation import Generation
from tinytales_tui.write.asking import Asked

SAMPLING = SamplingSettings(temperature=1.1, max_tokens=77, banned_words=("snake",))


def question(style: str = "topic-ending", **asked: object) -> Question:
    info = CheckpointInfo(
        "tiny", "default", "llama", 1, 256, "bytes", style, "cpu", "fp32", SamplingSettings(temperature=0.33, top_k=9)
    )
    return Question(Asked(**{"topic": "a lost dog", "ending": "happy"} | asked), SAMPLING, 11, info)  # type: ignore[arg-type]


def requests(plan: Plan, style: str = "topic-ending", **asked: object):
    asks = question(style, **asked)
    columns = [Column(**vars(column) | {"checkpoint": asks.checkpoint}) for column in columns_of(asks, plan)]
    return [column.request() for column in columns]


def test_columns_differ_in_one_thing_only() -> None:
    happy, sad, plain = requests(Plan("endings", ("happy", "sad", "none")))
    assert (happy.ending, sad.ending, plain.ending) == ("happy", "sad", None)
    assert (
        happy.sampling
        == sad.sampling
        == plain.sampling
        == SamplingSettings(temperature=1.1, max_tokens=77, banned_words=("snake",), seed=11)
    )
    low, high = requests(Plan("temperatures", ("0.4", "1.2")))
    assert (low.sampling.temperature, high.sampling.temperature) == (0.4, 1.2) and low.sampling.seed == high.sampling.seed == 11
    daring, best = requests(Plan("presets", ("creative", "recommended")))
    assert daring.sampling.temperature == SAMPLING_PRESETS["creative"].temperature and daring.sampling.max_tokens == 77
    assert (best.sampling.temperature, best.sampling.top_k) == (0.33, 9) and best.sampling.banned_words == ("snake",)
    assert all(request.topic == "a lost dog" and request.ending == "happy" for request in (low, high, daring, best))
    names = [column.name for column in columns_of(question(), Plan("endings", ("sad", "none")))]
    assert names == ["sad ending", "no ending asked"]
    assert "happy" not in asked_words(question(), Plan()) and "happy" in asked_words(question(), Plan("presets"))


def test_what_was_typed_is_checked() -> None:
    assert temperatures(" 0.4, 0.8;1.20 0.8") == ("0.4", "0.8", "1.2")
    for words, said in (("0.4", "two"), ("", "numbers"), ("0.4 warm", "numbers"), ("0.4 nan", "lies"), ("0.1 9", "9 does not")):
        with pytest.raises(UsageError, match=said):
            temperatures(words)
    with pytest.raises(UsageError, match="leave 1 out"):
        check_count(5)


def test_what_has_no_ending_is_not_asked_for_one() -> None:
    assert "takes no ending" in obstacle("endings", question("plain"))
    assert "topic" in obstacle("endings", question(topic="", opening="Once"))
    assert not obstacle("endings", question("instruct-fields", topic="", words=("boat",)))
    assert not obstacle("endings", question()) and not obstacle("presets", question("plain"))


def test_models_that_take_no_topic_bring_all_to_go_on_plainly() -> None:
    asks = question(opening="Mia saw")
    columns = columns_of(asks, Plan("checkpoints", (), (Model("a", "alpha"), Model("b", "beta"), Model("c", "gamma"))))
    styles = ("topic-ending", "plain", "plain")
    known = [
        Column(**vars(column) | {"checkpoint": question(style).checkpoint}) for column, style in zip(columns, styles, strict=True)
    ]
    plainly, said = common_ground(known)
    assert plainly and "beta and gamma take no topic" in said and "Mia saw" in said
    first = known[0].request(plainly)
    assert (first.ending, first.topic, first.opening) == (None, "", "Mia saw")
    failed = [known[0], *(Column(**vars(column) | {"state": "failed"}) for column in known[1:])]
    assert common_ground(failed) == (False, "") and known[0].request().ending == "happy"


def test_the_place_where_two_part_is_found_as_they_grow() -> None:
    assert parting("Once upon a time", "Once upon a day") == len("Once upon a ")
    assert parting("Once upon", "Once upon a day") == len("Once upon")
    assert parting("The dogs", "The dog ran") == len("The ")
    assert parting("a " * 100 + "end", "a " * 100 + "far", known=64) == 200
    assert live_marks("No", "Yes") == () and live_marks("One two", "One two") == (Mark(0, 7, "same"),)


def test_words_are_compared_once_all_have_ended() -> None:
    texts = ["Tom had a red ball.", "Tom had a blue kite.", "Tom saw a red kite!"]
    first, second, third = word_marks(texts)
    assert [texts[0][mark.start : mark.end] for mark in first] == ["ball"]
    assert {(texts[1][mark.start : mark.end], mark.kind) for mark in second} == {
        ("Tom had a", "same"),
        ("blue", "alone"),
        (".", "same"),
    }
    assert ("saw", "alone") in {(texts[2][mark.start : mark.end], mark.kind) for mark in third}
    assert word_marks(["", "x"])[1] == (Mark(0, 1, "alone"),)


def written(text: str, reason: str | None = "end of text", bits: float = 2.0) -> Column:
    asks = question()
    column = columns_of(asks, Plan())[0]
    generation = Generation(3, column.request(), checkpoint=asks.checkpoint)
    words = text.split(" ")
    drawn = tuple((1, len(word), -bits * math.log(2)) for word in words)
    for event in (
        protocol.Started(3, 5, 256, 11, ""),
        Written(3, 0, text, len(words), 0.1, 1.1, drawn),
        *([protocol.Finished(3, 0, reason, "", 11, 5, len(words), 0.1, 1234.0, "")] if reason else []),  # type: ignore[arg-type]
    ):
        generation = generation.on_event(event)
    return Column(**vars(column) | {"generation": generation, "state": "ended" if reason else "writing"})


def test_facts_are_measured_and_the_unknown_is_a_dash() -> None:
    text = "They hugged and smiled. They were all very happy and lived happily ever after. They were all very happy."
    column = written(text)
    measured = measure("", column.generation)
    facts = {fact.label: fact.words for fact in table(column, measured)}
    assert facts["length"] == "19 words, 19 tokens" and facts["surprise"] == "2.00 bits a token, perplexity 4.0"
    assert facts["speed"] == "1,234 tokens/s" and facts["ended"] == "by itself"
    assert (
        facts["repeats"] == "17.6 % said before" and facts["ending"].startswith("happy >0.99") and "as asked" in facts["ending"]
    )
    short = {fact.label: fact.fitting(17) for fact in table(column, measured)}
    assert short["surprise"] == "2.00 bits (4.0)" and short["ending"].startswith("happy") and short["repeats"] == "17.6 %"
    growing = {fact.label: fact.words for fact in table(written("One two", None), None)}
    assert growing["length"] == "2 tokens" and growing["speed"] != DASH
    assert all(growing[label] == DASH for label in ("repeats", "surprise", "ended", "ending"))
    nothing = table(columns_of(question(), Plan())[0], Measured())
    assert all(fact.words == DASH for fact in nothing)
    assert (ending_estimate(0.07), ending_estimate(0.6), ending_estimate(None)) == ("sad 0.93", "unsure", DASH)
    assert not different_steps([column, column])


def test_the_plain_parts_pull_in_neither_torch_nor_numpy() -> None:
    code = "import sys, tinytales_tui.compare.question, tinytales_tui.compare.facts, tinytales_tui.compare.models\n"
    code += "print({'torch', 'numpy', 'textual'} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.strip() == "set()"
