"""Asking a person at the terminal before something is done. Knows no Textual."""

from __future__ import annotations

import sys

from engine.errors import UsageError
from tinytales_tui.text import one_line


def agreed(question: str) -> bool:
    """Whether a person types y; `UsageError` where nobody is there to be asked."""
    if sys.stdin is None or not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError("Nobody is there to be asked; say --yes to do it without asking.")
    sys.stderr.write(f"{one_line(question, 500)} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
