"""Looking through data: counts are exact, suspicious stories are found and ordinary ones are not."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest

from engine.data.inspect import inspect, suspicions
from engine.data.records import Record
from engine.data.sources import ReadingOptions, open_sources
from engine.data.storybook import storybook_stories
from engine.data.vocabulary import learn_vocabulary, measure_vocabulary
from engine.errors import UsageError
from engine.tokenizer import GPT2Tokenizer

ORDINARY = (
    "Once there was a girl named Mia, who was 3 years old & loved the sea. \"Look!\" she said; 'a < b' meant nothing to her... "
    "So she went to the café (it was closed) and had a £2 cake at 5 o'clock - just like that."
)


@pytest.mark.parametrize(
    ("addition", "reason"),
    [
        ("<b>bold</b>", "markup"), ("Tom &amp; Ann", "markup"), ("\n## Part two", "markup"), ("see [this](there)", "markup"),
        ("at https://example.org/x", "URL"), ("on www.example.org", "URL"), ("write to mia@example.org", "e-mail"),
        ("she said �hello", "broken encoding"), ("donâ€™t", "broken encoding"), ("cafÃ©", "broken encoding"),
        ("a\x00b", "broken encoding"), ("\\u2019s", "broken encoding"), ("the end <|endoftext|> Once", "special token"),
        ("hello [PAD]", "special token"), ("\nSummary: Mia goes out.", "field name"), ("\nStory: again", "field name"),
    ],
)  # fmt: skip
def test_what_is_suspicious(addition: str, reason: str) -> None:
    assert suspicions(Record(ORDINARY)) == []
    assert reason in suspicions(Record(f"{ORDINARY} {addition}" if not addition.startswith("\n") else ORDINARY + addition))


def test_length_is_suspicious_at_both_ends() -> None:
    assert suspicions(Record("word " * 24)) == ["too short"] and suspicions(Record("word " * 25)) == []
    assert suspicions(Record("word " * 1001)) == ["too long"] and suspicions(Record("word " * 1000)) == []


def test_an_inspection_counts(tmp_path: Path) -> None:
    book = [record for record, _ in zip(storybook_stories(5), range(300), strict=False)]
    rows = [{"topic": r.topic, "ending": r.ending, "story": r.story} for r in book[:200]]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + '\n{"story": ""}')
    (tmp_path / "b.txt").write_text("<|endoftext|>".join([r.story for r in book[150:]] + ["Too short. http://x.org"]))
    sources = open_sources([str(tmp_path / "a.jsonl"), str(tmp_path / "b.txt")])
    found = inspect(sources, seed=4)
    stories = [r.story for r in [*book[:200], *book[150:]]] + ["Too short. http://x.org"]
    lengths = [len(story.split()) for story in stories]
    report = found.to_json()
    assert report["stories"] == 351 and report["duplicates"] == 50 and report["with_topic"] == 200
    assert report["text_bytes"] == sum(len(story.encode()) for story in stories)
    assert report["words"]["median"] == statistics.median_low(lengths) and report["words"]["most"] == max(lengths)
    assert report["words"]["total"] == sum(lengths) and report["words"]["least"] == 3
    sad = sum(r.ending == "sad" for r in book[:200])
    assert report["endings"] == {"happy": 200 - sad, "sad": sad, "none": 151}
    assert report["reasons"] == {"URL": 1, "too short": 1} and report["suspicious"] == 1
    assert "b.txt, story 151: Too short." in report["examples"]["URL"][0]
    assert [source["dropped"] for source in report["sources"]] == [{"empty": 1}, {}]
    bars = report["words"]["histogram"]
    assert sum(bar["stories"] for bar in bars) == 351
    for bar in bars:
        assert bar["stories"] == sum(bar["from"] <= length < bar["below"] for length in lengths)
    assert len(report["samples"]) == 5 and all(sample["story"] in stories for sample in report["samples"])
    again = inspect(sources, seed=4).to_json()
    assert again == report and inspect(sources, seed=5).to_json()["samples"] != report["samples"]


def test_nothing_to_inspect(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(UsageError, match="hold no story"):
        inspect(open_sources([str(tmp_path / "a.txt")]))
    (tmp_path / "b.txt").write_bytes(b"\xff")
    with pytest.raises(UsageError, match="hold no story"):
        inspect(open_sources([str(tmp_path / "b.txt")], ReadingOptions(skip_bad=True)))


def test_a_vocabulary_is_measured(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    text = ["Mia and the café. " * 20, "Mia saw a 🎈. " * 10]
    path.write_text("<|endoftext|>".join(text))
    sources = open_sources([str(path)])
    tokenizer = learn_vocabulary(sources, 300)
    report = measure_vocabulary(tokenizer, sources)
    tokens = [token for story in text for token in tokenizer.encode(story.strip())]
    size = sum(len(story.strip().encode()) for story in text)
    assert (report.stories, report.tokens, report.text_bytes, report.lost_bytes) == (2, len(tokens), size, 0)
    shown = report.to_json()
    assert shown["bytes_per_token"] == pytest.approx(size / len(tokens), abs=1e-3) and shown["unknown_share"] == 0
    assert shown["tokens_never_used"] == tokenizer.vocab_size - len(set(tokens))
    commonest = max(set(tokens), key=lambda token: (tokens.count(token), -token))
    assert shown["commonest"][0]["token"] == commonest
    assert (
        measure_vocabulary(GPT2Tokenizer(), sources).to_json()["partial_character_share"] > 0
    )  # the balloon takes several tokens
    (tmp_path / "b.txt").write_text("")
    for action in (lambda s: learn_vocabulary(s, 300), lambda s: measure_vocabulary(tokenizer, s)):
        with pytest.raises(UsageError, match="hold no story"):
            action(open_sources([str(tmp_path / "b.txt")]))
