"""Every way in which a download fails, from a Hub on this machine: its sentence, its kind, and a cache that stays sound."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_server import Hub, running_hub

from engine.hub.downloads import Download, Downloads

WEIGHTS = os.urandom(300_000)
MODEL: dict[str, Any] = {"files": {"config.json": b"{}", "model.safetensors": WEIGHTS, "tokenizer.json": b'{"a": 1}'}}
SITE: dict[str, dict[str, Any]] = {
    "some/model": MODEL,
    "some/gated": MODEL | {"gated": "manual"},
    "some/private": MODEL | {"private": True},
    "some/absurd": MODEL | {"sizes": {"model.safetensors": -5}},
    "some/huge": MODEL | {"sizes": {"model.safetensors": 10**13}},
    "some/outside": {"files": {"../../outside.safetensors": b"x", "model.safetensors": b"y"}},
    "some/steering": {"files": {"a\x1b[2J.safetensors": b"x"}},
    "some/silent": MODEL | {"sizes": {"model.safetensors": None}},
}


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with running_hub(SITE) as hub:
        yield hub


@pytest.fixture
def download(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Download]:
    """A download that has ended, with a cache of its own below `tmp_path` and perhaps another environment."""

    def run(repo: str, revision: str | None = None, pattern: str | None = None, **environment: str) -> Download:
        wanted = hub.environment(tmp_path, **environment)
        for name in set(os.environ) - set(wanted):
            monkeypatch.delenv(name)
        for name, value in wanted.items():
            monkeypatch.setenv(name, value)
        queue = Downloads()
        try:
            return queue.wait(queue.add(repo, revision, pattern).id, 60)
        finally:
            queue.close()

    return run


def cached(home: Path) -> list[str]:
    """The names of the files that the cache has, and of what was left half-written."""
    found = [path for path in home.rglob("*") if path.is_file() and ("snapshots" in path.parts or path.suffix == ".incomplete")]
    return sorted(path.name for path in found)


def refused(found: Download, kind: str, *words: str) -> None:
    assert (found.state, found.kind) == ("failed", kind), found
    assert found.message.count("\n") == 0 and found.message.isprintable() and "Traceback" not in found.message
    for part in words:
        assert part in found.message, found.message


def test_refusals_of_the_hub_name_the_way_out(hub: Hub, download: Callable[..., Download], tmp_path: Path) -> None:
    refused(download("some/gated"), "checkpoint", "is gated", f"{hub.url}/some/gated", "HF_TOKEN", "hf auth login")
    refused(download("some/model", HF_TOKEN="bad"), "checkpoint", "does not accept your token", "HF_TOKEN")
    refused(download("some/private"), "checkpoint", "no repository some/private", "HF_TOKEN does not open it")
    refused(download("some/nothing"), "checkpoint", "no repository some/nothing")
    refused(download("some/nothing", HF_TOKEN="good"), "checkpoint", "no repository some/nothing")
    refused(download("some/model", "v9"), "checkpoint", "no revision v9")
    refused(download("some/model", "../../main"), "usage", "is no revision")
    refused(download("some/model", None, "none.pt"), "usage", "has no file none.pt", "model.safetensors")
    refused(download("some--thing/model"), "checkpoint", "not a name that the Hub could have", "owner/name")
    assert cached(tmp_path) == []


def test_a_token_opens_what_it_may(hub: Hub, download: Callable[..., Download]) -> None:
    assert download("some/gated", HF_TOKEN="good").state == "done"
    assert download("some/private", HF_TOKEN="good").state == "done"


def test_what_the_library_says_is_no_event(download: Callable[..., Download]) -> None:
    found = download("some/model", HF_DEBUG="1", HF_HUB_VERBOSITY="debug", HF_HUB_DISABLE_PROGRESS_BARS="0")
    assert found.state == "done" and found.done_bytes == found.total_bytes > 300_000


def test_a_token_without_access_is_told_so(hub: Hub, download: Callable[..., Download]) -> None:
    hub.fault("some/gated", where="file", status=403, headers={"X-Error-Code": "GatedRepo"})
    refused(download("some/gated", HF_TOKEN="good"), "checkpoint", "Your token does not open some/gated yet", "/some/gated")
    hub.fault("some/gated", where="api", status=403, headers={"X-Error-Message": "\x1b[2Jno"})
    refused(download("some/gated", HF_TOKEN="good"), "checkpoint", "forbids some/gated")
    hub.fault("some/gated")


def test_trouble_of_the_hub_is_worth_trying_again(hub: Hub, download: Callable[..., Download], tmp_path: Path) -> None:
    hub.fault("some/model", where="api", status=429, headers={"Retry-After": "30"})
    refused(download("some/model"), "network", "in 30 seconds", "with a token you may ask more often")
    hub.fault("some/model", where="api", status=502)
    refused(download("some/model"), "network", "trouble of its own", "502", "try again later")
    assert len(hub.log("/api/models/some/model")) > 3  # it was asked again before it was given up
    hub.fault("some/model", where="api", status=200)
    refused(download("some/model"), "network", "is not the Hub as we know it", "HF_ENDPOINT")
    hub.fault("some/model", where="api", hang=3.0)
    refused(download("some/model", HF_HUB_ETAG_TIMEOUT="1"), "network", "took too long")
    hub.fault("some/model", where="body", status=500)
    refused(download("some/model"), "network", "trouble of its own", "500")
    assert "model.safetensors" not in cached(tmp_path)
    hub.fault("some/model", where="any", status=503, times=1)
    assert download("some/model").state == "done"
    hub.fault("some/model", where="head", status=503, times=1)
    assert download("some/model", HF_HOME=str(tmp_path / "other")).state == "done"


def test_no_way_to_the_hub(hub: Hub, download: Callable[..., Download]) -> None:
    refused(download("some/model", HF_HUB_OFFLINE="1"), "network", "HF_HUB_OFFLINE is set", "try again")
    refused(download("some/model", TRANSFORMERS_OFFLINE="1"), "network", "TRANSFORMERS_OFFLINE is set")
    refused(download("some/model", HF_ENDPOINT="http://127.0.0.1:9"), "network", "could not be reached", "nothing answers")
    refused(download("some/model", HF_ENDPOINT="http://hub.invalid"), "network", "could not be reached", "try again")
    proxy = {"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9", "NO_PROXY": "", "no_proxy": ""}
    refused(download("some/model", HF_ENDPOINT="http://hub.invalid", **proxy), "network", "try again")


def test_a_cut_connection_goes_on_where_it_was(hub: Hub, download: Callable[..., Download]) -> None:
    hub.fault("some/model", where="body", file="model.safetensors", cut_after=200_000, times=1)
    found = download("some/model")
    assert found.state == "done" and found.path and (found.path / "model.safetensors").read_bytes() == WEIGHTS
    assert "bytes=131072-" in [seen["range"] for seen in hub.log("/lfs/model.safetensors")]


def test_a_connection_that_is_always_cut_is_given_up(hub: Hub, download: Callable[..., Download], tmp_path: Path) -> None:
    hub.fault("some/model", where="body", file="model.safetensors", cut_after=0)
    refused(download("some/model"), "network", "connection was cut", "try again")
    assert cached(tmp_path) == ["config.json"]
    hub.fault("some/model")


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])  # by SHA-256, and by Git's SHA-1
def test_wrong_bytes_do_not_stay(name: str, hub: Hub, download: Callable[..., Download], tmp_path: Path) -> None:
    hub.fault("some/model", where="body", file=name, wrong_body=True)
    refused(download("some/model"), "network", f"{name} of some/model was damaged on the way", "try again")
    assert name not in cached(tmp_path)
    assert not (tmp_path / "hub" / "models--some--model" / "refs" / "main").exists()
    hub.fault("some/model")
    found = download("some/model")
    assert found.state == "done" and found.path and (found.path / name).read_bytes() == MODEL["files"][name]


def test_a_file_that_was_cut_short_in_the_cache_is_fetched_again(download: Callable[..., Download]) -> None:
    path = download("some/model").path
    assert path
    (path / "model.safetensors").resolve().write_bytes(b"short")
    assert download("some/model").state == "done"
    assert (path / "model.safetensors").read_bytes() == WEIGHTS


def test_descriptions_that_make_no_sense_are_refused(download: Callable[..., Download], tmp_path: Path) -> None:
    refused(download("some/absurd"), "checkpoint", "it has -5 bytes")
    refused(download("some/outside"), "checkpoint", "a name that is not safe")
    refused(download("some/steering"), "checkpoint", "a name that is not safe")
    assert cached(tmp_path) == [] and not list(tmp_path.parent.rglob("outside.safetensors"))


def test_a_size_that_the_hub_leaves_out_is_asked_for(download: Callable[..., Download]) -> None:
    found = download("some/silent")
    assert found.state == "done" and found.plan and found.plan.size == len(WEIGHTS) + 2 + 8


def test_what_does_not_fit_is_refused_before_a_byte_is_fetched(
    hub: Hub, download: Callable[..., Download], tmp_path: Path
) -> None:
    refused(download("some/huge"), "checkpoint", "needs 10,000.0 GB more", "make room", "HF_HOME")
    assert hub.log("/some/huge/resolve") == [] and cached(tmp_path) == []
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)], capture_output=True).returncode:
        pytest.skip("a small disk can only be mounted by root")
    try:
        refused(download("some/model", HF_HOME=str(small)), "checkpoint", "needs 300.0 kB more", "has 1.0 MB free")
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_file_in_place_of_the_cache(download: Callable[..., Download], tmp_path: Path) -> None:
    (tmp_path / "hub").write_text("in the way")
    refused(download("some/model"), "checkpoint", "is in the way", "HF_HOME")
    assert (tmp_path / "hub").read_text() == "in the way"
    blobs = tmp_path / "deep" / "hub" / "models--some--model" / "blobs"
    blobs.parent.mkdir(parents=True)
    blobs.write_text("in the way")
    refused(download("some/model", HF_HOME=str(tmp_path / "deep")), "checkpoint", "is in the way")


def test_nothing_of_it_needs_torch_or_the_screen() -> None:
    code = (
        "import sys, engine.hub.worker, engine.hub.downloads, engine.hub.fetching, engine.hub.planning, engine.hub.needed\n"
        "print([name for name in ('torch', 'textual', 'huggingface_hub', 'httpx2') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
