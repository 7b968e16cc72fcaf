"""The trainer on small made-up stories: data, batches, schedule, a real run and what it leaves behind."""

from __future__ import annotations

import gzip
import itertools
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from small import SENTENCES, tiny_loaded, tiny_tokenizer

import engine
from engine.data.batches import IGNORED, batches, epoch_rows, make_examples
from engine.data.derive import guess_topic, label
from engine.data.stories import Record, read_records
from engine.errors import UsageError
from engine.evaluation.endings import EndingJudge
from engine.evaluation.loss import evaluate
from engine.model import Decoder
from engine.prompts import PromptStyle, story_prompt
from engine.settings import TrainSettings, gpt2_config
from engine.training.loop import train
from engine.training.optimizer import make_optimizers
from engine.training.recipes import load_recipe, recipe_names
from engine.training.schedule import rate

HAPPY, SAD = "They hugged and were happy ever after.", "They cried, because it was gone for ever."


def made_up_records(count: int = 240) -> list[Record]:
    records = []
    for number in range(count):
        text, happy = SENTENCES[number % len(SENTENCES)], number % 2 == 0
        ending = "happy" if happy else "sad"
        records.append(Record(f"{text} That was day {number}. {HAPPY if happy else SAD}", f"day {number}", ending))
    return records


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "stories.jsonl"
    rows = [{"story": r.story, "topic": r.topic, "ending": r.ending} for r in made_up_records()]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def small_settings(data: Path, **changes: object) -> TrainSettings:
    values = {
        "data": (str(data),), "model": "llama", "width": 32, "layers": 2, "heads": 2, "context": 64, "tokenizer": "bpe",
        "vocab_size": 320, "steps": 40, "batch_tokens": 512, "learning_rate": 1e-2, "warmup_steps": 5, "evaluate_every": 20,
        "sample_every": 0, "precision": "fp32", "validation_share": 0.1, "device": "cpu", "threads": 1,
    }  # fmt: skip
    return TrainSettings(**(values | changes))  # type: ignore[arg-type]


def test_reading_text_and_json_lines(tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"One story.\n<|endoftext|>\nTwo.\nLines.\n<|endoftext|>\n"))
    (tmp_path / "b.jsonl").write_text('{"story": "One story.", "topic": "one", "ending": "sad"}\n\n{"story": "Three."}\n')
    records = read_records([tmp_path / "a.txt.gz", tmp_path / "b.jsonl"])
    assert records == [Record("One story.", "one", "sad"), Record("Two.\nLines."), Record("Three.")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", b""), ("a.jsonl", b"{]"), ("a.jsonl", b'{"text": 1}'), ("a.jsonl", b'{"story": ""}'), ("a.txt", b"\xff\xfe"),
        ("b.gz", b"\x1f\x8b1"),
    ],
)  # fmt: skip
def test_unreadable_data_is_refused_in_one_sentence(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=name):
        read_records([tmp_path / name])
    with pytest.raises(UsageError, match="gone"):
        read_records([tmp_path / "gone.txt"])


def test_every_token_of_every_story_is_a_target_once() -> None:
    tokenizer = tiny_tokenizer()
    records = made_up_records(60)
    examples = make_examples(records, tokenizer, [False] * 60)
    draw = np.random.default_rng(0)
    rows = epoch_rows(examples, TrainSettings(), context=24, end=tokenizer.end_id, random=draw)
    targets = sorted(
        tokenizer.decode(ids[ids != IGNORED].tolist()) for _, batch in batches(rows, 200, draw, window=16) for ids in batch
    )
    whole = "".join(sorted("".join(targets)))
    assert whole == "".join(sorted("".join(record.story for record in records)))
    counted = sum(int((batch != IGNORED).sum()) for _, batch in batches(rows, 200, draw))
    assert counted == sum(len(tokenizer.encode(record.story)) + 1 for record in records)  # and one end token each


def test_inputs_are_the_targets_one_later_and_batches_are_bounded() -> None:
    tokenizer = tiny_tokenizer()
    examples = make_examples(made_up_records(60), tokenizer, [True] * 60)
    draw = np.random.default_rng(0)
    settings = TrainSettings(marked_repeats=2)
    rows = epoch_rows(examples, settings, context=200, end=tokenizer.end_id, random=draw)
    assert len(rows) == 120
    for inputs, targets in batches(rows, 600, draw):
        assert inputs.shape == targets.shape and inputs.numel() <= 600
        for read, wanted in zip(inputs.tolist(), targets.tolist(), strict=True):
            size = max(at for at, token in enumerate(wanted) if token != IGNORED) + 1
            text, story = tokenizer.decode(read[:size]), tokenizer.decode(token for token in wanted[:size] if token != IGNORED)
            assert read[0] == tokenizer.end_id == wanted[size - 1]
            topic, ending = story.split("That was ")[1].split(".")[0], "happy" if HAPPY in story else "sad"
            assert text == story_prompt(topic, ending) + story  # the prompt is read, and only the story has a loss


def test_an_epoch_follows_from_its_seed() -> None:
    tokenizer = tiny_tokenizer()
    examples = make_examples(made_up_records(60), tokenizer, [False] * 60)

    def epoch(seed: int) -> list[list[int]]:
        settings = TrainSettings(prompted_happy=0.5, prompted_sad=0.5)
        draw = np.random.default_rng(seed)
        rows = epoch_rows(examples, settings, 64, tokenizer.end_id, draw)
        return [inputs.flatten().tolist() for inputs, _ in batches(rows, 300, draw)]

    assert epoch(1) == epoch(1) != epoch(2)


def test_the_learning_rate_is_a_function_of_the_step() -> None:
    settings = TrainSettings(steps=100, warmup_steps=10, schedule="cosine", final_learning_rate=0.1)
    rates = [rate(step, settings) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == 1.0 and max(rates) == 1.0
    assert all(a >= b for a, b in itertools.pairwise(rates[10:])) and rates[99] == pytest.approx(0.1, abs=0.01)
    linear = TrainSettings(steps=100, warmup_steps=10, schedule="linear", decay_start=0.5, final_learning_rate=0.0)
    assert rate(49, linear) == 1.0 and rate(75, linear) == pytest.approx(0.5) and rate(99, linear) == pytest.approx(0.02)


def test_muon_takes_hidden_matrices_and_nothing_decays_a_vector() -> None:
    network = Decoder(gpt2_config(32, 2, 2, 16, vocab_size=50))
    adamw, muon = make_optimizers(network, TrainSettings(optimizer="muon"))
    moved = {id(p) for group in muon.param_groups for p in group["params"]}
    assert moved == {id(p) for p in network.blocks.parameters() if p.dim() == 2}
    every = [p for optimizer in (adamw, muon) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(map(id, every)) == sorted(id(p) for p in network.parameters())
    assert all(group["weight_decay"] == 0 for group in adamw.param_groups for p in group["params"] if p.dim() == 1)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_run_learns_and_leaves_a_whole_directory(tmp_path: Path, data: Path, optimizer: str) -> None:
    said: list[str] = []
    settings = small_settings(
        data, optimizer=optimizer, sample_every=40, sample_prompts=("Mia", "sad: a day"), stored_as="float16"
    )
    best = train(settings, tmp_path / "run", said.append)
    run = tmp_path / "run"

    def rows(name: str) -> list[dict[str, object]]:
        return [json.loads(line) for line in (run / name).read_text().splitlines()]

    validations = [row["val_bits_per_byte"] for row in rows("metrics.jsonl") if "val_bits_per_byte" in row]
    assert len(validations) == 2 and validations[1] < validations[0] < 8  # type: ignore[operator]
    training = [row for row in rows("metrics.jsonl") if "train_loss" in row]
    assert training[-1]["train_loss"] < training[0]["train_loss"] < 6  # type: ignore[operator]
    assert {"step", "tokens", "time", "lr", "grad_norm", "tokens_per_s"} <= set(training[0])
    assert [row["event"] for row in rows("events.jsonl")] == [
        "started",
        "checkpoint",
        "checkpoint",
        "sample",
        "sample",
        "checkpoint",
        "finished",
    ]
    assert [row["prompt"] for row in rows("samples.jsonl")] == ["Mia", "sad: a day"]
    status = json.loads((run / "status.json").read_text())
    assert (status["state"], status["step"], status["total_steps"], status["pid"]) == ("finished", 40, 40, os.getpid())
    config = json.loads((run / "config.json").read_text())
    assert TrainSettings.from_json(config["settings"]) == settings and len(config["data_sha256"]) == 64

    assert best == run / "checkpoints" / "best" and (run / "checkpoints" / "step-000040").is_dir()
    loaded = engine.load_checkpoint(run, device="cpu")
    assert loaded.prompt_style == PromptStyle("topic-ending", True) and loaded.config.context == 64
    with pytest.raises(UsageError, match="holds a training run already"):
        train(settings, tmp_path / "run")


def test_the_same_settings_train_the_same_model(tmp_path: Path, data: Path) -> None:
    settings = small_settings(data, steps=6, dropout=0.1)
    weights = [engine.load_checkpoint(train(settings, tmp_path / name)).network.state_dict() for name in ("a", "b")]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_samples_do_not_change_what_a_run_learns(tmp_path: Path, data: Path) -> None:
    runs = [small_settings(data, steps=6, dropout=0.1, sample_every=every, sample_prompts=("Mia",)) for every in (0, 2)]
    weights = [engine.load_checkpoint(train(s, tmp_path / str(n))).network.state_dict() for n, s in enumerate(runs)]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_accumulation_gives_the_gradient_of_the_whole_batch(tmp_path: Path, data: Path) -> None:
    """Two half batches of a step weigh every token alike, however many each holds."""
    from engine.training.loop import _Trainer

    checkpoint = tiny_loaded("rope", context=64)
    network = checkpoint.network.requires_grad_(True)
    records = made_up_records(8)
    examples = make_examples(records, checkpoint.tokenizer, [False] * 8)
    draw = np.random.default_rng(0)
    parts = list(batches(epoch_rows(examples, TrainSettings(), 64, checkpoint.tokenizer.end_id, draw), 150, draw))
    assert len(parts) > 1
    settings = small_settings(data, accumulation=len(parts), clip=0.0)
    trainer = _Trainer(settings, network, checkpoint.tokenizer, checkpoint.prompt_style, [], [], None, {}, print)  # type: ignore[arg-type]
    trainer.optimizers, trainer.step = [], 1
    loss, _ = trainer._one_step(iter(parts))
    gradient = network.blocks[0].mlp.up.weight.grad.clone()
    network.zero_grad()
    total = sum(int((targets != IGNORED).sum()) for _, targets in parts)
    sums = sum(trainer._loss(*part) for part in parts)
    (sums / total).backward()
    torch.testing.assert_close(gradient, network.blocks[0].mlp.up.weight.grad)
    assert loss == pytest.approx(float(sums.detach()) / total, rel=1e-5)


def test_ctrl_c_ends_a_run_with_a_checkpoint(tmp_path: Path, data: Path) -> None:
    command = [sys.executable, "-m", "tinytales_tui", "train", "--data", str(data), "--recipe", "default", "--name", "stopped"]
    for change in (
        "width=32",
        "heads=2",
        "vocab_size=320",
        "context=64",
        "steps=100000",
        "sample_every=0",
        "evaluate_every=50000",
        "threads=1",
    ):
        command += ["--set", change]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    run = Path(os.environ["TINYTALES_HOME"]) / "runs" / "stopped"
    for _ in range(600):
        if (run / "metrics.jsonl").exists() or process.poll() is not None:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert out == "" and "Traceback" not in err
    status = json.loads((run / "status.json").read_text())
    assert status["state"] == "stopped"
    assert engine.load_checkpoint(run / "checkpoints" / f"step-{status['step']:06d}", device="cpu").card["step"] == status["step"]


def test_bits_per_byte_by_definition() -> None:
    checkpoint = tiny_loaded("learned", context=512)
    stories = [SENTENCES[0], SENTENCES[40] + " café"]
    nats = 0.0
    for story in stories:
        ids = [checkpoint.tokenizer.end_id, *checkpoint.tokenizer.encode(story), checkpoint.tokenizer.end_id]
        logs = checkpoint.network(torch.tensor([ids[:-1]]))[0].log_softmax(-1)
        nats -= sum(float(logs[at, token]) for at, token in enumerate(ids[1:]))
    loss = evaluate(checkpoint.network, checkpoint.tokenizer, checkpoint.prompt_style, stories)
    assert loss.nats == pytest.approx(nats, rel=1e-4)
    assert loss.tokens == sum(len(checkpoint.tokenizer.encode(story)) + 1 for story in stories)
    assert loss.bits_per_byte == pytest.approx(nats / math.log(2) / sum(len(story.encode()) for story in stories), rel=1e-4)
    assert loss.perplexity == pytest.approx(math.exp(nats / loss.tokens), rel=1e-4)


@pytest.mark.parametrize("context", [16, 17, 32])
def test_long_stories_are_predicted_whole(context: int) -> None:
    checkpoint = tiny_loaded("learned", context=context)
    stories = [" ".join(SENTENCES[:5]), "Mia", SENTENCES[3]]
    loss = evaluate(checkpoint.network, checkpoint.tokenizer, checkpoint.prompt_style, stories)
    assert loss.tokens == sum(len(checkpoint.tokenizer.encode(story)) + 1 for story in stories)


def test_the_judge_learns_endings_and_stories_are_labelled() -> None:
    records = made_up_records()
    judge = EndingJudge.learn([r.story for r in records], [r.ending == "happy" for r in records])
    new = [f"A frog named Bo had a drum. {ending}" for ending in (HAPPY, SAD)]
    happy, sad = judge.happiness(new)
    assert happy > 0.9 and sad < 0.1
    plain = [Record(f"Once there was a green frog named Bo. Bo had a drum. The drum was loud. {SAD}")]
    labelled = label([*records, *plain], seed=1)
    assert labelled[:-1] == records
    assert labelled[-1].ending == "sad" and "frog" in labelled[-1].topic  # type: ignore[operator]
    assert label(plain, seed=1) == plain  # nothing to learn endings from


def test_topics_name_who_and_what() -> None:
    story = "One day, a shy fox lived in a den. The fox had a lamp. He lit the lamp."
    topics = [guess_topic(story, {"lamp": 3.0}, random.Random(seed)) for seed in range(20)]
    assert all(topic and topic.startswith("a shy fox") for topic in topics)
    assert 10 < sum("lamp" in topic for topic in topics if topic) < 20


def test_recipes() -> None:
    assert "default" in recipe_names()
    recipe = load_recipe("default", {"data": ["x"], "steps": 7})
    assert recipe.steps == 7 and recipe.model_config(4096).width == 256
    for name, changes in (("nothing", {}), ("default", {"stepz": 1}), ("default", {"steps": 0}), ("default", {"steps": "many"})):
        with pytest.raises(UsageError):
            load_recipe(name, changes)


@pytest.mark.parametrize(
    "wrong",
    [
        {"optimizer": "Muon"},
        {"schedule": "cosin"},
        {"steps": 20.5},
        {"seed": -1},
        {"stored_as": "fp16"},
        {"sample_prompts": ("",)},
        {"beta1": 2},
        {"model": "bert"},
        {"model": "llama", "width": None},
        {"validation_share": 0.9},
        {"learning_rate": 0.0},
    ],
)
def test_settings_that_make_no_sense(data: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        small_settings(data, **wrong).model_config(100)
