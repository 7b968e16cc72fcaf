"""`tinytales-tui evaluate`, as a person or a script calls it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tinytales_tui.cli import run as run_command


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """`tell("--stories")`: exit code, standard output and standard error of `evaluate`."""

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run_command(["evaluate", "--device", "cpu", *arguments])
        heard = capsys.readouterr()
        assert "Traceback" not in heard.err
        return code, heard.out, heard.err

    return call


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "stories.txt"
    path.write_text("Mia found a key.\n<|endoftext|>\nIt rained.\n<|endoftext|>\n")
    return path


def test_the_loss(data: Path, tiny_checkpoint: Path, tell: Callable) -> None:
    code, out, err = tell(str(tiny_checkpoint), "--data", str(data), "--json")
    report = json.loads(out)
    assert code == 0 and "2 stories" in err
    assert (report["stories"], report["text_bytes"], report["split"]) == (2, 26, "all") and report["bits_per_byte"] > 1
    text = tell(str(tiny_checkpoint), "--data", str(data), "--quiet")
    assert text[2] == "" and max(map(len, text[1].splitlines())) < 300
    for word in ("nats per token", "perplexity", "bits per byte", "tokens"):
        assert word in text[1]
    for option in ("--max-samples", "--limit"):
        assert json.loads(tell(str(tiny_checkpoint), "--data", str(data), option, "1", "--json")[1])["stories"] == 1


def test_slices_add_up(tmp_path: Path, plain_checkpoint: Path, tell: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    from tinytales_tui import evaluate_command

    path = tmp_path / "many.txt"
    path.write_text("<|endoftext|>".join(f"Mia found {n} keys and a very old door." for n in range(50)))
    whole = json.loads(tell(str(plain_checkpoint), "-d", str(path), "--json")[1])
    monkeypatch.setattr(evaluate_command, "SLICE", 7)
    sliced = json.loads(tell(str(plain_checkpoint), "-d", str(path), "--json")[1])
    assert sliced["tokens"] == whole["tokens"] and sliced["text_bytes"] == whole["text_bytes"] and sliced["stories"] == 50
    assert sliced["nats"] == pytest.approx(whole["nats"], rel=1e-5)


def test_splits_of_files_and_of_prepared_data(tmp_path: Path, tiny_checkpoint: Path, tell: Callable) -> None:
    from engine.data.prepare import PrepareSettings, prepare

    path = tmp_path / "many.txt"
    path.write_text("<|endoftext|>".join(f"Mia found {n} keys and a very old door." for n in range(400)))
    prepare(PrepareSettings((str(path),), tokenizer="bpe", vocab_size=300), tmp_path / "prepared")
    figures: dict[tuple[str, str | None], dict] = {}
    for source in (path, tmp_path / "prepared"):
        for split in (None, "train", "valid", "all"):
            chosen = ("--split", split) if split else ()
            figures[source.name, split] = json.loads(tell(str(tiny_checkpoint), "-d", str(source), *chosen, "--json")[1])
    assert figures["many.txt", None]["split"] == "all" and figures["prepared", None]["split"] == "valid"
    assert figures["many.txt", "valid"]["split_rule"] == {"seed": 1, "validation_share": 0.01}
    for split, least in (("train", 350), ("valid", 1), ("all", 400)):
        ours, theirs = figures["many.txt", split], figures["prepared", split]
        assert ours["stories"] == theirs["stories"] >= least and ours["text_bytes"] == theirs["text_bytes"]
        assert ours["nats"] == pytest.approx(theirs["nats"], rel=1e-5)
    assert figures["many.txt", "train"]["stories"] + figures["many.txt", "valid"]["stories"] == 400
    assert tell(str(tiny_checkpoint), "-d", str(path), "-d", str(tmp_path / "prepared"))[0] == 2


def test_stories(tiny_checkpoint: Path, tell: Callable) -> None:
    code, out, _ = tell(str(tiny_checkpoint), "--stories", "--count", "2", "--json")
    report = json.loads(out)["written"]
    assert code == 0 and list(report["presets"]) == ["balanced", "conservative", "creative"]
    for figures in report["presets"].values():
        assert figures["stories"] == 2 and 0 <= figures["ending_met"] <= 1
        assert set(report["methods"]) <= set(figures) and figures["sampling"]["temperature"] > 0
    assert (
        report["judge"]["agreement"] > 0.9
        and "agreement_on_data" not in report["judge"]
        and "judge" in report["methods"]["ending_met"]
    )
    code, out, err = tell(str(tiny_checkpoint), "--stories", "--count", "2")
    assert code == 0 and "writing 2 stories each" in err and max(map(len, out.splitlines()[1:])) <= 80
    for word in ("balanced", "creative", "asked ending met", "repeated runs of 3 words", "cross-validated"):
        assert word in out
    one = json.loads(tell(str(tiny_checkpoint), "--stories", "-n", "1", "--preset", "recommended", "--json")[1])
    assert list(one["written"]["presets"]) == ["recommended"]


def test_stories_of_a_plain_checkpoint(plain_checkpoint: Path, tell: Callable) -> None:
    code, out, err = tell(str(plain_checkpoint), "--stories", "--count", "2", "--preset", "creative", "--json")
    report = json.loads(out)["written"]
    assert code == 0 and report["prompts"] == "openings" and "judge" not in report and "endings are not judged" in err
    assert "ending_met" not in report["presets"]["creative"] and "ending_met" not in report["methods"]
    assert "asked ending" not in tell(str(plain_checkpoint), "--stories", "--count", "1", "--preset", "creative")[1]


def test_agreement_on_marked_stories_in_the_data(tmp_path: Path, tiny_checkpoint: Path, tell: Callable) -> None:
    endings = {"happy": "They hugged and were happy ever after.", "sad": "She cried, because it was gone for ever."}
    rows = [{"story": f"Day {n}. {endings[e]}", "ending": e, "topic": "a day"} for n in range(30) for e in endings]
    (tmp_path / "marked.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    arguments = (str(tiny_checkpoint), "--stories", "-n", "1", "--preset", "creative", "--data", str(tmp_path / "marked.jsonl"))
    judge = json.loads(tell(*arguments, "--json")[1])["written"]["judge"]
    assert judge["marked_in_data"] == 60 and judge["agreement_on_data"] == 1.0
    assert "100.0% of the 60 marked stories in the data" in tell(*arguments)[1].replace("\n", " ")


def test_output_is_whole_and_never_overwrites(tmp_path: Path, data: Path, tiny_checkpoint: Path, tell: Callable) -> None:
    file = tmp_path / "report.json"
    arguments = (str(tiny_checkpoint), "--data", str(data), "--stories", "-n", "1", "--preset", "creative", "--output", str(file))
    code, out, err = tell(*arguments)
    report = json.loads(file.read_text())
    assert code == 0 and "bits per byte" in out and f"written to {file}" in err
    assert report["stories"] == 2 and report["texts"]["creative"][0]["story"] and report["written"]["presets"]["creative"]
    before = file.read_bytes()
    assert tell(*arguments)[0] == 2 and file.read_bytes() == before
    assert tell(*arguments, "--force", "--json")[0] == 0 and file.read_bytes()
    assert tell(*arguments[:-1], str(tmp_path / "none" / "x.json"))[0] == 2 and tell(*arguments[:-1], str(tmp_path))[0] == 2


def test_what_cannot_be_measured(tmp_path: Path, data: Path, tiny_checkpoint: Path, tell: Callable) -> None:
    for arguments, word in (
        ((), "--stories"),
        (("--data", str(tmp_path / "none")), "none"),
        (("--split", "valid", "--stories"), "--data"),
        (("--max-samples", "3", "--stories"), "--data"),
        (("--data", str(data), "--split", "test"), "split"),
        (("--stories", "--preset", "wild"), "wild"),
        (("--stories", "--count", "0"), "count"),
        (("--data", str(data), "--max-samples", "0"), "max-samples"),
    ):
        code, out, err = tell(str(tiny_checkpoint), *arguments)
        assert (code, out) == (2, "") and word in err and len(err.splitlines()) == 1, arguments
    assert tell(str(tmp_path / "no-checkpoint"), "--data", str(data))[0] == 1


def test_progress_on_a_terminal_only(tmp_path: Path, tiny_checkpoint: Path) -> None:
    path = tmp_path / "many.txt"
    path.write_text("<|endoftext|>".join(f"Mia found {n} keys and a very old door." for n in range(300)))
    command = [sys.executable, "-m", "tinytales_tui", "evaluate", str(tiny_checkpoint), "--data", str(path), "--device", "cpu"]
    ours, theirs = pty.openpty()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, timeout=120)
    os.close(theirs)
    drawn = os.read(ours, 100_000).decode()
    os.close(ours)
    assert done.returncode == 0 and "stories read: 0 of 300 (0%)" in drawn and drawn.endswith("\r")
    assert b"\r" not in done.stdout
    assert "\r" not in subprocess.run(command, capture_output=True, text=True, timeout=120).stderr
