"""Prepared data on disk: what is written comes back, across shard borders, and nothing damaged or foreign is opened."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small import SENTENCES, tiny_tokenizer

from engine.data.shard_writer import ShardWriter, write_manifest
from engine.data.shards import GUESSED, INDEX, MARKED, Shards, is_prepared
from engine.errors import UsageError
from engine.tokenizer import BytePairTokenizer, GPT2Tokenizer, Tokenizer, tokenizer_sha256

PROMPT = "Write a story about: a key\n"


def write(folder: Path, tokenizer: Tokenizer, stories: list[str], held: list[str] = [], shard_tokens: int = 100) -> list[Any]:  # noqa: B006
    """A prepared folder; every third story has a prompt. Returns (prompt, story) ids of the training stories."""
    folder.mkdir()
    splits, written = {}, []
    for split, texts in (("train", stories), ("valid", held)):
        writer = ShardWriter(folder, split, tokenizer, shard_tokens)  # type: ignore[arg-type]
        for number, text in enumerate(texts):
            prompt = tokenizer.encode(PROMPT) if number % 3 == 0 else []
            ids = tokenizer.encode(text)
            ending = ("happy", "sad", None)[number % 3]
            writer.add(prompt, ids, len(text.encode()), ending, (MARKED, GUESSED, 0)[number % 3])  # type: ignore[arg-type]
            if split == "train":
                written.append((prompt, ids))
        splits[split] = writer.finish()
    write_manifest(folder, tokenizer, splits, {})
    return written


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    written = write(tmp_path / "data", tiny_tokenizer(), SENTENCES, ["It rained."])
    shards = Shards.open(tmp_path / "data")
    train, valid = shards.split("train"), shards.split("valid")
    assert len(train) == len(SENTENCES) and len(valid) == 1 and is_prepared(tmp_path / "data")
    assert len(shards.manifest["splits"]["train"]["shards"]) > 5
    stream = [token for prompt, story in written for token in (*prompt, *story, shards.end_id)]
    assert train.tokens == len(stream) and train.text_bytes == sum(len(s.encode()) for s in SENTENCES)
    rows = train.rows()
    assert rows.dtype == INDEX
    start = 0
    for number, (prompt, story) in enumerate(written):
        got_prompt, got_story = train.parts(number)
        assert got_prompt.tolist() == prompt and got_story.tolist() == story
        assert rows[number].tolist() == (
            start, len(prompt), len(story), len(SENTENCES[number].encode()), (1, 2, 0)[number % 3], (1, 2, 0)[number % 3],
        )  # fmt: skip
        assert shards.tokenizer.decode(got_story) == SENTENCES[number]
        start += len(prompt) + len(story) + 1
    draw = random.Random(3)
    some = np.array([draw.randrange(len(train)) for _ in range(50)])
    assert (train.rows(some) == rows[some]).all()
    for _ in range(200):
        at = draw.randrange(train.tokens)
        length = draw.randrange(train.tokens - at + 1)
        assert train.window(at, length).tolist() == stream[at : at + length]
    shards.verify()


def test_windows_are_views_inside_a_shard_and_the_stream_has_an_end(tmp_path: Path) -> None:
    write(tmp_path / "data", tiny_tokenizer(), SENTENCES)
    train = Shards.open(tmp_path / "data").split("train")
    assert not train.window(0, 20).flags.owndata and not train.parts(5)[1].flags.owndata
    assert not train.window(0, 20).flags.writeable
    for start, length in ((-1, 2), (0, train.tokens + 1), (train.tokens, 1)):
        with pytest.raises(IndexError):
            train.window(start, length)
    for wrong in (-1, len(train)):
        with pytest.raises(IndexError):
            train.parts(wrong)
        with pytest.raises(IndexError):
            train.rows(np.array([wrong]))


def test_an_empty_held_out_split(tmp_path: Path) -> None:
    write(tmp_path / "data", tiny_tokenizer(), SENTENCES[:2])
    valid = Shards.open(tmp_path / "data").split("valid")
    assert len(valid) == 0 and valid.tokens == 0 and len(valid.rows()) == 0 and len(valid.window(0, 0)) == 0


@pytest.mark.parametrize(("size", "kind"), [(320, np.uint16), (50_257, np.uint16)])
def test_small_vocabularies_take_two_bytes(tmp_path: Path, size: int, kind: type) -> None:
    tokenizer = tiny_tokenizer() if size == 320 else GPT2Tokenizer()
    write(tmp_path / "data", tokenizer, SENTENCES[:3])
    shards = Shards.open(tmp_path / "data")
    assert shards.split("train").window(0, 3).dtype == kind and shards.vocab_size == size
    assert (tmp_path / "data" / "tokenizer.json").exists() == (size == 320)


def test_large_vocabularies_take_four_bytes(tmp_path: Path) -> None:
    class Wide:
        vocab_size, end_id, name = 70_000, 69_999, "wide"

    writer = ShardWriter(tmp_path, "train", Wide())  # type: ignore[arg-type]
    writer.add([], [68_000, 1], 4)
    writer.finish()
    assert np.fromfile(tmp_path / "train-00000.bin", "<u4").tolist() == [68_000, 1, 69_999]


def test_a_writer_goes_on_from_what_was_committed(tmp_path: Path) -> None:
    """Whatever was added, closed or left lying around after the commit, the result is the same bytes."""
    tokenizer, draw = tiny_tokenizer(), random.Random(1)
    write(tmp_path / "whole", tokenizer, SENTENCES)
    whole = {path.name: path.read_bytes() for path in (tmp_path / "whole").glob("train-*")}
    for trial in range(12):
        folder = tmp_path / f"trial-{trial}"
        folder.mkdir()
        done, state = 0, None
        while done < len(SENTENCES):
            writer = ShardWriter(folder, "train", tokenizer, 100, state)
            assert writer.stories == done
            to = min(len(SENTENCES), done + draw.randrange(1, 60))
            lost = min(len(SENTENCES), to + draw.randrange(40))
            for number in range(done, lost):
                prompt = tokenizer.encode(PROMPT) if number % 3 == 0 else []
                text = SENTENCES[number]
                ending, marks = ("happy", "sad", None)[number % 3], (MARKED, GUESSED, 0)[number % 3]
                if number == to:
                    state = json.loads(json.dumps(writer.commit()))
                writer.add(prompt, tokenizer.encode(text), len(text.encode()), ending, marks)  # type: ignore[arg-type]
            if to == lost:
                state = writer.commit()
            done = to
            if done == len(SENTENCES):
                writer.finish()
            del writer  # what it still holds back goes into the files now, before the next one looks at them
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole


def test_the_last_story_can_be_taken_out_again(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    writer = ShardWriter(tmp_path, "train", tokenizer)
    for text in SENTENCES[:3]:
        writer.add(tokenizer.encode(PROMPT), tokenizer.encode(text), len(text), "sad", MARKED)
    before = writer.commit()
    prompt, story, row = writer.take_last()
    assert tokenizer.decode(prompt) == PROMPT and tokenizer.decode(story) == SENTENCES[2] and row["ending"] == 2
    again = ShardWriter(tmp_path, "train", tokenizer, state=before)  # killed before the next commit
    assert again.stories == 3 and (again.take_last()[1] == story).all()
    facts = again.finish()
    assert facts["stories"] == 2 and facts["prompted"] == 2
    assert facts["tokens"] * 2 == (tmp_path / "train-00000.bin").stat().st_size


def test_what_cannot_be_opened_is_said_in_one_sentence(tmp_path: Path) -> None:
    def refusal() -> str:
        with pytest.raises(UsageError) as refused:
            Shards.open(folder)
        return str(refused.value)

    folder = tmp_path / "data"
    assert "no folder" in refusal() and not is_prepared(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no prepared data"):
        Shards.open(tmp_path / "empty")
    (tmp_path / "empty" / ".preparing.sqlite").touch()
    with pytest.raises(UsageError, match="run the same preparation again"):
        Shards.open(tmp_path / "empty")
    write(folder, tiny_tokenizer(), SENTENCES)
    manifest = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text("[]")
    assert "manifest" in refusal() and not is_prepared(folder)
    (folder / "manifest.json").write_text(manifest.replace('"format": 1', '"format": 9'))
    assert "another version" in refusal()
    (folder / "manifest.json").write_text(manifest)
    os.truncate(folder / "train-00002.bin", 10)
    assert "train-00002.bin has 10 bytes" in refusal()
    (folder / "train-00002.bin").unlink()
    assert "train-00002.bin is missing" in refusal()
    write(tmp_path / "none", tiny_tokenizer(), [], ["Only held out."])
    with pytest.raises(UsageError, match="no story to train on"):
        Shards.open(tmp_path / "none")


def test_damage_inside_a_file_is_found_when_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "data", tiny_tokenizer(), SENTENCES)
    for name in ("train-00001.bin", "train-00003.idx"):
        path = tmp_path / "data" / name
        kept = path.read_bytes()
        path.write_bytes(kept[:7] + bytes([kept[7] ^ 1]) + kept[8:])
        with pytest.raises(UsageError, match=path.stem):
            Shards.open(tmp_path / "data").verify()
        path.write_bytes(kept)
    Shards.open(tmp_path / "data").verify()


def test_another_tokenizer_in_the_folder_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "data", tiny_tokenizer(), SENTENCES)
    other = BytePairTokenizer.train([text[::-1] for text in SENTENCES], 320)
    (tmp_path / "data" / "tokenizer.json").write_text(other.to_json())
    shards = Shards.open(tmp_path / "data")
    with pytest.raises(UsageError, match="not the one"):
        _ = shards.tokenizer
    (tmp_path / "data" / "tokenizer.json").write_text("{")
    with pytest.raises(UsageError, match="missing or damaged"):
        _ = Shards.open(tmp_path / "data").tokenizer


def test_a_tokenizer_is_known_by_what_it_does_not_by_its_file(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    data = json.loads(tokenizer.to_json())
    (tmp_path / "other.json").write_text(json.dumps(data, indent=7, sort_keys=True))
    assert tokenizer_sha256(BytePairTokenizer.load(tmp_path / "other.json")) == tokenizer_sha256(tokenizer)
    data["pre_tokenizer"]["add_prefix_space"] = True
    (tmp_path / "other.json").write_text(json.dumps(data))
    assert tokenizer_sha256(BytePairTokenizer.load(tmp_path / "other.json")) != tokenizer_sha256(tokenizer)
    assert tokenizer_sha256(tiny_tokenizer(300)) != tokenizer_sha256(tokenizer)
    (tmp_path / "gpt2.json").write_text(GPT2Tokenizer().to_json())
    assert tokenizer_sha256(BytePairTokenizer.load(tmp_path / "gpt2.json")) == tokenizer_sha256(GPT2Tokenizer())
