"""The parts of the trainer one by one: schedule, optimizers, averages, low rank, watchdog, settings, recipes, saved states."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest
import torch
from small import tiny_config, tiny_model
from torch.nn import functional as F

from engine.errors import CheckpointError, UsageError
from engine.model import Decoder
from engine.settings import gpt2_config
from engine.training import state, watchdog
from engine.training.average import WeightAverage
from engine.training.lora import add_low_rank, plain_network
from engine.training.optimizer import make_optimizers
from engine.training.recipes import about_recipe, load_recipe, recipe_names
from engine.training.schedule import rate
from engine.training.settings import TrainSettings, options
from engine.training.state import Progress, newest_state, prune, read_state, save_state, saved_steps


def test_the_learning_rate_is_a_function_of_the_step() -> None:
    settings = TrainSettings(warmup_steps=10, schedule="cosine", final_learning_rate=0.1)
    rates = [rate(step, settings, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == 1.0 and max(rates) == 1.0
    assert all(a >= b for a, b in itertools.pairwise(rates[10:])) and rates[99] == pytest.approx(0.1, abs=0.01)
    linear = TrainSettings(warmup_steps=10, schedule="linear", decay_start=0.5, final_learning_rate=0.0)
    assert [rate(s, linear, 100) for s in (49, 75, 99)] == [1.0, pytest.approx(0.5), pytest.approx(0.02)]
    wsd = TrainSettings(warmup_steps=10, schedule="wsd", final_learning_rate=0.0)
    assert [rate(s, wsd, 100) for s in (10, 79, 90)] == [1.0, 1.0, pytest.approx(0.5)]
    assert {rate(s, TrainSettings(warmup_steps=0, schedule="constant"), 100) for s in (0, 50, 150)} == {1.0}
    assert rate(500, linear, 100) == 0.0  # a run that was given fewer steps afterwards


def test_muon_takes_hidden_matrices_and_nothing_decays_a_vector() -> None:
    network = Decoder(gpt2_config(32, 2, 2, 16, vocab_size=50))
    adamw, muon = make_optimizers(network, TrainSettings(optimizer="muon"))
    moved = {id(p) for group in muon.param_groups for p in group["params"]}
    assert moved == {id(p) for p in network.blocks.parameters() if p.dim() == 2}
    every = [p for optimizer in (adamw, muon) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(map(id, every)) == sorted(id(p) for p in network.parameters())
    assert all(group["weight_decay"] == 0 for group in adamw.param_groups for p in group["params"] if p.dim() == 1)


def test_the_average_follows_the_weights() -> None:
    layer = torch.nn.Linear(2, 1, bias=False)
    average = WeightAverage(layer, 0.9)
    kept = layer.weight.detach().clone()
    with torch.no_grad():
        layer.weight += 1
    average.update(1000)
    torch.testing.assert_close(average.tensors[0], kept + 0.1)
    now = layer.weight.detach().clone()
    with average.in_place():
        torch.testing.assert_close(layer.weight.detach(), kept + 0.1)
    assert torch.equal(layer.weight.detach(), now)
    torch.testing.assert_close(average.tensors[0], kept + 0.1)
    average.update(1)  # an early one follows at once: (1 + 1) / (10 + 1)
    torch.testing.assert_close(average.tensors[0], (kept + 0.1) * 2 / 11 + now * 9 / 11)


@pytest.mark.parametrize("shape", ["rope", "learned, exact gelu, own head"])
def test_low_rank_additions_begin_as_nothing_and_merge_into_plain_matrices(shape: str) -> None:
    network = tiny_model(tiny_config(shape), spread=2.0)
    ids = torch.randint(0, 300, (2, 10))
    before = network(ids)
    add_low_rank(network, rank=3, alpha=6.0, seed=1)
    torch.testing.assert_close(network(ids), before)
    learnt = [name for name, p in network.named_parameters() if p.requires_grad]
    assert learnt and all(name.endswith((".down", ".up")) for name in learnt)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith(".up"):
                parameter.normal_(0, 0.2)
    changed = network(ids)
    assert float((changed - before).detach().abs().max()) > 0.01
    plain = plain_network(network)
    assert plain is not network and {k for k, _ in plain.named_parameters()} == {
        k for k, _ in tiny_model(tiny_config(shape)).named_parameters()
    }
    torch.testing.assert_close(plain(ids), changed, rtol=1e-4, atol=1e-5)
    assert plain_network(plain) is plain


def test_a_jump_of_the_loss_is_seen_and_noise_is_not() -> None:
    draw = random.Random(0)
    watch = watchdog.SpikeWatch()
    losses = [3.0 - step / 1000 + draw.gauss(0, 0.05) for step in range(500)]
    assert [watch.see(loss) for loss in losses] == [None] * 500
    message = watch.see(4.0)
    assert message and "4.000" in message
    assert watchdog.SpikeWatch().see(100.0) is None  # nothing to compare it with yet


def test_overfitting_is_validation_rising_while_training_falls() -> None:
    falling = [(100 * n, 3.0 - 0.1 * n, 3.0 - 0.1 * n) for n in range(6)]
    rising = [(100 * n, 2.0 + 0.1 * n, 3.0 - 0.1 * n) for n in range(6)]
    both = [(100 * n, 2.0 + 0.1 * n, 2.0 + 0.1 * n) for n in range(6)]
    assert watchdog.overfitting(falling) is None and watchdog.overfitting(both) is None
    assert watchdog.overfitting(rising[:3]) is None
    assert "since step 200" in (watchdog.overfitting(rising) or "")


def test_a_stalled_step_and_a_full_disk() -> None:
    assert watchdog.stalled(59, [1.0]) is None and watchdog.stalled(61, [1.0]) is not None
    assert watchdog.stalled(150, [10.0, 10.0]) is None and watchdog.stalled(201, [10.0, 10.0]) is not None
    assert watchdog.little_room(200, 100) is None and "nearly full" in (watchdog.little_room(199, 100) or "")


def saved(folder: Path, step: int, value: float = 0.5) -> None:
    progress = Progress(step=step, tokens=7, pending=[(1.5, 0.25)], validations=[(2, 1.0, 2.0)], best_step=2)
    save_state(folder, progress, {"metrics.jsonl": 12}, {"weight.a": torch.full((3,), value)})


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    saved(tmp_path, 20, 0.1)
    found = read_state(tmp_path, 20)
    assert found.progress == Progress(step=20, tokens=7, pending=[(1.5, 0.25)], validations=[(2, 1.0, 2.0)], best_step=2)
    assert found.lengths == {"metrics.jsonl": 12} and torch.equal(found.tensors["weight.a"], torch.full((3,), 0.1))


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "no json"])
def test_a_damaged_state_is_passed_over(tmp_path: Path, damage: str) -> None:
    for step in (20, 40):
        saved(tmp_path, step)
    path = tmp_path / "step-000040.safetensors"
    raw = bytearray(path.read_bytes())
    if damage == "flip":
        raw[-1] ^= 1
        path.write_bytes(raw)
    elif damage == "cut":
        path.write_bytes(raw[:-4])
    elif damage == "gone":
        path.unlink()
    else:
        (tmp_path / "step-000040.json").write_text("{")
    newest, older = newest_state(tmp_path)
    assert isinstance(newest, CheckpointError) and "step 40" in str(newest)
    assert not isinstance(older, CheckpointError) and older.progress.step == 20


def test_what_is_kept_of_old_checkpoints(tmp_path: Path) -> None:
    checkpoints = tmp_path / "checkpoints"
    for step in (10, 20, 30, 40, 50):
        saved(tmp_path / "state", step)
        (checkpoints / f"step-{step:06d}").mkdir(parents=True)
    (checkpoints / "best").mkdir()
    prune(tmp_path / "state", checkpoints, keep_every=20)
    assert saved_steps(tmp_path / "state") == [50, 40]
    assert sorted(path.name for path in checkpoints.iterdir()) == ["best", "step-000020", "step-000040", "step-000050"]
    assert len(list((tmp_path / "state").iterdir())) == 4


def test_leavings_of_a_killed_process_are_cleared(tmp_path: Path) -> None:
    folder, checkpoints = tmp_path / "state", tmp_path / "checkpoints"
    saved(folder, 10)
    (folder / ".step-000020.safetensors.part").write_bytes(b"half")
    (folder / "step-000020.safetensors").write_bytes(b"no json yet")
    (checkpoints / ".best.x.part").mkdir(parents=True)
    (checkpoints / ".best.y.old").mkdir()
    state.clear_leavings(folder, checkpoints)
    assert sorted(path.name for path in folder.iterdir()) == ["step-000010.json", "step-000010.safetensors"]
    assert [path.name for path in checkpoints.iterdir()] == ["best"]  # the old one, since the new one had no name yet


def test_every_recipe_is_whole_and_explained() -> None:
    assert {"default", "nano", "small", "medium", "large", "llama-24m", "replica-33m", "sft"} <= set(recipe_names())
    assert {f"{kind}-{size}" for kind in ("pretrain", "sft") for size in ("30m", "125m")} <= set(recipe_names())
    for name in recipe_names():
        settings = load_recipe(name, {})
        settings.model_config(4096)
        assert len(about_recipe(name)) > 20
        assert settings.start_from or settings.model != "nano" or name == "nano"


def test_the_recipes_carry_the_values_of_the_field() -> None:
    values = {name: load_recipe(name, {}) for name in recipe_names()}
    assert [values[f"pretrain-{size}"].learning_rate for size in ("30m", "125m")] == [5e-4, 3e-4]
    for size, epochs in (("30m", 5), ("125m", 1)):
        sft = values[f"sft-{size}"]
        assert (sft.learning_rate, sft.weight_decay, sft.epochs) == (5e-5, 0.1, epochs)
    replica = values["replica-33m"]
    assert (replica.learning_rate, replica.clip, replica.warmup_steps, replica.schedule) == (1e-4, 0.5, 1000, "cosine")
    assert replica.batch_tokens == 1024 * 512
    llama = values["llama-24m"]
    assert (llama.learning_rate, llama.beta1, llama.beta2, llama.warmup_steps) == (5e-4, 0.9, 0.95, 2000)
    assert llama.learning_rate * llama.final_learning_rate == pytest.approx(5e-5)
    assert Decoder(llama.model_config(10_000)).parameter_count() == 24_557_120


def test_recipes_are_refused_in_one_sentence(tmp_path: Path) -> None:
    recipe = load_recipe("default", {"data": ["x"], "steps": 7})
    assert recipe.steps == 7 and recipe.model_config(4096).width == 256
    own = tmp_path / "own.toml"
    own.write_text("steps = 3\ncolour = 'red'\n")
    for name, changes in (
        ("nothing", {}), ("default", {"stepz": 1}), ("default", {"steps": 0}), ("default", {"steps": "many"}), (str(own), {}),
    ):  # fmt: skip
        with pytest.raises(UsageError):
            load_recipe(name, changes)
    own.write_text("steps = [")
    with pytest.raises(UsageError, match="TOML"):
        load_recipe(str(own), {})


@pytest.mark.parametrize(
    "wrong",
    [
        {"optimizer": "Muon"}, {"schedule": "cosin"}, {"steps": 20.5}, {"seed": -1}, {"stored_as": "fp16"}, {"compile": 1},
        {"sample_prompts": ("",)}, {"beta1": 2}, {"model": "bert"}, {"model": "llama"}, {"validation_share": 0.9},
        {"learning_rate": 0.0}, {"learning_rate": float("nan")}, {"lora_rank": 4}, {"layout": "heap"}, {"data": "x"}, {"device": 3},
        {"steps": True}, {"epochs": 0},
    ],
)  # fmt: skip
def test_settings_that_make_no_sense(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        TrainSettings(**wrong).model_config(100)  # type: ignore[arg-type]


def test_settings_round_trip_and_every_one_is_explained() -> None:
    settings = TrainSettings(data=("a", "b"), steps=5, lora_rank=2, start_from="default")
    assert TrainSettings.from_json(settings.to_json()) == settings
    assert len(options()) == len(settings.to_json()) and all(len(o.help) > 8 and o.group for o in options().values())
    with pytest.raises(UsageError, match="colour"):
        TrainSettings.from_json({"colour": "red"})


def test_fused_adamw_is_adamw() -> None:
    """What the optimizer does, against the formula written out (Loshchilov and Hutter 2019)."""
    torch.manual_seed(0)
    settings = TrainSettings(learning_rate=0.1, weight_decay=0.2, beta1=0.8, beta2=0.9)
    network = Decoder(gpt2_config(8, 1, 1, 4, vocab_size=11))
    network.initialise(torch.Generator().manual_seed(0))
    (adamw,) = make_optimizers(network, settings)
    weight = network.embedding.weight
    mine, m, v = weight.detach().clone().double(), torch.zeros(11, 8).double(), torch.zeros(11, 8).double()
    for step in range(1, 4):
        F.cross_entropy(network(torch.tensor([[1, 2, 3]]))[0], torch.tensor([2, 3, 4])).backward()
        g = weight.grad.double()  # type: ignore[union-attr]
        m, v = 0.8 * m + 0.2 * g, 0.9 * v + 0.1 * g * g
        mine = mine * (1 - 0.1 * 0.2) - 0.1 * (m / (1 - 0.8**step)) / ((v / (1 - 0.9**step)).sqrt() + 1e-8)
        adamw.step()
        adamw.zero_grad()
        torch.testing.assert_close(weight.detach(), mine.float(), rtol=1e-4, atol=1e-5)
