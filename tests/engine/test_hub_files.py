"""A checkpoint by its Hub id: which files come, from where, and what is taken from the cache without asking.

The real library asks a Hub on this machine, in a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_server import Hub, running_hub

CODE = """
import json, sys
from engine.errors import TinyTalesError
from engine.hub.fetching import fetch
try:
    found = fetch(*[argument or None for argument in sys.argv[1:]])
    folder = next(p for p in (found, *found.parents) if p.parent.name == "snapshots")
    files = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    print(json.dumps([str(found.relative_to(folder)), files]))
except TinyTalesError as error:
    print(json.dumps([type(error).__name__, str(error)]))
assert "torch" not in sys.modules and "textual" not in sys.modules
"""
SITE: dict[str, dict[str, Any]] = {
    "some/safe": {
        "files": {"config.json": b"{}", "model.safetensors": b"safe", "pytorch_model.bin": b"pickle", "vocab.json": b"{}"},
        "branches": ("main", "v1"),
    },
    "some/old": {"files": {"config.json": b"{}", "pytorch_model.bin": b"pickle", "flax_model.msgpack": b"flax"}},
    "some/many": {
        "files": {"README.md": b"# many", "a.pt": b"a", "b.pt": b"b", "small/c.pt": b"c", "small/tok512.model": b"pieces"}
    },
    "some/one": {"files": {"best.pth": b"best"}},
    "some/words": {"files": {"config.json": b"{}", "model.safetensors": b"safe", "tokenizer.json": b"{}"}},
    "some/shards": {
        "files": {f"model-0000{n}-of-00002.safetensors": b"%d" % n for n in (1, 2)}
        | {"model.safetensors.index.json": b"{}", "tokenizer.json": b"{}"}
    },
}
FULL = [".", ["config.json", "model.safetensors", "vocab.json"]]


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with running_hub(SITE) as hub:
        yield hub


@pytest.fixture
def fetched(hub: Hub, tmp_path: Path) -> Callable[..., list]:
    def fetch(*arguments: str, **environment: str) -> list:
        env = hub.environment(tmp_path, **environment)
        done = subprocess.run([sys.executable, "-c", CODE, *arguments], capture_output=True, text=True, timeout=120, env=env)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return fetch


def by_the_library(hub: Hub, home: Path, repo: str, *names: str) -> None:
    """Fill the cache as another program does: a few files, and no note of what else there is."""
    code = "import sys; from huggingface_hub import hf_hub_download as get; [get(sys.argv[1], name) for name in sys.argv[2:]]"
    subprocess.run(
        [sys.executable, "-c", code, repo, *names], check=True, env=hub.environment(home), capture_output=True, timeout=120
    )


def test_safetensors_come_alone_and_a_pickle_only_where_there_are_none(fetched: Callable[..., list]) -> None:
    assert fetched("some/safe") == FULL
    assert fetched("some/old") == [".", ["config.json", "pytorch_model.bin"]]
    assert fetched("some/safe", HF_HUB_OFFLINE="1") == FULL


def test_one_file_of_many_is_named_and_brings_its_vocabulary(fetched: Callable[..., list]) -> None:
    kind, words = fetched("some/many")
    assert kind == "CheckpointError" and "name one of its files" in words
    assert fetched("some/many", "small/c.pt") == ["small/c.pt", ["README.md", "small/c.pt", "small/tok512.model"]]
    kind, words = fetched("some/many", "nothing.pt")
    assert kind == "CheckpointError" and "has no file nothing.pt" in words
    assert fetched("some/many", "a.pt")[0] == "a.pt"
    kind, words = fetched("some/many", HF_HUB_OFFLINE="1")  # that two are in the cache makes neither of them the one
    assert kind in ("NetworkError", "CheckpointError")


def test_what_is_not_there_is_said(fetched: Callable[..., list]) -> None:
    kind, words = fetched("some/nothing")
    assert kind == "CheckpointError" and "no repository" in words
    kind, words = fetched("some/safe", HF_ENDPOINT="http://127.0.0.1:9")
    assert kind == "NetworkError" and "try again" in words
    kind, words = fetched("some/safe", "../../../outside.pt")
    assert kind == "CheckpointError" and "has no file" in words
    kind, words = fetched("some--odd/safe")
    assert kind == "CheckpointError" and "owner/name" in words


@pytest.mark.parametrize("repo", ["some/safe", "some/one", "some/words", "some/shards"])
def test_what_lies_whole_in_the_cache_is_not_asked_for(repo: str, hub: Hub, fetched: Callable[..., list]) -> None:
    first = fetched(repo)
    asked = len(hub.log())
    assert fetched(repo) == first and len(hub.log()) == asked


def test_a_revision_is_found_by_branch_and_by_commit(hub: Hub, tmp_path: Path, fetched: Callable[..., list]) -> None:
    assert fetched("some/safe", "", "v1") == FULL
    kind, _ = fetched("some/safe", "", "main", HF_HUB_OFFLINE="1")
    assert kind == "NetworkError"  # only v1 is known here
    (commit,) = [path.name for path in (tmp_path / "hub" / "models--some--safe" / "snapshots").iterdir()]
    asked = len(hub.log())
    assert fetched("some/safe", "", commit) == FULL and len(hub.log()) == asked
    kind, words = fetched("some/safe", "", "v2")
    assert kind == "CheckpointError" and "no revision v2" in words


def test_what_another_program_left_in_the_cache_is_completed(hub: Hub, tmp_path: Path, fetched: Callable[..., list]) -> None:
    by_the_library(hub, tmp_path, "some/words", "config.json", "model.safetensors")
    without = [".", ["config.json", "model.safetensors"]]
    assert fetched("some/words", HF_HUB_OFFLINE="1") == without  # the best there is without a network
    assert fetched("some/words") == [".", ["config.json", "model.safetensors", "tokenizer.json"]]
    by_the_library(hub, tmp_path, "some/shards", "model-00001-of-00002.safetensors", "tokenizer.json")
    kind, _ = fetched("some/shards", HF_HUB_OFFLINE="1")
    assert kind == "NetworkError"
    assert len(fetched("some/shards")[1]) == 4


def test_what_another_program_completed_is_taken_as_it_is(hub: Hub, tmp_path: Path, fetched: Callable[..., list]) -> None:
    by_the_library(hub, tmp_path, "some/words", "config.json", "model.safetensors", "tokenizer.json")
    asked = len(hub.log())
    assert fetched("some/words")[1] == ["config.json", "model.safetensors", "tokenizer.json"] and len(hub.log()) == asked
