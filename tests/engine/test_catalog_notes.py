"""What a person chose about checkpoints: kept, merged with other processes, and never lost to a damaged file."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from engine.catalog.notes import MOST_USED, Notes
from engine.errors import UsageError


def test_notes_are_read_again_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "data" / "checkpoints.json"
    notes = Notes(path)
    assert (notes.folders, notes.standing, dict(notes.choices), notes.pinned, notes.trouble) == ((), None, {}, frozenset(), "")
    notes.add_folder(tmp_path)
    notes.add_folder(tmp_path)
    notes.set_standing("own/tales")
    notes.choose("own/tales", {"prompt_style": "plain", "tokenizer": None, "end_ids": [1, 2]})
    notes.choose("other", {"begin_id": 1})
    notes.choose("other", None)
    notes.mark_used("own/tales", 100.0)
    notes.mark_used("own/tales", 50.0)
    notes.pin("own/tales")
    notes.pin("other")
    notes.pin("other", False)
    for found in (notes, Notes(path)):
        assert (found.folders, found.standing, found.pinned) == ((tmp_path,), "own/tales", {"own/tales"})
        assert found.choices == {"own/tales": {"prompt_style": "plain", "end_ids": [1, 2]}}
        assert found.used == {"own/tales": 100.0}
    notes.forget_folder(tmp_path)
    notes.set_standing(None)
    assert (Notes(path).folders, Notes(path).standing) == ((), None)


def test_two_that_write_in_turn_lose_nothing_of_each_other(tmp_path: Path) -> None:
    one, two = Notes(tmp_path / "n.json"), Notes(tmp_path / "n.json")
    one.pin("a")
    two.pin("b")
    one.choose("a", {"begin_id": 1})
    two.mark_used("b", 9.0)
    one.reload()
    assert (one.pinned, dict(one.choices), dict(one.used)) == ({"a", "b"}, {"a": {"begin_id": 1}}, {"b": 9.0})


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom engine.catalog.notes import Notes\nnotes = Notes(Path(sys.argv[1]))\n"
        "for n in range(15): notes.pin(f'{sys.argv[2]}{n}')"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "n.json")]
    processes = [subprocess.Popen([*command, name]) for name in "abc"]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert Notes(tmp_path / "n.json").pinned == {f"{name}{number}" for name in "abc" for number in range(15)}


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b"\xff\xfe\x00", b'{"folders": ' + b"[" * 100_000])
def test_a_damaged_file_is_kept_aside(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "checkpoints.json"
    path.write_bytes(data)
    notes = Notes(path)
    assert notes.standing is None and notes.trouble.endswith(".")
    (aside,) = tmp_path.glob("checkpoints.json.damaged-*")
    assert aside.read_bytes() == data
    notes.set_standing("a")
    assert Notes(path).standing == "a" and Notes(path).trouble == ""


def test_what_makes_no_sense_in_the_file_is_left_out(tmp_path: Path) -> None:
    content = {
        "folders": ["/a", 3, "/a", ""],
        "standing": 4,
        "choices": {"a": {"begin_id": 1}, "b": 2},
        "used": {"a": 1.5, "b": "x", "c": -1, "d": True, "e": 1e300},
        "pinned": "text",
        "of a later version": 1,
    }
    (tmp_path / "n.json").write_text(json.dumps(content))
    notes = Notes(tmp_path / "n.json")
    assert (notes.folders, notes.standing, notes.pinned) == ((Path("/a"),), None, frozenset())
    assert (notes.choices, notes.used) == ({"a": {"begin_id": 1}}, {"a": 1.5})


def test_only_the_newest_uses_are_remembered(tmp_path: Path) -> None:
    used = {f"source {number}": float(number) for number in range(MOST_USED + 10)}
    (tmp_path / "n.json").write_text(json.dumps({"used": used}))
    Notes(tmp_path / "n.json").mark_used("now", 10.0**9)
    found = Notes(tmp_path / "n.json").used
    assert len(found) == MOST_USED and "now" in found and "source 0" not in found


def test_a_place_that_cannot_be_written_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        Notes(tmp_path / "file" / "n.json").pin("a")


UNREADABLE = """
import os, sys
from pathlib import Path
import filelock
from engine.catalog.notes import Notes
from engine.errors import UsageError
path = Path(sys.argv[1])
before = Notes(path)
path.chmod(0)
if os.geteuid() == 0:  # who may read everything
    os.setuid(65534)
before.reload()
print(before.standing, before.trouble)
notes = Notes(path)
print(notes.trouble)
try:
    notes.mark_used("default")
except UsageError as error:
    print(error)
"""


def test_what_cannot_be_read_is_not_written_over() -> None:
    with tempfile.TemporaryDirectory() as made:  # a folder that another user can reach too, unlike those of pytest
        Path(made).chmod(0o777)
        path = Path(made) / "checkpoints.json"
        notes = Notes(path)
        notes.set_standing("mia/tales")
        notes.pin("bob/x")
        path.with_name(f".{path.name}.lock").chmod(0o666)
        kept = path.read_bytes()
        done = subprocess.run([sys.executable, "-c", UNREADABLE, str(path)], capture_output=True, text=True, timeout=60)
        path.chmod(0o600)
        assert path.read_bytes() == kept, done.stderr
    reloaded, trouble, refused = done.stdout.splitlines()
    assert reloaded.startswith("mia/tales ") and reloaded.endswith("cannot be read (permission denied).")
    assert trouble.endswith("cannot be read (permission denied).")
    assert "cannot be read (permission denied), so nothing was changed" in refused
