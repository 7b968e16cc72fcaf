"""Searching a Hub on this machine, and asking it what has changed: each in a process of its own, since the address is read once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_server import Hub, running_hub

from engine.hub.curated import KNOWN
from engine.hub.search import _matches

SEARCH = """
import json, sys
from engine.hub.search import search
seen = []
found = search(sys.argv[1], told=lambda found: seen.append(len(found.models)))
print(json.dumps({"models": [m.to_json() for m in found.models], "trouble": found.trouble, "network": found.network, "seen": seen}))
"""
NEWER = """
import json, sys
from engine.errors import NetworkError
from engine.catalog.newer import commits
try:
    asked = [("a/tales", "main"), ("a/gone", "main"), ("b/tales-of-more", "main")]
    print(json.dumps([[*one, commit] for one, commit in commits(asked).items()]))
except NetworkError as error:
    print(json.dumps(str(error)))
"""
CONFIG = json.dumps({"model_type": "gpt_neo"}).encode()


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    weights = {"model.safetensors": b"s" * 700, "pytorch_model.bin": b"p" * 700, "README.md": b"# hi"}
    site = {
        "a/tales": {"files": weights, "downloads": 5, "card": {"license": "mit"}},
        "b/tales-of-more": {"files": weights, "downloads": 50, "gated": "auto", "tags": ["license:apache-2.0"]},
        "c/tales-hidden": {"files": weights, "private": True},
        "d/tales-many": {"files": {"a.pt": b"a" * 10, "b.pt": b"b" * 20}},
        "e/tales-without": {"files": {"README.md": b"# none"}},
    }
    with running_hub(site) as hub:
        yield hub


def run(hub: Hub, tmp_path: Path, code: str, *arguments: str, **environment: str) -> Any:
    env = hub.environment(tmp_path, **environment)
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120, env=env)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return json.loads(done.stdout)


def test_what_is_found_is_described_and_the_most_downloaded_comes_first(hub: Hub, tmp_path: Path) -> None:
    found = run(hub, tmp_path, SEARCH, "tales")
    by_name = {model["repo"]: model for model in found["models"]}
    assert list(by_name)[:2] == ["b/tales-of-more", "a/tales"] and "c/tales-hidden" not in by_name and not found["trouble"]
    plain, gated = by_name["a/tales"], by_name["b/tales-of-more"]
    assert (plain["size"], plain["licence"], plain["gated"], plain["downloads"]) == (704, "mit", False, 5)
    assert (gated["licence"], gated["gated"], gated["size"]) == ("apache-2.0", True, 704)
    assert by_name["d/tales-many"]["size"] == 30  # several models: all of them, until one is chosen
    assert by_name["e/tales-without"]["size"] is None and by_name["e/tales-without"]["trouble"]
    assert found["seen"][0] == 0 and found["seen"][-1] == len(by_name)  # what is known is told before the details have come


def test_an_odd_answer_about_one_model_is_the_trouble_of_that_one(tmp_path: Path) -> None:
    files = {"model.safetensors": b"s" * 700}
    site: dict[str, dict[str, Any]] = {"a/tales": {"files": files, "downloads": 5}}
    odd = {"type": {"model_type": ["llama"]}, "list": ["llama"]}
    site |= {f"b/tales-{name}": {"files": files, "config": config} for name, config in odd.items()}
    site["b/tales-size"] = {"files": files, "sizes": {"model.safetensors": "many"}}
    with running_hub(site) as odd_hub:
        found = run(odd_hub, tmp_path, SEARCH, "tales-")
        plain = run(odd_hub, tmp_path, SEARCH, "tales")
    assert {model["repo"] for model in found["models"]} == set(site) - {"a/tales"} and not found["trouble"]
    assert all(model["trouble"] for model in found["models"])
    by_name = {model["repo"]: model for model in plain["models"]}
    assert by_name["a/tales"]["size"] == 700 and not by_name["a/tales"]["trouble"] and not plain["network"]


def test_whether_another_try_may_help_is_told(hub: Hub, tmp_path: Path) -> None:
    refused = run(hub, tmp_path, SEARCH, "tales", HF_TOKEN="bad")
    assert not refused["network"] and all("token" in model["trouble"] for model in refused["models"]) and refused["models"]
    offline = run(hub, tmp_path, SEARCH, "tales", HF_ENDPOINT="http://127.0.0.1:9")
    assert offline["trouble"] and offline["network"]


def test_known_models_come_first_and_the_search_fails_softly(hub: Hub, tmp_path: Path) -> None:
    known = run(hub, tmp_path, SEARCH, "")["models"]
    assert [model["source"] for model in known] == [one.source for one in KNOWN]
    assert all(model["curated"] and "no repository" in model["trouble"] for model in known)  # none of them is on this Hub
    for trouble in ({"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}):
        offline = run(hub, tmp_path, SEARCH, "33M instruct", **trouble)
        assert offline["network"] and "only the known models" in offline["trouble"]
        assert {model["repo"] for model in offline["models"]} >= {"roneneldan/TinyStories-Instruct-33M"}
        assert not any(model["trouble"] for model in offline["models"])


def test_what_has_moved_on_is_told(hub: Hub, tmp_path: Path) -> None:
    found = run(hub, tmp_path, NEWER)
    assert [one[:2] for one in found] == [["a/tales", "main"], ["b/tales-of-more", "main"]] and len(found[0][2]) == 40
    hub.fault("b/tales-of-more", where="api", status=500)
    try:
        assert run(hub, tmp_path, NEWER) == found[:1]  # the trouble of one says nothing of the others
    finally:
        hub.fault("b/tales-of-more")
    assert "could not be reached" in run(hub, tmp_path, NEWER, HF_ENDPOINT="http://127.0.0.1:9")


def test_all_words_have_to_match() -> None:
    assert _matches(" 8M  Neo", "roneneldan/TinyStories-8M GPT-Neo") and not _matches("8M llama", "TinyStories-8M GPT-Neo")
    assert len({one.source for one in KNOWN}) == len(KNOWN) and all(one.repo.count("/") == 1 for one in KNOWN)
