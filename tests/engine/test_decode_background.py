"""The faster step that comes between two stories: real workers, real processes, one recipe and the same bytes."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from worker_process import Process

pytest.importorskip("numba")

from ready_code import put_code, remember

from engine.decode import background, checking, remembered
from engine.decode.background import Background
from engine.held import Held, Holder, write
from engine.protocol import (
    Done,
    Event,
    Failed,
    Finished,
    Generate,
    Load,
    Loaded,
    Started,
    Status,
    StatusReport,
    StepChanged,
    Token,
)  # fmt: skip
from engine.settings import GenerationRequest, SamplingSettings

SHORT = GenerationRequest(opening="Mia", sampling=SamplingSettings(max_tokens=30, min_tokens=30, stop_loops=False, seed=1))
LONG = GenerationRequest(opening="Mia", sampling=SamplingSettings(max_tokens=1500, min_tokens=1500, stop_loops=False, seed=1))


@pytest.fixture(autouse=True)
def switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(background.SWITCH)


@pytest.fixture
def code(compiled: Path) -> Path:
    """The test's own folder for compiled code, with code in it."""
    return put_code(compiled)


class Worker(Process):
    """One that is asked for stories and must not fail."""

    def event(self) -> Event:
        event = super().event()
        assert not isinstance(event, Failed), event
        return event

    def story(self, number: int, request: GenerationRequest = SHORT) -> tuple[Started, str]:
        """What wrote it, and its text."""
        self.send(Generate(number, request))
        return told(self.until(Done))


def told(events: list[Event]) -> tuple[Started, str]:
    started = next(event for event in events if isinstance(event, Started))
    return started, "".join(event.text for event in events if isinstance(event, Token | Finished))


def how(started: Started) -> tuple[str, str, int | None, float | None]:
    return started.step, started.precision, started.threads, started.loss


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker()
    try:
        yield made
    finally:
        made.close()


def test_what_was_chosen_writes_the_next_story_and_never_the_one_under_way(
    worker: Worker, tiny_checkpoint: Path, code: Path
) -> None:
    remember(tiny_checkpoint, "compiled", "int8")
    worker.send(Load(1, str(tiny_checkpoint), device="cpu"), Generate(2, LONG))
    events = worker.until(Done)
    loaded = next(event for event in events if isinstance(event, Loaded)).checkpoint
    assert (loaded.step, loaded.precision, loaded.loss) == ("plain", "fp32", None)
    assert not any(isinstance(event, StepChanged) for event in events)
    started, plain = told(events)
    assert how(started) == ("plain", "fp32", 1, None)

    changed = worker.until(StepChanged)[-1]
    assert isinstance(changed, StepChanged)
    info = changed.checkpoint
    assert (info.step, info.precision, info.loss, info.name) == ("compiled", "int8", 0.0012, loaded.name)
    started, text = worker.story(3)
    assert how(started) == ("compiled", "int8", 1, 0.0012)
    worker.send(Status(4))
    report = worker.until(StatusReport)[-1]
    assert isinstance(report, StatusReport) and report.checkpoint == info

    # The same recipe, pinned, gives the same bytes; so does the plain one.
    worker.send(Load(5, str(tiny_checkpoint), device="cpu", step="compiled", precision="int8", threads=1))
    worker.until(Loaded)
    again, same = worker.story(6)
    assert how(again) == how(started) and same == text
    worker.send(Load(7, str(tiny_checkpoint), device="cpu", step="plain", threads=1))
    worker.until(Loaded)
    again, same = worker.story(8, LONG)
    assert how(again) == ("plain", "fp32", 1, None) and same == plain


def test_where_nothing_was_chosen_it_is_measured_after_the_first_story(worker: Worker, tiny_checkpoint: Path, code: Path) -> None:
    subject = remembered.Subject.of(tiny_checkpoint)
    worker.send(Load(1, str(tiny_checkpoint), device="cpu"))
    worker.until(Loaded)
    assert how(worker.story(2)[0])[0] == "plain"
    deadline = time.monotonic() + 120
    while (choice := remembered.lookup(code, subject)) is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert not choice.failed, choice.reason
    if choice.step == "compiled":
        worker.until(StepChanged)
    assert how(worker.story(3)[0])[:3] == (choice.step, choice.precision, choice.threads)


# The same without a process of the worker's own, to see what does not happen


@pytest.fixture
def holder() -> Holder:
    return Holder()


def prepared(holder: Holder, load: Load) -> tuple[Held, list[Held]]:
    """What is held after everything in the background has come to its end, and what was told of it."""
    changed: list[Held] = []
    held = holder.load(load)
    Background(holder, changed.append).consider(held)
    for thread in threading.enumerate():
        if thread.name == "faster-step":
            thread.join(120)
            assert not thread.is_alive()
    return held, changed


@pytest.mark.parametrize(
    "pinned", [{"step": "plain"}, {"precision": "fp32"}, {"precision": "bf16"}, {"step": "compiled"}, {"precision": "int8"}]
)
def test_who_asks_for_a_step_or_a_precision_keeps_it(holder: Holder, pinned: dict, tiny_checkpoint: Path, code: Path) -> None:
    remember(tiny_checkpoint, "compiled", "bf16")
    held, changed = prepared(holder, Load(1, str(tiny_checkpoint), device="cpu", **pinned))
    before = held.info
    assert not changed and held.info is before
    wanted = pinned.get("step", "compiled" if pinned.get("precision") == "int8" else "plain")
    assert (held.info.step, held.info.precision) == (wanted, pinned.get("precision", "fp32"))
    assert held.info.loss == (0.0012 if pinned == {"precision": "int8"} else None)


def test_it_can_be_switched_off(holder: Holder, tiny_checkpoint: Path, code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remember(tiny_checkpoint, "compiled", "int8")
    with monkeypatch.context() as patch:
        patch.setenv(background.SWITCH, "1")
        held, changed = prepared(holder, Load(1, str(tiny_checkpoint), device="cpu"))
        assert not changed and held.checkpoint.compiled is None
    held, changed = prepared(holder, Load(1, str(tiny_checkpoint), device="cpu"))
    assert changed == [held] and held.info.precision == "int8"


def test_a_choice_of_the_plain_step_stays(holder: Holder, tiny_checkpoint: Path, code: Path) -> None:
    remember(tiny_checkpoint, "plain", "fp32", reason="There is no compiler.")
    held, changed = prepared(holder, Load(1, str(tiny_checkpoint), device="cpu"))
    assert not changed and held.checkpoint.compiled is None


def test_a_step_that_finds_other_logits_is_given_up_quietly(
    holder: Holder, tiny_checkpoint: Path, code: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    subject = remember(tiny_checkpoint, "compiled", "int8")
    monkeypatch.setattr(checking, "BOUND", 0.0)
    held, changed = prepared(holder, Load(1, str(tiny_checkpoint), device="cpu"))
    assert not changed and held.checkpoint.compiled is None
    kept = remembered.lookup(code, subject)
    assert kept is not None and kept.step == "plain" and kept.failed and "other logits" in kept.reason
    assert kept.reason in capfd.readouterr().err
    assert isinstance(list(write(held, SHORT))[-1], Done)


def test_where_it_was_chosen_and_the_code_is_gone_it_is_compiled_anew(holder: Holder, tiny_checkpoint: Path, code: Path) -> None:
    remember(tiny_checkpoint, "compiled", "fp32")
    kept = {file: file.rename(file.with_suffix(".away")) for file in code.glob("step-*.code")}
    holder.load(Load(1, str(tiny_checkpoint), device="cpu")).stories = background.STORIES  # nobody waits for idle seconds
    threading.Timer(0.5, lambda: [away.rename(file) for file, away in kept.items()]).start()  # as if it were compiled
    held, changed = prepared(holder, Load(1, str(tiny_checkpoint), device="cpu"))
    assert changed == [held] and (held.info.step, held.info.precision) == ("compiled", "fp32")


# From the command line


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "tinytales_tui", *arguments], capture_output=True, text=True, timeout=120)


def test_a_recipe_gives_the_same_story_and_a_cold_start_stays_plain(
    tiny_checkpoint: Path, code: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "")
    monkeypatch.setenv("TMPDIR", str(tmp_path_factory.mktemp("r")))
    remember(tiny_checkpoint, "compiled", "int8")
    ask = ("--prompt", "a kite", "--max-tokens", "30", "--seed", "5", "--json", "--checkpoint", str(tiny_checkpoint))
    cold = json.loads(command(*ask, "-q").stdout)
    assert not {"step", "precision", "threads", "precision_loss"} & set(cold)
    try:
        assert command("engine", "start", "--checkpoint", str(tiny_checkpoint)).returncode == 0
        deadline = time.monotonic() + 60
        while json.loads(command("engine", "status", "--json").stdout)["step"] != "compiled":
            assert time.monotonic() < deadline
        status = command("engine", "status")
        assert "compiled, int8, +0.12 % loss" in status.stdout
        done = command(*ask)
        warm = json.loads(done.stdout)
        assert "written with: compiled, int8, +0.12 % loss" in done.stderr
    finally:
        command("engine", "stop")
    assert (warm["step"], warm["precision"], warm["threads"], warm["precision_loss"]) == ("compiled", "int8", 1, 0.0012)
    recipe = ("--step", warm["step"], "--precision", warm["precision"], "--threads", str(warm["threads"]))
    again = json.loads(command(*ask, "-q", *recipe).stdout)
    assert {name: again[name] for name in again if name not in ("ttft_s", "tokens_per_s")} == {
        name: warm[name] for name in warm if name not in ("ttft_s", "tokens_per_s")
    }
    assert json.loads(command(*ask, "-q", "--precision", "int8").stdout)["story"] == warm["story"]
    experimental = json.loads(command(*ask, "-q", "--precision", "int4").stdout)
    assert (experimental["step"], experimental["precision"], experimental["precision_loss"]) == ("compiled", "int4", 0.02)
