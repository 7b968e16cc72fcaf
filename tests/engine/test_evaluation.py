"""The judge of endings that travels with the package, and the figures that are told of stories."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from small import SENTENCES, tiny_loaded

from engine.errors import CheckpointError, UsageError
from engine.evaluation import measures
from engine.evaluation.endings import SHIPPED, EndingJudge, cross_validate, features
from engine.evaluation.make_judge import make
from engine.evaluation.stories import OPENINGS, TOPICS, Written, measure, presets, requests, write_stories
from engine.settings import SAMPLING_PRESETS

ENDINGS = {True: "They hugged and laughed, and everybody was happy.", False: "He cried and cried, because it was gone for ever."}
MARKED = [(f"{SENTENCES[n % 108]} That was day {n}. {ENDINGS[n % 3 > 0]}", n % 3 > 0) for n in range(240)]


def test_the_shipped_judge() -> None:
    judge = EndingJudge.load()
    assert SHIPPED.stat().st_size < 150_000
    assert judge.about["licence"] == "CDLA-Sharing-1.0" and judge.about["agreement"] > 0.95
    assert judge.about["happy"] + judge.about["sad"] > 3000 and {"data", "data_sha256", "made", "agreement_method"} <= set(
        judge.about
    )
    chances = judge.happiness([ENDINGS[True], ENDINGS[False], ""])
    assert chances[0] > 0.9 and chances[1] < 0.2 and 0 < chances[2] < 1


def test_what_the_judge_looks_at_stays_the_same() -> None:
    """The stored weights belong to just these numbers."""
    assert features("It rained. Tom did not cry!").tolist() == [
        104, 2636, 4897, 12989, 17947, 19434, 28631, 28810, 29743, 30805, 31158, 33834, 35968, 46622, 50179, 51325, 52319, 53366,
        58313, 59363, 64121, 65504,
    ]  # fmt: skip


def test_a_judge_is_stored_and_read_back(tmp_path: Path) -> None:
    stories, happy = [story for story, _ in MARKED], [ends_well for _, ends_well in MARKED]
    learnt = EndingJudge.learn(stories, happy)
    learnt.save(tmp_path / "judge.npz")
    read = EndingJudge.load(tmp_path / "judge.npz")
    np.testing.assert_array_equal(read.weights, learnt.rounded().weights)
    np.testing.assert_allclose(read.happiness(stories), learnt.happiness(stories), atol=0.03)
    assert read.bias == learnt.bias and read.about == {} and read.agreement(stories, happy) == 1.0
    assert cross_validate(stories, happy) == 1.0
    assert cross_validate(stories, [n % 2 == 0 for n in range(240)]) < 0.7  # marks that mean nothing


def test_making_the_file(tmp_path: Path) -> None:
    rows = [{"story": story, "ending": "happy" if happy else "sad"} for story, happy in MARKED] + [
        {"story": "x", "ending": "mixed"}
    ]
    file = tmp_path / "marked.jsonl.gz"
    file.write_bytes(gzip.compress("\n".join(json.dumps(row) for row in rows).encode()))
    about = make(file, tmp_path / "judge.npz")
    assert (about["happy"], about["sad"], about["agreement"]) == (160, 80, 1.0)
    assert EndingJudge.load(tmp_path / "judge.npz").about == about
    file.write_bytes(json.dumps(rows[0]).encode())
    with pytest.raises(UsageError, match="at least 50"):
        make(file, tmp_path / "other.npz")
    assert not (tmp_path / "other.npz").exists()


def test_a_damaged_judge_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "judge.npz"
    good = {"weights": np.zeros(1 << 16, np.float16), "bias": np.float64(0), "about": np.frombuffer(b"{}", np.uint8)}
    bad = [
        {"weights": np.zeros(5, np.float16)}, {"weights": np.zeros(1 << 16)}, {"weights": np.full(1 << 16, np.nan, np.float16)},
        {"bias": np.float64(np.inf)}, {"about": np.frombuffer(b"[]", np.uint8)}, {"about": np.frombuffer(b"{", np.uint8)},
        {"weights": np.array([object()] * 3)}, {"more": np.zeros(1_000_000)},
    ]  # fmt: skip
    for wrong in bad:
        np.savez_compressed(path, **(good | wrong))
        with pytest.raises(CheckpointError, match="endings cannot be judged"):
            EndingJudge.load(path)
    whole = SHIPPED.read_bytes()
    for data in (b"", b"x" * 100, whole[:-500], whole + b"x" * 1_000_000):
        path.write_bytes(data)
        with pytest.raises(CheckpointError):
            EndingJudge.load(path)
    with pytest.raises(CheckpointError):
        EndingJudge.load(tmp_path / "none.npz")


def test_counting() -> None:
    assert measures.words('Tom\'s dog said: "Hi!"') == ["tom's", "dog", "said", "hi"]
    assert measures.has_article("An owl.") and not measures.has_article("Tom ran another theme.")
    assert measures.articles_per_100_words(["A dog saw the cat.", "It ran away now yes."]) == 20.0
    assert measures.distinct(["a b a b", "c c"], 1) == 0.5 and measures.distinct(["a b a b"], 2) == pytest.approx(2 / 3)
    assert measures.repeated("a b c a b c", 3) == 0.25 and measures.repeated("a b", 3) == 0.0
    assert measures.distinct([], 3) == 0.0 and measures.articles_per_100_words([]) == 0.0
    assert measures.topic_share("a boy who loses his kite", "The boys lost a kite!") == pytest.approx(1 / 3)


def test_figures_of_stories() -> None:
    written = [
        Written("a dog", "happy", f"There was a dog. {ENDINGS[True]}", 20, "end of text"),
        Written("a cat", "happy", f"Tom ran . {ENDINGS[False]}", 30, "end of text"),
        Written("a cat", "sad", f"tom saw a cat. {ENDINGS[False]} And", 40, "length"),
    ]
    figures = measure(written, EndingJudge.load())
    assert figures["stories"] == 3 and figures["ended_by_themselves"] == pytest.approx(2 / 3)
    assert figures["stop_reasons"] == {"end of text": 2, "length": 1}
    assert (figures["mean_tokens"], figures["median_tokens"]) == (30.0, 30.0)
    assert (figures["ending_met_happy"], figures["ending_met_sad"]) == (0.5, 1.0) and figures["ending_met"] == pytest.approx(
        2 / 3
    )
    assert figures["with_article"] == pytest.approx(2 / 3) and figures["topic_words_used"] == pytest.approx(2 / 3)
    assert figures["tidy_changed"] == pytest.approx(2 / 3) and figures["tidy_characters_removed"] == pytest.approx(
        (0 + 1 + 4) / 3
    )
    assert set(measures.METHODS) <= set(figures)
    plain = measure([Written("One day,", None, " it rained.", 5, "end of text")], None)
    assert "ending_met" not in plain and "topic_words_used" not in plain and plain["tidy_changed"] == 0.0


def test_the_prompts() -> None:
    assert len(TOPICS) == 50 == len(set(TOPICS)) and len(OPENINGS) == len(set(OPENINGS)) == 25
    assert all(" ".join(text.split()) == text for text in (*TOPICS, *OPENINGS))
    asked = list(requests(tiny_loaded(), SAMPLING_PRESETS["creative"], 102, seed=7))
    assert [(r.topic, r.ending, r.sampling.seed) for r in asked[:3]] == [
        (TOPICS[0], "happy", 7), (TOPICS[0], "sad", 8), (TOPICS[1], "happy", 9)
    ]  # fmt: skip
    assert asked[100].topic == TOPICS[0] and asked[100].sampling.seed == 107
    plain = list(requests(tiny_loaded(style="plain"), SAMPLING_PRESETS["creative"], 26, seed=1))
    assert {r.ending for r in plain} == {None} and plain[25].opening == OPENINGS[0]


@pytest.mark.parametrize("style", ["topic-ending", "plain"])
def test_the_same_seed_writes_the_same_stories(style: str) -> None:
    checkpoint = tiny_loaded(context=256, style=style)
    sampling = presets(checkpoint, ["recommended"])["recommended"].with_changes(max_tokens=12)
    heard: list[int] = []
    first = write_stories(checkpoint, sampling, 3, seed=5, told=heard.append)
    assert first == write_stories(checkpoint, sampling, 3, seed=5) != write_stories(checkpoint, sampling, 3, seed=6)
    assert heard == [1, 2, 3] and all(0 < one.tokens <= 12 for one in first)
    assert measure(first, EndingJudge.load()) == measure(first, EndingJudge.load())
