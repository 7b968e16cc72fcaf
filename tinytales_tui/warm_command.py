"""`tinytales-tui engine start`, `status` and `stop`: an engine that stays ready between two stories. No Textual, no torch."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.errors import TinyTalesError, UsageError
from tinytales_tui import paths
from tinytales_tui.figures import duration, size
from tinytales_tui.output import json_line, note, put
from tinytales_tui.story import step_words
from tinytales_tui.text import one_line

if TYPE_CHECKING:
    from engine.warm.client import Connection

app = typer.Typer(
    name="engine",
    help="Keep an engine ready, so that --prompt and the app write at once.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
START_S = 60.0
"""How long a start may take, torch's import on a slow disk included."""
STOP_S = 5.0
_Json = Annotated[bool, typer.Option("--json", help="One JSON object.")]


@app.command()
def start(
    checkpoint: Annotated[
        str | None, typer.Option("--checkpoint", "-c", metavar="SOURCE", help="Left out: the standing one.")
    ] = None,
    device: Annotated[str | None, typer.Option("--device", metavar="NAME", help="cpu, cuda, mps ...")] = None,
    precision: Annotated[str, typer.Option("--precision", metavar="NAME", help="As for --prompt.")] = "auto",
    threads: Annotated[int | None, typer.Option("--threads", metavar="N", help="CPU threads.", min=1)] = None,
    step: Annotated[str | None, typer.Option("--step", metavar="plain|compiled", help="As for --prompt.")] = None,
    idle: Annotated[float, typer.Option("--idle", metavar="MINUTES", help="End by itself after so long unused.", min=0.01)] = 10,
    json_object: _Json = False,
) -> None:
    """Start one in the background, with the checkpoint loaded; where one is running, only load."""
    from engine import protocol
    from engine.warm import client, place
    from tinytales_tui.chosen import absolute, chosen

    _refuse_windows()
    path = place.socket_path(paths.data_folder())
    connection = client.connect(path)
    if connection is None:
        connection = _started(path, idle)
    which = chosen(checkpoint)
    try:
        loaded = connection.load(protocol.Load(0, absolute(which.source), device, precision, threads, which.choices, step, True))
    finally:
        connection.close()
    info = loaded.checkpoint
    note(
        f"The engine is ready (process {connection.hello.pid}) with {one_line(info.name, 100)} on {info.device}, "
        f"{step_words(info, always=True)}."
    )
    if json_object:
        known = {"pid": connection.hello.pid, "socket": str(path), "checkpoint": info.source, "load_s": loaded.seconds}
        put(json_line(known).rstrip("\n"))


@app.command()
def status(json_object: _Json = False) -> None:
    """Whether one is running, and what it holds. Exit code 1: none is."""
    from engine.warm import client, place

    _refuse_windows()
    path = place.socket_path(paths.data_folder())
    connection = client.connect(path)
    if connection is None:
        note("No engine is running.")
        if json_object:
            put(json_line({"running": False}).rstrip("\n"))
        raise typer.Exit(1)
    report = connection.status()
    connection.close()
    held = report.checkpoint
    known = {
        "running": True,
        "pid": connection.hello.pid,
        "socket": str(path),
        "checkpoint": held.source if held else None,
        "device": held.device if held else None,
        "step": held.step if held else None,
        "precision": held.precision if held else None,
        "loss": held.loss if held else None,
        "memory_bytes": report.memory_bytes,
        "up_s": round(_age(connection.hello.pid), 1),
    }
    if json_object:
        put(json_line(known).rstrip("\n"))
    else:
        name = f"{one_line(held.name, 100)} on {held.device}, {step_words(held, always=True)}" if held else "no checkpoint yet"
        up, memory = duration(_age(connection.hello.pid)), size(report.memory_bytes)
        put(f"running for {up} (process {connection.hello.pid}): {name}, {memory} of memory")


@app.command()
def stop() -> None:
    """End it now; a story under way ends too."""
    from engine.warm import client, place

    _refuse_windows()
    connection = client.connect(place.socket_path(paths.data_folder()))
    if connection is None:
        note("No engine is running.")
        return
    pid = connection.hello.pid
    connection.close()
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_S
        while time.monotonic() < deadline:
            os.kill(pid, 0)
            time.sleep(0.05)
        os.kill(pid, signal.SIGKILL)
    note("The engine has ended.")


def _started(path: Path, idle: float) -> Connection:
    """A connection to an engine that was just started."""
    from engine.warm import client
    from tinytales_tui.engine_start import engine_environment

    paths.ensure(paths.logs_folder())
    log_path = paths.logs_folder() / "engine.log"
    with log_path.open("ab") as log:
        command = [sys.executable, "-P", "-m", "engine.warm.server", str(path), "--idle", str(idle * 60)]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=engine_environment(), cwd="/"
        )
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if connection := client.connect(path):
            return connection
        if process.poll() is not None:
            break
        time.sleep(0.02)
    raise TinyTalesError(f"The engine did not start; what it said is in {paths.shown(log_path)}.")


def _age(pid: int) -> float:
    import psutil

    try:
        return time.time() - psutil.Process(pid).create_time()
    except psutil.Error:
        return 0.0


def _refuse_windows() -> None:
    from engine.warm import place

    if not place.available():
        raise UsageError("This system has no Unix sockets, which a waiting engine needs; --prompt works without one.")
