"""What `tinytales-tui watch --once` and `--json` print of a run or a log.

What comes from files is made safe to show, and never coloured. Reads nothing but the feed. No Textual, no torch.
"""

from __future__ import annotations

import math
import shutil
import socket
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from engine.run_digest import Summary
from engine.watching.feed import Feed, RunFeed
from engine.watching.foreign.pipe import copy_at
from engine.watching.marks import marks_of
from engine.watching.table import MetricsTable
from engine.watching.verdict import RULES, Verdict, evidence_of, judge
from tinytales_tui import paths
from tinytales_tui.figures import duration, facts, short_count, size
from tinytales_tui.output import json_line, put
from tinytales_tui.plot.text_chart import text_chart
from tinytales_tui.runs_show import standing, way_on
from tinytales_tui.terminal import detect
from tinytales_tui.text import one_line, safe_text

EVENTS, SAMPLES, SAMPLE_LINES = 6, 3, 3
"""How many of the last events are shown, of the last samples given as JSON, and lines of the last story shown."""
JSON_EVENTS = 50
NARROW = 60
"""Columns under which events are told without their times."""
CHART_HEIGHT, CHART_POINTS = 8, 1000
NO_SUMMARY = Summary(None, None, None, None, None, None, None, None, None, 0)


def put_summary(feed: Feed, ascii: bool | None = None) -> None:
    """Print how a run or log stands: a verdict, figures, a small chart, the last events, the last story."""
    at_terminal = sys.stdout.isatty()
    width = max(20, shutil.get_terminal_size().columns) if at_terminal else 80
    text_width = width if at_terminal else 500
    summary = feed.summary or NO_SUMMARY
    verdict = judge(evidence_of(feed, time.time()))
    put(one_line(f"{feed.name}: {_standing(feed, summary)}", text_width))
    for line in textwrap.wrap(f"[{verdict.level}] {_whole_line(verdict.words)}", text_width):
        put(line)
    put("")
    pairs = _facts(feed, summary)
    gutter = max((len(name) for name, _ in pairs), default=0) + 2
    for line in facts(pairs):
        for part in textwrap.wrap(line, text_width, subsequent_indent=" " * gutter):
            put(part)
    if feed.trouble:
        put(one_line(feed.trouble, text_width))
    lines = chart(feed, min(width, 100), CHART_HEIGHT, detect().unicode if ascii is None else not ascii)
    for line in [""] * bool(lines) + lines:
        put(line)
    _put_events(feed.events, text_width)
    _put_sample(feed.samples, width)
    if isinstance(feed, RunFeed) and (hint := way_on(feed.view, feed.status)):
        put(f"\n{hint}")


def put_json(feed: Feed) -> None:
    """Print one JSON object with all that is known; numbers that are not finite stand in it as the strings nan, inf and -inf."""
    put(json_line(_plain(known(feed))).rstrip("\n"))


def known(feed: Feed) -> dict[str, Any]:
    """All that is known of a run or log, as JSON takes it, but for numbers that are not finite."""
    status, summary = feed.status, feed.summary or NO_SUMMARY
    verdict: Verdict = judge(evidence_of(feed, time.time()))
    with feed.lock:
        last = _last_values(feed.table) if feed.table is not None else {}
    head = {"name": feed.name, "path": str(feed.path.absolute()), "kind": feed.kind}
    return head | asdict(status) | summary.to_json() | {
        "verdict": asdict(verdict),
        "usual_step_s": feed.usual_step_s,
        "last": last,
        "marks": [asdict(mark) for mark in marks_of(feed)],
        "checkpoints": [asdict(found) | {"path": str(found.path)} for found in feed.checkpoints],
        "events": list(feed.events[-JSON_EVENTS:]),
        "samples": list(feed.samples[-SAMPLES:]),
        "settings": feed.settings,
        "process": _process(feed),
        "trouble": feed.trouble or None,
    }  # fmt: skip


def put_rules() -> None:
    """Print the rules of the verdict, in the order in which they are asked."""
    width = max(40, min(100, shutil.get_terminal_size().columns)) if sys.stdout.isatty() else 100
    for rule in RULES:
        put(f"{rule.name} ({rule.level})")
        for line in textwrap.wrap(rule.when, width - 4):
            put(f"    {line}")


def chart(feed: Feed, width: int, height: int, unicode: bool) -> list[str]:
    """The loss by step as lines of text; none where there are fewer than two points. Only this function knows how a chart is drawn."""
    with feed.lock:
        if feed.table is None:
            return []
        losses, checks = _points(feed.table, "train_loss"), _points(feed.table, "val_loss")
        if not checks:
            bits = _points(feed.table, "val_bits_per_byte")
            losses, checks = (losses, []) if losses else (bits, [])
    label = "loss by step" if losses else "validation loss by step"
    return text_chart(losses or checks, checks if losses else [], width, height, unicode, label)


def _points(table: MetricsTable, name: str) -> list[tuple[float, float]]:
    """The points of a series, in means of neighbours where there are very many."""
    series = table.series(name)
    if series is None:
        return []
    steps, values = table.axis("step")[series.rows], series.values.astype(np.float64)
    good = np.isfinite(values)
    steps, values = steps[good], values[good]
    size_ = len(values) // CHART_POINTS
    if size_ > 1:
        count = len(values) // size_
        rest = len(values) - count * size_  # the oldest few, so that the newest are drawn
        steps = steps[rest:].reshape(count, size_)[:, -1]
        values = values[rest:].reshape(count, size_).mean(axis=1)
    return list(zip(steps.tolist(), values.tolist(), strict=True))


def _standing(feed: Feed, summary: Summary) -> str:
    status = feed.status
    if feed.kind == "run":
        with feed.lock:  # while a run lives, its figures are ahead of its status, which comes every few seconds
            reached = int(feed.table.axis("step")[-1]) if feed.table is not None and len(feed.table) else 0
        ahead = status.alive and status.step is not None and reached > status.step
        return standing(replace(status, step=reached) if ahead else status, summary)
    at = f", step {status.step:,}" if status.step is not None else ""
    of = f" of {status.total_steps:,} ({status.share or 0:.0%})" if at and status.total_steps else ""
    since = f" for {duration(status.age)}" if status.state == "quiet" and status.age is not None else ""
    left = f", about {duration(summary.eta_s)} left" if summary.eta_s is not None else ""
    return f"{status.state}{since}{at}{of}{left} ({feed.kind})"


def _facts(feed: Feed, summary: Summary) -> list[tuple[str, str]]:
    status, unit = feed.status, " nats a token" if feed.kind == "run" else ""
    pairs: list[tuple[str, str]] = []
    if summary.train_loss is not None:
        pairs.append(("loss", f"{summary.train_loss:.4f}{unit}"))
    if summary.best_step is not None:
        bits = [f"{summary.best_bits_per_byte:.4f} bits a byte"] if summary.best_bits_per_byte is not None else []
        nats = [f"{summary.best_val_loss:.4f}{unit}"] if summary.best_val_loss is not None else []
        pairs.append(("best", f"{', '.join(bits + nats)} at step {summary.best_step:,} (validation)"))
    speed = [f"{short_count(summary.tokens_per_s)} tokens/s"] if summary.tokens_per_s is not None else []
    speed += [f"{feed.usual_step_s:.3g} s a step"] if feed.usual_step_s is not None else []
    if speed:
        pairs.append(("speed", ", ".join(speed)))
    if summary.tokens is not None:
        pairs.append(("tokens", f"{summary.tokens:,} learnt from"))
    if summary.started is not None:
        at = time.strftime("%Y-%m-%d %H:%M", time.localtime(min(max(summary.started, 0), 4e9)))
        pairs.append(("started", f"{at} ({duration(time.time() - summary.started)} ago)"))
    if summary.seconds:
        pairs.append(("trained for", duration(summary.seconds)))
    if status.alive and status.pid:
        pairs.append(("process", f"{status.pid}" + (f" on {status.host}" if status.host else "")))
    if summary.size_bytes:
        pairs.append(("size", size(summary.size_bytes)))
    if feed.checkpoints:
        pairs.append(("checkpoints", ", ".join(one_line(found.name, 40) for found in feed.checkpoints[-4:])))
    if feed.kind == "run" or copy_at(feed.path) is None:  # the file that a pipe is copied into is nobody's business
        pairs.append(("folder" if feed.kind == "run" else "file", paths.shown(feed.path)))
    return pairs


def _put_events(events: Sequence[Mapping[str, Any]], width: int) -> None:
    shown = events[-EVENTS:]
    if shown:
        put("\nlast events")
    for row in shown:
        step = row.get("step")
        at = f"step {step:,}" if type(step) is int else ""
        warning, best = row["event"] == "warning" and row.get("kind"), row.get("best") is True and "best"
        name = str(warning or best or row["event"])
        said = " ".join(str(row[key]) for key in ("message", "folder", "prompt") if isinstance(row.get(key), str))
        clock = f"{_clock(row.get('time')):<12}  " if width >= NARROW else ""
        put(one_line_kept(f"  {clock}{at:<12}  {one_line(name, 20):<11}  {one_line(said, 300)}", width))


def _put_sample(samples: Sequence[Mapping[str, Any]], width: int) -> None:
    if not samples:
        return
    row = samples[-1]
    step = f" at step {row['step']:,}" if type(row.get("step")) is int else ""
    put(one_line_kept(f"\nlast sample{step}: {one_line(str(row.get('prompt', '')), 200)}", width))
    lines = [part for line in safe_text(str(row["story"])).strip().splitlines() for part in textwrap.wrap(line, width - 2)]
    for line in lines[:SAMPLE_LINES]:
        put(f"  {line}")
    if len(lines) > SAMPLE_LINES:
        put("  ...")


def one_line_kept(line: str, width: int) -> str:
    """A line cut to a width, with its blanks kept."""
    line = line.rstrip()
    return line if len(line) <= width else line[: width - 3] + "..."


def _last_values(table: MetricsTable) -> dict[str, dict[str, Any]]:
    """For each series its newest value and the step of it."""
    steps, found = table.axis("step"), {}
    for name in table.names:
        series = table.series(name)
        if series is not None:
            row = series.rows.stop - 1 if isinstance(series.rows, slice) else int(series.rows[-1])
            found[name] = {"step": int(steps[row]), "value": float(f"{series.values[-1]:.7g}")}  # as many digits as are kept
    return found


def _process(feed: Feed) -> dict[str, Any] | None:
    """What can be seen of the trainer's process; None for a log of another program, or where no process is named."""
    status = feed.status
    if feed.kind != "run" or status.pid is None:
        return None
    here = status.host in (None, socket.gethostname())
    found: dict[str, Any] = {"pid": status.pid, "host": status.host, "here": here, "alive": status.alive, "silent_s": status.age}
    if status.alive and here:
        import psutil

        try:
            process = psutil.Process(status.pid)
            times = process.cpu_times()
            found |= {
                "memory_bytes": process.memory_info().rss,
                "cpu_s": times.user + times.system,
                "threads": process.num_threads(),
            }
        except (psutil.Error, OverflowError):
            pass
    return found


def _plain(value: Any) -> Any:
    """Numbers that are not finite as strings, paths as text, all else as it is."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, Path) else value


def _whole_line(text: str) -> str:
    return " ".join(safe_text(text).split())


def _clock(at: Any) -> str:
    if not isinstance(at, int | float) or not 0 <= at < 4e9:
        return ""
    return time.strftime("%b %d %H:%M", time.localtime(at))
