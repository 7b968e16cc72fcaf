"""Which step is the fastest here: `python -P -m engine.decode.choosing CHECKPOINT [--threads N] [--choices JSON]`.

A process of its own, at low priority. It compiles the step where that is not on disk, measures the plain step and the compiled one in
each precision for about a second together and what each precision costs, chooses, and remembers (`remembered`). Only one of them works
at a time. Started with a pipe as its standard input, it ends when that closes: with its parent, however that ends.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil
from filelock import FileLock

from engine.checkpoints.choices import Choices
from engine.checkpoints.load import load_checkpoint
from engine.checkpoints.native import Checkpoint
from engine.decode import library, remembered
from engine.decode.checking import refusal
from engine.decode.choose import compile_step, kernel_folder
from engine.decode.compiled import available
from engine.decode.loss import Cost, costs, write_texts
from engine.decode.remembered import Choice, Subject
from engine.decode.twins import sharing
from engine.devices import use_threads
from engine.errors import TinyTalesError
from engine.evaluation.stories import requests
from engine.generation import generate
from engine.protocol import Finished
from engine.settings import SAMPLING_PRESETS, GenerationRequest

PLAIN = "plain fp32"
SIMPLEST = (PLAIN, "compiled fp32", "compiled bf16", "compiled int8")
"""What can be chosen by itself, the simplest first. int4 is experimental and has to be asked for."""
COSTS = ("bf16", "int8", "int4")
LIMIT = 0.005
"""What a precision may cost in bits per byte, relatively, its uncertainty included."""
MARGIN = 1.1
"""By how much the fastest has to be faster than a simpler one."""
ROUNDS = 6
PIECE_S = 0.04
"""What one measurement takes: the rounds of all four take about a second."""
WARM_UP = 8
"""Tokens, which also tell how many make a piece."""
MEMORY = 5
"""Times its weights in float32 that measuring takes at most beside them: a compiled step in each width, and a rounded twin."""
ROOM_S = 20.0
"""How long a busy machine is waited for: at low priority, what is measured there says little."""


def choose(path: Path, choices: Choices, threads: int | None) -> Choice:
    """Have a choice for this checkpoint and compiled code for it, made now where they are not there; returns the choice.

    What goes wrong is remembered as a reason to stay with the plain step for a day. Raises OSError where nothing can be remembered.
    """
    folder = kernel_folder()
    folder.mkdir(0o700, parents=True, exist_ok=True)
    subject = Subject.of(path, choices, threads)
    with FileLock(folder / "choosing.lock", mode=0o600):
        found = remembered.lookup(folder, subject)
        if found is not None and (found.step == "plain" or library.ready(folder)):
            return found
        try:
            if found is not None:
                library.compile_into(folder)
                return found
            remembered.remember(folder, subject, measured(path, choices, threads))
        except Exception as error:
            remembered.give_up(
                folder, subject, str(error) if isinstance(error, TinyTalesError) else f"{type(error).__name__}: {error}"
            )
        return remembered.lookup(folder, subject) or Choice()


def measured(path: Path, choices: Choices, threads: int | None) -> Choice:
    """The choice, from measurements made now; raises what reading the checkpoint or compiling raises."""
    if why := available(kernel_folder()):
        return Choice(threads=threads or 1, reason=why)
    checkpoint = load_checkpoint(path, device="cpu", choices=choices)
    needed = MEMORY * 4 * checkpoint.network.parameter_count()
    if psutil.virtual_memory().available < needed:
        return Choice(
            threads=threads or 1, reason=f"Measuring the steps would need {needed / 1e9:,.1f} GB of memory.", failed=True
        )
    count = use_threads(threads, checkpoint.network.parameter_count())
    steps, refused = {PLAIN: checkpoint}, []
    for name in SIMPLEST[1:]:
        made = dataclasses.replace(checkpoint, network=sharing(checkpoint.network))
        compile_step(made, name.split()[1], threads)
        if why := refusal(made, checkpoint):
            refused.append(why)
        else:
            steps[name] = made
    cost = costs(checkpoint.network, write_texts(steps.get("compiled fp32", checkpoint)), COSTS)
    _wait_for_room(count)
    speeds = measure(steps)
    name = best(speeds, cost)
    step, precision = name.split()
    losses = {precision: one.loss for precision, one in cost.items()}
    used = steps[name].compiled
    return Choice(step, precision, used.shape.threads if used else count, speeds, losses, reason=" ".join(refused))


def best(speeds: Mapping[str, float], cost: Mapping[str, Cost]) -> str:
    """The fastest step whose precision costs less than `LIMIT`, or a simpler one that is nearly as fast."""
    allowed = [name for name in SIMPLEST if name in speeds and (name.endswith("fp32") or cost[name.split()[1]].at_most < LIMIT)]
    fastest = max(speeds[name] for name in allowed)
    return next(name for name in allowed if speeds[name] * MARGIN >= fastest)


def measure(steps: Mapping[str, Checkpoint]) -> dict[str, float]:
    """Tokens a second by each of these, medians of a few pieces of a story; they take turns, so that all meet the same machine."""
    lengths = {name: round(min(256, max(WARM_UP, PIECE_S * _rate(one, WARM_UP)))) for name, one in steps.items()}
    rates: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(ROUNDS):
        for name, one in steps.items():
            rates[name].append(_rate(one, lengths[name]))
    return {name: round(statistics.median(found), 1) for name, found in rates.items()}


def _rate(checkpoint: Checkpoint, tokens: int) -> float:
    """Tokens a second of one story of so many, drawn as the checkpoint recommends."""
    sampling = dataclasses.replace(
        checkpoint.sampling or SAMPLING_PRESETS["balanced"], max_tokens=tokens, min_tokens=tokens, stop_loops=False
    )
    asked: GenerationRequest = next(requests(checkpoint, sampling, 1, seed=1))
    return next(event.tokens_per_s for event in generate(checkpoint, asked) if isinstance(event, Finished))


def _wait_for_room(threads: int) -> None:
    """Wait until nearly as many cores are idle as will be measured with, though not for long."""
    cores, end = psutil.cpu_count() or 1, time.monotonic() + ROOM_S
    while (1 - psutil.cpu_percent(0.3) / 100) * cores < min(threads, cores) - 0.4 and time.monotonic() < end:
        time.sleep(0.2)


def _end_with_the_parent() -> None:
    while sys.stdin.buffer.read(1 << 10):
        pass
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process().children(recursive=True):  # the one that compiles
            with contextlib.suppress(psutil.Error):
                child.kill()
    os._exit(1)


def _step_back() -> None:
    """Let everything else on the machine go first, to the processor and to memory."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    with contextlib.suppress(psutil.Error, OSError):
        psutil.Process().nice(psutil.BELOW_NORMAL_PRIORITY_CLASS if sys.platform == "win32" else 15)


def main(arguments: Sequence[str]) -> None:
    """Choose, and tell on standard error what came of it."""
    parser = argparse.ArgumentParser(description="Find out which step writes fastest with a checkpoint.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--choices", default="{}")
    given = parser.parse_args(arguments)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    _step_back()
    try:
        made = choose(given.checkpoint, Choices.from_json(json.loads(given.choices)), given.threads)
    except OSError as error:
        sys.stderr.write(f"What writes fastest cannot be kept in {kernel_folder()} ({error}).\n")
        sys.stderr.flush()
        os._exit(1)
    rates = ", ".join(f"{name} {rate:,.0f}" for name, rate in made.speeds.items())
    sys.stderr.write(f"{given.checkpoint.name}: {made.step} {made.precision} ({rates or made.reason or 'remembered'})\n")
    sys.stderr.flush()
    os._exit(0)  # the thread that listens holds standard input, which an orderly end of the interpreter would wait for


if __name__ == "__main__":
    main(sys.argv[1:])
