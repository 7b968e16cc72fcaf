"""What `tinytales-tui runs list`, `show` and `log` print. What comes from a run's files is made safe to show. No Textual, no torch."""

from __future__ import annotations

import math
import shlex
import shutil
import sys
import time
from dataclasses import asdict
from typing import Any

from engine.errors import UsageError
from engine.growing_files import GrowingFile
from engine.run_digest import Summary
from engine.run_status import RunStatus
from engine.run_view import RunView, find_run, list_runs, log_line
from tinytales_tui import paths
from tinytales_tui.figures import duration, facts, fitting_table, short_count, short_duration, size
from tinytales_tui.output import json_line, note, put
from tinytales_tui.terminal import detect
from tinytales_tui.text import one_line, safe_text

_EVENTS = 8
"""How many of the last events are shown."""


def chosen(name: str | None, newest: bool) -> RunView:
    """The run of that name; without one, the run that is being trained, or with `newest` the newest where that says nothing."""
    folder = paths.runs_folder()
    if name is not None:
        return find_run(folder, name)
    runs = list_runs(folder)
    alive = [run for run in runs if run.status().alive]
    if len(alive) == 1:
        return alive[0]
    if newest and runs:
        return runs[0]
    if len(alive) > 1:
        raise UsageError(f"{len(alive)} runs are being trained; say which one: {', '.join(run.name for run in alive)}.")
    raise UsageError("No run is being trained now." if runs else "There are no runs yet; tinytales-tui train starts one.")


def typed(run: RunView) -> str:
    """What a person types to name this run."""
    return shlex.quote(run.name if run.path.parent == paths.runs_folder() else str(run.path))


def show_list(as_json: bool) -> int:
    """Print all runs."""
    runs = [(run, run.status(), run.summary()) for run in list_runs(paths.runs_folder())]
    if as_json:
        put(json_line([_known(run, status, summary) for run, status, summary in runs]).rstrip("\n"))
        return 0
    if not runs:
        note(f"There are no runs in {paths.shown(paths.runs_folder())}; tinytales-tui train starts one.")
        return 0
    headers = ("name", "state", "step", "loss", "bpb", "tok/s", "left", "age")
    rows = [
        (
            run.name,
            status.state,
            _steps(status),
            _figure(summary.train_loss, 3),
            _figure(summary.best_bits_per_byte, 3),
            "-" if summary.tokens_per_s is None else short_count(summary.tokens_per_s),
            "-" if summary.eta_s is None else short_duration(summary.eta_s),
            "-" if summary.started is None else short_duration(time.time() - summary.started),
        )
        for run, status, summary in runs
    ]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000
    for line in fitting_table(headers, rows, width, left=(0, 1), spare=(5, 7, 3)):
        put(line)
    return 0


def show_run(name: str | None, as_json: bool, with_samples: bool) -> int:
    """Print one run."""
    run = chosen(name, newest=True)
    status, summary = run.status(), run.summary()
    if as_json:
        known = _known(run, status, summary) | {
            "config": run.config,
            "checkpoints": [asdict(c) | {"path": str(c.path)} for c in run.checkpoints()],
            "events": run.events(),
            "damaged_lines": run.damaged_lines,
        }
        put(json_line(known | ({"samples": run.samples()} if with_samples else {})).rstrip("\n"))
        return 0
    put(f"{one_line(run.name, 200)}: {standing(status, summary)}")
    if status.message:
        put(one_line(status.message, 500))
    put("")
    for line in facts(_facts(run, status, summary)):
        put(line)
    _put_curve(run)
    _put_events(run)
    _put_checkpoints(run)
    if with_samples:
        _put_samples(run)
    if hint := way_on(run, status):
        put(f"\n{hint}")
    return 0


def show_log(name: str | None, follow: bool, lines: int) -> int:
    """Print the end of a run's log, and with `follow` what is added to it until the run ends."""
    run = chosen(name, newest=True)
    path = run.path / "output.log"
    if not path.is_file() and not (follow and run.status().alive):
        raise UsageError(f"{run.name} has no log.")
    if not follow:
        for line in run.log_tail(lines):
            put(line)
        return 0
    log = GrowingFile(path)
    log.skip_to_tail(lines)
    while True:
        ended = not run.status().alive  # asked before reading, so that nothing that was said before the end is missed
        added, restarted = log.new_lines()
        if restarted:
            note("(the log begins again)")
        for line in added:
            put(log_line(line))
        sys.stdout.flush()
        if ended:
            break
        time.sleep(0.3)
    if rest := log_line(log.rest()):
        put(rest)
    status = run.status()
    note(f"({one_line(run.name, 200)}: {standing(status, run.summary())})")
    return 0


def standing(status: RunStatus, summary: Summary) -> str:
    """How a run stands, in one line."""
    where = ""
    if status.step is not None:
        where = f", step {status.step:,}"
        if status.total_steps:
            where += f" of {status.total_steps:,} ({status.step / status.total_steps:.0%})"
    if status.state == "stale":
        gone = f" for {duration(status.age)}" if status.age is not None else ""
        return f"stale (no sign of life{gone}; it last said: {status.claimed}){where}"
    left = f", about {duration(summary.eta_s)} left" if summary.eta_s is not None else ""
    return f"{status.state}{where}{left}"


def way_on(run: RunView, status: RunStatus) -> str | None:
    """How to go on with a run, as a command line; None where there is nothing to say."""
    command = f"tinytales-tui runs resume {typed(run)}"
    if status.state in ("stale", "failed", "stopped", "paused"):
        return f"Go on with it: {command}"
    if status.state == "finished":
        return f"Give it more steps: {command} --set steps=N"
    return None


def _facts(run: RunView, status: RunStatus, summary: Summary) -> list[tuple[str, str]]:
    config, settings = run.config, run.settings
    pairs: list[tuple[str, str]] = []
    if summary.started is not None:
        at = time.strftime("%Y-%m-%d %H:%M", time.localtime(min(max(summary.started, 0), 4e9)))
        pairs.append(("started", f"{at} ({duration(time.time() - summary.started)} ago)"))
    if summary.seconds:
        pairs.append(("trained for", duration(summary.seconds)))
    if status.alive and status.pid:
        pairs.append(("process", f"{status.pid}" + (f" on {status.host}" if status.host else "")))
    facts_of_run = config | (config["facts"] if isinstance(config.get("facts"), dict) else {})
    model = [str(settings["model"])] if settings.get("model") else []
    if isinstance(facts_of_run.get("parameters"), int):
        model.append(f"{facts_of_run['parameters']:,} parameters")
    if facts_of_run.get("device"):
        model.append(f"on {facts_of_run['device']}")
    pairs += [("model", ", ".join(model))] * bool(model)
    if isinstance(settings.get("data"), list | tuple) and settings["data"]:
        pairs.append(("data", ", ".join(str(path).rsplit("/", 1)[-1] for path in settings["data"])))
    if summary.train_loss is not None:
        speed = f"; {summary.tokens_per_s:,.0f} tokens/s" if summary.tokens_per_s is not None else ""
        tokens = f"; {summary.tokens:,} tokens read" if summary.tokens is not None else ""
        pairs.append(("loss", f"{summary.train_loss:.4f} nats a token{speed}{tokens}"))
    if summary.best_step is not None:
        bits = f"{summary.best_bits_per_byte:.4f} bits a byte" if summary.best_bits_per_byte is not None else ""
        nats = f"{summary.best_val_loss:.4f} nats a token" if summary.best_val_loss is not None else ""
        pairs.append(("best", f"{', '.join(filter(None, (bits, nats)))} at step {summary.best_step:,} (validation)"))
    pairs.append(("folder", f"{paths.shown(run.path)} ({size(summary.size_bytes)})"))
    if run.damaged_lines:
        pairs.append(("damaged", f"{run.damaged_lines:,} lines of its files could not be read and are left out"))
    return pairs


def _put_curve(run: RunView) -> None:
    from tinytales_tui.plot.text_chart import text_chart  # with numpy, which the list of runs has no use for

    terminal = detect()
    width = min(terminal.columns, 100) if sys.stdout.isatty() else 80
    rows = run.metrics()
    losses = [(row["step"], row["train_loss"]) for row in rows if "train_loss" in row]
    checks = [(row["step"], row["val_loss"]) for row in rows if "val_loss" in row]
    if lines := text_chart(losses, checks, width, 9, terminal.unicode, "loss by step"):
        put("")
        for line in lines:
            put(line)


def _put_events(run: RunView) -> None:
    events = run.events()
    warnings = [row for row in events if row["event"] == "warning"]
    for title, shown in (
        ("warnings", warnings[-_EVENTS:]),
        ("last events", [r for r in events if r["event"] != "warning"][-_EVENTS:]),
    ):
        if not shown:
            continue
        put(f"\n{title}")
        for row in shown:
            step = row.get("step")
            at = f"step {step:,}" if type(step) is int else ""
            said = [row.get(key) for key in (("message",) if row["event"] == "warning" else ("message", "folder"))]
            said_text = " ".join(str(text) for text in said if isinstance(text, str))
            name = "" if row["event"] == "warning" else f"{one_line(row['event'], 20):<10}  "
            put(f"  {_clock(row.get('time')):<14}  {at:<12}  {name}{one_line(said_text, 300)}".rstrip())


def _put_checkpoints(run: RunView) -> None:
    if checkpoints := run.checkpoints():
        put("\ncheckpoints")
        for found in checkpoints:
            at = f"step {found.step:,}" if found.step is not None else ""
            put(f"  {one_line(found.name, 40):<14}  {at:<12}  {size(found.bytes)}")


def _put_samples(run: RunView) -> None:
    for row in run.samples():
        step = f"step {row['step']:,}" if type(row.get("step")) is int else "sample"
        put(f"\n{step}, {one_line(str(row.get('prompt', '')), 200)}:")
        put(safe_text(row["story"]).strip())


def _known(run: RunView, status: RunStatus, summary: Summary) -> dict[str, Any]:
    return {"name": run.name, "path": str(run.path)} | asdict(status) | _plain(summary.to_json())


def _plain(data: dict[str, Any]) -> dict[str, Any]:
    """Numbers that are not finite as text, since JSON has none."""
    return {key: str(value) if isinstance(value, float) and not math.isfinite(value) else value for key, value in data.items()}


def _steps(status: RunStatus) -> str:
    if status.step is None:
        return "-"
    if not status.total_steps:
        return str(status.step)
    return f"{status.step}/{status.total_steps} {status.step / status.total_steps:.0%}"


def _figure(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _clock(at: Any) -> str:
    if not isinstance(at, int | float) or not 0 <= at < 4e9:
        return ""
    return time.strftime("%b %d %H:%M", time.localtime(at))
