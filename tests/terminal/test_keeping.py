"""Nothing is lost: autosave, the offer at the next start, two sittings side by side, signals, full disks."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tinytales_tui.story import StoryRecord
from tinytales_tui.write.autosave import Autosave, age
from tinytales_tui.write.keeper import Keeper
from tinytales_tui.write.restore_bar import RestoreBar

RECORD = StoryRecord("a dog", "sad", "Once there was a dog.", tokens=5, seed=3, checkpoint="default")


def test_what_is_kept_is_found_again(tmp_path: Path) -> None:
    first = Autosave(tmp_path)
    first.write(RECORD, {"topic": "a dog"}, 1)
    assert Autosave(tmp_path).find() == []  # that sitting is still going on
    first.close()
    [kept] = Autosave(tmp_path).find()
    assert (kept.record, kept.form) == (RECORD, {"topic": "a dog"})
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json"]
    Autosave.discard(kept)
    assert list(tmp_path.iterdir()) == []


def test_two_sittings_do_not_share_a_file(tmp_path: Path) -> None:
    one, two = Autosave(tmp_path), Autosave(tmp_path)
    one.write(RECORD, {}, 1)
    two.write(StoryRecord("a cat", None, "x"), {}, 1)
    assert len(list(tmp_path.glob("*.json"))) == 2


def test_an_older_revision_does_not_win(tmp_path: Path) -> None:
    autosave = Autosave(tmp_path)
    autosave.write(RECORD, {}, 5)
    autosave.write(StoryRecord("old", None, "x"), {}, 4)
    autosave.close()
    assert Autosave(tmp_path).find()[0].record == RECORD


def test_a_killed_sitting_is_found(tmp_path: Path) -> None:
    code = (
        "import sys, os, pathlib; from tinytales_tui.write.autosave import Autosave; from tinytales_tui.story import StoryRecord\n"
        "Autosave(pathlib.Path(sys.argv[1])).write(StoryRecord('a', None, 'b'), {}, 1); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert len(Autosave(tmp_path).find()) == 1


@pytest.mark.parametrize("content", ["", "{", "[]", '{"story": 5}', '{"story": {"prompt": "", "story": ""}}', "\x00" * 50])
def test_a_file_that_cannot_be_read_stays_and_is_not_offered(tmp_path: Path, content: str) -> None:
    path = tmp_path / "story-1.json"
    path.write_text(content)
    assert Autosave(tmp_path).find() == []
    assert path.exists()


def test_a_full_disk_is_said_once_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine import files

    keeper = Keeper(tmp_path)
    written = files.write_json

    def full(path: Path, data: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "write_json", full)
    assert "the disk is full" in keeper.keep(RECORD, {}, 1)
    assert keeper.keep(RECORD, {}, 1) is None
    assert keeper.wants(1)
    monkeypatch.setattr(files, "write_json", written)
    assert keeper.keep(RECORD, {}, 1) is None
    assert not keeper.wants(1)


def test_what_was_restored_goes_only_when_it_is_kept_again(tmp_path: Path) -> None:
    old = Autosave(tmp_path)
    old.write(RECORD, {}, 1)
    old.close()
    keeper = Keeper(tmp_path)
    [kept] = keeper.find()
    keeper.supersede(kept)
    assert kept.path.exists()
    keeper.keep(kept.record, {}, 1)
    assert not kept.path.exists()
    assert len(list(tmp_path.glob("*.json"))) == 1


def test_age_in_words() -> None:
    assert [age(5), age(60), age(7300), age(90_000)] == ["a moment ago", "1 minute ago", "2 hours ago", "1 day ago"]


async def test_a_story_comes_back_at_the_next_start(make_app, until, home: Path) -> None:
    app = make_app()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"a dog", "enter")
        await until(pilot, lambda: app.screen.desk.record and not app.screen.desk.writing)
        record = app.screen.desk.record
        await pilot.press("ctrl+q")
    again = make_app()
    async with again.run_test(size=(80, 24)) as pilot:
        bar = again.screen.query_one(RestoreBar)
        await until(pilot, lambda: bar.display)
        assert again.focused.id == "topic"  # the offer is in nobody's way
        await pilot.press("f9")
        await until(pilot, lambda: again.screen.desk.record is not None)
        assert again.screen.desk.record == record
        assert again.screen.composer.topic == "a dog"
        assert not bar.display
        await until(pilot, lambda: len(list((home / "autosave").glob("*.json"))) == 1)
        await pilot.press("ctrl+r")  # and it can be gone on with
        await until(pilot, lambda: len(again.screen.desk.tree.nodes) == 2)


async def test_later_keeps_and_discard_asks_twice(make_app, until, home: Path) -> None:
    for words in ("first", "second"):
        old = Autosave(home / "autosave")
        old.write(StoryRecord(words, None, " story"), {}, 1)
        old.close()
    app = make_app()
    async with app.run_test(size=(100, 30)) as pilot:
        bar = app.screen.query_one(RestoreBar)
        await until(pilot, lambda: bar.display)
        await pilot.click("#discard")
        assert len(list((home / "autosave").glob("*.json"))) == 2
        await pilot.pause(0.4)  # a button takes no second press while it still shows the first
        await pilot.click("#discard")
        await until(pilot, lambda: len(list((home / "autosave").glob("*.json"))) == 1)
        assert len(bar.offers) == 1
        await pilot.click("#later")
        await pilot.pause()
        assert not bar.display
        assert len(list((home / "autosave").glob("*.json"))) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGKILL])
def test_a_closed_terminal_costs_no_text(home: Path, number: signal.Signals) -> None:
    """The real program in a pseudo-terminal, ended in the middle of a story; SIGKILL leaves what was kept two seconds ago."""
    import pty
    import select

    worker = str(Path(__file__).with_name("scripted_worker.py"))
    code = (
        "import sys; from tinytales_tui import terminal; terminal.prepare_environment(True)\n"
        "from tinytales_tui.app import run_app; from tinytales_tui.options import AppOptions\n"
        "sys.exit(run_app(AppOptions(worker_command=(sys.executable, sys.argv[1], '--tokens', '4000', '--rate', '50'))))"
    )
    pid, fd = pty.fork()
    if pid == 0:
        os.environ.update(COLUMNS="80", LINES="24")
        os.environ["TERM"] = "xterm-256color"
        os.execv(sys.executable, [sys.executable, "-c", code, worker])
    seen, deadline, asked, status = b"", time.monotonic() + 40, False, None
    try:
        while time.monotonic() < deadline:
            if select.select([fd], [], [], 0.05)[0]:
                seen += os.read(fd, 65536)
            if not asked and b"About" in seen:
                os.write(fd, b"a dog\r")
                asked = True
            if asked and b"tok/s" in seen and (number != signal.SIGKILL or list((home / "autosave").glob("*.json"))):
                if number != signal.SIGKILL and b"writing" not in seen:
                    continue
                break
        os.kill(pid, number)
        while time.monotonic() < deadline:
            try:
                if select.select([fd], [], [], 0.05)[0] and not os.read(fd, 65536):
                    break
            except OSError:
                break
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(fd)
        if status is None:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    if number != signal.SIGKILL:
        assert os.waitstatus_to_exitcode(status) == 128 + number
        assert b"Traceback" not in seen
    [path] = (home / "autosave").glob("*.json")
    story = json.loads(path.read_text())["story"]
    assert story["prompt"] == "a dog"
    assert story["story"]
    assert [kept.path for kept in Autosave(home / "autosave").find()] == [path]
