"""Deleting from the Hub's cache with a way back: honest figures, exact restoring, crashes in the middle, and real freeing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from huggingface_hub import scan_cache_dir
from made_cache import MadeCache, commit_of, etag, tree

from engine.errors import UsageError
from engine.hub import trash
from engine.hub.cache import scan
from engine.hub.trash import Deletion, preview, purge, restore, to_trash, trashed

SHARED, OLD, NEW, CONFIG = b"s" * 9000, b"o" * 4000, b"n" * 5000, b'{"model_type": "llama"}'
FIRST, SECOND, THIRD = commit_of(1), commit_of(2), commit_of(3)


@pytest.fixture
def cache(tmp_path: Path) -> MadeCache:
    """`own/tales` in two revisions that share a file, and `own/other` with one."""
    made = MadeCache(tmp_path / "hub")
    made.add("own/tales", FIRST, {"config.json": CONFIG, "model.safetensors": SHARED, "old.pt": OLD}, refs=("v1",))
    made.add("own/tales", SECOND, {"config.json": CONFIG, "model.safetensors": SHARED, "new.pt": NEW})
    made.add("own/other", THIRD, {"config.json": CONFIG, "deep/model.pt": SHARED})
    (made.repo("own/other") / ".no_exist" / THIRD).mkdir(parents=True)
    (made.repo("own/other") / ".no_exist" / THIRD / "merges.txt").touch()
    return made


def deletion(made: MadeCache, *revisions: tuple[str, str]) -> Deletion:
    return preview(scan(made.folder), revisions)


def hf_names(made: MadeCache) -> set[str]:
    """What `hf cache ls` lists, without a word of complaint."""
    environment = os.environ | {"HF_HUB_CACHE": str(made.folder), "HF_HOME": str(made.folder.parent), "NO_COLOR": "1"}
    command = [str(Path(sys.executable).parent / "hf"), "cache", "ls", "--revisions", "--format", "json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "warning" not in (done.stdout + done.stderr).lower()
    return {str(value) for row in json.loads(done.stdout) for value in row.values() if str(value) in (FIRST, SECOND, THIRD)}


@pytest.mark.parametrize(
    "chosen",
    [
        [("own/tales", FIRST)],
        [("own/tales", SECOND)],
        [("own/tales", FIRST), ("own/tales", SECOND)],
        [("own/other", THIRD), ("own/tales", FIRST)],
    ],
)
def test_the_preview_says_what_huggingface_hub_would_free(cache: MadeCache, chosen: list[tuple[str, str]]) -> None:
    planned = deletion(cache, *chosen)
    assert planned.freed == scan_cache_dir(cache.folder).delete_revisions(*(commit for _, commit in chosen)).expected_freed_size
    sizes = {(one.repo, one.commit): one for one in scan(cache.folder).revisions}
    used = {file.blob: file.size for key in chosen for file in sizes[key].files}
    assert planned.freed + planned.kept_shared == sum(used.values())


def test_figures_of_shared_files_in_words(cache: MadeCache) -> None:
    one = deletion(cache, ("own/tales", FIRST))
    assert (one.freed, one.kept_shared, one.whole_repos) == (4000, 9000 + len(CONFIG), ())
    both = deletion(cache, ("own/tales", FIRST), ("own/tales", SECOND))
    assert (both.freed, both.kept_shared, both.whole_repos) == (18_000 + len(CONFIG), 0, ("own/tales",))
    assert (one.words, both.words) == (f"own/tales@{FIRST[:7]}", "own/tales")


@pytest.mark.parametrize(
    "chosen", [[("own/tales", FIRST)], [("own/tales", SECOND)], [("own/tales", FIRST), ("own/other", THIRD)]]
)
def test_deleting_and_putting_back_leaves_every_byte_as_it_was(cache: MadeCache, chosen: list[tuple[str, str]]) -> None:
    before, listed = tree(cache.folder), hf_names(cache)
    assert listed == {FIRST, SECOND, THIRD}
    planned = deletion(cache, *chosen)
    item = to_trash(planned)
    assert hf_names(cache) == listed - {commit for _, commit in chosen}
    left = scan_cache_dir(cache.folder)
    assert left.warnings == [] and scan(cache.folder).warnings == ()
    assert left.size_on_disk == scan(cache.folder).total_bytes
    assert [(one.id, one.revisions, one.frees, one.whole) for one in trashed(cache.folder)] == [
        (item.id, tuple(chosen), planned.freed, True)
    ]
    assert restore(item.id, cache.folder).id == item.id
    assert tree(cache.folder) == before and hf_names(cache) == listed
    assert trashed(cache.folder) == [] and not (cache.folder.parent / trash.BESIDE).exists()
    to_trash(deletion(cache, *chosen))  # and once more
    assert purge(cache=cache.folder) == planned.freed
    assert trashed(cache.folder) == [] and hf_names(cache) == listed - {commit for _, commit in chosen}


def test_the_trash_holds_the_bytes_until_it_is_emptied(cache: MadeCache) -> None:
    def on_disk() -> int:
        return sum(
            path.lstat().st_size for path in cache.folder.parent.rglob("*") if path.is_file() and path.parent.name == "blobs"
        )

    before = on_disk()
    planned = deletion(cache, ("own/tales", FIRST))
    item = to_trash(planned)
    assert on_disk() == before
    assert purge(item.id, cache=cache.folder, older_than=60) == 0 and trashed(cache.folder)
    assert purge(item.id, cache=cache.folder) == planned.freed
    assert on_disk() == before - planned.freed
    with pytest.raises(UsageError, match="nothing called"):
        restore(item.id, cache.folder)


def test_what_huggingface_hub_deletes_itself_is_the_same(cache: MadeCache, tmp_path: Path) -> None:
    other = MadeCache(tmp_path / "again" / "hub")
    for path in ("own/tales",):
        other.add(path, FIRST, {"config.json": CONFIG, "model.safetensors": SHARED, "old.pt": OLD}, refs=("v1",))
        other.add(path, SECOND, {"config.json": CONFIG, "model.safetensors": SHARED, "new.pt": NEW})
    scan_cache_dir(other.folder).delete_revisions(FIRST).execute()
    to_trash(deletion(cache, ("own/tales", FIRST)))
    mine, theirs = tree(cache.repo("own/tales")), tree(other.repo("own/tales"))
    assert mine == theirs


def test_partial_files_go_and_come_back(cache: MadeCache) -> None:
    left = cache.partial("own/tales", 700)
    found = scan(cache.folder)
    planned = preview(found, [], found.partials)
    assert (planned.freed, planned.moves) == (700, (f"models--own--tales/blobs/{left.name}",))
    item = to_trash(planned)
    assert scan(cache.folder).partials == () and not left.exists()
    restore(item.id, cache.folder)
    assert left.stat().st_size == 700
    to_trash(planned)
    assert purge(cache=cache.folder) == 700


# In the way


def test_a_newer_download_of_the_same_is_merged(cache: MadeCache) -> None:
    before = tree(cache.folder)
    item = to_trash(deletion(cache, ("own/other", THIRD)))
    cache.add("own/other", THIRD, {"config.json": CONFIG})  # a part of it, fetched anew
    restore(item.id, cache.folder)
    assert tree(cache.folder) == before and trashed(cache.folder) == []


def test_a_ref_that_has_moved_on_stays_where_it_points(cache: MadeCache) -> None:
    item = to_trash(deletion(cache, ("own/other", THIRD)))
    cache.add("own/other", commit_of(9), {"config.json": b"{}"})
    restore(item.id, cache.folder)
    assert {(one.commit, one.refs) for one in scan(cache.folder).of("own/other")} == {(commit_of(9), ("main",)), (THIRD, ())}
    assert scan_cache_dir(cache.folder).warnings == []


def test_something_else_in_the_place_is_never_replaced(cache: MadeCache) -> None:
    item = to_trash(deletion(cache, ("own/other", THIRD)))
    snapshot = cache.add("own/other", THIRD, {})
    (snapshot / "config.json").write_text("made by hand")
    now = tree(cache.folder)
    with pytest.raises(UsageError, match=r"config\.json has come there"):
        restore(item.id, cache.folder)
    assert tree(cache.folder) == now
    assert [(one.id, one.whole) for one in trashed(cache.folder)] == [(item.id, True)]
    (snapshot / "config.json").unlink()
    restore(item.id, cache.folder)
    assert [one.missing for one in scan(cache.folder).of("own/other")] == [()]


# While a download is going on


HOLD = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def downloading(cache: MadeCache) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of a blob of `own/tales`, as huggingface_hub does while it downloads it."""
    lock = cache.lock("own/tales", NEW)
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_what_is_being_downloaded_is_left_alone(cache: MadeCache, downloading: subprocess.Popen[str]) -> None:
    cache.partial("own/tales", 10, NEW)
    found, before = scan(cache.folder), tree(cache.folder)
    for revisions, partials in (([("own/tales", FIRST)], ()), ([], found.partials)):
        with pytest.raises(UsageError, match="being downloaded"):
            preview(found, revisions, partials)
    to_trash(deletion(cache, ("own/other", THIRD)))  # another repository may go
    restore(trashed(cache.folder)[0].id, cache.folder)
    assert tree(cache.folder) == before
    downloading.kill()
    downloading.wait()
    assert preview(found, [("own/tales", FIRST)], found.partials).freed == 4010


def test_a_download_that_begins_after_the_preview_is_seen(cache: MadeCache) -> None:
    planned, before = deletion(cache, ("own/tales", SECOND)), tree(cache.folder)
    with FileLock(cache.lock("own/tales", NEW)), pytest.raises(UsageError, match="being downloaded"):
        to_trash(planned)
    assert tree(cache.folder) == before and trashed(cache.folder) == []


def test_a_revision_that_came_after_the_preview_is_not_swept_along(cache: MadeCache) -> None:
    planned = deletion(cache, ("own/other", THIRD))
    cache.add("own/other", commit_of(7), {"config.json": b"{}"})
    with pytest.raises(UsageError, match="another revision"):
        to_trash(planned)
    assert trashed(cache.folder) == []
    again = deletion(cache, ("own/tales", FIRST))
    cache.add("own/tales", commit_of(8), {"old.pt": OLD}, refs=())  # it uses the blob that was to go
    item = to_trash(again)
    assert (cache.repo("own/tales") / "blobs" / etag(OLD)).is_file()
    assert scan_cache_dir(cache.folder).warnings == [] and purge(item.id, cache=cache.folder) == 0
    assert scan(cache.folder).of("own/tales")[1].missing == ()


def test_a_file_that_came_after_the_preview_is_not_swept_along(cache: MadeCache) -> None:
    for key, folder in ((("own/tales", FIRST), "own/tales"), (("own/other", THIRD), "own/other")):
        planned = deletion(cache, key)
        cache.add(folder, key[1], {"more.pt": os.urandom(300_000)}, refs=())
        before = tree(cache.folder)
        with pytest.raises(UsageError, match="has changed meanwhile"):
            to_trash(planned)
        assert tree(cache.folder) == before and trashed(cache.folder) == []
    left = cache.partial("own/tales", 700)
    found = scan(cache.folder)
    planned = preview(found, [], found.partials)
    left.write_bytes(b"3" * 900)
    with pytest.raises(UsageError, match="has changed meanwhile"):
        to_trash(planned)


def test_a_ref_that_points_elsewhere_by_now_stays(cache: MadeCache) -> None:
    planned = deletion(cache, ("own/tales", SECOND))  # it is `main` at this moment
    newer = commit_of(8)
    cache.add("own/tales", newer, {"newer.pt": b"n" * 300})
    before = tree(cache.folder)
    item = to_trash(planned)
    assert {(one.commit, one.refs) for one in scan(cache.folder).of("own/tales")} == {(FIRST, ("v1",)), (newer, ("main",))}
    restore(item.id, cache.folder)
    assert tree(cache.folder) == before


def test_what_has_gone_since_the_preview_is_not_deleted_twice(cache: MadeCache) -> None:
    """Two windows ask about the same checkpoint, and both are told yes."""
    for key in (("own/tales", FIRST), ("own/other", THIRD)):
        one, two = deletion(cache, key), deletion(cache, key)
        before = tree(cache.folder)
        item = to_trash(one)
        with pytest.raises(UsageError, match="not in the Hub's cache"):
            to_trash(two)
        assert [found.id for found in trashed(cache.folder)] == [item.id]
        restore(item.id, cache.folder)
        assert purge(cache=cache.folder) == 0 and tree(cache.folder) == before


def test_what_is_not_there_is_said_so(cache: MadeCache) -> None:
    with pytest.raises(UsageError, match="not in the Hub's cache"):
        deletion(cache, ("own/tales", THIRD))


def test_a_manifest_that_leads_elsewhere_is_not_believed(cache: MadeCache, tmp_path: Path) -> None:
    item = to_trash(deletion(cache, ("own/tales", FIRST)))
    manifest = item.folder / "manifest.json"
    good = json.loads(manifest.read_text())
    for moves in (["../outside"], ["/etc/passwd"], ["models--a/../../x"], ["blobs/x"], "text", None):
        manifest.write_text(json.dumps(good | {"moves": moves}))
        assert trashed(cache.folder) == []
    manifest.write_text("{")
    assert trashed(cache.folder) == [] and purge(cache=cache.folder) == 0
    manifest.write_text(json.dumps(good))
    assert trashed(cache.folder) == [item]


# Other places


def test_without_a_place_beside_the_cache_the_trash_lies_inside(cache: MadeCache) -> None:
    (cache.folder.parent / trash.BESIDE).write_text("a file of that name")
    before, listed = tree(cache.folder), hf_names(cache)
    item = to_trash(deletion(cache, ("own/other", THIRD)))
    assert item.folder.is_relative_to(cache.folder)
    assert hf_names(cache) == listed - {THIRD} and scan(cache.folder).warnings == ()
    restore(item.id, cache.folder)
    assert tree(cache.folder) == before


def test_each_cache_sees_only_its_own_trash(cache: MadeCache, tmp_path: Path) -> None:
    second = MadeCache(tmp_path / "second")
    second.add("own/tales", FIRST, {"old.pt": OLD})
    item = to_trash(preview(scan(second.folder), [("own/tales", FIRST)]))
    assert trashed(cache.folder) == [] and purge(cache=cache.folder) == 0
    assert [one.id for one in trashed(second.folder)] == [item.id]


# Blobs that repositories share (huggingface_hub 2.4)


def test_shared_blobs_are_freed_only_when_nobody_uses_them(cache: MadeCache) -> None:
    cache.add("own/twin", commit_of(4), {"model.safetensors": SHARED})
    for repo in ("own/other", "own/twin"):
        payload = cache.share(repo, SHARED)
    before = tree(cache.folder)
    one = deletion(cache, ("own/other", THIRD))
    assert one.freed == scan_cache_dir(cache.folder).delete_revisions(THIRD).expected_freed_size == len(CONFIG)
    both = deletion(cache, ("own/other", THIRD), ("own/twin", commit_of(4)))
    assert (
        both.freed == scan_cache_dir(cache.folder).delete_revisions(THIRD, commit_of(4)).expected_freed_size == 9000 + len(CONFIG)
    )
    item = to_trash(both)
    assert payload.is_file()
    restore(item.id, cache.folder)
    assert tree(cache.folder) == before
    to_trash(one)
    assert purge(cache=cache.folder) == len(CONFIG)
    assert payload.is_file() and scan_cache_dir(cache.folder).warnings == []
    to_trash(deletion(cache, ("own/twin", commit_of(4))))
    assert purge(cache=cache.folder) == 9000
    assert not payload.exists() and not cache.repo("own/twin").exists() and trashed(cache.folder) == []
