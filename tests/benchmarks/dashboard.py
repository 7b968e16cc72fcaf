"""What the training dashboard costs: opening long runs, a redraw, a key, bytes on the line, memory. Prints figures, asserts nothing.

    python tests/benchmarks/dashboard.py            # all of it, about two minutes
    python tests/benchmarks/dashboard.py open draw  # only these parts

Parts: open, draw, keys, bytes, start, stream. The app runs in a pseudo-terminal of its own, with a data folder of its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import random
import select
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))


def make_run(folder: Path, name: str, lines: int, state: str = "finished") -> Path:
    """A run with that many lines of metrics, a validation every 250."""
    path = folder / name
    (path / "requests").mkdir(parents=True)
    (path / "checkpoints").mkdir()
    (path / "config.json").write_text(json.dumps({"settings": {"steps": 2 * lines}}))
    status = {"state": state, "step": lines, "total_steps": 2 * lines, "pid": os.getpid(), "heartbeat": time.time()}
    (path / "status.json").write_text(json.dumps(status))
    (path / "events.jsonl").write_text(json.dumps({"event": "started", "step": 0, "time": 1.7e9}) + "\n")
    (path / "samples.jsonl").write_text(json.dumps({"step": 1, "time": 1.7e9, "prompt": "Once", "story": " upon a time."}) + "\n")
    with open(path / "metrics.jsonl", "w") as file:
        file.writelines(metrics(step, lines) for step in range(1, lines + 1))
    return path


def metrics(step: int, lines: int) -> str:
    row = {"step": step, "tokens": step * 4096, "time": 1.7e9 + step / 3}
    loss = 1.5 + 6 / (1 + 60 * step / lines)
    train = {
        "train_loss": loss + random.gauss(0, 0.1),
        "lr": 5e-4,
        "grad_norm": 1.0,
        "tokens_per_s": 6000.0,
        "memory_bytes": 10**9,
    }
    check = {"val_loss": loss + 0.05, "val_bits_per_byte": loss / 3} if step % 250 == 0 else {}
    return json.dumps(row | train) + "\n" + (json.dumps(row | check) + "\n" if check else "")


def open_long_runs(folder: Path) -> None:
    """Seconds to read a run's whole curve, and the memory it takes, each in a process of its own."""
    code = (
        "import sys,time,psutil;from pathlib import Path;from engine.watching.feed import RunFeed\n"
        "process=psutil.Process();before=process.memory_info().rss;begun=time.perf_counter()\n"
        "feed=RunFeed(Path(sys.argv[1]),full=True)\nwhile feed.poll(): pass\n"
        "took=time.perf_counter()-begun;now=process.memory_info().rss\n"
        "print(f'{len(feed.table):,} steps: {took:.2f} s, {(now-before)/1e6:.0f} MB more, {now/1e6:.0f} MB in all')"
    )
    for lines in (100_000, 1_000_000):
        run = make_run(folder, f"long-{lines}", lines)
        subprocess.run([sys.executable, "-c", code, str(run)], check=True, cwd=ROOT)
        if lines > 100_000:
            shutil.rmtree(run)


def draw_often(folder: Path) -> None:
    """Milliseconds from new data to the strips of a chart of 110 x 34 cells, smoothing counted."""
    from engine.watching.feed import RunFeed
    from tinytales_tui.plot.figure import draw
    from tinytales_tui.train.charts import charting
    from tinytales_tui.train.charts.measures import LOSS, Looking

    for lines in (2_000, 20_000, 1_000_000):
        feed = RunFeed(make_run(folder, f"drawn-{lines}", lines), full=True)
        while feed.poll():
            pass
        times = []
        for _ in range(20):
            begun = time.perf_counter()
            taken = charting.take(feed)
            assert taken is not None
            draw(charting.figure(LOSS, [taken], Looking(cursor=lines / 2), ()), 110, 34, False)
            times.append(time.perf_counter() - begun)
        print(f"redraw at {lines:>9,} points: median {1000 * statistics.median(times):.1f} ms, worst {1000 * max(times):.1f} ms")
        shutil.rmtree(feed.path)


@contextlib.contextmanager
def app(home: Path, *arguments: str, size: tuple[int, int] = (40, 120), **environment: str) -> Iterator[tuple[int, int, float]]:
    """The program in a pseudo-terminal: (pid, descriptor, time of its start)."""
    begun = time.perf_counter()
    pid, descriptor = pty.fork()
    if pid == 0:
        env = {name: value for name, value in os.environ.items() if not name.startswith(("SSH_", "TMUX"))}
        env |= {"TINYTALES_HOME": str(home), "TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8", **environment}
        os.chdir(ROOT)
        os.execvpe(sys.executable, [sys.executable, "-m", "tinytales_tui", *arguments], env)
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    try:
        yield pid, descriptor, begun
    finally:
        os.kill(pid, signal.SIGTERM)
        threading.Thread(target=lambda: drain(descriptor, 5), daemon=True).start()
        os.waitpid(pid, 0)
        with contextlib.suppress(OSError):
            os.close(descriptor)


def drain(descriptor: int, seconds: float, until: bytes = b"") -> bytes:
    """What comes within so many seconds, or until some bytes have come."""
    end, got = time.perf_counter() + seconds, b""
    while (left := end - time.perf_counter()) > 0:
        if select.select([descriptor], [], [], left)[0]:
            try:
                got += os.read(descriptor, 1 << 16)
            except OSError:
                break
            if until and until in got:
                break
    return got


def write_on(runs: list[Path], stop: threading.Event, each: float) -> None:
    """Ten trainers at once: a line for each run every so many seconds, with a fresh heartbeat."""
    step = 20_000
    while not stop.wait(each):
        step += 1
        for path in runs:
            with open(path / "metrics.jsonl", "a") as file:
                file.write(metrics(step, 20_000))
            status = {"state": "running", "step": step, "total_steps": 40_000, "pid": os.getpid(), "heartbeat": time.time()}
            (path / "aside").write_text(json.dumps(status))
            (path / "aside").replace(path / "status.json")


def keys(folder: Path) -> None:
    """Milliseconds from a key to the first bytes of its drawing, while ten runs are followed and written."""
    home = folder / "keys"
    runs = [make_run(home / "runs", f"run-{number}", 20_000, "running") for number in range(10)]
    stop = threading.Event()
    writer = threading.Thread(target=write_on, args=(runs, stop, 0.1))
    writer.start()
    try:
        with app(home, "watch") as (_, descriptor, _):
            drain(descriptor, 6)
            there_and_back = {
                "cursor": (b"\x1b[D", b"\x1b[D"),
                "zoom": (b"+", b"-"),
                "scale": (b"y", b"y"),
                "smoothing": (b"m", b"M"),
            }
            for name, sequences in there_and_back.items():
                times = []
                for press in range(40):
                    drain(descriptor, 0.12)
                    begun = time.perf_counter()
                    os.write(descriptor, sequences[press % 2])
                    drain(descriptor, 2, until=b"\x1b[")
                    times.append(time.perf_counter() - begun)
                ordered = sorted(1000 * value for value in times)
                print(f"{name:<10} key to paint: median {statistics.median(ordered):.0f} ms, 38 of 40 under {ordered[37]:.0f} ms")
    finally:
        stop.set()
        writer.join()


def line_bytes(folder: Path) -> None:
    """kB/s that the dashboard writes: while nothing changes, and while a run takes three steps a second."""
    for words, options in (("normal", ()), ("low bandwidth", ("--low-bandwidth",))):
        for moving in (False, True):
            home = folder / f"bytes-{words[0]}-{moving}"
            run = make_run(home / "runs", "mine", 20_000, "running" if moving else "stopped")
            stop = threading.Event()
            writer = threading.Thread(target=write_on, args=([run], stop, 0.33))
            if moving:
                writer.start()
            with app(home, "watch", *options) as (pid, descriptor, _):
                drain(descriptor, 8)
                import psutil

                process = psutil.Process(pid)
                before = process.cpu_times()
                got = drain(descriptor, 20)
                after = process.cpu_times()
                busy = after.user + after.system - before.user - before.system
                state = "a step every 0.33 s" if moving else "nothing changes"
                memory = process.memory_info().rss / 1e6
                print(f"{words}, {state}: {len(got) / 20_000:.2f} kB/s, {busy / 20:.1%} of a core, {memory:.0f} MB")
            stop.set()
            if moving:
                writer.join()


def start(folder: Path) -> None:
    """Seconds from the start of the process to the first drawing, and to a run's curve."""
    home = folder / "start"
    make_run(home / "runs", "mine", 100_000)
    for words, arguments, wanted in (("Write pane", (), b"About"), ("watch, curve", ("watch",), "⠀".encode()[:1] + b"\xa3")):
        times = []
        for _ in range(6):
            with app(home, *arguments) as (_, descriptor, begun):
                drain(descriptor, 10, until=wanted)
                times.append(time.perf_counter() - begun)
        print(f"{words}: median {statistics.median(times):.2f} s")


def stream(folder: Path) -> None:
    """What a story at 120 tokens a second costs, and its bytes, without the Train pane and after it was opened with ten live runs."""
    import psutil

    worker = f"{sys.executable} {ROOT / 'tests' / 'terminal' / 'scripted_worker.py'} --rate 120 --tokens 3000"
    for opened in (False, True):
        home = folder / f"stream-{opened}"
        runs = [make_run(home / "runs", f"run-{number}", 20_000, "running") for number in range(10)]
        stop = threading.Event()
        writer = threading.Thread(target=write_on, args=(runs, stop, 0.1))
        writer.start()
        with app(home, "--engine", worker) as (pid, descriptor, _):
            drain(descriptor, 3)
            if opened:
                os.write(descriptor, b"\x1bOR")
                drain(descriptor, 5)
                os.write(descriptor, b"\x1bOQ")
                drain(descriptor, 1)
            os.write(descriptor, b"a cat\r")
            drain(descriptor, 2)
            process = psutil.Process(pid)
            before = process.cpu_times()
            got = drain(descriptor, 8)
            after = process.cpu_times()
            busy = after.user + after.system - before.user - before.system
            words = "with ten runs followed" if opened else "alone"
            print(f"streaming {words}: {busy / 8:.1%} of a core, {len(got) / 8000:.1f} kB/s")
        stop.set()
        writer.join()


PARTS = {"open": open_long_runs, "draw": draw_often, "keys": keys, "bytes": line_bytes, "start": start, "stream": stream}


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="tinytales-dashboard-") as folder:
        for name in sys.argv[1:] or PARTS:
            PARTS[name](Path(folder))


if __name__ == "__main__":
    main()
