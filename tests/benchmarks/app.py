"""What the app costs while a story is written: tokens a second in the Write pane, and of the same worker driven without Textual.

    python tests/benchmarks/app.py [--runs 5] [--tokens 400] [--kinds plain:fp32,compiled:int8,…] [--threads N]

The shipped model, the same story each time; at least 95 % is the aim. The app is run by Textual's Pilot without a terminal, but draws
every picture as if there were one. Both have a worker of their own; they write in turns, never at once. The figure is the
worker's own, tokens after the first by the time between first and last: the app can lower it only by taking the processor away or by
reading too slowly. Medians, with the fastest in brackets. Where other programs take much of the processor meanwhile, which is told, the
app and its worker do not have a core each, and the figures say nothing about the app.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator

import psutil
from textual.drivers.headless_driver import HeadlessDriver

from engine import protocol
from engine.settings import Ending, GenerationRequest, SamplingSettings
from tinytales_tui import settings
from tinytales_tui.app import TinyTalesApp
from tinytales_tui.engine_start import command_line
from tinytales_tui.options import AppOptions
from tinytales_tui.settings import CUSTOM, UiSettings

TOPIC = "a lost dog"
ENDING: Ending = "happy"


class DrawingDriver(HeadlessDriver):
    """Takes every picture and throws it away; a headless app draws none."""

    drawn = 0
    is_headless = False  # type: ignore[assignment]

    def write(self, data: str) -> None:
        DrawingDriver.drawn += len(data)


class Direct:
    """A worker whose events are read and thrown away, but for what tells how fast it was."""

    def __init__(self, load: protocol.Load, request: GenerationRequest) -> None:
        command, environment = command_line((), None)
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
        )
        self._request, self._number = request, 1
        self._ask(dataclasses.replace(load, id=1))
        self._until(protocol.Loaded)

    def write(self) -> float:
        """Tokens a second of one story."""
        self._number += 1
        self._ask(protocol.Generate(self._number, self._request))
        finished = self._until(protocol.Finished)
        self._until(protocol.Done)
        return float(finished.tokens_per_s)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _ask(self, command: protocol.Command) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(protocol.encode(command))
        self._process.stdin.flush()

    def _until(self, kind: type) -> protocol.Event:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if not line.startswith(b'{"type":"Token"'):
                event = protocol.decode_event(line)
                if isinstance(event, protocol.Failed):
                    raise SystemExit(event.message)
                if isinstance(event, kind):
                    return event
        raise SystemExit("The worker ended.")


async def compare(
    step: str, precision: str, threads: int | None, sampling: SamplingSettings, runs: int
) -> list[tuple[float, float, float, float]]:
    """Of each run after one to warm up: tokens a second in the app; directly; seconds of processor time that the app took; cores that
    other programs kept busy meanwhile."""
    app = TinyTalesApp(AppOptions(device="cpu", warm=False, step=step, precision=precision, threads=threads))
    app._build_driver = lambda headless, inline, mouse, size: DrawingDriver(app, debug=False, mouse=mouse, size=size)  # type: ignore[method-assign]
    load = protocol.Load(0, None, "cpu", precision, threads, None, step)
    direct = await asyncio.to_thread(Direct, load, GenerationRequest(topic=TOPIC, ending=ENDING, sampling=sampling))
    found = []
    try:
        async with app.run_test(size=(120, 40)) as pilot:
            await _until(lambda: app.screen.checkpoint)
            app.screen.query_one("#topic").focus()
            await pilot.press(*TOPIC)
            desk = app.screen.desk
            for run in range(runs + 1):
                begun, before, (busy, ours) = time.perf_counter(), time.process_time(), processor_times()
                await pilot.press("ctrl+r" if run else "enter")
                await _until(lambda wanted=run + 1: len(desk.tree.nodes) == wanted and not desk.writing)
                assert desk.record.tokens == sampling.max_tokens, desk.record
                took = time.process_time() - before
                directly, (busy_now, ours_now) = await asyncio.to_thread(direct.write), processor_times()
                others = (busy_now - busy - (ours_now - ours)) / (time.perf_counter() - begun)
                found += [(desk.record.tokens_per_s, directly, took, max(0.0, others))] * (run > 0)
    finally:
        direct.close()
    return found


def processor_times() -> tuple[float, float]:
    """Seconds that the cores were busy since the machine was started, and those of this process and the ones it started."""
    told = psutil.cpu_times()
    busy = sum(told) - told.idle - getattr(told, "iowait", 0.0)
    ours = psutil.Process()
    mine = [process.cpu_times() for process in (ours, *ours.children(recursive=True))]
    return busy, sum(one.user + one.system for one in mine)


async def _until(condition) -> None:  # type: ignore[no-untyped-def]
    async with asyncio.timeout(300):
        while not condition():
            await asyncio.sleep(0.05)


@contextlib.contextmanager
def own_home(sampling: SamplingSettings) -> Iterator[None]:
    """A data folder for this run, with the sliders where they have to stand; compiled code stays where it is kept anyway."""
    from engine.decode.choose import kernel_folder

    kept = kernel_folder()
    kept.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {"TINYTALES_HOME": home, "TINYTALES_NO_BACKGROUND": "1"}
        os.makedirs(f"{home}/cache")
        os.symlink(kept, f"{home}/cache/kernels")
        settings.save(UiSettings(preset=CUSTOM, sampling=sampling, seed=sampling.seed or 0, seed_locked=True, ending=ENDING))
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=400)
    parser.add_argument("--kinds", default="plain:fp32,compiled:fp32,compiled:int8")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    sampling = SamplingSettings(0.8, 50, 1.0, max_tokens=asked.tokens, min_tokens=asked.tokens, seed=7, stop_loops=False)
    with own_home(sampling):
        for kind in asked.kinds.split(","):
            step, _, precision = kind.partition(":")
            found = asyncio.run(compare(step, precision, asked.threads, sampling, asked.runs))
            app, direct, took, others = (statistics.median(column) for column in zip(*found, strict=True))
            fastest, directly = (max(row[at] for row in found) for at in (0, 1))
            if asked.json:
                print(json.dumps({"step": step, "precision": precision, "runs": found}), flush=True)
            print(
                f"{step:<9} {precision:<5} in the app {app:6,.0f} ({fastest:6,.0f}) tokens/s, directly {direct:6,.0f} "
                f"({directly:6,.0f}): {app / direct:.1%} ({fastest / directly:.1%}); processor time of the app "
                f"{took:.2f} s a story; other programs kept {others:.1f} cores busy",
                flush=True,
            )


if __name__ == "__main__":
    main()
