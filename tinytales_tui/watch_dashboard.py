"""`tinytales-tui watch` with its screen: the app, opened at its Train pane on the run or log that was named."""

from __future__ import annotations

import os
import sys
from dataclasses import replace

from engine.errors import UsageError
from tinytales_tui.options import AppOptions, WatchTarget
from tinytales_tui.output import note
from tinytales_tui.terminal import detect
from tinytales_tui.watch_command import WatchOptions, open_target, run_watch


def open_dashboard(options: WatchOptions) -> int:
    """Open the pane and come back when it is left; where there is no terminal to draw on, print the summary instead."""
    if options.timeout is not None:
        raise UsageError("--timeout belongs to --until; say what to wait for.")
    if not (sys.stdout.isatty() and (options.target == "-" or sys.stdin.isatty())):
        note("(no terminal to draw on, so this is the summary; --once prints it without this line)")
        return run_watch(replace(options, once=True))
    feeds = (open_target(options.target, options.columns),) if options.target is not None else ()
    if options.columns and not feeds:
        raise UsageError("--columns is for a log of another program; name its file.")
    if options.target == "-":
        _take_keys_from_the_terminal()
    if problem := detect().problem:
        raise UsageError(problem)
    from tinytales_tui.start import open_app

    return open_app(
        AppOptions(
            pane="train",
            watch=WatchTarget(feeds) if feeds else None,
            readonly=options.readonly,
            theme=options.theme,
            ascii=options.ascii,
            low_bandwidth=options.low_bandwidth,
            mouse=options.mouse,
        )
    )


def _take_keys_from_the_terminal() -> None:
    """Standard input was a pipe, which is read elsewhere by now; the keys come from the terminal itself."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR)
        os.dup2(terminal, 0)
        os.close(terminal)
    except OSError as error:
        raise UsageError(
            "There is no terminal to read keys from; --once prints a summary of what comes through the pipe."
        ) from error
