"""Opening the app as fast as it can be: prepares what Textual reads when it is imported, then runs it."""

from __future__ import annotations

import gc

from tinytales_tui.options import AppOptions


def open_app(options: AppOptions) -> int:
    """Run the app until the person leaves it; returns the exit code."""
    gc.disable()  # 50 ms of the start are collections of what lives on anyway; the app switches it on after its first picture
    from tinytales_tui import settings, terminal

    terminal.prepare_environment(settings.looks(options).low_bandwidth)
    from tinytales_tui.app import run_app

    return run_app(options)
