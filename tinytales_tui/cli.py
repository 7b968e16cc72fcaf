"""The command line: what can be typed after `tinytales-tui`, and the exit codes.

0 done, 1 failed, 2 wrong usage, 3 worth trying again (network), 130 interrupted. Every failure is one sentence on standard error.
Imports neither Textual nor torch by itself: each command imports what it needs, so `--prompt` never pays for the app.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from engine.checkpoints.choices import Choices
from engine.errors import UsageError
from engine.settings import SAMPLING_PRESETS
from engine.version import __version__
from tinytales_tui import screen_options, story_options
from tinytales_tui.bench_command import bench
from tinytales_tui.checkpoints_commands import app as checkpoints_app
from tinytales_tui.data_commands import data_app
from tinytales_tui.report import report
from tinytales_tui.runs_commands import app as runs_app
from tinytales_tui.stories_commands import app as stories_app
from tinytales_tui.warm_command import app as warm_app
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
app.add_typer(checkpoints_app)
app.add_typer(stories_app)
app.add_typer(warm_app)
app.command()(watch)
app.command()(bench)

_CHOICES = {"--prompt-style", "--tokenizer", "--end-id", "--begin-id"}
_ENGINE_OPTIONS = {"--checkpoint", "--device", "--precision", "--threads", "--step", "--warm"} | _CHOICES
_APP_OPTIONS = _ENGINE_OPTIONS | {"--engine", "--theme", "--ascii", "--low-bandwidth", "--mouse"}


def _given(context: typer.Context) -> list[str]:
    """The options that stand on the command line, by their long names, in the order of the help."""
    long_names = {parameter.name: max(parameter.opts, key=len) for parameter in context.command.params if parameter.name}
    sources = {name: context.get_parameter_source(name) for name in long_names}
    return [option for name, option in long_names.items() if getattr(sources[name], "name", "") == "COMMANDLINE"]


@app.callback(invoke_without_command=True)
def start(
    context: typer.Context,
    prompt: story_options.Prompt = None,
    ending: story_options.Ending = None,
    raw: story_options.Raw = False,
    count: story_options.Count = 1,
    words: story_options.Words = None,
    feature: story_options.Feature = None,
    sentence: story_options.Sentence = None,
    checkpoint: story_options.Checkpoint = None,
    preset: story_options.Preset = None,
    temperature: story_options.Temperature = None,
    top_k: story_options.TopK = None,
    top_p: story_options.TopP = None,
    min_p: story_options.MinP = None,
    repetition_penalty: story_options.RepetitionPenalty = None,
    no_repeat_ngram: story_options.NoRepeatNgram = None,
    max_tokens: story_options.MaxTokens = None,
    min_tokens: story_options.MinTokens = None,
    seed: story_options.Seed = None,
    ban: story_options.Ban = None,
    favour: story_options.Favour = None,
    must_mention: story_options.MustMention = None,
    favour_strength: story_options.FavourStrength = None,
    stop: story_options.Stop = None,
    stop_loops: story_options.StopLoops = None,
    tidy: story_options.Tidy = False,
    json_lines: story_options.JsonLines = False,
    output: story_options.Output = None,
    quiet: story_options.Quiet = False,
    device: story_options.Device = None,
    precision: story_options.Precision = "auto",
    threads: story_options.Threads = None,
    engine: story_options.Engine = None,
    step: story_options.Step = None,
    warm: story_options.Warm = True,
    prompt_style: story_options.PromptStyle = None,
    tokenizer: story_options.Tokenizer = None,
    end_id: story_options.EndId = None,
    begin_id: story_options.BeginId = None,
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
    choices = Choices(prompt_style, tokenizer, None if end_id is None else tuple(end_id), begin_id)  # type: ignore[arg-type]
    if prompt is None:
        if alone := [option for option in given if option not in _APP_OPTIONS]:
            raise UsageError(f"{alone[0]} belongs to --prompt; say what the story is about, as in --prompt 'a brave knight'.")
        _open_app(checkpoint, choices, step, warm, device, precision, threads, engine, theme, ascii_only, low_bandwidth, mouse)
        return
    if unused := [option for option in given if option in _APP_OPTIONS - _ENGINE_OPTIONS]:
        raise UsageError(f"{unused[0]} belongs to the app and has no meaning beside --prompt.")
    from tinytales_tui.batch import BatchOptions, run_batch

    changes = {
        "temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p, "repetition_penalty": repetition_penalty,
        "no_repeat_ngram": no_repeat_ngram, "max_tokens": max_tokens, "min_tokens": min_tokens, "seed": seed, "stop_loops": stop_loops,
        "banned_words": tuple(ban) if ban else None, "stop": tuple(stop) if stop else None,
        "favoured_words": tuple(favour) if favour else None, "must_mention": tuple(must_mention) if must_mention else None,
        "favour": favour_strength,
    }  # fmt: skip
    if raw and ending not in (None, "none"):
        raise UsageError("--raw asks for no ending, so it cannot stand beside --ending.")
    options = BatchOptions(
        prompt=prompt,
        words=words or "",
        features=", ".join(feature or ()),
        sentence=sentence or "",
        choices=choices,
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
        step=step,
        warm=warm,
    )
    raise typer.Exit(run_batch(options))


def _open_app(
    checkpoint: str | None,
    choices: Choices,
    step: str | None,
    warm: bool,
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
        choices=choices,
        step=step,
        warm=warm,
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
