"""Files are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine import files


def test_a_new_file_and_a_replaced_one(tmp_path: Path) -> None:
    path = tmp_path / "story.txt"
    files.write_text(path, "one")
    path.chmod(0o640)
    files.write_text(path, "two \ud800")
    assert path.read_text() == "two ?" and path.stat().st_mode & 0o777 == 0o640
    assert [entry.name for entry in tmp_path.iterdir()] == ["story.txt"]


def test_a_failure_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "story.txt"
    files.write_text(path, "one")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write_text(path, "two")
    assert path.read_text() == "one" and [entry.name for entry in tmp_path.iterdir()] == ["story.txt"]


def test_a_link_is_written_through_and_a_device_written_to(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("one")
    (tmp_path / "link").symlink_to("real")
    files.write_text(tmp_path / "link", "two")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_text() == "two"
    files.write_text(Path("/dev/null"), "gone")
    assert Path("/dev/null").is_char_device()
    if Path("/dev/full").exists():
        with pytest.raises(OSError, match="No space"):
            files.write_text(Path("/dev/full"), "two")
