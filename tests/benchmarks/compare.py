"""What the comparison costs while four columns stream: milliseconds from a key to the picture that answers it.

    python tests/benchmarks/compare.py [--keys 60] [--tokens 480] [--kinds compiled:int8,compiled:fp32,plain:fp32] [--threads N]

The shipped model in its real worker, the app in a pseudo-terminal of 120 by 40 with a data folder of its own. Four columns of one
seed at four temperatures are written at once, over and over, as fast as the model goes; meanwhile keys are pressed that change the line
below (`l`) or the titles (right), at odd moments, and the time is taken from writing the key into the terminal to reading the words
that it brings out of it. The same keys are measured once more at rest. Less than 50 ms is the aim.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import gc
import json
import os
import pty
import random
import select
import signal
import statistics
import struct
import sys
import tempfile
import termios
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
VALUES = ("0.4", "0.7", "0.9", "1.2")
WAIT_S = 180.0


def child(asked: argparse.Namespace) -> None:
    """The app, with the comparison opened as soon as the model is there."""
    gc.disable()  # as `tinytales_tui.start` does; the app switches it on after its first picture
    from engine.settings import SamplingSettings
    from tinytales_tui.app import TinyTalesApp
    from tinytales_tui.compare.columns import Plan
    from tinytales_tui.compare.question import Question
    from tinytales_tui.compare.screen import CompareScreen
    from tinytales_tui.options import AppOptions
    from tinytales_tui.write.asking import Asked

    sampling = SamplingSettings(top_k=50, max_tokens=asked.tokens, min_tokens=asked.tokens, stop_loops=False)

    class Comparing(CompareScreen):
        CSS_PATH = str(ROOT / "tinytales_tui/compare/compare.tcss")
        told = -1

        def action_choose(self) -> None:
            self._on_plan(Plan("temperatures", VALUES))

        def _show_lines(self) -> None:
            super()._show_lines()
            if self.columns and not self.running.busy and self.told != self.running.round:
                self.told = self.running.round
                with open(asked.told, "a") as file:
                    rates = [column.generation.tokens_per_s for column in self.columns if column.generation is not None]
                    file.write(json.dumps({"rates": rates, "messages": [column.message for column in self.columns]}) + "\n")

    class App(TinyTalesApp):
        CSS_PATH = str(ROOT / "tinytales_tui/app.tcss")

        def on_mount(self) -> None:
            self._opening = self.set_interval(0.1, self.open_when_ready)

        def open_when_ready(self) -> None:
            if getattr(self.screen, "checkpoint", None) is not None:
                self._opening.stop()
                asks = Asked("a lost dog", ending="happy")
                self.push_screen(Comparing(Question(asks, sampling, 7, self.screen.checkpoint)))

    step, _, precision = asked.kinds.partition(":")
    App(AppOptions(device="cpu", warm=False, step=step, precision=precision, threads=asked.threads)).run()


class Terminal:
    """The app in a pseudo-terminal, as a person's terminal would hold it."""

    def __init__(self, asked: argparse.Namespace, kind: str, home: str) -> None:
        self.told = Path(home) / "told.jsonl"
        self.tail = ""
        self.pid, self._descriptor = pty.fork()
        if self.pid == 0:
            environment = {name: value for name, value in os.environ.items() if not name.startswith(("SSH_", "TMUX"))}
            environment |= {"TINYTALES_HOME": home, "TINYTALES_NO_BACKGROUND": "1", "TERM": "xterm-256color"}
            environment |= {"COLORTERM": "truecolor", "LANG": "C.UTF-8"}
            arguments = ["--child", "--kinds", kind, "--tokens", str(asked.tokens), "--told", str(self.told)]
            arguments += ["--threads", str(asked.threads)] if asked.threads else []
            os.execvpe(sys.executable, [sys.executable, __file__, *arguments], environment)
        fcntl.ioctl(self._descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))

    def press(self, key: str, words: str) -> float:
        """Milliseconds from the key to words that were not there before it; they are looked for in what comes after it."""
        self.read(0.0)
        self.tail = ""
        begun = time.perf_counter()
        os.write(self._descriptor, key.encode())
        self.until(words)
        return 1000 * (time.perf_counter() - begun)

    def until(self, words: str) -> None:
        deadline = time.monotonic() + WAIT_S
        while words not in self.tail:
            self.read(0.5)
            if time.monotonic() > deadline:
                raise SystemExit(f"The app did not show {words!r} within {WAIT_S:.0f} s.")

    def read(self, seconds: float) -> None:
        """Take what comes within so many seconds, or at once what is there."""
        while select.select([self._descriptor], [], [], seconds)[0]:
            self.tail = (self.tail + os.read(self._descriptor, 1 << 16).decode("utf-8", "replace"))[-200_000:]
            seconds = 0.0

    def rest(self, seconds: float) -> None:
        """Read on for a while, as a terminal does."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.read(left)

    @property
    def rounds(self) -> list[dict[str, list]]:
        return [json.loads(line) for line in self.told.read_text().splitlines()] if self.told.exists() else []

    def close(self) -> None:
        os.kill(self.pid, signal.SIGTERM)
        deadline = time.monotonic() + 5
        while os.waitpid(self.pid, os.WNOHANG) == (0, 0):
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
            with contextlib.suppress(OSError):  # it has closed its end
                self.rest(0.05)
            time.sleep(0.01)
        os.close(self._descriptor)


def measure(terminal: Terminal, count: int) -> tuple[list[float], list[float]]:
    """Milliseconds of each key while all columns stream, and at rest."""
    streaming: list[float] = []
    still: list[float] = []
    terminal.until("Writing 4 stories")
    together, column, rounds = True, 1, 0
    while len(streaming) < count or len(still) < count // 2:
        busy = len(terminal.rounds) == rounds
        if len(streaming) < count and not busy:
            rounds = len(terminal.rounds)
            terminal.press("s", "Writing 4 stories")
            continue
        if len(streaming) >= count and busy:
            terminal.rest(0.2)
            continue
        terminal.rest(random.uniform(0.05, 0.2))
        if (len(streaming) + len(still)) % 2:
            together = not together
            took = terminal.press("l", f"scrolling {'together' if together else 'apart'}")
        else:
            column = column % len(VALUES) + 1
            took = terminal.press("\x1b[C", f"▸ {column} ")
        if busy and len(terminal.rounds) == rounds:
            streaming.append(took)
        elif not busy:
            still.append(took)
    return streaming, still


def in_words(times: list[float]) -> str:
    ordered = sorted(times)
    return (
        f"median {statistics.median(ordered):.0f} ms, 95 % within {ordered[int(0.95 * (len(ordered) - 1))]:.0f} ms, "
        f"worst {ordered[-1]:.0f} ms ({len(ordered)} keys)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=60)
    parser.add_argument("--tokens", type=int, default=480)
    parser.add_argument("--kinds", default="compiled:int8,compiled:fp32,plain:fp32")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--told", default="", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(asked)
        return
    from engine.decode.choose import kernel_folder

    kernels = kernel_folder()
    kernels.mkdir(mode=0o700, parents=True, exist_ok=True)
    for kind in asked.kinds.split(","):
        with tempfile.TemporaryDirectory() as home:
            (Path(home) / "cache").mkdir()
            (Path(home) / "cache" / "kernels").symlink_to(kernels)
            terminal = Terminal(asked, kind, home)
            try:
                streaming, still = measure(terminal, asked.keys)
                rates = [sum(rate or 0.0 for rate in done["rates"]) for done in terminal.rounds]
            finally:
                terminal.close()
        print(f"{kind}: four columns, {statistics.median(rates):,.0f} tokens/s in sum", flush=True)
        print(f"  while they stream: {in_words(streaming)}\n  at rest:           {in_words(still)}", flush=True)


if __name__ == "__main__":
    main()
