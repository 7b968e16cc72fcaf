"""What a precision costs, which step is chosen, and how that is remembered: with real models, files and processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("numba")

from filelock import FileLock
from ready_code import put_code
from small import SHAPES, save_tiny, tiny_loaded

from engine.checkpoints import load_checkpoint
from engine.checkpoints.choices import Choices
from engine.decode import choosing, remembered
from engine.decode.checking import refusal
from engine.decode.choose import compile_step
from engine.decode.loss import Cost, costs, write_texts
from engine.decode.remembered import Choice, Subject
from engine.decode.twins import rounded, sharing
from engine.errors import CheckpointError

WIDTHS = ("bf16", "int8", "int4")


def subject(**changes: object) -> Subject:
    return replace(Subject("a machine", "abc", "2.13", "0.1", None), **changes)  # type: ignore[arg-type]


def entry(folder: Path) -> dict:
    """The one entry of a file of choices."""
    return next(iter(json.loads((folder / remembered.FILE).read_text())["choices"].values()))


# Remembering


def test_a_choice_is_found_again_and_by_nothing_else(tmp_path: Path) -> None:
    choice = Choice("compiled", "int8", 2, {"plain fp32": 100.0}, {"int8": 0.001})
    remembered.remember(tmp_path, subject(), choice)
    found = remembered.lookup(tmp_path, subject())
    assert found is not None and replace(found, when=0.0) == choice and found.when > 0
    for other in ({"machine": "b"}, {"checkpoint": "abd"}, {"torch": "2.14"}, {"program": "0.2"}, {"threads": 2}):
        assert remembered.lookup(tmp_path, subject(**other)) is None
    assert remembered.loss_of(tmp_path, subject(threads=2, torch="2.14"), "int8") == 0.001
    assert remembered.loss_of(tmp_path, subject(checkpoint="abd"), "int8") is None
    assert remembered.loss_of(tmp_path, subject(), "int4") is None


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"format": 1}',
        '{"format": 1, "choices": []}',
        '{"format": 2, "choices": {}}',
        '{"format": 1, "choices": {"a": 1}}',
    ],
)
def test_a_damaged_or_foreign_file_holds_nothing_and_is_replaced(tmp_path: Path, content: str) -> None:
    (tmp_path / remembered.FILE).write_text(content)
    assert remembered.lookup(tmp_path, subject()) is None and remembered.everything(tmp_path) == []
    remembered.remember(tmp_path, subject(), Choice("compiled", "fp32"))
    assert remembered.lookup(tmp_path, subject()) is not None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("step", "magic"), ("step", 1), ("precision", "int3"), ("threads", 0), ("threads", "2"), ("threads", 1e400),
        ("speeds", {"a": None}), ("losses", [1]), ("when", "now"), ("reason", None),
    ],
)  # fmt: skip
def test_an_entry_with_anything_wrong_in_it_is_none(tmp_path: Path, name: str, value: object) -> None:
    remembered.remember(tmp_path, subject(), Choice("compiled", "int8"))
    data = json.loads((tmp_path / remembered.FILE).read_text())
    next(iter(data["choices"].values()))["choice"][name] = value
    (tmp_path / remembered.FILE).write_text(json.dumps(data))
    assert remembered.lookup(tmp_path, subject()) is None


def test_a_failure_keeps_what_was_measured_and_is_forgotten_after_a_day(tmp_path: Path) -> None:
    remembered.remember(tmp_path, subject(), Choice("compiled", "int8", 1, {}, {"int8": 0.001}))
    remembered.give_up(tmp_path, subject(), "The disk was full.")
    found = remembered.lookup(tmp_path, subject())
    assert found is not None and (found.step, found.precision, found.reason) == ("plain", "fp32", "The disk was full.")
    assert found.failed and found.losses == {"int8": 0.001}
    data = json.loads((tmp_path / remembered.FILE).read_text())
    next(iter(data["choices"].values()))["choice"]["when"] -= remembered.FAILED_S + 60
    (tmp_path / remembered.FILE).write_text(json.dumps(data))
    assert remembered.lookup(tmp_path, subject()) is None


def test_several_processes_lose_nothing_of_each_other(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from engine.decode.remembered import *\n"
        "for n in range(15): remember(Path(sys.argv[1]), Subject('m', f'{sys.argv[2]} {n}', 't', 'p', None), Choice())\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'numba')))"
    )
    several = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path), str(n)]) for n in range(3)]
    assert [process.wait(60) for process in several] == [0, 0, 0]
    assert len(remembered.everything(tmp_path)) == 45


def test_a_checkpoint_that_changes_is_another_one(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "tiny", "rope")
    before = remembered.checkpoint_digest(folder)
    assert remembered.checkpoint_digest(folder) == before
    assert remembered.checkpoint_digest(folder, Choices(prompt_style="plain")) != before
    os.utime(folder / "model.safetensors", (1, 1))
    assert remembered.checkpoint_digest(folder) != before
    assert remembered.checkpoint_digest(folder / "model.safetensors") != before


# Rounded weights and what they cost


@pytest.mark.parametrize("shape", SHAPES)
def test_the_rounded_network_is_what_the_compiled_step_computes_with(
    shape: str, compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.decode.choose.kernel_folder", lambda: compiled)
    checkpoint, other = tiny_loaded(shape), tiny_loaded(shape, seed=1)
    weight = checkpoint.network.embedding.weight.clone()
    for precision in ("fp32", *WIDTHS):
        made = replace(checkpoint, network=sharing(checkpoint.network))
        compile_step(made, precision, 1)
        assert refusal(made, checkpoint) == ""
        assert "other logits" in refusal(made, other)
    assert checkpoint.network.embedding.weight.equal(weight)  # nothing was given up or rounded of the network itself
    assert not rounded(checkpoint.network, "int8").embedding.weight.equal(weight)


def test_the_shipped_model_loses_little_in_int8_and_more_in_int4() -> None:
    checkpoint = load_checkpoint(device="cpu")
    texts = write_texts(checkpoint)
    assert sum(len(text.ids) - text.given for text in texts) > 200
    found = costs(checkpoint.network, texts, ("fp32", *WIDTHS))
    assert found["fp32"].loss == 0.0
    assert 0 < found["bf16"].loss < found["int8"].loss < 0.001 < choosing.LIMIT < found["int4"].loss < 0.05
    assert all(0 < found[precision].error < found[precision].loss for precision in WIDTHS)


def test_the_cost_is_the_mean_difference_at_the_tokens_that_could_have_been_drawn() -> None:
    checkpoint = tiny_loaded("learned", context=24)
    texts = write_texts(checkpoint)
    assert all(len(text.ids) <= 25 for text in texts)
    drawn, more = 0.0, 0.0
    twin = rounded(checkpoint.network, "int4")
    for text in texts:
        ids = load_ids(text.ids[:-1])
        exact, other = (network(ids)[0, text.given - 1 :].log_softmax(-1) for network in (checkpoint.network, twin))
        drawn -= sum(float(row[token]) for row, token in zip(exact, text.ids[text.given :], strict=True))
        more += float((exact.exp() * (exact - other)).sum())
    assert costs(checkpoint.network, texts, ("int4",))["int4"].loss == pytest.approx(more / drawn, rel=1e-3)
    with pytest.raises(CheckpointError):
        costs(checkpoint.network, [replace(texts[0], ids=texts[0].ids[: texts[0].given])], WIDTHS)


def load_ids(ids: tuple[int, ...]):  # type: ignore[no-untyped-def]
    import torch

    return torch.tensor([ids])


# Choosing


def test_the_fastest_is_chosen_that_costs_little_and_the_simpler_of_two_that_are_near() -> None:
    small, dear, unsure = Cost(0.0001, 0.00001), Cost(0.006, 0.0001), Cost(0.004, 0.001)
    speeds = {"plain fp32": 100.0, "compiled fp32": 300.0, "compiled bf16": 500.0, "compiled int8": 900.0}
    assert choosing.best(speeds, {"bf16": small, "int8": small, "int4": small}) == "compiled int8"
    assert choosing.best(speeds, {"bf16": small, "int8": dear, "int4": small}) == "compiled bf16"
    assert choosing.best(speeds, {"bf16": small, "int8": unsure, "int4": small}) == "compiled bf16"
    assert choosing.best(speeds | {"compiled int8": 549.0}, {"bf16": small, "int8": small}) == "compiled bf16"
    assert choosing.best(dict.fromkeys(speeds, 95.0) | {"plain fp32": 90.0}, {"bf16": small, "int8": small}) == "plain fp32"
    assert choosing.best({"plain fp32": 1.0, "compiled int8": 2.0}, {"bf16": small, "int8": small}) == "compiled int8"


def chooser(checkpoint: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "engine.decode.choosing", str(checkpoint), *more]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> str:
    """What it said, once it has ended by itself."""
    assert process.stderr is not None
    said = process.stderr.read()
    assert process.wait(60) == 0, said
    process.stdin.close()  # type: ignore[union-attr]
    process.stderr.close()
    return said


def test_processes_measure_choose_and_remember_once(tiny_checkpoint: Path, compiled: Path) -> None:
    folder = put_code(compiled)
    said = [ended(process) for process in [chooser(tiny_checkpoint), chooser(tiny_checkpoint)]]
    assert said[0] == said[1]  # with the very speeds that one of them measured
    found = remembered.lookup(folder, Subject.of(tiny_checkpoint))
    assert found is not None and set(found.speeds) == set(choosing.SIMPLEST) and all(rate > 0 for rate in found.speeds.values())
    assert set(found.losses) == set(WIDTHS) and not found.failed and found.threads == 1
    assert f"{found.step} {found.precision}" in choosing.SIMPLEST and found.reason == ""
    assert remembered.lookup(folder, Subject.of(tiny_checkpoint, threads=2)) is None


def test_it_waits_for_another_one_and_ends_with_whoever_started_it(tiny_checkpoint: Path, compiled: Path) -> None:
    folder = put_code(compiled)
    with FileLock(folder / "choosing.lock"):
        process = chooser(tiny_checkpoint)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(4)
        process.stdin.close()  # type: ignore[union-attr]
        assert process.wait(60) == 1
    process.stderr.close()  # type: ignore[union-attr]
    assert remembered.everything(folder) == []


def test_where_nothing_can_be_compiled_or_read_the_plain_step_is_remembered_with_the_reason(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_data_folder: Path
) -> None:
    folder = own_data_folder / "cache" / "kernels"
    with monkeypatch.context() as patch:
        patch.setattr(choosing, "available", lambda folder: "There is no compiler.")
        found = choosing.choose(tiny_checkpoint, Choices(), None)
    assert (found.step, found.precision, found.reason, found.failed) == ("plain", "fp32", "There is no compiler.", False)
    broken = save_tiny(tmp_path / "broken", "rope")
    (broken / "model.safetensors").write_bytes(b"nothing")
    failed = choosing.choose(broken, Choices(), None)
    assert failed.step == "plain" and failed.failed and "model.safetensors" in failed.reason
    assert {choice.reason for _, choice in remembered.everything(folder)} == {found.reason, failed.reason}
    begun = time.monotonic()
    assert choosing.choose(broken, Choices(), None) == failed and time.monotonic() - begun < 60
