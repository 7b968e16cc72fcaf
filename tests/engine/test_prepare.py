"""Preparing data: what comes out, that an interruption leaves no mark on it, that nothing is mixed, and that memory does not grow."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prepared import files, refusal, texts, write_rows, write_text
from small import SENTENCES, save_tiny, tiny_tokenizer

from engine.data.derive import Guesser
from engine.data.prepare import PrepareSettings, erase, prepare
from engine.data.progress import Progress
from engine.data.records import Record
from engine.data.shards import GUESSED, MARKED
from engine.data.storybook import storybook_stories
from engine.errors import UsageError
from engine.prompts import story_prompt
from engine.tokenizer import END_OF_TEXT, BytePairTokenizer


def test_every_story_is_there_once_with_its_prompt(tmp_path: Path) -> None:
    records = [Record(text, f"a thing, number {n}", ("happy", "sad")[n % 2]) for n, text in enumerate(SENTENCES[:40])]  # type: ignore[arg-type]
    plain = write_text(tmp_path / "plain.txt", [*SENTENCES[30:], SENTENCES[100], "Unlabelled."])
    marked = write_rows(tmp_path / "marked.jsonl", records)
    said: list[str] = []
    shards = prepare(PrepareSettings((str(plain), str(marked)), validation_share=0.2), tmp_path / "data", said.append)
    train, valid = shards.split("train"), shards.split("valid")
    assert sorted(texts(train, shards) + texts(valid, shards)) == sorted([*SENTENCES, "Unlabelled."])
    assert 8 <= len(valid) <= 40
    known = {record.story: record for record in records}
    for split in (train, valid):
        rows = split.rows()
        for number, story in enumerate(texts(split, shards)):
            prompt = shards.tokenizer.decode(split.parts(number)[0])
            record = known.get(story)  # a label wins although the plain file was named first
            assert prompt == (story_prompt(record.topic, record.ending) if record else "")  # type: ignore[arg-type]
            assert rows[number]["marks"] == (MARKED if record else 0)
            assert rows[number]["bytes"] == len(story.encode())
    sources = {Path(source["name"]).name: source for source in shards.manifest["sources"]}
    assert sources["plain.txt"]["dropped"] == {"duplicate": 11} and sources["plain.txt"]["stories"] == 69
    assert sources["marked.jsonl"]["stories"] == 40 and not shards.synthetic
    shards.verify()


def test_duplicates_may_be_kept(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a.txt", ["One.", "Two.", "One."])
    kept = prepare(PrepareSettings((str(path),), unique=False, validation_share=0), tmp_path / "data")
    assert texts(kept.split("train"), kept) == ["One.", "Two.", "One."]


def test_the_split_does_not_depend_on_the_order(tmp_path: Path) -> None:
    one = write_text(tmp_path / "a.txt", SENTENCES)
    other = write_text(tmp_path / "b.txt", SENTENCES[::-1])

    def held(path: Path, seed: int, name: str) -> set[str]:
        shards = prepare(PrepareSettings((str(path),), validation_share=0.3, seed=seed), tmp_path / name)
        return set(texts(shards.split("valid"), shards))

    assert held(one, 1, "1") == held(other, 1, "2") != held(one, 2, "3")
    whole = prepare(PrepareSettings((str(one),), validation_share=0), tmp_path / "4")
    assert len(whole.split("valid")) == 0 and len(whole.split("train")) == len(SENTENCES)


@pytest.mark.parametrize("share", [0.01, 0.5])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_few_stories_are_divided_all_the_same(tmp_path: Path, share: float, count: int) -> None:
    path = write_text(tmp_path / "a.txt", SENTENCES[:count])
    for seed in range(6):
        settings = PrepareSettings((str(path),), validation_share=share, seed=seed, shard_tokens=10)
        shards = prepare(settings, tmp_path / f"data-{seed}")
        train, valid = shards.split("train"), shards.split("valid")
        assert len(train) >= 1 and len(valid) >= (count > 1)
        assert sorted(texts(train, shards) + texts(valid, shards)) == sorted(SENTENCES[:count])
        shards.verify()


def test_a_learnt_vocabulary_and_one_that_is_named(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a.txt", SENTENCES)
    learnt = prepare(PrepareSettings((str(path),), tokenizer="bpe", vocab_size=300), tmp_path / "learnt")
    assert learnt.vocab_size == 300 and learnt.manifest["tokenizer"]["kind"] == "bpe"
    checkpoint = save_tiny(tmp_path / "checkpoint", "rope")
    for name, settings in {"1": str(checkpoint), "2": str(checkpoint / "tokenizer.json")}.items():
        shards = prepare(PrepareSettings((str(path),), tokenizer=settings), tmp_path / name)
        assert shards.vocab_size == 320 and sorted(texts(shards.split("train"), shards))[0] == sorted(SENTENCES)[0]
    handed = prepare(PrepareSettings((str(path),), tokenizer="gpt2"), tmp_path / "handed", tokenizer=tiny_tokenizer())
    assert handed.tokenizer_sha256 == shards.tokenizer_sha256
    for wrong in ("gpt3", str(tmp_path / "a.txt")):
        assert "tokenizer" in refusal(PrepareSettings((str(path),), tokenizer=wrong), tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_what_is_finished_comes_back_at_once(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a.txt", SENTENCES)
    settings = PrepareSettings((str(path),), tokenizer="bpe", vocab_size=300)
    first = prepare(settings, tmp_path / "data")
    kept = files(tmp_path / "data")
    stamps = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "data").iterdir()}
    moved = path.rename(tmp_path / "moved.txt")
    again = prepare(PrepareSettings((str(moved),), tokenizer="bpe", vocab_size=300), tmp_path / "data")
    assert again.data_sha256 == first.data_sha256 and files(tmp_path / "data") == kept
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "data").iterdir()} == stamps


def test_nothing_else_is_ever_mixed_in(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a.txt", SENTENCES)
    settings = PrepareSettings((str(path),), tokenizer="bpe", vocab_size=300)
    prepare(settings, tmp_path / "data")
    kept = files(tmp_path / "data")
    for changes, words in (
        ({"vocab_size": 310}, "vocab-size was 300 and is now 310"),
        ({"seed": 2}, "seed was 1 and is now 2"),
        ({"tokenizer": "gpt2"}, "tokenizer was bpe and is now gpt2"),
        ({"unique": False}, "unique was True"),
    ):
        said = refusal(PrepareSettings(**(settings.to_json() | {"sources": (str(path),)} | changes)), tmp_path / "data")
        assert words in said and "--force" in said
    write_text(path, SENTENCES[1:])
    assert "have changed since" in refusal(settings, tmp_path / "data")
    assert files(tmp_path / "data") == kept
    first = prepare(PrepareSettings((str(path),)), tmp_path / "other", tokenizer=tiny_tokenizer())
    reversed_words = BytePairTokenizer.train([text[::-1] for text in SENTENCES], 320)
    assert first.vocab_size == reversed_words.vocab_size
    with pytest.raises(UsageError, match="another tokenizer"):
        prepare(PrepareSettings((str(path),)), tmp_path / "other", tokenizer=reversed_words)


@pytest.mark.parametrize("stop_at", ["write_manifest", "ShardWriter.finish", "Ledger.delete", "ShardWriter._close"])
def test_an_interruption_at_the_very_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: str) -> None:
    path = write_text(tmp_path / "a.txt", SENTENCES[:3])
    settings = PrepareSettings((str(path),), validation_share=1e-9)  # so that the last story has to change its split
    prepare(settings, tmp_path / "whole")
    with monkeypatch.context() as patched:

        def stop(*_: object) -> None:
            raise KeyboardInterrupt

        patched.setattr(f"engine.data.preparation.{stop_at}", stop)
        with pytest.raises(KeyboardInterrupt):
            prepare(settings, tmp_path / "data")
    prepare(settings, tmp_path / "data")
    assert files(tmp_path / "data") == files(tmp_path / "whole")


def test_folders_of_others_are_left_alone(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a.txt", SENTENCES)
    settings = PrepareSettings((str(path),))
    assert "holds other files" in refusal(settings, tmp_path)
    assert "is a file" in refusal(settings, path)
    with pytest.raises(UsageError, match="does not look like prepared data"):
        erase(tmp_path)
    prepare(settings, tmp_path / "data")
    (tmp_path / "data" / "notes.txt").write_text("mine")
    erase(tmp_path / "data")
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["notes.txt"] and path.exists()
    prepare(settings, tmp_path / "whole")
    erase(tmp_path / "whole")
    assert not (tmp_path / "whole").exists()


def test_sources_without_a_story(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n \n")
    (tmp_path / "b.jsonl").write_text('{"id": 1}\n')
    for tokenizer in ("gpt2", "bpe"):
        folder = tmp_path / f"data-{tokenizer}"
        assert "hold no story" in refusal(PrepareSettings((str(tmp_path / "a.txt"),), tokenizer=tokenizer), folder)
        said = refusal(PrepareSettings((str(tmp_path / "b.jsonl"),), tokenizer=tokenizer, skip_bad=True), folder)
        assert "1 no text" in said
        write_text(tmp_path / "c.txt", ["One."])
        assert len(prepare(PrepareSettings((str(tmp_path / "c.txt"),), tokenizer=tokenizer), folder).split("train")) == 1


@pytest.mark.parametrize(
    "wrong",
    [{"sources": ()}, {"sources": "a.txt"}, {"vocab_size": 12}, {"validation_share": 0.9}, {"seed": -1}, {"divide": "x"},
     {"shard_tokens": 0}],
)  # fmt: skip
def test_settings_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        PrepareSettings(**({"sources": ("a.txt",)} | wrong))


def test_settings_survive_json() -> None:
    settings = PrepareSettings(("a.txt", "b.jsonl"), guess=True, text_field="tale")
    assert PrepareSettings.from_json(json.loads(json.dumps(settings.to_json()))) == settings


def test_guesses_are_flagged_and_do_not_depend_on_how_stories_are_divided(tmp_path: Path) -> None:
    book = [r for r, _ in zip(storybook_stories(4), range(700), strict=False)]
    marked = write_rows(tmp_path / "marked.jsonl", book[:400])
    plain = write_text(tmp_path / "plain.txt", [record.story for record in book[400:]])
    settings = PrepareSettings((str(plain), str(marked)), guess=True)
    shards = prepare(settings, tmp_path / "data")
    rows = np.concatenate([shards.split("train").rows(), shards.split("valid").rows()])
    guessed = rows["marks"] == GUESSED
    assert (rows["marks"] == MARKED).sum() == 400 and guessed.sum() > 200
    assert (rows["prompt"][guessed] > 0).all() and set(rows["ending"][guessed]) == {1, 2}
    truth = {record.story: record.ending for record in book}
    train = shards.split("train")
    right = [
        ("happy", "sad")[train.rows(np.array([n]))["ending"][0] - 1] == truth[story]
        for n, story in enumerate(texts(train, shards))
        if train.rows(np.array([n]))["marks"][0] == GUESSED
    ]
    assert np.mean(right) > 0.9
    guesser = Guesser.learn(book, seed=1)
    unmarked = [Record(record.story) for record in book]
    assert guesser is not None
    whole = guesser.label(unmarked)
    assert whole == [one for at in range(0, 700, 7) for one in guesser.label(unmarked[at : at + 7])]
    said: list[str] = []
    prepare(PrepareSettings((str(plain),), guess=True), tmp_path / "unmarked", said.append)
    assert any("Nothing is guessed" in line for line in said)


def test_progress_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(
        gzip.compress(
            "".join(f"{r.story}{END_OF_TEXT}" for r, _ in zip(storybook_stories(1), range(4000), strict=False)).encode()
        )
    )
    seen: list[Progress] = []
    prepare(PrepareSettings((str(path),), tokenizer="bpe", vocab_size=300), tmp_path / "data", progress=seen.append)
    assert {"learning a vocabulary", "tokenizing"} == {one.stage for one in seen}
    last = seen[-1]
    assert last.stories == 4000 and last.share == 1.0 and last.bytes_per_s > 0 and last.text_bytes > 2_000_000
    shares = [one.share for one in seen if one.stage == "tokenizing" and one.share is not None]
    assert shares == sorted(shares) and all(0 <= share <= 1 for share in shares)


def test_storybook_data_are_called_synthetic(tmp_path: Path) -> None:
    shards = prepare(PrepareSettings(("storybook:50:3",)), tmp_path / "data")
    assert shards.synthetic and (shards.split("train").rows()["marks"] == MARKED).all()
    assert shards.manifest["sources"][0]["kind"] == "storybook"
