"""Whole small runs: what they learn, what they leave behind, and how they end when something goes wrong."""

from __future__ import annotations

import json
import os
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small import save_tiny, tiny_tokenizer
from training_runs import (
    HAPPY,
    SAD,
    learnt,
    made_up_rows,
    prepared,
    rows_of,
    run_here,
    small_settings,
    status_of,
    write_stories,
)

import engine
from engine.data.derive import Guesser, guess_topic
from engine.data.stories import Record
from engine.errors import TinyTalesError, UsageError
from engine.evaluation.endings import EndingJudge
from engine.prompts import PromptStyle
from engine.training import launch
from engine.training.loop import Diverged
from engine.training.run import train
from engine.training.settings import TrainSettings


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_stories(tmp_path / "stories.jsonl")


def weights(run: Path, which: str = "best") -> dict[str, torch.Tensor]:
    return engine.load_checkpoint(run / "checkpoints" / which, device="cpu").network.state_dict()


def same_weights(one: Path, other: Path, which: str = "step-000006") -> bool:
    a, b = weights(one, which), weights(other, which)
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize(("optimizer", "layout"), [("adamw", "packed"), ("muon", "stories"), ("adamw", "windows")])
def test_a_run_learns_and_leaves_a_whole_directory(tmp_path: Path, data: Path, optimizer: str, layout: str) -> None:
    said: list[str] = []
    settings = small_settings(
        data, optimizer=optimizer, layout=layout, sample_every=40, sample_prompts=("Mia", "sad: a day"), stored_as="float16"
    )
    run = run_here(tmp_path / "run", settings, said.append)
    validations = [row["val_bits_per_byte"] for row in rows_of(run, "metrics") if "val_bits_per_byte" in row]
    assert len(validations) == 2 and validations[1] < validations[0] < 8
    training = [row for row in rows_of(run, "metrics") if "train_loss" in row]
    assert [row["step"] for row in training] == list(range(1, 41))
    assert training[-1]["train_loss"] < training[0]["train_loss"] < 6
    assert {"step", "tokens", "time", "lr", "grad_norm", "memory_bytes"} <= set(training[0])
    assert "tokens_per_s" in training[-1] and training[-1]["memory_bytes"] > 1e7
    assert [row["event"] for row in rows_of(run, "events")] == [
        "started", "checkpoint", "checkpoint", "checkpoint", "sample", "sample", "checkpoint", "finished",
    ]  # fmt: skip
    assert [row["prompt"] for row in rows_of(run, "samples")] == ["Mia", "sad: a day"]
    status = status_of(run)
    assert (status["state"], status["step"], status["total_steps"], status["pid"]) == ("finished", 40, 40, os.getpid())
    config = json.loads((run / "config.json").read_text())
    assert TrainSettings.from_json(config["settings"]) == settings and len(config["data_sha256"]) == 64
    assert any(line.startswith("step 40/40") for line in said)
    assert said == (run / "output.log").read_text().splitlines()
    loaded = engine.load_checkpoint(run, device="cpu")
    assert loaded.prompt_style == PromptStyle("topic-ending", True) and loaded.config.context == 64
    assert loaded.card["validation"]["bits_per_byte"] == validations[-1]
    with pytest.raises(UsageError, match="holds a training run already"):
        launch.create(run, settings)


def test_the_same_settings_train_the_same_model_and_another_seed_another(tmp_path: Path, data: Path) -> None:
    settings = small_settings(data, steps=6, dropout=0.1)
    one, two = (run_here(tmp_path / name, settings) for name in ("a", "b"))
    assert same_weights(one, two) and learnt(one) == learnt(two)
    assert not same_weights(one, run_here(tmp_path / "c", replace(settings, seed=2)))


def test_watching_does_not_change_what_a_run_learns(tmp_path: Path, data: Path) -> None:
    quiet = small_settings(data, steps=6, dropout=0.1, evaluate_every=6, checkpoint_every=6)
    busy = replace(quiet, evaluate_every=1, checkpoint_every=1, sample_every=2, sample_prompts=("Mia",))
    assert same_weights(run_here(tmp_path / "a", quiet), run_here(tmp_path / "b", busy))


def test_passes_of_any_size_make_the_same_step(tmp_path: Path, data: Path) -> None:
    """Accumulation weighs every token alike, however many a pass holds."""
    for layout in ("stories", "packed"):
        settings = small_settings(data, steps=6, batch_tokens=1024, layout=layout)
        parts = replace(settings, micro_tokens=130)
        whole, cut = run_here(tmp_path / f"{layout}-a", settings), run_here(tmp_path / f"{layout}-b", parts)
        for one, other in zip(learnt(whole), learnt(cut), strict=True):
            assert one["tokens"] == other["tokens"]
            assert other.get("train_loss", 0) == pytest.approx(one.get("train_loss", 0), rel=1e-4)
            assert other.get("grad_norm", 0) == pytest.approx(one.get("grad_norm", 0), rel=1e-3)


def test_lines_of_metrics_are_means(tmp_path: Path, data: Path) -> None:
    every = [r for r in learnt(run_here(tmp_path / "a", small_settings(data, steps=7))) if "train_loss" in r]
    third = [r for r in learnt(run_here(tmp_path / "b", small_settings(data, steps=7, log_every=3))) if "train_loss" in r]
    assert [row["step"] for row in third] == [3, 6, 7]
    assert third[1]["train_loss"] == pytest.approx(sum(row["train_loss"] for row in every[3:6]) / 3)


def test_a_loss_that_is_no_number_ends_the_run_and_names_the_batch(tmp_path: Path, data: Path) -> None:
    settings = small_settings(
        data, learning_rate=1.0, warmup_steps=1, clip=0.0, weight_decay=100.0, steps=300, checkpoint_every=5
    )
    launch.create(tmp_path / "run", settings)
    with pytest.raises(Diverged, match="lower learning rate") as raised:
        train(tmp_path / "run")
    status, batch = status_of(tmp_path / "run"), json.loads((tmp_path / "run" / "bad-batch.json").read_text())
    assert status["state"] == "failed" and status["message"] == str(raised.value)
    assert batch["stories"] and batch["texts"][0].split() and batch["step"] == status["step"] + 1
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        assert all(bool(torch.isfinite(tensor).all()) for tensor in weights(tmp_path / "run", path.name).values())
    assert [row["event"] for row in rows_of(tmp_path / "run", "events")][-2:] == ["warning", "failed"]


def test_a_run_stops_early_and_keeps_the_best(tmp_path: Path, data: Path) -> None:
    settings = small_settings(data, steps=400, learning_rate=0.05, evaluate_every=5, patience=2, schedule="constant")
    run = run_here(tmp_path / "run", settings)
    status = status_of(run)
    validations = [row for row in learnt(run) if "val_loss" in row]
    best = min(validations, key=lambda row: row["val_bits_per_byte"])
    assert status["step"] < 400 and "early" in status["message"].lower()
    assert [row["step"] for row in validations][-3:] == [best["step"], best["step"] + 5, best["step"] + 10]
    assert engine.load_checkpoint(run, device="cpu").card["step"] == best["step"]


def test_the_average_is_what_is_judged_and_saved(tmp_path: Path, data: Path) -> None:
    plain = run_here(tmp_path / "plain", small_settings(data, steps=20))
    averaged = run_here(tmp_path / "averaged", small_settings(data, steps=20, ema=0.9))
    losses = [[row["train_loss"] for row in learnt(run) if "train_loss" in row] for run in (plain, averaged)]
    assert losses[0] == losses[1]  # the run itself is the same
    assert not same_weights(plain, averaged, "step-000020")


def test_fine_tuning_goes_on_from_a_checkpoint(tmp_path: Path, data: Path) -> None:
    first = run_here(tmp_path / "first", small_settings(data, steps=40))
    settings = small_settings(data, start_from=str(first), steps=5, learning_rate=1e-3, evaluate_every=5, seed=3)
    second = run_here(tmp_path / "second", settings)
    start = [row["train_loss"] for row in learnt(first) if "train_loss" in row]
    tuned = [row["train_loss"] for row in learnt(second) if "train_loss" in row]
    assert tuned[0] < start[0] / 2
    assert (
        engine.load_checkpoint(second, device="cpu").tokenizer.name == engine.load_checkpoint(first, device="cpu").tokenizer.name
    )


def test_low_rank_tuning_leaves_a_plain_checkpoint(tmp_path: Path, data: Path) -> None:
    first = run_here(tmp_path / "first", small_settings(data, steps=20))
    settings = small_settings(data, start_from=str(first), lora_rank=2, steps=10, learning_rate=2e-2)
    tuned = run_here(tmp_path / "tuned", settings)
    before, after = weights(first, "step-000020"), weights(tuned, "step-000010")
    assert before.keys() == after.keys() and torch.equal(before["embedding.weight"], after["embedding.weight"])
    assert not torch.equal(before["blocks.0.attention.qkv.weight"], after["blocks.0.attention.qkv.weight"])
    config = json.loads((tuned / "config.json").read_text())
    assert config["trained_parameters"] < config["parameters"] / 3
    losses = [row["train_loss"] for row in learnt(tuned) if "train_loss" in row]
    assert sum(losses[-3:]) < sum(losses[:3])


def test_data_for_another_vocabulary_are_refused(tmp_path: Path) -> None:
    checkpoint = save_tiny(tmp_path / "tiny", "rope")
    stories = [(row["story"], None, None) for row in made_up_rows(40)]
    prepared(tmp_path / "other", tiny_tokenizer(300), stories, held_out=4)
    launch.create(tmp_path / "run", small_settings(tmp_path / "other", start_from=str(checkpoint)))
    with pytest.raises(UsageError, match="prepare them again with --tokenizer"):
        train(tmp_path / "run")
    assert status_of(tmp_path / "run")["state"] == "failed"
    prepared(tmp_path / "same", tiny_tokenizer(), stories, held_out=4)
    run_here(tmp_path / "fits", small_settings(tmp_path / "same", start_from=str(checkpoint), steps=2))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": ()}, "nothing to train on"),
        ({"data": ("gone.txt",)}, "no file or folder"),
        ({"device": "tpu"}, "no device"),
        ({"start_from": "gone/from/here"}, "no checkpoint"),
        ({"too_long": "drop", "context": 4}, "No story is left"),
    ],
)
def test_what_cannot_be_trained_is_one_sentence(tmp_path: Path, data: Path, changes: dict[str, object], words: str) -> None:
    launch.create(tmp_path / "run", replace(small_settings(data), **changes))  # type: ignore[arg-type]
    with pytest.raises(TinyTalesError, match=words):
        train(tmp_path / "run")
    status = status_of(tmp_path / "run")
    assert status["state"] == "failed" and words in status["message"] and "\n" not in status["message"]


def test_tensorboard_reads_a_run(tmp_path: Path, data: Path) -> None:
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = run_here(tmp_path / "run", small_settings(data, steps=6, evaluate_every=3, tensorboard=True))
    read = accumulators.EventAccumulator(str(run / "tensorboard"))
    read.Reload()
    losses = [row["train_loss"] for row in learnt(run) if "train_loss" in row]
    assert [event.step for event in read.Scalars("loss/train")] == [1, 2, 3, 4, 5, 6]
    assert [event.value for event in read.Scalars("loss/train")] == pytest.approx(losses, rel=1e-5)
    assert [event.step for event in read.Scalars("bits_per_byte/validation")] == [3, 6]


def test_a_checkpoint_of_a_run_opens_in_transformers(tmp_path: Path, data: Path) -> None:
    transformers = pytest.importorskip("transformers")
    run = run_here(tmp_path / "run", small_settings(data, steps=6))
    theirs = transformers.AutoModelForCausalLM.from_pretrained(run / "checkpoints" / "best")
    ours = engine.load_checkpoint(run, device="cpu")
    ids = torch.tensor([ours.tokenizer.encode("Mia found a key.")])
    with torch.no_grad():
        torch.testing.assert_close(theirs(ids).logits, ours.network(ids), rtol=1e-4, atol=1e-4)


def test_the_judge_learns_endings_and_stories_are_labelled() -> None:
    records = [Record(row["story"], row["topic"], row["ending"]) for row in made_up_rows()]  # type: ignore[arg-type]
    judge = EndingJudge.learn([r.story for r in records], [r.ending == "happy" for r in records])
    new = [f"A frog named Bo had a drum. {ending}" for ending in (HAPPY, SAD)]
    happy, sad = judge.happiness(new)
    assert happy > 0.9 and sad < 0.1
    plain = [Record(f"Once there was a green frog named Bo. Bo had a drum. The drum was loud. {SAD}")]
    guesser = Guesser.learn([*records, *plain], seed=1)
    assert guesser is not None
    labelled = guesser.label([*records, *plain])
    assert labelled[:-1] == records
    assert labelled[-1].ending == "sad" and "frog" in labelled[-1].topic  # type: ignore[operator]
    assert Guesser.learn(plain, seed=1) is None  # nothing to learn endings from


def test_topics_name_who_and_what() -> None:
    story = "One day, a shy fox lived in a den. The fox had a lamp. He lit the lamp."
    topics = [guess_topic(story, {"lamp": 3.0}, random.Random(seed)) for seed in range(20)]
    assert all(topic and topic.startswith("a shy fox") for topic in topics)
    assert 10 < sum("lamp" in topic for topic in topics if topic) < 20
