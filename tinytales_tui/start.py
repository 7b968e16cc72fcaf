"""Opening the app: prepares the environment that Textual reads at import, then runs it. Imports Textual only inside."""

from __future__ import annotations

from tinytales_tui import settings, terminal
from tinytales_tui.options import AppOptions


def open_app(options: AppOptions) -> int:
    """Run the app until the person leaves it; returns the exit code."""
    terminal.prepare_environment(settings.looks(options).low_bandwidth)
    from tinytales_tui.app import run_app

    return run_app(options)
