"""Preparing data in processes of its own: killed at any moment, two at once, and how much memory it takes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prepared import files, refusal, write_rows, write_text
from small import SENTENCES

from engine.data.prepare import PrepareSettings, erase, prepare
from engine.data.shards import Shards
from engine.data.storybook import storybook_stories
from engine.errors import UsageError
from engine.tokenizer import END_OF_TEXT

SLOW = """
import sys, time
from pathlib import Path
from engine.data import preparation
from engine.data.prepare import PrepareSettings, prepare
preparation.BATCH, preparation.COMMIT_SECONDS = 20, 0.0
encode = preparation.encode_stories
def slowly(tokenizer, texts):
    time.sleep(0.02)
    return encode(tokenizer, texts)
preparation.encode_stories = slowly
settings = PrepareSettings(tuple(sys.argv[2:]), tokenizer="bpe", vocab_size=300, validation_share=0.1, shard_tokens=4000, guess=True)
prepare(settings, Path(sys.argv[1]), print)
"""


def test_a_kill_leaves_no_mark_on_the_result(tmp_path: Path) -> None:
    """A real process, killed again and again at moments that fall anywhere, ends in the bytes of one that ran through."""
    book = [record for record, _ in zip(storybook_stories(8), range(1500), strict=False)]
    marked = write_rows(tmp_path / "marked.jsonl", book[:500])
    plain = write_text(tmp_path / "plain.txt", [record.story for record in book[300:]])
    sources = [str(plain), str(marked)]
    settings = PrepareSettings(
        tuple(sources), tokenizer="bpe", vocab_size=300, validation_share=0.1, shard_tokens=4000, guess=True
    )
    prepare(settings, tmp_path / "whole")
    folder = tmp_path / "killed"
    kills = resumed = 0
    for delay in (0.02, 0.05, 0.11, 0.17, 0.23, 0.31, 60):
        process = subprocess.Popen([sys.executable, "-c", SLOW, str(folder), *sources], stdout=subprocess.PIPE, text=True)
        begun = len(list(folder.glob("*.bin")))
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if delay < 1 and (folder / ".preparing.sqlite").exists() and len(list(folder.glob("*.bin"))) > begun:
                time.sleep(delay)
                process.send_signal(signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.005)
        out, _ = process.communicate(timeout=60)
        resumed += "Going on" in out
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL
        with pytest.raises(UsageError, match="not prepared to the end"):
            Shards.open(folder)
    assert kills >= 3 and resumed >= 3
    assert files(folder) == files(tmp_path / "whole")
    Shards.open(folder).verify()


def test_unfinished_work_is_not_mixed_with_other_settings(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a.txt", SENTENCES)
    program = SLOW.replace("time.sleep(0.02)", "raise KeyboardInterrupt")
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "data"), str(path)], capture_output=True, text=True)
    assert done.returncode != 0 and (tmp_path / "data" / ".preparing.sqlite").exists()
    wanted = PrepareSettings((str(path),), tokenizer="bpe", vocab_size=300, validation_share=0.1, shard_tokens=4000, guess=True)
    assert "seed was 1" in refusal(
        PrepareSettings(**(wanted.to_json() | {"sources": (str(path),), "seed": 3})), tmp_path / "data"
    )
    assert len(prepare(wanted, tmp_path / "data").split("train")) > 80
    assert not list((tmp_path / "data").glob(".preparing*"))


def test_two_processes_do_not_prepare_one_folder(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a.txt", SENTENCES)
    program = SLOW.replace("time.sleep(0.02)", "time.sleep(30)")
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "data"), str(path)], stdout=subprocess.DEVNULL)
    try:
        while not (tmp_path / "data" / "tokenizer.json").exists():
            assert process.poll() is None
            time.sleep(0.01)
        settings = PrepareSettings(
            (str(path),), tokenizer="bpe", vocab_size=300, validation_share=0.1, shard_tokens=4000, guess=True
        )
        assert "Another process is preparing data" in refusal(settings, tmp_path / "data")
        with pytest.raises(UsageError, match="Another process"):
            erase(tmp_path / "data")
    finally:
        process.kill()
        process.wait()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_to(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a.txt", SENTENCES)
    (tmp_path / "closed").mkdir(mode=0o500)
    assert "no permission" in refusal(PrepareSettings((str(path),)), tmp_path / "closed" / "data")


def test_nothing_of_it_loads_torch() -> None:
    modules = ["prepare", "inspect", "instruct", "vocabulary", "stories", "hub_sets", "whole_file"]
    code = "import sys\n" + "".join(f"import engine.data.{name}\n" for name in modules)
    code += "assert not {'torch', 'datasets', 'pyarrow', 'typer', 'rich'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


MEASURE = """
import resource, sys
from pathlib import Path
from engine.data.prepare import PrepareSettings, prepare
prepare(PrepareSettings((sys.argv[2],)), Path(sys.argv[1]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_corpus(tmp_path: Path) -> None:
    """Ten times the text may take at most a sixth more memory (what SQLite and the tokenizer cache, which is bounded)."""
    page = "".join(f"{record.story}\n{END_OF_TEXT}\n" for record, _ in zip(storybook_stories(2), range(2500), strict=False))

    def peak(times: int) -> int:
        with (tmp_path / f"{times}.txt").open("w") as file:
            for number in range(times):
                file.write(page.replace("Once", f"Once, in year {number},").replace("Long ago", f"Long ago, in year {number}"))
        arguments = [sys.executable, "-c", MEASURE, str(tmp_path / f"data-{times}"), str(tmp_path / f"{times}.txt")]
        return int(subprocess.run(arguments, capture_output=True, text=True, check=True).stdout)

    small, large = peak(1), peak(10)
    assert large < small * 7 / 6, (small, large)
