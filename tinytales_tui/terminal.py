"""What the terminal can do, found out without drawing anything: size, colours, Unicode, tmux, SSH. Knows no Textual.

`prepare_environment` sets what Textual reads from the environment when it is imported, so it must be called before that.
"""

from __future__ import annotations

import codecs
import dataclasses
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Colours = Literal["none", "16", "256", "truecolor"]
SMALLEST = (40, 12)
"""Columns and rows below which the app still runs but is cramped."""


@dataclass(frozen=True)
class Terminal:
    """Facts about the terminal that this process talks to."""

    name: str
    """`$TERM`."""
    columns: int
    rows: int
    interactive: bool
    """Both standard input and standard output are a terminal."""
    colours: Colours
    no_color: bool
    """`$NO_COLOR` is set to something."""
    unicode: bool
    """The locale's encoding is UTF-8."""
    tmux: bool
    ssh: bool

    @property
    def dumb(self) -> bool:
        """The terminal cannot move its cursor, so no full-screen program runs in it."""
        return self.name in ("dumb", "unknown")

    @property
    def problem(self) -> str | None:
        """Why the app cannot run here, in one sentence; None if it can."""
        if not self.interactive:
            return "The app needs a terminal on standard input and output; use --prompt to write a story without one."
        if self.dumb:
            return f"This terminal (TERM={self.name}) cannot show the app; use --prompt to write a story without it."
        return None

    def describe(self) -> dict[str, Any]:
        """The facts as plain JSON values, `dumb` and `problem` included."""
        return dataclasses.asdict(self) | {"dumb": self.dumb, "problem": self.problem}


def detect(environ: Mapping[str, str] | None = None) -> Terminal:
    """Look at the environment (this process's own unless another is given) and at the standard streams."""
    env = os.environ if environ is None else environ
    size = shutil.get_terminal_size()
    name = env.get("TERM", "") or ("windows" if sys.platform == "win32" else "unknown")
    return Terminal(
        name=name,
        columns=size.columns,
        rows=size.lines,
        interactive=_is_terminal(sys.__stdin__) and _is_terminal(sys.__stdout__),
        colours=_colours(env, name),
        no_color=bool(env.get("NO_COLOR")),
        unicode=_unicode(env),
        tmux=bool(env.get("TMUX")),
        ssh=any(env.get(key) for key in ("SSH_CONNECTION", "SSH_TTY", "SSH_CLIENT")),
    )


def prepare_environment(low_bandwidth: bool) -> None:
    """Tell Textual how much to draw, before it is imported; what a person set in the environment stays as it is."""
    if low_bandwidth:
        os.environ.setdefault("TEXTUAL_FPS", "15")
        os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
        os.environ.setdefault("TEXTUAL_SMOOTH_SCROLL", "0")
    else:
        os.environ.setdefault("TEXTUAL_ANIMATIONS", "basic")
    if "NO_COLOR" in os.environ and not os.environ["NO_COLOR"]:
        del os.environ["NO_COLOR"]  # set but empty means nothing by its own convention, and Textual would take it for a yes


def _is_terminal(stream: Any) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def _colours(env: Mapping[str, str], name: str) -> Colours:
    if env.get("NO_COLOR") or name in ("dumb", "unknown"):
        return "none"
    if env.get("COLORTERM", "").lower() in ("truecolor", "24bit") or "direct" in name or name == "windows":
        return "truecolor"
    if "256color" in name:
        return "256"
    return "16"


def _unicode(env: Mapping[str, str]) -> bool:
    locale = env.get("LC_ALL") or env.get("LC_CTYPE") or env.get("LANG") or ""
    if "." in locale:
        return _is_utf8(locale.partition(".")[2].partition("@")[0])
    if locale in ("C", "POSIX"):
        return False
    if locale:
        return True  # a language without an encoding: every current system means UTF-8
    return _is_utf8(getattr(sys.__stdout__, "encoding", None) or "ascii")


def _is_utf8(encoding: str) -> bool:
    try:
        return codecs.lookup(encoding).name == "utf-8"
    except LookupError:
        return False
