"""`tinytales-tui data …` as a person types it: results on standard output, narration on standard error, exit codes."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.data.shards import Shards
from engine.tokenizer import END_OF_TEXT, BytePairTokenizer
from tinytales_tui.cli import run as command_line

PROGRAM = [sys.executable, "-m", "tinytales_tui", "data"]


def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=120, **options)  # type: ignore[call-overload]


def typed(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """The same in this process, for what ends before any work is done: exit code, standard output, standard error."""
    capfd.readouterr()
    code = command_line(["data", *map(str, arguments)])
    return code, *capfd.readouterr()


def book(path: Path, count: int = 60) -> Path:
    assert run("storybook", "--count", count, "-o", path).returncode == 0
    return path


def test_prepare_list_show_delete(tmp_path: Path, own_data_folder: Path) -> None:
    stories = book(tmp_path / "tales.jsonl")
    done = run("prepare", stories, "--validation-share", "0.1")
    folder = own_data_folder / "data" / "tales"
    assert done.returncode == 0 and done.stdout == f"{folder}\n"
    assert "held out" in done.stderr and "synthetic" in done.stderr
    shards = Shards.open(folder)
    assert len(shards.split("train")) + len(shards.split("valid")) == 60
    again = run("prepare", stories, "--validation-share", "0.1", "--json")
    assert json.loads(again.stdout)["data_sha256"] == shards.data_sha256
    other = run("prepare", stories, "--tokenizer", "bpe", "--vocab-size", "300")
    assert other.returncode == 2 and "--force" in other.stderr and other.stderr.count("\n") == 1
    forced = run("prepare", stories, "--tokenizer", "bpe", "--vocab-size", "300", "--force", "--quiet")
    assert forced.returncode == 0 and forced.stderr == "" and Shards.open(folder).vocab_size == 300
    (row,) = json.loads(run("list", "--json").stdout)
    assert row["name"] == "tales" and row["stories"] + row["held_out"] == 60 and row["note"] == "synthetic"
    assert "tales" in run("list").stdout
    shown = run("show", "tales", "--verify")
    assert "300 tokens" in shown.stdout and "as they were written" in shown.stderr
    assert json.loads(run("show", folder, "--json").stdout)["synthetic"] is True
    refused = run("delete", "tales", stdin=subprocess.DEVNULL)
    assert refused.returncode == 2 and "--yes" in refused.stderr and folder.exists()
    assert run("delete", "tales", "--yes").returncode == 0 and not folder.exists() and stories.exists()
    assert run("show", "tales").returncode == 2 and "data prepare" in run("list").stderr


def test_names_and_folders(tmp_path: Path, own_data_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    stories = book(tmp_path / "tales.txt", 5)
    own = run("prepare", stories, "--output", tmp_path / "here")
    assert own.stdout == f"{tmp_path / 'here'}\n" and (tmp_path / "here" / "manifest.json").exists()
    assert run("prepare", stories, "--name", "mine").stdout == f"{own_data_folder / 'data' / 'mine'}\n"
    for wrong in (
        ["--name", "../x"],
        ["--name", "a", "--output", "b"],
        ["--tokenizer", "gpt3"],
        ["--vocab-size", "7"],
        ["--divide", "x"],
    ):
        code, _, said = typed(capfd, "prepare", stories, *wrong)
        assert code == 2 and said.startswith("tinytales-tui:") and said.count("\n") == 1
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    code, _, said = typed(capfd, "prepare", stories, "--output", tmp_path / "mine", "--force")
    assert code == 2 and "does not look like prepared data" in said
    assert (tmp_path / "mine" / "letter.txt").exists()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("gone.txt", None, "There is no file or folder"),
        ("empty.txt", b"", "hold no story"),
        ("broken.txt", b"One.\n\nTw\xffo.", "byte 8"),
        ("table.csv", b"id,tale\n1,Once.\n", "there is id, tale"),
        ("folder/", None, "holds no story file"),
    ],
)
def test_sources_that_cannot_be_used(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, content: bytes | None, words: str
) -> None:
    path = tmp_path / name
    if name.endswith("/"):
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    for command in (["prepare"], ["inspect"], ["tokenizer", "report", "gpt2"]):
        code, out, said = typed(capfd, *command, path)
        assert code == 2 and words in said and out == ""
        assert said.startswith("tinytales-tui:") and said.count("\n") == 1


def test_a_hub_data_set_without_a_network() -> None:
    done = run("prepare", "roneneldan/TinyStories")  # tests run with HF_HUB_OFFLINE=1
    assert done.returncode == 3 and "Hub could not be reached" in done.stderr and "Traceback" not in done.stderr


def test_a_hub_data_set_is_prepared_once(tmp_path: Path) -> None:
    server = subprocess.Popen(
        [sys.executable, Path(__file__).parents[1] / "engine" / "local_hub.py"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout
        kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        online = kept | {
            "HF_ENDPOINT": server.stdout.readline().strip(),
            "HF_HOME": str(tmp_path),
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        done = run("prepare", "some/tales", "--json", env=online)
    finally:
        server.terminate()
        server.wait()
    manifest = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert manifest["folder"].endswith("/some-tales") and manifest["sources"][0]["sha256"] == f"some/tales@{'a' * 40}::train"
    assert sum(manifest["splits"][split]["stories"] for split in ("train", "valid")) == 50
    again = run("prepare", "some/tales")  # without a network
    assert again.returncode == 0 and "what was prepared from it is used" in again.stderr


def test_interrupted_and_continued(tmp_path: Path) -> None:
    stories = book(tmp_path / "tales.txt", 5000)
    arguments = [
        *PROGRAM,
        "prepare",
        str(stories),
        "--output",
        str(tmp_path / "data"),
        "--tokenizer",
        "bpe",
        "--vocab-size",
        "300",
    ]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "data" / "train-00000.bin.part").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=60)
    assert process.returncode == 130 and out == "" and "run the same command again to go on" in said and "Traceback" not in said
    assert run("show", tmp_path / "data").returncode == 2
    assert run(*arguments[len(PROGRAM) :]).returncode == 0
    Shards.open(tmp_path / "data").verify()


def test_progress_on_a_terminal_is_one_line_that_goes_away(tmp_path: Path) -> None:
    stories = book(tmp_path / "tales.txt", 6000)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*PROGRAM, "prepare", str(stories), "--output", str(tmp_path / "data")], stdout=subprocess.PIPE, stderr=theirs, text=True
    )
    os.close(theirs)
    seen = b""
    while select.select([ours], [], [], 60)[0]:
        try:
            data = os.read(ours, 4096)
        except OSError:
            break
        if not data:
            break
        seen += data
    process.wait()
    os.close(ours)
    lines = seen.decode().replace("\r\n", "\n").split("\n")
    assert len(lines) == 3, lines  # two lasting lines: what there is, and that it is synthetic
    updates = lines[0].split("\r")
    assert any("tokenizing" in part and "MB/s" in part and "%" in part for part in updates)
    assert not updates[-2].strip() and "held out" in updates[-1]


def test_instruct(tmp_path: Path) -> None:
    raw = tmp_path / "raw.txt"
    raw.write_text(
        "".join(
            f"Summary: T{n}\nFeatures: {'BadEnding' if n % 4 == 0 else 'Twist'}\nStory: Tale {n}.\n{END_OF_TEXT}\n"
            for n in range(40)
        )
        + f"Summary: alone\n{END_OF_TEXT}\n"
    )
    done = run("instruct", raw, "-o", tmp_path / "out.jsonl", "--balance", "--seed", "3", "--json")
    report = json.loads(done.stdout)
    assert report["before"] == {"happy": 30, "sad": 10} and report["after"] == {"happy": 10, "sad": 10}
    assert report["dropped"] == {"no story": 1} and report["records"] == 41
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(rows) == 20 and rows[0].keys() == {"topic", "ending", "story"}
    refused = run("instruct", raw, "-o", tmp_path / "out.jsonl")
    assert (
        refused.returncode == 2 and "--force" in refused.stderr and len((tmp_path / "out.jsonl").read_text().splitlines()) == 20
    )
    streamed = run("instruct", raw)
    assert len(streamed.stdout.splitlines()) == 40 and "1 no story" in streamed.stderr
    assert "30 happy, 10 sad" in run("instruct", raw, "-o", tmp_path / "out.jsonl", "--force").stdout
    (tmp_path / "none.txt").write_text("Just a story.")
    nothing = run("instruct", tmp_path / "none.txt", "-o", tmp_path / "new.jsonl")
    assert nothing.returncode == 2 and "1 no topic" in nothing.stderr and not (tmp_path / "new.jsonl").exists()


def test_inspect_shows_no_control_codes(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(
        f"Once \x1b[31mred\x1b[0m \x9b2J http://x.org {'word ' * 40}{END_OF_TEXT}Short.{END_OF_TEXT}Short."
    )
    shown = run("inspect", tmp_path / "a.txt")
    assert shown.returncode == 0 and "\x1b" not in shown.stdout and "\x9b" not in shown.stdout
    for words in ("Suspicious: URL", "too short", "duplicates", "Length in words", "Sample 1", "#"):
        assert words in shown.stdout
    report = json.loads(run("inspect", tmp_path / "a.txt", "--json").stdout)
    assert report["stories"] == 3 and report["duplicates"] == 1 and report["reasons"]["broken encoding"] == 1


def test_a_closed_pipe_is_no_failure(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            "bash",
            "-c",
            f"{sys.executable} -m tinytales_tui data storybook --count 4000 --json | head -n 2; echo ${{PIPESTATUS[0]}}",
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    first, second, code = done.stdout.splitlines()
    assert json.loads(first)["synthetic"] is True and json.loads(second)["ending"] in ("happy", "sad")
    assert code == "0" and done.stderr == ""


def test_storybook_files(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("storybook", "-n", "4", "-o", tmp_path / "a.txt", "--seed", "9").stdout == f"{tmp_path / 'a.txt'}\n"
    text = (tmp_path / "a.txt").read_text()
    assert text.startswith("# synthetic:") and text.count(END_OF_TEXT) == 5
    run("storybook", "-n", "4", "-o", tmp_path / "b.jsonl", "--seed", "9")
    rows = [json.loads(line) for line in (tmp_path / "b.jsonl").read_text().splitlines()]
    assert all(row["synthetic"] is True and row["story"] in text for row in rows) and len(rows) == 4
    assert run("storybook", "-n", "1", "--seed", "9", "--json").stdout == json.dumps(rows[0], ensure_ascii=False) + "\n"
    for wrong in (["-o", tmp_path / "a.txt"], ["-o", tmp_path / "a.pdf"], ["-o", tmp_path / "no" / "a.txt"], ["--count", "0"]):
        assert typed(capfd, "storybook", *wrong)[0] == 2
    assert (tmp_path / "a.txt").read_text() == text


def test_tokenizer(tmp_path: Path) -> None:
    stories = book(tmp_path / "tales.txt", 200)
    made = run("tokenizer", "train", stories, "--vocab-size", "600", "-o", tmp_path / "t.json")
    assert made.returncode == 0 and "bytes a token" in made.stdout and "commonest" in made.stdout
    assert BytePairTokenizer.load(tmp_path / "t.json").vocab_size == 600
    assert run("tokenizer", "train", stories, "-o", tmp_path / "t.json").returncode == 2
    ours = json.loads(run("tokenizer", "report", tmp_path / "t.json", stories, "--json").stdout)
    gpt2 = json.loads(run("tokenizer", "report", "gpt2", stories, "--json").stdout)
    assert 2 < ours["bytes_per_token"] < gpt2["bytes_per_token"] < 5 and ours["unknown_share"] == 0
    assert len(ours["commonest"]) == 30 and ours["stories"] == 200
    small = run("tokenizer", "train", stories, "--vocab-size", "90000", "-o", tmp_path / "u.json")
    assert small.returncode == 0 and "too little for 90,000 tokens" in small.stderr
    prepared = run("prepare", stories, "--tokenizer", tmp_path / "t.json", "--output", tmp_path / "data")
    assert prepared.returncode == 0 and Shards.open(tmp_path / "data").vocab_size == 600
    assert run("tokenizer", "report", tmp_path / "tales.txt", stories).returncode == 2


def test_help_says_what_there_is() -> None:
    shown = run("--help").stdout
    for command in ("prepare", "list", "show", "delete", "instruct", "inspect", "storybook", "tokenizer"):
        assert command in shown
    assert "owner/name" in run("prepare", "--help").stdout
