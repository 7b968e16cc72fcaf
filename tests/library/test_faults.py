"""What may happen to a library: a process killed in the middle of writing, two at once, a full disk, a disk that can only be read."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from library.made_stories import generated, recipe, small_story

from tinytales_tui.library.finding import Wanted
from tinytales_tui.library.store import Library
from tinytales_tui.library.story import LibraryError, StoryChanged
from tinytales_tui.library.tree import Tree

ROOT = Path(__file__).parents[2]
WRITER = """
import sys, time
from collections.abc import Iterator
from pathlib import Path
from tinytales_tui.library.store import Library
from tinytales_tui.library.tree import Tree
library = Library.open(Path(sys.argv[1]))
story = library.add(Tree().write(None, sys.argv[2], now=1.0))
print(story.id, flush=True)
for number in range(int(sys.argv[3])):
    tree = story.tree.grow(1, f" {number}", now=2.0, author="writer")
    story = library.save(story, tree)
    print(number, flush=True)
"""


def writer(path: Path, word: str, count: int) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", WRITER, str(path), word, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def sound(path: Path) -> None:
    """The file is whole in itself, its index of words too."""
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        connection.execute("INSERT INTO node_words (node_words) VALUES ('integrity-check')")
    connection.close()


def test_a_process_that_is_killed_loses_only_what_it_had_not_saved(tmp_path: Path) -> None:
    path = tmp_path / "stories.db"
    for after in (3, 40):
        process = writer(path, "killed", 1_000_000)
        assert process.stdout
        id = process.stdout.readline().strip()
        for _ in range(after):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        told = process.stdout.read().split()
        process.wait()
        last = int(told[-1]) if told else after - 1
        with Library.open(path) as library:
            numbers = library.get(id).text.split()[1:]
        assert numbers in ([str(n) for n in range(last + 1)], [str(n) for n in range(last + 2)])
        sound(path)


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "stories.db"
    processes = [writer(path, word, 60) for word in ("one", "two", "three")]  # they make the library at once, too
    for process in processes:
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    with Library.open(path) as library:
        texts = {line.name: library.get(line.id).text for line in library.listing()}
        assert len(texts) == 3
        for text in texts.values():
            assert text.split()[1:] == [str(n) for n in range(60)]
        assert len(library.listing(Wanted("59"))) == 3
    sound(path)


def test_a_writer_that_does_not_end_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tinytales_tui.library import opening

    monkeypatch.setattr(opening, "BUSY_S", 0.2)
    with Library.open(tmp_path / "stories.db") as library:
        story = library.add(small_story())
        other = sqlite3.connect(library.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(
            LibraryError, match="being written by another process for long, so nothing of it was changed; try again"
        ):
            library.save(story, story.tree.write(3, "x", now=1.0))
        assert library.get(story.id) == story and library.count() == 1  # who reads does not wait
        other.execute("ROLLBACK")
        assert library.save(story, story.tree.write(3, "x", now=1.0)).text.endswith("x")
        other.close()


LIMITED = """
import resource, sys
from collections.abc import Iterator
from pathlib import Path
from tinytales_tui.library.store import Library
from tinytales_tui.library.story import LibraryError, StoryChanged
from tinytales_tui.library.tree import Tree
library = Library.open(Path(sys.argv[1]))
story = library.add(Tree().write(None, "before", now=1.0))
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for attempt in range(2):
    try:
        library.save(story, story.tree.grow(1, "x" * 400_000, now=2.0, author="writer"))
        print("saved")
    except LibraryError as error:
        print(error)
print(library.get(story.id).text)
"""


def test_a_disk_that_refuses_is_told_and_nothing_is_half_written(tmp_path: Path) -> None:
    """RLIMIT_FSIZE makes the system itself refuse to write more."""
    path = tmp_path / "stories.db"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == 0, done.stderr
    first, second, text = done.stdout.splitlines()
    assert first == second and "nothing of it was changed." in first and "cannot be written" in first and text == "before"
    sound(path)


@contextlib.contextmanager
def disk_of(size: str, folder: Path) -> Iterator[Path]:
    """A disk of its own; skips the test where none can be mounted."""
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True).returncode:
        pytest.skip("a disk can only be mounted by root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(tmp_path: Path) -> None:
    with disk_of("1m", tmp_path / "small") as small:
        with Library.open(small / "stories.db") as library:
            story = library.add(small_story())
            with pytest.raises(LibraryError, match="the disk is full, so nothing of it was changed"):
                for number in range(100):
                    library.add(generated(Tree(), None, f"story {number} " * 3000))
            assert library.get(story.id) == story
            subprocess.run(["mount", "-o", "remount,size=8m", str(small)], check=True)
            assert library.save(story, story.tree.write(3, " There is room again.", now=2.0)).text.endswith("again.")
        sound(small / "stories.db")


def test_a_disk_that_can_only_be_read(tmp_path: Path) -> None:
    with disk_of("4m", tmp_path / "disk") as disk:
        with Library.open(disk / "stories.db") as library:
            story = library.add(small_story())
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with Library.open(disk / "stories.db") as library:
            assert library.readonly and library.get(story.id) == story and len(library.listing(Wanted("barked"))) == 1
            with pytest.raises(LibraryError, match="can only be read, so nothing of it was changed"):
                library.trash(story.id)
        with pytest.raises(LibraryError, match=r"cannot be used: the disk is read-only\."):
            Library.open(disk / "other.db")


def test_a_library_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LibraryError, match=r"cannot be used: a file is in the way|a part of the path is a file"):
        Library.open(tmp_path / "file" / "stories.db")
    (tmp_path / "stories.db").mkdir()
    with pytest.raises(LibraryError, match=r"cannot be used: it is a folder\."):
        Library.open(tmp_path / "stories.db")


def test_a_read_is_quick_while_another_process_writes(tmp_path: Path) -> None:
    path = tmp_path / "stories.db"
    with Library.open(path) as library:
        story = library.add(small_story())
        process = writer(path, "busy", 1_000_000)
        assert process.stdout
        process.stdout.readline()
        began, reads = time.monotonic(), 0
        while time.monotonic() - began < 0.5:
            assert library.get(story.id).tree == story.tree
            reads += 1
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert reads > 5
        assert library.save(story, story.tree.add(3, now=1.0, recipe=recipe())).revision == 1


def test_a_file_that_is_taken_away_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "stories.db"
    with Library.open(path) as library:
        story = library.add(small_story())
        path.rename(tmp_path / "old.db")
        path.with_name("stories.db-wal").rename(tmp_path / "old.db-wal")
        assert library.count() == 0
        with pytest.raises(StoryChanged):
            library.save(story, story.tree.write(3, " More.", now=1.0))
        kept = library.add(story.tree, id=story.id)
        assert kept.id == story.id and path.exists()
        with Library.open(path) as other:
            assert other.get(story.id).tree == story.tree
        path.unlink()
        for end in ("-wal", "-shm"):
            path.with_name(path.name + end).unlink(missing_ok=True)
        assert library.add(story.tree).tree == story.tree and library.count() == 1
    sound(path)


def test_two_connections_of_one_process_and_one_of_another(tmp_path: Path) -> None:
    """The system lets go all locks of a process on a file as soon as one of its handles is closed; nothing here may do that."""
    path = tmp_path / "stories.db"
    with Library.open(path) as first:
        story = first.add(small_story())
        for number in range(5):
            Library.open(path).close()
            process = writer(path, f"other {number}", 3)
            assert process.communicate(timeout=60)[1] == ""
            story = first.save(story, story.tree.write(story.tree.current, f" {number}", now=1.0))
            assert path.with_name("stories.db-wal").exists()  # the other did not take itself for the last one
        assert first.count() == 6 and first.get(story.id) == story
    sound(path)
