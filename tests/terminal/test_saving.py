"""Saving to files and copying: every form, every refusal in one sentence, and the truth about the clipboard."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest

from engine.settings import SamplingSettings
from tinytales_tui import clipboard, paths
from tinytales_tui.story import StoryRecord
from tinytales_tui.write import saving
from tinytales_tui.write.save_dialog import SaveDialog

RECORD = StoryRecord(
    "a dog",
    "sad",
    "Once [there] was *a* dog.\n\nThe end.",
    tokens=9,
    stop_reason="end of text",
    seed=3,
    checkpoint="default",
    sampling=SamplingSettings(seed=3).to_json(),
    ttft_s=0.1,
    tokens_per_s=50.0,
)


def test_the_three_forms(tmp_path: Path) -> None:
    for form, _ in saving.FORMATS:
        saving.save(RECORD, form, tmp_path / f"x.{form}")
    assert (tmp_path / "x.txt").read_text() == "Once [there] was *a* dog.\n\nThe end.\n"
    assert StoryRecord.from_json(json.loads((tmp_path / "x.json").read_text())) == RECORD
    markdown = (tmp_path / "x.md").read_text()
    assert markdown.startswith("# a dog\n\n*With a sad ending.*\n\nOnce \\[there\\] was \\*a\\* dog.\n\nThe end.\n")
    recipe = json.loads(markdown.split("```json\n")[1].split("```")[0])
    assert StoryRecord.from_json(recipe).request().sampling.seed == 3


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("mine")
    with pytest.raises(saving.FileExists, match="exists already"):
        saving.save(RECORD, "txt", path)
    assert path.read_text() == "mine"
    saving.save(RECORD, "txt", path, replace=True)
    assert path.read_text() == RECORD.to_text()


def test_names(tmp_path: Path) -> None:
    assert saving.suggest_name(RECORD, "md", tmp_path) == "a-dog.md"
    (tmp_path / "a-dog.md").touch()
    assert saving.suggest_name(RECORD, "md", tmp_path) == "a-dog-2.md"
    assert saving.suggest_name(StoryRecord("../日本!", None, "x"), "txt", tmp_path) == "story.txt"
    assert saving.target("my story", "md", tmp_path) == tmp_path / "my story.md"
    assert saving.target("/else/where.txt", "md", tmp_path) == Path("/else/where.txt")
    for name in ("", "  ", "sub/", str(tmp_path), "a\0b"):
        with pytest.raises(saving.SaveError):
            saving.target(name, "md", tmp_path)


@pytest.mark.parametrize(
    ("place", "words"), [("file/x.md", "a file is in the way"), ("n" * 300, "too long"), ("/dev/full", "the disk is full")]
)
def test_refusals_are_one_sentence(tmp_path: Path, place: str, words: str) -> None:
    (tmp_path / "file").touch()
    if place == "/dev/full" and not Path(place).exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(saving.SaveError, match=words) as caught:
        saving.save(RECORD, "md", tmp_path / place, replace=True)
    assert "\n" not in str(caught.value)
    assert not [path for path in tmp_path.iterdir() if path.name != "file"]


async def test_the_dialog(make_app, until, home: Path) -> None:
    app = make_app()
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await until(pilot, lambda: app.screen.checkpoint)
        app.screen.desk.restore(RECORD)
        app.screen._show_current()
        for form, keys in (("md", ()), ("txt", ("right",)), ("json", ("right",))):  # the last choice is remembered
            await pilot.press("ctrl+s")
            await until(pilot, lambda: isinstance(app.screen, SaveDialog))
            app.screen.query_one("#form").focus()
            await pilot.press(*keys)
            app.screen.query_one("#name").focus()
            await pilot.press("enter")
            await until(pilot, lambda: not isinstance(app.screen, SaveDialog))
            assert (home / "stories" / f"a-dog.{form}").exists()
        assert any("a-dog.json" in note.message for note in app._notifications)
        await pilot.press("ctrl+s")
        await until(pilot, lambda: isinstance(app.screen, SaveDialog))
        app.screen.query_one("#name").value = "a-dog.md"
        before = (home / "stories" / "a-dog.md").stat().st_mtime_ns
        await pilot.press("enter")
        await pilot.pause()
        assert "exists already" in str(app.screen.query_one("#trouble").render())
        assert (home / "stories" / "a-dog.md").stat().st_mtime_ns == before
        await pilot.press("enter")
        await until(pilot, lambda: not isinstance(app.screen, SaveDialog))
        assert (home / "stories" / "a-dog.md").stat().st_mtime_ns != before
        await pilot.press("ctrl+s")
        await until(pilot, lambda: isinstance(app.screen, SaveDialog))
        app.screen.query_one("#name").value = "a-dog.md/x.md"
        await pilot.press("enter")
        await pilot.pause()
        assert "not saved" in str(app.screen.query_one("#trouble").render())
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, SaveDialog))
        assert app.screen.desk.record == RECORD


# Copying


def fake_tmux(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    folder.mkdir()
    program = folder / "tmux"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("TMUX", "/tmp/tmux-1/default,1,0")
    return folder / "buffer"


def test_tmux_takes_the_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = fake_tmux(tmp_path / "bin", monkeypatch, 'test "$2" = -w && cat > "$(dirname "$0")/buffer"')
    sequences: list[str] = []
    result = clipboard.copy("a story", sequences.append)
    assert result.way == "tmux"
    assert buffer.read_text() == "a story"
    assert sequences == []
    assert paths.last_copy_file().read_text() == "a story"
    assert str(paths.last_copy_file()) in result.message


def test_an_old_tmux_has_no_way_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = fake_tmux(tmp_path / "bin", monkeypatch, 'test "$2" = - && cat > "$(dirname "$0")/buffer"')
    result = clipboard.copy("a story", lambda sequence: None)
    assert result.way == "tmux-only"
    assert "own buffer" in result.message
    assert buffer.read_text() == "a story"


def test_a_broken_tmux_falls_back_to_the_escape_sequence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_tmux(tmp_path / "bin", monkeypatch, "exit 1")
    sequences: list[str] = []
    assert clipboard.copy("a story", sequences.append).way == "osc52"
    assert sequences == [f"\x1b]52;c;{base64.b64encode(b'a story').decode()}\a"]


def test_too_long_for_the_escape_sequence() -> None:
    sequences: list[str] = []
    result = clipboard.copy("long " * 20_000, sequences.append)
    assert (result.way, sequences) == ("file", [])
    assert "written to" in result.message
    assert len(paths.last_copy_file().read_text()) == 100_000


def test_nowhere_to_copy_to(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.write_text("a file where the folder should be")
    assert clipboard.copy("short", lambda sequence: None).way == "osc52"
    result = clipboard.copy("long " * 20_000, lambda sequence: None)
    assert not result.ok


async def test_copying_in_the_app(make_app, until, home: Path) -> None:
    app = make_app()
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await until(pilot, lambda: app.screen.checkpoint)
        app.screen.desk.restore(RECORD)
        app.screen._show_current()
        await pilot.press("f5")
        await until(pilot, lambda: any("if it takes copies" in note.message for note in app._notifications))
        assert (home / "last_copy.txt").read_text() == RECORD.to_text()
