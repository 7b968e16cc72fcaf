"""`tinytales-tui bench`: how fast checkpoints are on this machine. What is measured, and how, is in `engine.bench`.

The table, or with --json the figures, on standard output; progress and notes on standard error. No Textual, no torch.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.bench.plan import AGAINST, PRECISIONS, STEPS
from engine.errors import UsageError

if TYPE_CHECKING:
    from engine.bench.plan import BenchSettings


def bench(
    checkpoints: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CHECKPOINT",
            help="Folders, files, runs' folders or Hub ids. Left out: the one that stories are written with.",
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer tokens and runs: seconds, and rougher figures.")] = False,
    train: Annotated[bool, typer.Option("--train/--no-train", help="Measure training too.")] = True,
    tokens: Annotated[
        int | None, typer.Option("--tokens", metavar="N", help="New tokens of each text. Left out: 200.", min=2, max=4096)
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            "--against", metavar="|".join(AGAINST), help="Measure that program in turns with this one; may be repeated."
        ),
    ] = None,
    step: Annotated[
        list[str] | None,
        typer.Option("--step", metavar="|".join(STEPS), help="Measure that kind of step alone; may be repeated."),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            "--precision",
            metavar="|".join(PRECISIONS),
            help="Measure that precision alone; may be repeated. int4 is experimental, and measured only where it is named.",
        ),
    ] = None,
    json_object: Annotated[
        bool, typer.Option("--json", help="One JSON object, with the spread of the runs and how each figure is measured.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No notes and no progress on standard error.")] = False,
    device: Annotated[str | None, typer.Option("--device", metavar="NAME", help="cpu, cuda, mps ...")] = None,
    threads: Annotated[int | None, typer.Option("--threads", metavar="N", help="CPU threads.", min=1)] = None,
) -> None:
    """Measure how fast checkpoints load, write and train on this machine, and how much memory they take."""
    options = BenchOptions(
        checkpoints=tuple(checkpoints or ()),
        quick=quick,
        train=train,
        tokens=tokens,
        against=tuple(dict.fromkeys(against or ())),
        steps=tuple(dict.fromkeys(step or ())),
        precisions=tuple(dict.fromkeys(precision or ())),
        json=json_object,
        quiet=quiet,
        device=device,
        threads=threads,
    )
    raise typer.Exit(run_bench(options))


@dataclass(frozen=True)
class BenchOptions:
    """What the command line asks for; see `bench` for the meaning of each."""

    checkpoints: tuple[str, ...] = ()
    quick: bool = False
    train: bool = True
    tokens: int | None = None
    against: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    json: bool = False
    quiet: bool = False
    device: str | None = None
    threads: int | None = None


def run_bench(options: BenchOptions) -> int:
    """Measure, print, and return the exit code: 0, or what went wrong where something could not be measured.

    Raises `UsageError` for a step or precision that is not known, and a program to compare with that is not known or not installed.
    """
    _check(options)
    import dataclasses

    from engine.bench.measuring import Bench
    from engine.bench.plan import METHOD, machine, sampling
    from tinytales_tui.chosen import absolute, chosen, will_be_fetched
    from tinytales_tui.engine_start import engine_environment
    from tinytales_tui.output import json_line, note, put
    from tinytales_tui.output import quiet as unheard
    from tinytales_tui.progress_line import ProgressLine

    settings = _settings(options)
    found = machine()
    progress = ProgressLine(options.quiet)
    if found["busy"]:
        (unheard if options.quiet else note)(_busy(found))
    bench = Bench(settings, engine_environment(), progress.show, progress.say, note if options.quiet else progress.say)
    measured = []
    try:
        for source in options.checkpoints or (None,):
            which = chosen(source)
            if fetching := will_be_fetched(which.source):
                progress.say(fetching)
            name = which.source or "the shipped model"
            if (report := bench.measure(absolute(which.source), which.choices.to_json(), name)) is not None:
                measured.append(report)
    finally:
        progress.end()
    whole = {
        "machine": found,
        "settings": dataclasses.asdict(settings) | {"sampling": sampling(settings.tokens).to_json()},
        "checkpoints": measured,
        "failed": bench.failed,
        "method": METHOD,
    }
    if options.json:
        put(json_line(whole).rstrip("\n"))
    elif measured:
        for line in in_words(whole, _width()):
            put(line)
    return _exit_code(bench.failed)


def _check(options: BenchOptions) -> None:
    import importlib.util

    from engine.bench.plan import kinds

    kinds(options.steps, options.precisions)
    for program in options.against:
        if program not in AGAINST:
            raise UsageError(f"--against knows {' and '.join(AGAINST)}, and not {program!r}.")
        missing = [package for module, package in AGAINST[program].items() if importlib.util.find_spec(module) is None]
        if missing:
            raise UsageError(
                f"--against {program} needs {' and '.join(missing)}, which {'are' if missing[1:] else 'is'} not installed; "
                f"install {'them' if missing[1:] else 'it'} with pip install {' '.join(missing)}."
            )


def _settings(options: BenchOptions) -> BenchSettings:
    from engine.bench.plan import QUICK, BenchSettings

    changes: dict[str, Any] = dict(QUICK) if options.quick else {}
    if options.tokens is not None:
        changes["tokens"] = options.tokens
    return BenchSettings(
        train=options.train,
        against=options.against,
        steps=options.steps,
        precisions=options.precisions,
        device=options.device,
        threads=options.threads,
        **changes,
    )


def _busy(found: Mapping[str, Any]) -> str:
    return (
        f"This machine is busy with other things (load average {found['load_average']:.1f} on {found['cores']} "
        f"{'core' if found['cores'] == 1 else 'cores'}), so the figures will be lower than what it can do."
    )


def _exit_code(failed: Sequence[Mapping[str, str]]) -> int:
    """0; else the code that all failures have in common, or 1."""
    from tinytales_tui.report import DONE, FAILED, TRY_AGAIN, WRONG_USAGE

    codes = {{"UsageError": WRONG_USAGE, "NetworkError": TRY_AGAIN}.get(one["kind"], FAILED) for one in failed}
    return DONE if not codes else codes.pop() if len(codes) == 1 else FAILED


def _width() -> int:
    return max(40, shutil.get_terminal_size().columns) if sys.stdout.isatty() else 80


def in_words(whole: Mapping[str, Any], width: int) -> list[str]:
    """The report as lines of at most `width` columns where that can be."""
    from tinytales_tui.figures import size

    found, settings = whole["machine"], whole["settings"]
    torch = next(report["torch"] for report in whole["checkpoints"])
    told = [
        found["processor"],
        f"{found['cores']} core{'s' * (found['cores'] != 1)}",
        size(found["memory_bytes"]),
        f"torch {torch}",
    ]
    if found["load_average"] is not None:
        told.append(f"load average {found['load_average']:.1f} at the start")
    lines = textwrap.wrap(", ".join(told), width)
    for report in whole["checkpoints"]:
        lines += ["", *_checkpoint(report, width)]
    meaning = (
        f"Medians of {settings['repeats']} runs. tokens/s: writing, all texts of the batch together; prompt/s: tokens of a prompt that "
        "are read in a second; first: time to the first token; memory: over what torch alone takes; floor: the time that reading the "
        "weights alone would take, as a share of what a step takes. --json has the spread of the runs and how each figure is measured."
    )
    return [*lines, "", *textwrap.wrap(meaning, min(width, 100))]


def _checkpoint(report: Mapping[str, Any], width: int) -> list[str]:
    from engine.bench.measuring import in_short
    from tinytales_tui.figures import fitting_table, short_count
    from tinytales_tui.text import one_line

    rows = report["rows"]
    threads = report["threads"]
    head = (
        f"{one_line(report['name'], 60)}: {report['family']}, {short_count(report['parameters'])} parameters, context "
        f"{report['context']}, on {report['device']}, {threads} thread{'s' * (threads != 1)}"
    )
    lines = textwrap.wrap(one_line(head, 300), width)
    headers, cells = _table(rows)
    if rows:
        # "prompt/s" and "load" are the first to go where a line is too long; the last columns say what nothing else says
        spare = [headers.index(name) for name in ("load", "prompt/s", "memory") if name in headers]
        left = [headers.index(name) for name in ("program", "step", "precision") if name in headers]
        lines += fitting_table(headers, cells, width, left=left, spare=spare)
    for one in _best(report.get("ratios", ())):
        ours = in_short(one["step"], one["precision"])
        lines += textwrap.wrap(
            f"{ours} is {one['times']:g} times as fast as {one['program']} {one['their_precision']}, batch 1", width
        )
    if training := report["training"]:
        lines += textwrap.wrap(
            f"Training: {training['tokens_per_s']['median']:,.0f} tokens/s ({training['precision']}, {training['tokens_a_step']:,} "
            f"tokens a step, {training['threads']} thread{'s' * (training['threads'] != 1)})",
            width,
        )
    return lines


def _best(ratios: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of several steps that are compared with one row of another program, the fastest."""
    best: dict[tuple[str, str], Mapping[str, Any]] = {}
    for one in ratios:
        theirs = (one["program"], one["their_precision"])
        if theirs not in best or one["times"] > best[theirs]["times"]:
            best[theirs] = one
    return list(best.values())


def _table(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Headers and cells; who wrote and with which step is told only where rows differ in it."""
    from tinytales_tui.figures import size

    def median(row: Mapping[str, Any], key: str, shape: str, factor: float = 1.0) -> str:
        return "-" if row[key] is None else format(row[key]["median"] * factor, shape)

    columns: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "program": lambda row: row["program"],
        "step": lambda row: row["step"] or "-",
        "precision": lambda row: row["precision"],
        "batch": lambda row: str(row["batch"]),
        "tokens/s": lambda row: median(row, "decode_tokens_per_s", ",.0f"),
        "prompt/s": lambda row: median(row, "prefill_tokens_per_s", ",.0f"),
        "first": lambda row: median(row, "ttft_s", ".1f", 1000) + " ms",
        "load": lambda row: "-" if row["load_s"] is None else f"{row['load_s']['median']:.2f} s",
        "memory": lambda row: size(row["memory_bytes"]),
        "floor": lambda row: "-" if row["floor_share"] is None else f"{row['floor_share']:.0%}",
    }
    for name in ("program", "step"):
        if len({row[name] for row in rows}) < 2 or (name == "step" and len({row[name] for row in rows} - {None}) < 2):
            del columns[name]
    return list(columns), [[cell(row) for cell in columns.values()] for row in rows]
