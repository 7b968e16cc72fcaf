"""`tinytales-tui watch …`: what can be typed. What it does without the screen is in `watch_command`. No Textual, no torch."""

from __future__ import annotations

from typing import Annotated

import typer

from engine.errors import UsageError
from tinytales_tui import screen_options
from tinytales_tui.runs_commands import _names

_HEADLESS = "Without the screen"


def watch(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN|PATH",
            help="A run's name, its folder, a log of another program, or - for standard input. Left out: the run that is being "
            "trained, else the newest.",
            autocompletion=_names,
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Print a summary and end.", rich_help_panel=_HEADLESS)] = False,
    json_object: Annotated[
        bool, typer.Option("--json", help="Print one JSON object with all that is known and end.", rich_help_panel=_HEADLESS)
    ] = False,
    until: Annotated[
        str | None,
        typer.Option(
            "--until",
            metavar="finished|failed|stale|step:N",
            help="Wait for that: exit code 0 when it comes, 1 when it cannot come any more. With --once or --json, print then.",
            rich_help_panel=_HEADLESS,
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", metavar="SECONDS", help="Wait no longer (exit code 1).", min=0, rich_help_panel=_HEADLESS),
    ] = None,
    rules: Annotated[
        bool, typer.Option("--rules", help="List the rules that verdicts are made by, and end.", rich_help_panel=_HEADLESS)
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No notes on standard error while waiting.", rich_help_panel=_HEADLESS)
    ] = False,
    columns: Annotated[
        str | None,
        typer.Option("--columns", metavar="step=A,loss=B", help="Which columns of a log of another program are what."),
    ] = None,
    readonly: Annotated[
        bool, typer.Option("--readonly", help="Offer nothing that changes a run.", rich_help_panel=screen_options.PANEL)
    ] = False,
    theme: screen_options.Theme = None,
    ascii_only: screen_options.Ascii = None,
    low_bandwidth: screen_options.LowBandwidth = None,
    mouse: screen_options.Mouse = True,
) -> None:
    """Watch a training run, or the log of another training program; --once and --json look once, --until waits."""
    if rules:
        from tinytales_tui.watch_report import put_rules

        put_rules()
        raise typer.Exit
    from tinytales_tui.watch_command import WatchOptions, run_watch

    options = WatchOptions(
        target=target,
        once=once,
        json=json_object,
        until=until,
        timeout=timeout,
        columns=columns,
        quiet=quiet,
        readonly=readonly,
        theme=theme,
        ascii=ascii_only,
        low_bandwidth=low_bandwidth,
        mouse=mouse,
    )
    of_screen = {
        "--theme": theme,
        "--low-bandwidth": low_bandwidth,
        "--no-mouse": None if mouse else False,
    }
    if options.headless and (unused := [name for name, value in of_screen.items() if value is not None]):
        raise UsageError(f"{unused[0]} belongs to the screen and has no meaning beside --once, --json and --until.")
    if not options.headless:
        from tinytales_tui.watch_dashboard import open_dashboard

        raise typer.Exit(open_dashboard(options))
    raise typer.Exit(run_watch(options))
