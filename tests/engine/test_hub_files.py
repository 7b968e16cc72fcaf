"""Which files of a repository are fetched: by the real library from a Hub on this machine, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

CODE = """
import json, sys
from pathlib import Path
from engine.errors import TinyTalesError
from engine.hub.fetching import fetch
try:
    found = fetch(*sys.argv[1:])
    folder = next(p for p in (found, *found.parents) if p.parent.name == "snapshots")
    files = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    print(json.dumps([str(found.relative_to(folder)), files]))
except TinyTalesError as error:
    print(json.dumps([type(error).__name__, str(error)]))
"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = subprocess.Popen([sys.executable, Path(__file__).with_name("local_hub.py")], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout
        yield server.stdout.readline().strip()
    finally:
        server.terminate()
        server.wait()
        server.stdout.close()  # type: ignore[union-attr]


@pytest.fixture
def fetched(address: str, tmp_path: Path) -> Callable[..., list]:
    def fetch(*arguments: str, **environment: str) -> list:
        env = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        env |= {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])} | environment
        done = subprocess.run([sys.executable, "-c", CODE, *arguments], capture_output=True, text=True, timeout=120, env=env)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return fetch


def test_safetensors_come_alone_and_a_pickle_only_where_there_are_none(fetched: Callable[..., list]) -> None:
    assert fetched("some/safe") == [".", ["config.json", "model.safetensors", "vocab.json"]]
    assert fetched("some/old") == [".", ["config.json", "pytorch_model.bin"]]
    assert fetched("some/safe", HF_HUB_OFFLINE="1") == [".", ["config.json", "model.safetensors", "vocab.json"]]


def test_one_file_of_many_is_named_and_brings_its_vocabulary(fetched: Callable[..., list]) -> None:
    kind, words = fetched("some/many")
    assert kind == "CheckpointError" and "name one of its files" in words
    assert fetched("some/many", "small/c.pt") == ["small/c.pt", ["README.md", "small/c.pt", "small/tok512.model"]]
    kind, words = fetched("some/many", "nothing.pt")
    assert kind == "CheckpointError" and "has no file nothing.pt" in words


def test_what_is_not_there_is_said(fetched: Callable[..., list]) -> None:
    kind, words = fetched("some/nothing")
    assert kind == "CheckpointError" and "no repository" in words
    kind, words = fetched("some/safe", HF_ENDPOINT="http://127.0.0.1:9")
    assert kind == "NetworkError" and "try again" in words
