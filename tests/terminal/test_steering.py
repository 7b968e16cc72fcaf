"""Steering runs from the Train pane without a screen: what can be done, what is asked first, and what a real trainer makes of it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from made_runs import live_trainer, make_run, write_lines, write_status
from small import SENTENCES, save_tiny

from engine.run_actions import results, wait_for
from engine.run_status import RunStatus
from engine.run_view import RunView
from engine.training import launch
from engine.training.settings import TrainSettings
from tinytales_tui.train.steer import questions as steer_questions
from tinytales_tui.train.steer import steering
from tinytales_tui.train.steer.checkpoint_rows import (
    checkpoint_rows,
    destination_of,
    folder_to_start_from,
    in_words,
    suggest_destination,
    table_lines,
    validation_notes,
)
from tinytales_tui.train.steer.questions import needs_confirmation
from tinytales_tui.train.steer.steering import Outcome, available, more_steps, perform, perform_all, toggled, told

ACTIONS = ("stop", "pause", "resume", "checkpoint", "sample", "export", "delete")


def status(state: str, step: int | None = 40, total: int | None = 100, message: str | None = None) -> RunStatus:
    return RunStatus(state, state, step, total, 1, "here", 0.0, 1.0, message)


@pytest.mark.parametrize(
    ("state", "able"),
    [
        ("starting", "stop pause checkpoint sample export"),
        ("running", "stop pause checkpoint sample export"),
        ("paused", "stop resume checkpoint sample export"),
        ("stopping", "export"),
        ("stopped", "resume export delete"),
        ("failed", "resume export delete"),
        ("stale", "resume export delete"),
        ("unknown", "resume export delete"),
        ("finished", "export delete"),
    ],
)
def test_what_can_be_done(state: str, able: str) -> None:
    run = status(state, 100 if state == "finished" else 40)
    refused = {action: available(action, run, name="mine") for action in ACTIONS}
    assert [action for action in ACTIONS if refused[action] is None] == [a for a in ACTIONS if a in able.split()]
    assert all(words is None or (words.startswith("mine ") and words.endswith(".")) for words in refused.values())
    for action in ACTIONS:
        assert "--readonly" in (available(action, run, True) or "")


def test_the_reasons() -> None:
    assert "give it more steps" in (available("resume", status("finished", 100), name="mine") or "")
    assert available("resume", status("finished", 100), steps=150) is None
    assert "more than that" in (available("resume", status("finished", 100), steps=100) or "")
    assert "more than that" in (available("resume", status("stopped", 40), steps=30) or "")
    assert "patience" in (available("resume", status("finished", 60), steps=200) or "")
    assert "disk is full" in (available("resume", status("paused", message="The disk is full; wait.")) or "")
    assert "running already" in (available("resume", status("running")) or "")
    assert "stop it first" in (available("delete", status("paused")) or "")
    assert "its process is gone" in (available("stop", status("stale")) or "")
    assert "\x1b" not in (available("stop", status("stale"), name="e\x1b[31mvil") or "")
    assert (more_steps(status("finished", 100)), more_steps(status("finished", 60))) == (200, None)
    assert more_steps(status("stopped")) is None and more_steps(status("finished", None)) is None
    assert [toggled(status(state)) for state in ("running", "starting", "paused", "stopped", "stale")] == [
        "pause", "pause", "resume", "resume", "resume"
    ]  # fmt: skip


def test_questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunView(make_run(tmp_path))
    other = RunView(make_run(tmp_path, "[red]other", "finished", 100))
    save_tiny(run.path / "checkpoints" / "best", "rope")
    assert needs_confirmation("checkpoint", [run]) is None and needs_confirmation("stop", [run]) is None
    assert needs_confirmation("delete", [run], readonly=True) is None
    one = needs_confirmation("delete", [run])
    assert one and one.title == "Delete mine?" and one.verb == "Delete it" and one.typed is None
    assert "stopped at step 40, 1 checkpoint, 1" in one.sentences[0] and "kB" in one.sentences[0]
    assert "for ever" in one.sentences[-1]
    with live_trainer(make_run(tmp_path, "third")):
        third = RunView(tmp_path / "third")
        several = needs_confirmation("delete", [run, other, third])
        assert several and several.verb == "Delete 2 runs" and "no checkpoint" in several.sentences[1]
        assert several.sentences[-1] == "third is running and stays as it is."
        stop = needs_confirmation("stop", [third])
        assert stop and stop.title == "Stop third?" and "step 5 of 10 (50%)" in stop.sentences[0]
        assert "writes a checkpoint" in stop.sentences[1] and stop.typed is None
    many = needs_confirmation("delete", [run] * 9)
    assert many and len(many.sentences) == steering.SHOWN + 2 and many.sentences[steering.SHOWN].startswith("And 3 more, ")
    monkeypatch.setattr(steer_questions, "TYPED_FROM", 1000)
    assert [needs_confirmation("delete", runs).typed for runs in ([run], [run, other], [other])] == [  # type: ignore[union-attr]
        "mine", "delete", "[red]other"
    ]  # fmt: skip
    assert needs_confirmation("delete", [RunView(make_run(tmp_path, "café"))]).typed == "delete"  # type: ignore[union-attr]


def test_asking_a_real_process(tmp_path: Path) -> None:
    run = RunView(make_run(tmp_path))
    with live_trainer(run.path):
        assert perform("checkpoint", run) == Outcome(True, "mine wrote checkpoint step-000005.")
        assert perform("sample", run).words == "mine wrote sample stories at step 5."
        assert perform("pause", run).words == "mine is paused at step 5 of 10 (50%); its checkpoint is saved."
        assert not perform("pause", run).ok and "paused already" in perform("pause", run).words
        assert perform("resume", run).words == "mine goes on from step 5 of 10 (50%)."
        assert not perform("delete", run).ok and run.path.exists()
        refused = perform("stop", run, readonly=True)
        assert not refused.ok and "--readonly" in refused.words and not list((run.path / "requests").iterdir())
        assert perform("stop", run) == Outcome(True, "mine has stopped at step 5 of 10 (50%).")
    assert not perform("checkpoint", run).ok and "has stopped" in perform("checkpoint", run).words


def test_several_runs_at_once(tmp_path: Path) -> None:
    runs = [RunView(make_run(tmp_path, name)) for name in ("one", "two", "three")]
    with live_trainer(runs[0].path), live_trainer(runs[2].path):
        outcomes = perform_all("stop", runs)
    assert [outcome.ok for outcome in outcomes] == [True, False, True]
    assert [outcome.words.split()[0] for outcome in outcomes] == ["one", "two", "three"]
    said = told(outcomes)
    assert not said.ok and said.severity == "error" and said.words.splitlines()[0].startswith("two is not being trained")
    assert len(said.words.splitlines()) == 3
    many = told([Outcome(True, "fine.")] * 10 + [Outcome(False, "bad."), Outcome(True, "later.", waiting=True)])
    assert many.words.splitlines()[:2] == ["bad.", "later."] and many.words.splitlines()[-1] == "6 more: 6 went well, 0 did not."


def test_a_process_that_does_not_answer(tmp_path: Path) -> None:
    run = RunView(make_run(tmp_path))
    with live_trainer(run.path) as trainer:
        os.kill(trainer.pid, signal.SIGSTOP)
        late = perform("checkpoint", run, patience=0.3)
        assert late.ok and late.waiting and late.severity == "warning"
        assert late.words == "mine has not answered for 0 s; it will write the checkpoint when its step ends."
        (run.path / "requests" / "checkpoint").unlink()
        cancel = threading.Event()
        waiting: list[Outcome] = []
        thread = threading.Thread(target=lambda: waiting.append(perform("sample", run, patience=600, cancel=cancel)))
        thread.start()
        while not (run.path / "requests" / "sample").exists():
            time.sleep(0.01)
        cancel.set()
        thread.join(20)
        assert waiting and waiting[0].waiting
        (run.path / "requests" / "sample").unlink()
        thread = threading.Thread(target=lambda: waiting.append(perform("pause", run, patience=600)))
        thread.start()
        while not (run.path / "requests" / "pause").exists():
            time.sleep(0.01)
        os.kill(trainer.pid, signal.SIGKILL)
        thread.join(20)
    assert not waiting[1].ok and "its process is gone" in waiting[1].words and "last checkpoint" in waiting[1].words


def test_a_run_that_waits_for_room_on_the_disk(tmp_path: Path) -> None:
    run = RunView(make_run(tmp_path))
    with live_trainer(run.path) as trainer:
        os.kill(trainer.pid, signal.SIGSTOP)
        write_status(run.path, state="paused", message="The disk is full; the run goes on by itself.")
        assert "disk is full" in perform("resume", run).words and not perform("resume", run).ok
        waits = perform("checkpoint", run)
        assert waits.waiting and waits.words.startswith("mine waits: The disk is full")


def test_the_best_checkpoint_answers_nobody(tmp_path: Path) -> None:
    run = RunView(make_run(tmp_path))
    events = [{"event": "checkpoint", "folder": "checkpoints/best", "best": True, "step": 9}]
    write_lines(run.path / "events.jsonl", events)
    assert results(run, "checkpoint") == []
    write_lines(run.path / "events.jsonl", [*events, {"event": "checkpoint", "folder": "checkpoints/step-000009", "step": 9}])
    assert [row["folder"] for row in results(run, "checkpoint")] == ["checkpoints/step-000009"]


def test_deleting(tmp_path: Path) -> None:
    runs = [RunView(make_run(tmp_path, name)) for name in ("one", "two")]
    cancelled = threading.Event()
    cancelled.set()
    left = perform_all("delete", runs, cancel=cancelled)
    assert not any(outcome.ok for outcome in left) and all(run.path.exists() for run in runs)
    shutil.rmtree(runs[1].path)
    outcomes = perform_all("delete", runs)
    assert outcomes[0].ok and outcomes[0].words.startswith("one is deleted (") and "kB" in outcomes[0].words
    assert not outcomes[1].ok and "left alone" in outcomes[1].words
    assert not any(tmp_path.iterdir())


def test_exporting(tmp_path: Path) -> None:
    run = RunView(make_run(tmp_path / "runs"))
    refused = perform("export", run, destination=tmp_path / "out")
    assert not refused.ok and "no checkpoint yet" in refused.words
    save_tiny(run.path / "checkpoints" / "best", "rope")
    done = perform("export", run, destination=tmp_path / "out")
    assert done.ok and done.path == tmp_path / "out" and (tmp_path / "out" / "model.safetensors").is_file()
    assert not perform("export", run, destination=tmp_path / "out").ok
    assert perform("export", run, destination=tmp_path / "out", replace=True).ok


def new_run(folder: Path, data: Path) -> Path:
    """A run of four steps that waits to be started, with a model of some ten thousand parameters."""
    settings = TrainSettings(
        data=(str(data),), model="llama", width=32, layers=2, heads=2, context=64, tokenizer="bpe", vocab_size=320, steps=4,
        batch_tokens=512, warmup_steps=2, evaluate_every=4, checkpoint_every=1000, sample_every=0, precision="fp32",
        validation_share=0.1, device="cpu", threads=1,
    )  # fmt: skip
    launch.create(folder, settings)
    return folder


def test_going_on_with_a_real_trainer(tmp_path: Path) -> None:
    data = tmp_path / "stories.txt"
    data.write_text("\n\n".join(f"{sentence} Day {day}." for day in range(3) for sentence in SENTENCES))
    run = RunView(new_run(tmp_path / "mine", data))
    assert perform("resume", run, patience=120).ok
    assert wait_for(run, lambda run: run.status().state == "finished", 120)
    assert not perform("resume", run).ok and "give it more steps" in perform("resume", run).words
    assert more_steps(run.status()) == 8
    done = perform("resume", run, steps=100_000, patience=120)
    assert done.ok and done.words.startswith("mine goes on at step ") and run.status().state == "running"
    assert run.settings["steps"] == 100_000
    assert perform("stop", run, patience=120).ok and run.status().state == "stopped"
    again = perform("resume", run, patience=120)  # the process that stopped may still be on its way out
    assert again.ok and "of 100,000" in again.words
    assert perform("checkpoint", run, patience=120).words.startswith("mine wrote checkpoint step-")
    os.kill(run.status().pid or 0, signal.SIGKILL)
    assert wait_for(run, lambda run: run.status().state == "stale", 20)
    assert perform("resume", run, patience=120).ok
    os.kill(run.status().pid or 0, signal.SIGKILL)
    assert wait_for(run, lambda run: run.status().state == "stale", 20)
    (run.path / "config.json").write_text("{")
    broken = perform("resume", run)
    assert not broken.ok and "cannot go on" in broken.words


def test_a_trainer_that_cannot_begin(tmp_path: Path) -> None:
    failed = perform("resume", RunView(new_run(tmp_path / "mine", tmp_path / "nowhere.txt")), patience=120)
    assert not failed.ok and failed.words.startswith("mine could not go on: ") and "Its log says more." in failed.words


def test_a_request_to_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    run = RunView(make_run(tmp_path))
    with live_trainer(run.path) as trainer:
        os.kill(trainer.pid, signal.SIGSTOP)
        shutil.rmtree(run.path / "requests")
        (run.path / "requests").write_text("a file in the way")
        refused = perform("pause", run)
        assert not refused.ok and "cannot be left" in refused.words


def test_checkpoint_rows(tmp_path: Path) -> None:
    run = RunView(make_run(tmp_path))
    assert checkpoint_rows(run) == []
    for name in ("best", "step-000020", "step-000040"):
        save_tiny(run.path / "checkpoints" / name, "rope")
    (run.path / "checkpoints" / "best" / "tinytales.json").write_text('{"step": 20}')
    rows = checkpoint_rows(run)
    assert [(row.info.name, row.note, row.which) for row in rows] == [
        ("best", "2.800 bits a byte", "best"), ("step-000040", "2.600 bits a byte", 40), ("step-000020", "2.800 bits a byte", 20)
    ]  # fmt: skip
    assert [row.note for row in checkpoint_rows(run, {40: "good"})] == ["", "good", ""]
    assert in_words(rows[0]) == "best, step 20, 2.800 bits a byte" and in_words(rows[1]) == "step 40, 2.600 bits a byte"
    for width in (70, 40, 30, 12):
        lines = table_lines(rows, width)
        assert len(lines) == 4 and max(map(len, lines)) <= width
    assert table_lines(rows, 70)[0].split() == ["checkpoint", "step", "validation", "size", "age"]
    assert validation_notes([{"step": 1, "val_loss": 2.5}, {"step": 2, "val_loss": float("nan")}, {"val_loss": 1}]) == {
        1: "2.500 nats a token"
    }


def test_destinations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert suggest_destination("mine", tmp_path) == "mine"
    (tmp_path / "mine").mkdir()
    assert suggest_destination("mine", tmp_path) == "mine-2"
    assert suggest_destination("../a\x1b[31m run", tmp_path) == "a-31m-run" and suggest_destination("...", tmp_path) == "model"
    assert destination_of(" out ", tmp_path, "mine") == tmp_path / "out"
    assert destination_of("~/out", tmp_path, "mine") == tmp_path / "home" / "out"
    assert destination_of("sub/", tmp_path, "mine") == tmp_path / "sub" / "mine"
    assert destination_of("/else/../where", tmp_path, "mine") == Path("/where")
    for text in ("", "  ", "a\0b", "~nobody-is-called-this/out"):
        with pytest.raises(Exception, match=r"name|no home folder"):
            destination_of(text, tmp_path, "mine")
    monkeypatch.chdir(tmp_path)
    assert folder_to_start_from() == tmp_path


def test_nothing_from_a_file_steers_the_terminal(tmp_path: Path) -> None:
    evil = "\x1b]0;t\x07\x1b[2J\u202e"
    run = RunView(make_run(tmp_path, "evil\x1b[31m", "stopped", message=evil))
    write_lines(run.path / "events.jsonl", [{"event": "checkpoint", "folder": evil}])
    with live_trainer(run.path):
        said = [perform("checkpoint", run).words, perform("stop", run).words, perform("stop", run).words]
    question = needs_confirmation("delete", [run])
    assert question
    for words in (*said, question.title, question.verb, *question.sentences):
        assert not set("\x1b\x07\u202e\n") & set(words)


def test_neither_torch_nor_textual_is_needed() -> None:
    code = "import sys\nimport tinytales_tui.train.steer.questions, tinytales_tui.train.steer.checkpoint_rows\n"
    code += "import engine.training.launch\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert not {"torch", "textual", "numpy"} & set(done.stdout.split())
