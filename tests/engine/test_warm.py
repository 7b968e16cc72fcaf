"""The warm engine as a real process: started and stopped by its commands, used by batch mode and by the app's client."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine import protocol
from engine.settings import GenerationRequest, SamplingSettings
from engine.warm import client, place
from tinytales_tui import paths
from tinytales_tui.engine_client import EngineClient, WorkerLost

ASK = ("--prompt", "a kite", "--max-tokens", "12", "--seed", "5", "--json", "-q")
NO_TORCH = "import sys; from tinytales_tui.cli import run; run(sys.argv[1:]); sys.exit('torch' in sys.modules)"
LONG = SamplingSettings(max_tokens=4000, min_tokens=4000, stop_loops=False, seed=1)


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "tinytales_tui", *arguments], capture_output=True, text=True, timeout=120)


@pytest.fixture(autouse=True)
def runtime(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sockets of tests lie in a folder of their own, with a short name."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", "")
    monkeypatch.setenv("TMPDIR", str(tmp_path_factory.mktemp("r")))


@pytest.fixture
def start(tiny_checkpoint: Path) -> Iterator[Callable[..., dict[str, object]]]:
    """`start("--idle", "1")`: what `engine start --json` says; stopped at the end."""

    def begin(*more: str) -> dict[str, object]:
        done = command("engine", "start", "--checkpoint", str(tiny_checkpoint), "--json", *more)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    yield begin
    command("engine", "stop")


def story(text: str) -> str:
    return json.loads(text)["story"]


def gone(path: Path) -> bool:
    deadline = time.monotonic() + 20
    while path.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not path.exists()


def test_a_story_is_the_same_with_it_and_without_and_torch_is_not_imported(start: Callable, tiny_checkpoint: Path) -> None:
    ask = (*ASK, "--checkpoint", str(tiny_checkpoint))
    cold = command(*ask)
    begun = start()
    warm = subprocess.run([sys.executable, "-c", NO_TORCH, *ask], capture_output=True, text=True, timeout=60)
    assert warm.returncode == 0, warm.stderr
    assert story(warm.stdout) == story(cold.stdout)
    by_itself = command(*ask, "--no-warm")
    assert story(by_itself.stdout) == story(cold.stdout)
    assert start()["pid"] == begun["pid"]  # where one is running, another is not started
    report = command("engine", "status", "--json")
    assert report.returncode == 0 and json.loads(report.stdout)["checkpoint"] == str(tiny_checkpoint)
    assert command("engine", "stop").returncode == 0
    assert command("engine", "status").returncode == 1
    assert story(command(*ask).stdout) == story(cold.stdout)


def test_only_its_owner_can_reach_it(start: Callable) -> None:
    path = Path(str(start()["socket"]))
    assert stat.S_IMODE(path.lstat().st_mode) == 0o600 and stat.S_IMODE(path.parent.lstat().st_mode) == 0o700
    assert place.may_be_trusted(path)
    path.parent.chmod(0o770)
    assert not place.may_be_trusted(path) and client.connect(path) is None
    path.parent.chmod(0o700)
    assert not place.may_be_trusted(path.with_name("nothing.sock"))


def test_a_socket_that_is_stale_or_hangs_is_no_obstacle(start: Callable, tiny_checkpoint: Path) -> None:
    path = paths.warm_socket()
    assert path is not None
    place.make_folder(path)
    dead = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    dead.bind(str(path))
    dead.close()  # the file stays, and nobody listens
    ask = (*ASK, "--checkpoint", str(tiny_checkpoint))
    assert command(*ask).returncode == 0
    pid = int(str(start()["pid"]))  # takes the place of the dead one
    os.kill(pid, signal.SIGSTOP)
    try:
        assert command(*ask).returncode == 0
    finally:
        os.kill(pid, signal.SIGKILL)
    assert command(*ask).returncode == 0
    assert int(str(start()["pid"])) != pid


def test_it_ends_by_itself_when_nobody_wants_it(start: Callable) -> None:
    path = Path(str(start("--idle", "0.03")["socket"]))
    assert gone(path)


def test_what_is_wrong_is_told_as_without_it(start: Callable) -> None:
    start()
    missing = command(*ASK, "--checkpoint", "./nowhere")
    assert missing.returncode == 1 and "There is no checkpoint at" in missing.stderr
    assert command(*ASK, "--checkpoint", "default", "--device", "quantum").returncode == 2


def test_two_at_once_take_turns_and_one_that_hangs_up_is_cancelled(start: Callable, tiny_checkpoint: Path) -> None:
    path = Path(str(start()["socket"]))
    first, second = client.connect(path), client.connect(path)
    assert first is not None and second is not None
    for connection in (first, second):
        connection.load(protocol.Load(0, str(tiny_checkpoint)))
    endless = first.generate(GenerationRequest(opening="Mia", sampling=LONG))
    assert any(isinstance(next(endless), protocol.Token) for _ in range(3))
    first.close()  # its story ends within a token, or the second would wait for 4,000
    short = GenerationRequest(opening="Mia", sampling=SamplingSettings(max_tokens=3, seed=1))
    events = list(second.generate(short))
    assert isinstance(events[-1], protocol.Done)
    cancelled = list(second.generate(GenerationRequest(opening="Mia", sampling=LONG), lambda: True))
    assert next(event.reason for event in cancelled if isinstance(event, protocol.Finished)) == "cancelled"
    assert second.status().memory_bytes > 1_000_000
    second.close()


async def test_the_app_uses_it_and_goes_on_without_it(start: Callable, tiny_checkpoint: Path) -> None:
    begun = start()
    seen: list[object] = []
    load = protocol.Load(0, str(tiny_checkpoint))
    engine = EngineClient(seen.extend, load, warm=Path(str(begun["socket"])), interval=0.01)

    async def until(kind: type) -> None:
        async with asyncio.timeout(60):
            while not any(isinstance(event, kind) for event in seen):
                await asyncio.sleep(0.02)

    try:
        await engine.ready()
        await engine.generate(GenerationRequest(opening="Mia", sampling=SamplingSettings(max_tokens=4, seed=1)))
        await until(protocol.Done)
        assert "relay" in Path(f"/proc/{engine.pid}/cmdline").read_text() if Path("/proc").is_dir() else True
        opened = GenerationRequest(opening="Mia found", sampling=SamplingSettings(max_tokens=4, seed=1))
        await engine.generate_together([opened, opened], [101, 102])
        prospect, scored = await asyncio.gather(engine.look(opened, 3), engine.score(opened))
        assert len(prospect.chances) == 3 and scored.tokens and {101, 102} <= {getattr(event, "id", 0) for event in seen}
        await asyncio.to_thread(command, "engine", "stop")
        await until(WorkerLost)
        seen.clear()
        await engine.generate(GenerationRequest(opening="Mia", sampling=SamplingSettings(max_tokens=4, seed=1)))
        await until(protocol.Done)
    finally:
        await engine.close()


def test_who_asks_for_nothing_gets_it_as_it_was_started(start: Callable, tiny_checkpoint: Path) -> None:
    start("--precision", "bf16")
    ask = (*ASK, "--checkpoint", str(tiny_checkpoint))
    assert json.loads(command(*ask).stdout)["precision"] == "bf16"
    assert "precision" not in json.loads(command(*ask, "--precision", "fp32").stdout)
    assert "precision" not in json.loads(command(*ask, "--no-warm").stdout)
