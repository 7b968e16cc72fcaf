"""The queue of downloads: order, progress, cancelling in the middle of a file, killed processes, history."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from filelock import FileLock, Timeout
from hub_server import Hub, running_hub
from huggingface_hub import scan_cache_dir

from engine.errors import CheckpointError
from engine.hub.deletion import DOWNLOAD_LOCK
from engine.hub.downloads import Download, Downloads
from engine.hub.history import History
from engine.hub.planning import Plan, PlannedFile, refuse_if_full
from engine.hub.worker_process import WorkerProcess

WEIGHTS = os.urandom(2_000_000)
MODEL: dict[str, Any] = {"files": {"config.json": b"{}", "model.safetensors": WEIGHTS}}
SLOW = {"where": "body", "file": "model.safetensors", "slow": 600_000}
SITE = {f"some/{name}": MODEL for name in ("a", "b", "c", "slow", "hanging")}
SITE["some/small"] = {"files": {"config.json": b"{}", "model.safetensors": b"small"}, "branches": ("main", "v1", "refs/pr/1")}


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with running_hub(SITE) as hub:
        yield hub


@pytest.fixture(autouse=True)
def cache(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache below `tmp_path`, for the processes that this one starts."""
    for name, value in hub.environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    for repo in SITE:
        hub.fault(repo)
    return tmp_path / "hub"


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Callable[..., Downloads]]:
    made: list[Downloads] = []

    def make(**options: Any) -> Downloads:
        made.append(Downloads(**options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def until(true: Callable[[], Any], seconds: float = 30.0) -> Any:
    """What `true` returns as soon as that is something; a test that waits for nothing fails."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(0.02)
    raise AssertionError("it never came")


def half_way(downloads: Downloads, id: str) -> Download:
    return until(lambda: (now := downloads.get(id)).done_bytes > 300_000 and now)


def files(cache: Path) -> set[str]:
    return {path.name for path in cache.rglob("*") if "snapshots" in path.parts and path.is_file()}


def partials(cache: Path) -> list[Path]:
    return list(cache.rglob("*.incomplete"))


def workers() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):  # it may end while it is looked at
            if "engine.hub.worker" in child.cmdline():
                found.append(child)
    return found


def test_a_download_tells_how_far_it_is(hub: Hub, cache: Path, queue: Callable[..., Downloads]) -> None:
    changes: list[float] = []
    hub.fault("some/slow", **SLOW)
    downloads = queue(on_change=lambda: changes.append(time.time()))
    first = downloads.add("some/slow")
    assert first.state in ("waiting", "planning") and downloads.add("some/slow").id == first.id
    seen = half_way(downloads, first.id)
    assert seen.state == "downloading" and seen.plan and seen.total_bytes == seen.plan.size == 2_000_002
    assert 0 < seen.file_bytes["model.safetensors"] < 2_000_000 and seen.file_bytes["config.json"] == 2
    assert seen.speed > 0 and seen.eta_s and seen.eta_s > 0
    done = downloads.wait(first.id, 60)
    assert done.state == "done" and done.done_bytes == done.total_bytes and done.path and done.began and done.ended
    assert (done.path / "model.safetensors").read_bytes() == WEIGHTS and len(changes) > 5
    before = len(hub.log("/some/slow/"))
    again = downloads.wait(downloads.add("some/slow").id, 60)
    assert again.state == "done" and again.id != first.id and again.plan and again.plan.to_fetch == 0
    assert len(hub.log("/some/slow/")) == before  # no file was asked for again


def test_the_cache_is_as_the_library_itself_makes_it(hub: Hub, cache: Path, queue: Callable[..., Downloads]) -> None:
    downloads = queue()
    for revision in (None, "v1", "refs/pr/1"):
        assert downloads.wait(downloads.add("some/small", revision).id, 60).state == "done"
    path = downloads.all[0].path
    assert path and downloads.wait(downloads.add("some/small", path.name).id, 60).state == "done"
    code = (
        "from huggingface_hub import snapshot_download as get; [get('some/small', revision=r) for r in (None, 'v1', 'refs/pr/1')]"
    )
    environment = hub.environment(cache.parent / "theirs")
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, timeout=120)

    def tree(top: Path) -> dict[str, bytes]:
        found = (path for path in sorted(top.rglob("*")) if path.is_file() and ".locks" not in path.parts)
        return {str(path.relative_to(top)): path.read_bytes() for path in found}

    ours, theirs = tree(cache), tree(cache.parent / "theirs" / "hub")
    assert {name: data for name, data in ours.items() if "/trees/" not in name} == {
        name: data for name, data in theirs.items() if "/trees/" not in name
    }
    assert [name for name in ours if "/trees/" in name] == [name for name in theirs if "/trees/" in name]
    assert (path / "config.json").is_symlink() and not (path / "config.json").readlink().is_absolute()
    scanned = scan_cache_dir(cache)
    assert not scanned.warnings
    (repo,) = scanned.repos
    (revision,) = repo.revisions
    assert revision.refs == {"main", "v1", "refs/pr/1"}


def test_they_come_in_the_order_in_which_they_were_asked_for(hub: Hub, queue: Callable[..., Downloads]) -> None:
    before = len(hub.log())
    downloads = queue(at_once=1)
    hub.fault("some/a", **SLOW)
    ids = [downloads.add(f"some/{name}").id for name in "abc"]
    half_way(downloads, ids[0])
    assert [one.state for one in downloads.all] == ["downloading", "waiting", "waiting"]
    downloads.cancel(ids[1])
    assert downloads.get(ids[1]).state == "cancelled"
    again = downloads.retry(ids[1])
    assert again.state == "waiting" and [one.repo for one in downloads.all] == ["some/a", "some/c", "some/b"]
    assert all(downloads.wait(id, 60).state == "done" for id in ids)
    asked = [seen["path"] for seen in hub.log()[before:] if seen["path"].startswith("/api/models/")]
    assert asked == [f"/api/models/some/{name}" for name in "acb"]


def test_cancelled_in_the_middle_of_a_file(hub: Hub, cache: Path, queue: Callable[..., Downloads]) -> None:
    hub.fault("some/slow", **SLOW)
    downloads = queue()
    id = downloads.add("some/slow").id
    half_way(downloads, id)
    assert len(partials(cache)) == 1 and len(workers()) == 1
    foreign = partials(cache)[0].with_name("0" * 64 + ".12345678.incomplete")
    same_file = partials(cache)[0].with_name(partials(cache)[0].name.split(".")[0] + ".87654321.incomplete")
    for other in (foreign, same_file):
        other.write_bytes(b"of another process")
    downloads.cancel(id)
    found = downloads.wait(id, 30)
    assert found.state == "cancelled" and found.message == "" and found.path is None
    assert sorted(partials(cache)) == sorted([foreign, same_file]) and files(cache) == {"config.json"}
    assert not (cache / "models--some--slow" / "refs").exists()
    assert until(lambda: not workers())
    foreign.unlink()
    same_file.unlink()
    hub.fault("some/slow")
    assert downloads.retry(id).id == id
    again = downloads.wait(id, 60)
    assert again.state == "done" and again.path and (again.path / "model.safetensors").read_bytes() == WEIGHTS
    assert partials(cache) == []


def test_cancelled_while_the_hub_does_not_answer(hub: Hub, queue: Callable[..., Downloads]) -> None:
    hub.fault("some/hanging", where="api", hang=20.0)
    downloads = queue()
    id = downloads.add("some/hanging").id
    until(lambda: hub.log("/api/models/some/hanging"))
    assert downloads.get(id).state == "planning"
    downloads.cancel(id)
    assert downloads.wait(id, 15).state == "cancelled"  # the Hub would answer later than that


def test_closing_ends_all(hub: Hub, cache: Path, queue: Callable[..., Downloads]) -> None:
    hub.fault("some/slow", **SLOW)
    hub.fault("some/a", **SLOW)
    downloads = queue(at_once=2)
    ids = [downloads.add(f"some/{name}").id for name in ("slow", "a", "b")]
    for id in ids[:2]:
        half_way(downloads, id)
    downloads.close()
    assert [downloads.wait(id, 30).state for id in ids] == ["cancelled"] * 3
    assert until(lambda: not workers()) and partials(cache) == []


def test_a_worker_that_was_killed_leaves_nothing_half_written(hub: Hub, cache: Path, queue: Callable[..., Downloads]) -> None:
    hub.fault("some/slow", **SLOW)
    downloads = queue()
    id = downloads.add("some/slow").id
    half_way(downloads, id)
    (worker,) = workers()
    worker.kill()
    found = downloads.wait(id, 30)
    assert (found.state, found.kind) == ("failed", "network") and "SIGKILL" in found.message and "try again" in found.message
    assert partials(cache) == [] and files(cache) == {"config.json"}
    assert list(cache.rglob("*.lock"))  # its lock files lie there still, and are no obstacle
    hub.fault("some/slow")
    assert downloads.wait(downloads.retry(id).id, 60).state == "done"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_ends_with_the_program_that_started_it(how: signal.Signals, hub: Hub, cache: Path) -> None:
    hub.fault("some/slow", **SLOW)
    code = """
import time
from engine.hub.downloads import Downloads
downloads = Downloads()
id = downloads.add("some/slow").id
while downloads.get(id).done_bytes < 300_000:
    time.sleep(0.02)
print("half", flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout and parent.stdout.readline().strip() == "half"
        (worker,) = psutil.Process(parent.pid).children()
        parent.send_signal(how)
        parent.wait(30)
        worker.wait(30)
    finally:
        parent.kill()
        parent.stdout.close()  # type: ignore[union-attr]
    assert partials(cache) == [] and files(cache) == {"config.json"}


def test_two_processes_that_want_the_same_file(hub: Hub, cache: Path) -> None:
    hub.fault("some/slow", **SLOW)
    before = len(hub.log("/lfs/model.safetensors"))
    ends: list[str] = []

    def run() -> None:
        worker = WorkerProcess("some/slow")
        ends.append([event["event"] for event in worker.events()][-1])
        worker.close()

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert ends == ["done", "done"] and partials(cache) == []
    assert len(hub.log("/lfs/model.safetensors")) == before + 1  # the library's lock: one fetched, and one waited
    assert not scan_cache_dir(cache).warnings


def test_one_of_two_is_stopped_and_the_other_goes_on(hub: Hub, cache: Path) -> None:
    hub.fault("some/slow", **SLOW)
    first = WorkerProcess("some/slow")
    its_events = first.events()
    until(lambda: next(its_events)["event"] == "progress" and partials(cache))
    second = WorkerProcess("some/slow")
    other_events = second.events()
    until(lambda: next(other_events)["event"] == "file_done")  # the settings, which are there; now it waits for the weights
    first.stop()
    assert "done" not in [event["event"] for event in its_events]
    first.close()
    assert [event["event"] for event in other_events][-1] == "done"
    second.close()
    assert partials(cache) == [] and files(cache) == {"config.json", "model.safetensors"}


def test_ended_ones_are_remembered(cache: Path, tmp_path: Path, queue: Callable[..., Downloads]) -> None:
    history = tmp_path / "deep" / "downloads.jsonl"
    downloads = queue(history=history)
    done = downloads.wait(downloads.add("some/small", "v1").id, 60)
    failed = downloads.wait(downloads.add("some/nothing").id, 60)
    assert [one.state for one in (done, failed)] == ["done", "failed"]
    with history.open("a") as file:
        file.write("half a li\n" + json.dumps({"id": "x", "state": "downloading", "repo": "some/a"}) + "\n[]\n")
    later = queue(history=history)
    first, second = later.all
    assert (first.id, first.repo, first.revision, first.state, first.path) == (done.id, "some/small", "v1", "done", done.path)
    assert (second.message, second.kind, second.ended) == (failed.message, "checkpoint", failed.ended)
    later.remove(second.id)
    assert [one.id for one in queue(history=history).all] == [done.id]
    assert later.wait(later.retry(done.id).id, 60).state == "done"
    assert [one.state for one in queue(history=history).all] == ["done"]
    assert [path.name for path in history.parent.iterdir() if path.suffix != ".lock"] == [history.name]


def test_who_looks_does_not_wait_for_the_history(
    cache: Path, tmp_path: Path, queue: Callable[..., Downloads], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.hub.history.WAIT", 60.0)
    history = tmp_path / "downloads.jsonl"
    downloads = queue(history=history, at_once=1)
    with FileLock(tmp_path / f".{history.name}.lock"):  # another process writes, or the disk is slow
        first, second, third = (downloads.add(f"some/nothing-{n}").id for n in range(3))
        until(lambda: downloads.get(first).over)
        downloads.cancel(third)
        assert until(lambda: all(one.over for one in downloads.all)) and not history.exists()
        assert not downloads.wait(second, 0.1).path
    for id in (first, second, third):
        downloads.wait(id, 60)
    kept = {(line["id"], line["state"]) for line in map(json.loads, history.read_text().splitlines())}
    assert {(first, "failed"), (second, "failed")} <= kept and {id for id, _ in kept} == {first, second, third}


WRITES = """
import sys
from pathlib import Path
from engine.hub.history import History
for n in range(15):
    History(Path(sys.argv[1])).save([{"id": f"{sys.argv[2]}-{n}", "repo": "a/b", "state": "done", "ended": float(n)}])
"""


def test_processes_that_end_downloads_at_the_same_time_lose_none(tmp_path: Path) -> None:
    history = tmp_path / "downloads.jsonl"
    three = [subprocess.Popen([sys.executable, "-c", WRITES, str(history), name]) for name in "abc"]
    assert [one.wait(60) for one in three] == [0, 0, 0]
    assert len(History(history).load()) == 45


UNREADABLE = """
import os, sys
from pathlib import Path
import filelock
from engine.hub.history import History
path = Path(sys.argv[1])
path.chmod(0)
if os.geteuid() == 0:  # who may read everything
    os.setuid(65534)
History(path).save([{"id": "b", "repo": "a/b", "state": "done", "ended": 2.0}])
print(History(path).load())
"""


def test_a_history_that_cannot_be_read_is_not_written_over() -> None:
    with tempfile.TemporaryDirectory() as made:  # a folder that another user can reach too, unlike those of pytest
        Path(made).chmod(0o777)
        path = Path(made) / "downloads.jsonl"
        History(path).save([{"id": "a", "repo": "a/b", "state": "done", "ended": 1.0}])
        path.with_name(f".{path.name}.lock").touch()
        path.with_name(f".{path.name}.lock").chmod(0o666)
        done = subprocess.run([sys.executable, "-c", UNREADABLE, str(path)], capture_output=True, text=True, timeout=60)
        path.chmod(0o600)
        assert done.stdout == "[]\n" and [one["id"] for one in History(path).load()] == ["a"], done.stderr


def test_a_repository_is_locked_for_as_long_as_it_is_downloaded(hub: Hub, cache: Path, queue: Callable[..., Downloads]) -> None:
    hub.fault("some/slow", **SLOW)
    downloads = queue()
    id = downloads.add("some/slow").id
    half_way(downloads, id)
    lock = cache / ".locks" / "models--some--slow" / DOWNLOAD_LOCK
    with pytest.raises(Timeout), FileLock(lock, timeout=0):
        pass
    assert downloads.wait(id, 60).state == "done"
    with FileLock(lock, timeout=10):
        pass


def test_what_has_gone_while_the_rest_came_is_not_called_done(hub: Hub, cache: Path, queue: Callable[..., Downloads]) -> None:
    hub.fault("some/slow", **SLOW)
    downloads = queue()
    id = downloads.add("some/slow").id
    half_way(downloads, id)
    next(cache.rglob("config.json")).unlink()  # another program cleans the cache
    found = downloads.wait(id, 60)
    assert (found.state, found.kind) == ("failed", "network") and "lost config.json" in found.message
    assert not (cache / "models--some--slow" / "refs").exists()
    hub.fault("some/slow")
    assert downloads.retry(id).id == id and downloads.wait(id, 60).state == "done"


def test_a_download_waits_for_a_deletion_of_the_same_repository(hub: Hub, cache: Path, queue: Callable[..., Downloads]) -> None:
    lock = cache / ".locks" / "models--some--small" / DOWNLOAD_LOCK
    lock.parent.mkdir(parents=True)
    downloads = queue()
    with FileLock(lock):
        id = downloads.add("some/small").id
        assert downloads.wait(id, 2.0).state in ("planning", "downloading") and not files(cache)
    assert downloads.wait(id, 60).state == "done"


def test_only_the_last_are_remembered(tmp_path: Path, queue: Callable[..., Downloads]) -> None:
    history = tmp_path / "downloads.jsonl"
    lines = [{"id": f"{n}", "repo": "some/a", "state": "done", "ended": float(n)} for n in range(300)]
    history.write_text("".join(json.dumps(line) + "\n" for line in lines))
    downloads = queue(history=history)
    assert len(downloads.all) == 200
    downloads.wait(downloads.add("some/small").id, 60)
    kept = [json.loads(line)["id"] for line in history.read_text().splitlines()]
    assert len(kept) == 200 and kept[0] == "101"


def test_what_does_not_fit_is_said_with_both_sizes(tmp_path: Path) -> None:
    file = PlannedFile("model.safetensors", 2_500_000_000, cached=False)
    plan = Plan("some/a", None, "0" * 40, (file, PlannedFile("config.json", 10, cached=True)), 1_000_000_000, tmp_path)
    assert (plan.size, plan.to_fetch, plan.fits) == (2_500_000_010, 2_500_000_000, False)
    with pytest.raises(CheckpointError, match=r"needs 2\.5 GB more.* has 1\.0 GB free.*make room"):
        refuse_if_full(plan)
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
