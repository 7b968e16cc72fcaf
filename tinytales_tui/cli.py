"""The command line: what can be typed after `tinytales-tui`, and the exit codes.

0 done, 1 failed, 2 wrong usage, 3 worth trying again (network), 130 interrupted. Every failure is one sentence on standard error.
Imports neither Textual nor torch by itself: each command imports what it needs, so `--prompt` never pays for the app.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.errors import UsageError
from engine.settings import SAMPLING_PRESETS, SamplingSettings, ranges
from engine.version import __version__
from tinytales_tui import screen_options
from tinytales_tui.data_commands import data_app
from tinytales_tui.report import report
from tinytales_tui.runs_commands import app as runs_app
from tinytales_tui.watch_commands import watch

app = typer.Typer(
    name="tinytales-tui",
    no_args_is_help=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(runs_app)
app.add_typer(data_app)
app.command()(watch)

_LIMITS = ranges(SamplingSettings)
_STORY, _SAMPLING, _OUTPUT, _ENGINE = "The story", "Sampling", "Output", "Engine"


_ENGINE_OPTIONS = {"--checkpoint", "--device", "--precision", "--threads"}
_APP_OPTIONS = _ENGINE_OPTIONS | {"--engine", "--theme", "--ascii", "--low-bandwidth", "--mouse"}


def _given(context: typer.Context) -> list[str]:
    """The options that stand on the command line, by their long names, in the order of the help."""
    long_names = {parameter.name: max(parameter.opts, key=len) for parameter in context.command.params if parameter.name}
    sources = {name: context.get_parameter_source(name) for name in long_names}
    return [option for name, option in long_names.items() if getattr(sources[name], "name", "") == "COMMANDLINE"]


def _sampling_option(*names: str, setting: str) -> Any:
    limits = _LIMITS[setting]
    return typer.Option(*names, help=f"{limits.help} ({limits.low:g} to {limits.high:g})", rich_help_panel=_SAMPLING)


@app.callback(invoke_without_command=True)
def start(
    context: typer.Context,
    prompt: Annotated[
        str | None,
        typer.Option(
            "--prompt",
            "-p",
            metavar="TEXT",
            help="Write one story about TEXT to standard output, without the app. `-` reads prompts from standard input, one a line.",
            rich_help_panel=_STORY,
        ),
    ] = None,
    ending: Annotated[
        str | None,
        typer.Option(
            "--ending",
            "-e",
            metavar="happy|sad|none",
            help="How the story ends; none continues TEXT as it stands. Left out: happy.",
            rich_help_panel=_STORY,
        ),
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="The same as --ending none.", rich_help_panel=_STORY)] = False,
    count: Annotated[
        int, typer.Option("--count", "-n", metavar="N", help="Stories a prompt; story i has seed + i.", rich_help_panel=_STORY)
    ] = 1,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            "--checkpoint",
            "-c",
            metavar="SOURCE",
            help="The model: a folder, a file or a Hub id (owner/name). Left out: the one that comes with the program.",
            rich_help_panel=_ENGINE,
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            metavar="|".join(SAMPLING_PRESETS),
            help="A set of sampling values. Left out: what the checkpoint recommends, else balanced.",
            rich_help_panel=_SAMPLING,
        ),
    ] = None,
    temperature: Annotated[float | None, _sampling_option("--temperature", "-t", setting="temperature")] = None,
    top_k: Annotated[int | None, _sampling_option("--top-k", setting="top_k")] = None,
    top_p: Annotated[float | None, _sampling_option("--top-p", setting="top_p")] = None,
    min_p: Annotated[float | None, _sampling_option("--min-p", setting="min_p")] = None,
    repetition_penalty: Annotated[float | None, _sampling_option("--repetition-penalty", setting="repetition_penalty")] = None,
    no_repeat_ngram: Annotated[int | None, _sampling_option("--no-repeat-ngram", setting="no_repeat_ngram")] = None,
    max_tokens: Annotated[int | None, _sampling_option("--max-tokens", setting="max_tokens")] = None,
    min_tokens: Annotated[int | None, _sampling_option("--min-tokens", setting="min_tokens")] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            "-s",
            help="Start of the random draw: the same seed gives the same bytes. Left out: a new one, named on standard error.",
            rich_help_panel=_SAMPLING,
        ),
    ] = None,
    ban: Annotated[
        list[str] | None,
        typer.Option("--ban", metavar="WORD", help="A word that must not appear; may be repeated.", rich_help_panel=_SAMPLING),
    ] = None,
    stop: Annotated[
        list[str] | None,
        typer.Option(
            "--stop", metavar="TEXT", help="End the story before this text; may be repeated.", rich_help_panel=_SAMPLING
        ),
    ] = None,
    stop_loops: Annotated[
        bool | None,
        typer.Option("--stop-loops/--no-stop-loops", help="End a story that repeats itself.", rich_help_panel=_SAMPLING),
    ] = None,
    tidy: Annotated[
        bool,
        typer.Option(
            "--tidy/--no-tidy",
            help="Mend spaces and capitals and drop a last sentence that was cut off; no word is changed.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
    json_lines: Annotated[
        bool, typer.Option("--json", help="One JSON object a story, a line each, with its recipe.", rich_help_panel=_OUTPUT)
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write to FILE, whole or not at all, not to the screen.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No notes on standard error, only errors.", rich_help_panel=_OUTPUT)
    ] = False,
    device: Annotated[
        str | None,
        typer.Option("--device", metavar="NAME", help="cpu, cuda, mps ... Left out: the best there is.", rich_help_panel=_ENGINE),
    ] = None,
    precision: Annotated[
        str, typer.Option("--precision", metavar="auto|fp32|bf16", help="Width of the weights.", rich_help_panel=_ENGINE)
    ] = "auto",
    threads: Annotated[
        int | None,
        typer.Option("--threads", metavar="N", help="CPU threads. Left out: by the model's size.", rich_help_panel=_ENGINE),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            "--engine",
            metavar="COMMAND",
            help="How the app starts its engine, such as 'ssh host python -m engine.worker'. Left out: here.",
            rich_help_panel=_ENGINE,
        ),
    ] = None,
    theme: screen_options.Theme = None,
    ascii_only: screen_options.Ascii = None,
    low_bandwidth: screen_options.LowBandwidth = None,
    mouse: screen_options.Mouse = True,
    version: Annotated[bool, typer.Option("--version", "-V", help="Print the version and end.")] = False,
) -> None:
    """Write tiny stories in the terminal.

    Without a command or --prompt, the app opens. With --prompt, one story is written to standard output.
    """
    if version:
        print(f"tinytales-tui {__version__}")
        raise typer.Exit
    given = _given(context)
    if context.invoked_subcommand is not None:
        if given:
            raise UsageError(
                f"{given[0]} does not belong before {context.invoked_subcommand}; put that command's options after it."
            )
        return
    if prompt is None:
        if alone := [option for option in given if option not in _APP_OPTIONS]:
            raise UsageError(f"{alone[0]} belongs to --prompt; say what the story is about, as in --prompt 'a brave knight'.")
        _open_app(checkpoint, device, precision, threads, engine, theme, ascii_only, low_bandwidth, mouse)
        return
    if unused := [option for option in given if option in _APP_OPTIONS - _ENGINE_OPTIONS]:
        raise UsageError(f"{unused[0]} belongs to the app and has no meaning beside --prompt.")
    from tinytales_tui.batch import BatchOptions, run_batch

    changes = {
        "temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p, "repetition_penalty": repetition_penalty,
        "no_repeat_ngram": no_repeat_ngram, "max_tokens": max_tokens, "min_tokens": min_tokens, "seed": seed, "stop_loops": stop_loops,
        "banned_words": tuple(ban) if ban else None, "stop": tuple(stop) if stop else None,
    }  # fmt: skip
    if raw and ending not in (None, "none"):
        raise UsageError("--raw asks for no ending, so it cannot stand beside --ending.")
    options = BatchOptions(
        prompt=prompt,
        ending="none" if raw else ending,
        count=count,
        preset=preset,
        sampling={key: value for key, value in changes.items() if value is not None},
        checkpoint=checkpoint,
        device=device,
        precision=precision,
        threads=threads,
        tidy=tidy,
        json_lines=json_lines,
        output=output,
        quiet=quiet,
    )
    raise typer.Exit(run_batch(options))


def _open_app(
    checkpoint: str | None,
    device: str | None,
    precision: str,
    threads: int | None,
    engine: str | None,
    theme: str | None,
    ascii_only: bool | None,
    low_bandwidth: bool | None,
    mouse: bool,
) -> None:
    from tinytales_tui.options import AppOptions
    from tinytales_tui.terminal import detect

    if problem := detect().problem:
        raise UsageError(problem)
    options = AppOptions(
        checkpoint=checkpoint,
        device=device,
        precision=precision,
        threads=threads,
        theme=theme,
        ascii=ascii_only,
        low_bandwidth=low_bandwidth,
        mouse=mouse,
        worker_command=tuple(_split(engine)) if engine else (),
    )
    from tinytales_tui.start import open_app

    raise typer.Exit(open_app(options))


def _split(command: str) -> list[str]:
    import shlex

    try:
        return shlex.split(command)
    except ValueError as error:
        raise UsageError(f"--engine is not a command line: {error}.") from error


@app.command()
def doctor(
    json_object: Annotated[bool, typer.Option("--json", help="One JSON object with everything that was found.")] = False,
) -> None:
    """Check this installation: Python, torch, terminal, folders, and whether the story model writes."""
    from tinytales_tui.doctor import run_doctor

    raise typer.Exit(run_doctor(json_object))


@app.command()
def evaluate(
    checkpoint: Annotated[
        str | None,
        typer.Argument(metavar="CHECKPOINT", help="A folder, a file, a run's folder or a Hub id. Left out: the shipped one."),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data", "-d", metavar="PATH", help="Stories to predict: files (may be repeated) or a folder of prepared data."
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option("--split", metavar="train|valid|all", help="Which stories. Left out: all of files, valid of prepared data."),
    ] = None,
    most: Annotated[int | None, typer.Option("--max-samples", metavar="N", help="Only the first N stories.", min=1)] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, hidden=True)] = None,
    stories: Annotated[
        bool, typer.Option("--stories", help="Write stories for fixed prompts and measure them. Takes a minute or two.")
    ] = False,
    count: Annotated[int, typer.Option("--count", "-n", metavar="N", help="Stories a preset with --stories.", min=1)] = 50,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            metavar="|".join((*SAMPLING_PRESETS, "recommended")),
            help="Write with these sampling values only; recommended: the checkpoint's own. Left out: each of the three presets.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", "-s", metavar="N", help="Of the first story; story i has seed + i.", min=0)] = 1,
    json_object: Annotated[bool, typer.Option("--json", help="One JSON object, with how each figure is measured.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Also write that object, and the stories, to FILE, whole or not at all."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it is there.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No notes and no progress on standard error.")] = False,
    device: Annotated[str | None, typer.Option("--device", metavar="NAME", help="cpu, cuda, mps ...")] = None,
    threads: Annotated[int | None, typer.Option("--threads", metavar="N", help="CPU threads.", min=1)] = None,
) -> None:
    """Measure a checkpoint: how well it predicts stories (--data), and how well it writes them (--stories)."""
    from tinytales_tui.evaluate_command import EvaluateOptions, run_evaluate

    options = EvaluateOptions(
        checkpoint=checkpoint,
        data=tuple(data or ()),
        split=split,
        most=most or limit,
        stories=stories,
        count=count,
        preset=preset,
        seed=seed,
        output=output,
        force=force,
        json=json_object,
        quiet=quiet,
        device=device,
        threads=threads,
    )
    raise typer.Exit(run_evaluate(options))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def train(
    context: typer.Context,
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            "-d",
            metavar="SOURCE",
            help="Prepared data, story files, folders, a Hub data set, or storybook; may be repeated.",
        ),
    ] = None,
    recipe: Annotated[str, typer.Option("--recipe", "-r", help="A recipe by name, or a TOML file.")] = "default",
    name: Annotated[str | None, typer.Option("--name", help="Name of the run. Left out: recipe and time.")] = None,
    start_from: Annotated[
        str | None,
        typer.Option("--from", metavar="CHECKPOINT", help="Fine-tune this checkpoint: a folder, a run, a Hub id, default."),
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; --KEY VALUE does the same.")
    ] = None,
    foreground: Annotated[
        bool, typer.Option("--foreground", "-f", help="Train here and show progress; Ctrl-C stops it.")
    ] = False,
    start: Annotated[bool, typer.Option("--start/--no-start", help="Only make the run, to be started with torchrun.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Measure a few steps and tell what the run would take.")] = False,
    recipes: Annotated[bool, typer.Option("--recipes", help="List the recipes.")] = False,
    settings: Annotated[bool, typer.Option("--settings", help="List all settings with the recipe's values.")] = False,
    json_object: Annotated[bool, typer.Option("--json", help="With --dry-run: one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No notes on standard error.")] = False,
) -> None:
    """Train a story model in the background, from a recipe; it goes on when the terminal closes.

    Every setting is an option too, such as --steps 500 or --learning-rate 1e-3 (train --settings lists them).
    """
    from tinytales_tui.train_command import TrainOptions, list_recipes, list_settings, run_train

    if recipes or settings:
        raise typer.Exit(list_recipes() if recipes else list_settings(recipe))
    options = TrainOptions(
        data=tuple(data or ()),
        recipe=recipe,
        name=name,
        start_from=start_from,
        changes=tuple(changes or ()),
        others=tuple(context.args),
        foreground=foreground,
        start=start,
        dry_run=dry_run,
        json=json_object,
        quiet=quiet,
    )
    raise typer.Exit(run_train(options))


def run(arguments: Sequence[str]) -> int:
    """Carry out a command line and return its exit code; nothing that goes wrong ends in a traceback."""
    return report(lambda: app(list(arguments), prog_name="tinytales-tui", standalone_mode=False))
