"""What lies in the Hub's cache: agreement with huggingface_hub, revisions that are not whole, and caches that are not in order."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import scan_cache_dir
from made_cache import MadeCache, commit_of, etag

from engine.errors import CheckpointError
from engine.hub.cache import Revision, scan
from engine.hub.verifying import verify

WEIGHTS, OTHER = b"w" * 5000, b"o" * 3000


@pytest.fixture
def cache(tmp_path: Path) -> MadeCache:
    """Two revisions that share their weights, a repository without an owner, a data set, and a space."""
    made = MadeCache(tmp_path / "hub")
    made.add("own/tales", commit_of(1), {"config.json": b"{}", "model.safetensors": WEIGHTS}, refs=())
    made.add("own/tales", commit_of(2), {"config.json": b'{"a": 1}', "model.safetensors": WEIGHTS}, refs=("main", "refs/pr/1"))
    made.add("gpt2", commit_of(3), {"config.json": b"{}", "sub/model.pt": OTHER})
    made.add("own/stories", commit_of(4), {"data.jsonl": b"x" * 700}, kind="dataset")
    made.add("own/room", commit_of(5), {"app.py": b"y" * 70}, kind="space")
    return made


def test_the_same_is_found_as_huggingface_hub_finds(cache: MadeCache) -> None:
    mine, theirs = scan(cache.folder), scan_cache_dir(cache.folder)
    assert mine.warnings == () and theirs.warnings == []
    assert mine.total_bytes == theirs.size_on_disk
    expected = {
        (repo.repo_id, revision.commit_hash, revision.refs, revision.size_on_disk, len(revision.files), revision.snapshot_path)
        for repo in theirs.repos
        if repo.repo_type == "model"
        for revision in repo.revisions
    }
    assert {(one.repo, one.commit, frozenset(one.refs), one.size, len(one.files), one.path) for one in mine.revisions} == expected
    assert [(one.repo, one.refs) for one in mine.revisions] == [
        ("gpt2", ("main",)),
        ("own/tales", ("main", "refs/pr/1")),
        ("own/tales", ()),
    ]
    newest = mine.of("own/tales")[0]
    assert [(file.name, file.size, file.blob.name) for file in newest.files] == [
        ("config.json", 8, etag(b'{"a": 1}')),
        ("model.safetensors", 5000, etag(WEIGHTS)),
    ]
    assert newest.missing == newest.outside == ()


def test_where_there_is_no_cache_there_is_nothing(tmp_path: Path) -> None:
    assert scan(tmp_path / "nowhere").revisions == ()
    (tmp_path / "file").write_text("not a folder")
    found = scan(tmp_path / "file")
    assert found.revisions == () and found.warnings


def test_the_environment_says_where_the_cache_is(cache: MadeCache) -> None:
    code = "from engine.hub.cache import scan; print(len(scan().revisions))"
    environment = os.environ | {"HF_HUB_CACHE": str(cache.folder)}
    assert subprocess.check_output([sys.executable, "-c", code], env=environment, text=True) == "3\n"


def revision_of(made: MadeCache, repo: str) -> Revision:
    (found,) = scan(made.folder).of(repo)
    return found


def test_a_download_that_was_cut_off_says_what_is_missing(tmp_path: Path) -> None:
    made = MadeCache(tmp_path / "hub")
    made.add("own/none", commit_of(1), {"config.json": b"{}", "tokenizer.model": b"t"})
    made.partial("own/none", 4000)
    index = b'{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}'
    made.add("own/half", commit_of(2), {"model.safetensors.index.json": index, "model-00001-of-00002.safetensors": WEIGHTS})
    made.add("own/lost", commit_of(3), {"model.safetensors": OTHER})
    (made.repo("own/lost") / "blobs" / etag(OTHER)).unlink()
    assert revision_of(made, "own/none").missing == ("weights",)
    assert revision_of(made, "own/half").missing == ("1 of its files of weights (model-00002-of-00002.safetensors)",)
    assert revision_of(made, "own/lost").missing == ("the bytes of model.safetensors", "weights")
    (partial,) = scan(made.folder).partials
    assert (partial.repo, partial.size) == ("own/none", 4000)


def test_one_repository_that_is_not_in_order_hides_no_other(cache: MadeCache) -> None:
    (cache.folder / "models--own--empty").mkdir()
    (cache.folder / "notes.txt").write_text("mine")
    (cache.folder / "models--own--file").write_text("a file")
    os.mkfifo(cache.repo("gpt2") / "blobs" / "pipe")
    (cache.repo("gpt2") / "snapshots" / "stray").write_text("a file")
    (cache.repo("gpt2") / "refs" / "broken").write_bytes(b"\xff\xfe")
    (cache.repo("gpt2") / "refs" / "nowhere").write_text("9" * 40)
    loop = cache.add("own/loop", commit_of(8), {"config.json": b"{}"}) / "round"
    loop.symlink_to(loop)
    found = scan(cache.folder)
    assert {one.repo for one in found.revisions} == {"own/tales", "gpt2", "own/loop"}
    assert len(found.warnings) == 4 and all(one.endswith(".") and "\n" not in one for one in found.warnings)
    assert scan(cache.folder).of("own/loop")[0].missing == ("the bytes of round", "weights")


def test_a_name_with_control_codes_reaches_no_warning(tmp_path: Path) -> None:
    made = MadeCache(tmp_path / "hub")
    (made.folder / "models--own\x1b[2J--evil").mkdir()
    assert all(warning.isprintable() for warning in scan(made.folder).warnings)
    assert scan(made.folder).warnings


def test_no_link_is_followed_out_of_the_cache(tmp_path: Path) -> None:
    secret = tmp_path / "secret.safetensors"
    secret.write_bytes(b"s" * 999)
    made = MadeCache(tmp_path / "hub")
    snapshot = made.add("own/evil", commit_of(1), {"config.json": b"{}"})
    (snapshot / "model.safetensors").symlink_to(secret)
    hop = made.repo("own/evil") / "blobs" / ("e" * 64)
    hop.symlink_to(secret)
    made.link(snapshot / "two.safetensors", hop)
    (snapshot / "folder").symlink_to(tmp_path)
    (made.folder / "models--own--away").symlink_to(tmp_path)
    revision = revision_of(made, "own/evil")
    assert [file.name for file in revision.files] == ["config.json"]
    assert revision.outside == ("folder", "model.safetensors", "two.safetensors")
    assert len(scan(made.folder).warnings) == 4


def test_blobs_that_repositories_share_count_once(tmp_path: Path) -> None:
    made = MadeCache(tmp_path / "hub")
    for number, repo in enumerate(("own/one", "own/two"), 1):
        made.add(repo, commit_of(number), {"model.safetensors": WEIGHTS})
        made.share(repo, WEIGHTS)
    found = scan(made.folder)
    assert found.warnings == () and [one.size for one in found.revisions] == [5000, 5000]
    assert found.total_bytes == scan_cache_dir(made.folder).size_on_disk == 5000


def test_files_without_links_are_taken_as_they_are(tmp_path: Path) -> None:
    """As huggingface_hub writes them where the file system has no links."""
    made = MadeCache(tmp_path / "hub")
    snapshot = made.add("own/plain", commit_of(1), {})
    (snapshot / "model.safetensors").write_bytes(WEIGHTS)
    assert revision_of(made, "own/plain").size == 5000
    assert scan(made.folder).total_bytes == scan_cache_dir(made.folder).size_on_disk


# Verifying


def test_every_blob_is_held_against_its_name(cache: MadeCache) -> None:
    told: list[tuple[str, int, int]] = []
    found = verify(scan(cache.folder).of("own/tales")[0].path, lambda *step: told.append(step))
    assert (found.checked, found.bytes, found.wrong, found.unknown, found.sound) == (2, 5008, (), (), True)
    assert told[-1] == ("model.safetensors", 5008, 5008)
    assert verify(scan(cache.folder).of("gpt2")[0].path / "sub" / "model.pt").sound


def test_one_changed_byte_is_found_in_both_kinds_of_blobs(cache: MadeCache) -> None:
    revision = scan(cache.folder).of("own/tales")[0]
    for name, data in (("model.safetensors", WEIGHTS), ("config.json", b'{"a": 1}')):
        blob = cache.repo("own/tales") / "blobs" / etag(data)
        blob.write_bytes(b"!" + data[1:])
        found = verify(revision.path)
        assert found.wrong == (name,) and not found.sound
        blob.write_bytes(data)
    blob.unlink()
    assert verify(revision.path).wrong == ("config.json",)


def test_what_is_in_no_cache_is_unknown_and_not_sound(tiny_checkpoint: Path, tmp_path: Path) -> None:
    found = verify(tiny_checkpoint)
    assert (found.checked, found.wrong, found.sound) == (0, (), False) and "model.safetensors" in found.unknown
    cut = shutil.copytree(tiny_checkpoint, tmp_path / "cut")
    data = (cut / "model.safetensors").read_bytes()
    (cut / "model.safetensors").write_bytes(data[:-1])
    assert verify(cut).wrong == verify(cut / "model.safetensors").wrong == ("model.safetensors",)
    with pytest.raises(CheckpointError, match="no files"):
        verify(tmp_path / "nowhere")


def test_verifying_can_be_cancelled_in_the_middle(tmp_path: Path) -> None:
    made = MadeCache(tmp_path / "hub")
    snapshot = made.add("own/large", commit_of(1), {"a.safetensors": b"a" * 5_000_000, "b.safetensors": b"b" * 5_000_000})
    steps: list[int] = []
    found = verify(snapshot, lambda _, done, __: steps.append(done), lambda: len(steps) >= 3)
    assert found.cancelled and not found.sound and len(steps) == 3 and found.checked == 0
