"""The trash through crashes at every step, and with two at work at a time: what was put back or came anew is never taken."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from huggingface_hub import scan_cache_dir
from made_cache import MadeCache, commit_of, etag, tree

from engine.errors import CheckpointError, UsageError
from engine.hub import trash
from engine.hub.cache import scan
from engine.hub.trash import leftovers, preview, purge, restore, to_trash, trashed

REPO, OTHER = "own/tales", "own/other"
FIRST, SECOND = commit_of(1), commit_of(2)
OLD, NEW, SHARED = b"o" * 4000, b"n" * 5000, b"s" * 9000
MOST_STEPS = 40

CRASH = """
import os, signal, sys
from pathlib import Path
from engine.hub.cache import scan
from engine.hub.trash import preview, purge, restore, to_trash, trashed

def act(action, cache, repo):
    if action == "delete":
        to_trash(preview(scan(cache), [(repo, sys.argv[3])]))
    elif action == "restore":
        restore(trashed(cache)[0].id, cache)
    else:
        purge(cache=cache)

action, repo = sys.argv[1:3]
for step, cache in enumerate(map(Path, sys.argv[4:])):
    if os.fork() == 0:
        left = step
        def dying(real):
            def call(*arguments, **options):
                global left
                if not str(arguments[0]).endswith(".lock"):
                    if left == 0:
                        os.kill(os.getpid(), signal.SIGKILL)
                    left -= 1
                return real(*arguments, **options)
            return call
        for name in ("rename", "replace", "unlink", "rmdir", "mkdir"):
            setattr(os, name, dying(getattr(os, name)))
        act(action, cache, repo)
        os._exit(0)
    if os.wait()[1] == 0:
        print(step)
        break
"""
"""Each cache is worked on in a process that is killed just before one more change of the disk than the one before; prints at which it
got through."""


def filled(folder: Path) -> MadeCache:
    """`own/tales` in two revisions, and `own/other` with one."""
    made = MadeCache(folder)
    made.add(REPO, FIRST, {"model.safetensors": SHARED, "old.pt": OLD}, refs=("v1",))
    made.add(REPO, SECOND, {"model.safetensors": SHARED, "new.pt": NEW})
    made.add(OTHER, FIRST, {"deep/model.pt": SHARED})
    return made


@pytest.fixture
def cache(tmp_path: Path) -> MadeCache:
    return filled(tmp_path / "hub")


def delete(cache: MadeCache, repo: str = REPO) -> str:
    return to_trash(preview(scan(cache.folder), [(repo, FIRST)])).id


def crashed(tmp_path: Path, action: str, repo: str) -> Iterator[tuple[MadeCache, dict[str, object]]]:
    """A cache for each step at which the action can be killed, and what was in it at first."""
    caches = [filled(tmp_path / f"{step:02}" / "hub") for step in range(MOST_STEPS)]
    before = tree(caches[0].folder)
    if action != "delete":
        for cache in caches:
            delete(cache, repo)
    command = [sys.executable, "-c", CRASH, action, repo, FIRST, *(str(cache.folder) for cache in caches)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    steps = int(done.stdout)  # it got through at last
    assert steps > 5, done.stderr
    for cache in caches[: steps + 1]:
        yield cache, before


def readable(cache: MadeCache) -> bool:
    return scan_cache_dir(cache.folder).warnings == [] and scan(cache.folder).warnings == ()


@pytest.mark.parametrize("repo", [REPO, OTHER])
def test_a_deletion_that_was_killed_is_put_back_as_it_was(tmp_path: Path, repo: str) -> None:
    for cache, before in crashed(tmp_path, "delete", repo):
        assert readable(cache)
        for item in trashed(cache.folder):
            restore(item.id, cache.folder)
        assert tree(cache.folder) == before and trashed(cache.folder) == []


@pytest.mark.parametrize("repo", [REPO, OTHER])
def test_purging_a_deletion_that_was_killed_takes_nothing_out_of_the_cache(tmp_path: Path, repo: str) -> None:
    for cache, _ in crashed(tmp_path, "delete", repo):
        cache.add(repo, commit_of(3), {"old.pt": OLD}, refs=())  # what came since uses what was to go
        there = tree(cache.folder)
        purge(cache=cache.folder)
        assert tree(cache.folder) == there and readable(cache)
        assert not (cache.folder.parent / trash.BESIDE).exists()


@pytest.mark.parametrize("repo", [REPO, OTHER])
def test_putting_back_that_was_killed_is_done_again_or_left_as_it_is(tmp_path: Path, repo: str) -> None:
    for cache, before in crashed(tmp_path, "restore", repo):
        assert readable(cache)
        there = tree(cache.folder)
        assert purge(cache=cache.folder, older_than=0) == 0 or there != before  # by itself, of what is whole only
        for item in trashed(cache.folder):
            restore(item.id, cache.folder)
        if there == before:
            purge(cache=cache.folder)
            assert tree(cache.folder) == before


def test_what_was_put_back_survives_the_purge_after_a_crash(tmp_path: Path) -> None:
    whole = 0
    for cache, before in crashed(tmp_path, "restore", OTHER):
        if tree(cache.folder) == before:
            whole += 1
            assert purge(cache=cache.folder) == 0 and tree(cache.folder) == before
            assert trashed(cache.folder) == leftovers(cache.folder) == []
    assert whole > 2  # also killed when all was back, and the manifest still there


@pytest.mark.parametrize("repo", [REPO, OTHER])
def test_purging_that_was_killed_is_finished_and_takes_no_new_download(tmp_path: Path, repo: str) -> None:
    begun = 0
    for cache, before in crashed(tmp_path, "purge", repo):
        cut_off = leftovers(cache.folder)
        for item in cut_off:
            there = tree(cache.folder)
            with pytest.raises(UsageError, match="removed for good already and cannot be put back"):
                restore(item.id, cache.folder)
            assert tree(cache.folder) == there
        begun += len(cut_off)
        refs = ("v1",) if repo == REPO else ("main",)
        files = {"model.safetensors": SHARED, "old.pt": OLD} if repo == REPO else {"deep/model.pt": SHARED}
        cache.add(repo, FIRST, files, refs)  # downloaded again
        assert tree(cache.folder) == before
        purge(cache=cache.folder)
        assert tree(cache.folder) == before and readable(cache)
        assert not (cache.folder.parent / trash.BESIDE).exists()  # and not a byte is left
    assert begun > 2


def test_bytes_that_no_manifest_tells_of_are_found_and_freed(cache: MadeCache) -> None:
    id = delete(cache)
    folder = trashed(cache.folder)[0].folder
    (folder / "manifest.json").unlink()
    assert trashed(cache.folder) == []
    (left,) = leftovers(cache.folder)
    assert (left.id, left.frees) == (id, 4000)
    assert purge(cache=cache.folder, older_than=3600) == 4000
    assert leftovers(cache.folder) == [] and not folder.exists()


def test_bytes_that_cannot_be_removed_are_not_said_to_be_free(cache: MadeCache, monkeypatch: pytest.MonkeyPatch) -> None:
    delete(cache)
    delete(cache, OTHER)
    real, blob = os.unlink, etag(OLD)

    def refusing(path: object, **options: int) -> None:  # as a system does for a file that is locked or in a folder of another
        if str(path).endswith(blob):
            raise PermissionError(13, "Permission denied", str(path))
        real(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "unlink", refusing)
    with pytest.raises(CheckpointError, match="cannot be removed for good: permission denied"):
        purge(cache=cache.folder)
    monkeypatch.undo()
    (left,) = leftovers(cache.folder)  # the other one went all the same
    assert left.frees == 4000 and purge(cache=cache.folder) == 4000
    assert leftovers(cache.folder) == []


def test_an_older_manifest_without_a_state_counts_as_whole(cache: MadeCache) -> None:
    before = tree(cache.folder)
    id = delete(cache)
    manifest = trashed(cache.folder)[0].folder / "manifest.json"
    kept = json.loads(manifest.read_text())
    assert kept.pop("state") == "moved"
    manifest.write_text(json.dumps(kept))
    restore(id, cache.folder)
    assert tree(cache.folder) == before


def test_what_was_cut_off_is_not_purged_by_itself(cache: MadeCache) -> None:
    delete(cache)
    item = trashed(cache.folder)[0]
    manifest = item.folder / "manifest.json"
    kept = json.loads(manifest.read_text())
    for state in ("moving", "restoring"):
        manifest.write_text(json.dumps(kept | {"state": state}))
        assert purge(cache=cache.folder, older_than=0) == 0
    assert [(one.state, one.whole) for one in trashed(cache.folder)] == [("restoring", False)]
    manifest.write_text(json.dumps(kept))
    place = cache.repo(REPO) / "blobs" / etag(OLD)
    (item.folder / "files" / place.relative_to(cache.folder)).rename(place)  # killed on a full disk, where nothing can be noted
    assert purge(cache=cache.folder, older_than=0) == 0
    assert [(one.state, one.frees) for one in trashed(cache.folder)] == [("restoring", 0)]
    assert purge(item.id, cache=cache.folder) == 0 and place.is_file()


BOTH = """
import sys
from pathlib import Path
from engine.errors import TinyTalesError
from engine.hub import trash
print("ready", flush=True)
sys.stdin.readline()
try:
    trash.restore(sys.argv[3], Path(sys.argv[2])) if sys.argv[1] == "restore" else trash.purge(sys.argv[3], cache=Path(sys.argv[2]))
except TinyTalesError as error:
    print(error)
"""


def test_put_back_and_purged_at_the_same_time_is_the_one_or_the_other(tmp_path: Path) -> None:
    for round in range(4):
        cache = MadeCache(tmp_path / str(round) / "hub")
        cache.add(REPO, FIRST, {f"f{n}.json": os.urandom(300) for n in range(120)} | {"model.safetensors": SHARED})
        cache.add(REPO, SECOND, {"x.safetensors": NEW}, refs=("old",))
        id = delete(cache)
        two = [
            subprocess.Popen([sys.executable, "-c", BOTH, action, str(cache.folder), id], stdin=-1, stdout=-1, text=True)
            for action in ("restore", "purge")
        ]
        for one in two:
            assert one.stdout and one.stdout.readline() == "ready\n"
        for one in two if round % 2 else reversed(two):
            assert one.stdin
            one.stdin.write("\n")
            one.stdin.flush()
        said = [one.communicate(timeout=60)[0] for one in two]
        found = [len(one.files) for one in scan(cache.folder).of(REPO) if one.commit == FIRST]
        assert found in ([], [121])
        assert bool(said[0]) is not bool(found)
        assert trashed(cache.folder) == leftovers(cache.folder) == []


def test_while_another_process_is_at_it_nothing_is_changed(cache: MadeCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trash, "WAIT", 0.2)
    id, planned = delete(cache), preview(scan(cache.folder), [(OTHER, FIRST)])
    before = tree(cache.folder.parent)
    with FileLock(cache.folder / trash.LOCK):
        for change in (lambda: restore(id, cache.folder), lambda: purge(id, cache=cache.folder), lambda: to_trash(planned)):
            with pytest.raises(UsageError, match="changed by another process"):
                change()
    assert tree(cache.folder.parent) == before
    restore(id, cache.folder)


def test_a_download_and_a_deletion_keep_out_of_each_other(cache: MadeCache, tmp_path: Path) -> None:
    """A worker that stops at nothing but the lock: it holds none of huggingface_hub's while it checks a file."""
    hold = (
        "import sys\nfrom pathlib import Path\nfrom engine.hub.planning import Plan\nfrom engine.hub.worker import _kept_from_deletion\n"
        "with _kept_from_deletion(Plan('own/tales', None, '0' * 40, (), 0, Path(sys.argv[1]))):\n"
        "    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    partial = cache.partial(REPO)
    found = scan(cache.folder)
    planned, leftover = preview(found, [(REPO, FIRST)]), found.partials
    two = [subprocess.Popen([sys.executable, "-c", hold, str(cache.folder)], stdin=-1, stdout=-1, text=True) for _ in range(2)]
    for one in two:  # several may download into one repository
        assert one.stdout and one.stdout.readline() == "held\n"
    for one in two:
        with pytest.raises(UsageError, match="being downloaded"):
            preview(found, [(REPO, FIRST)])
        with pytest.raises(UsageError, match="being downloaded"):
            preview(found, [], leftover)
        with pytest.raises(UsageError, match="being downloaded"):
            to_trash(planned)
        one.send_signal(signal.SIGKILL)
        one.communicate()
    to_trash(planned)
    assert partial.is_file()
