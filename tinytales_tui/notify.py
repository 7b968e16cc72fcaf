"""What to write to the terminal so that it rings, or shows a notification of the desktop. Knows no Textual and writes nothing itself.

A notification is the escape sequence OSC 9 with a text, which iTerm2 brought up. These show it, and are known by what they set in the
environment: iTerm2, WezTerm, Ghostty, kitty, foot and Warp. ConEmu, Windows Terminal and mintty take OSC 9 for commands of their own
(`9;4;...` is a progress bar), and most others drop it, so all of these are left alone unless a person switches notifications on.
Inside tmux the sequence is wrapped so that tmux passes it on (it does only with `allow-passthrough on`), and which terminal is
outside is not known; GNU screen has no safe way through, so nothing is sent there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Protocol

from tinytales_tui.text import one_line

LONGEST = 200
"""Characters of a notification."""
_PROGRAMS = {"iTerm.app", "WezTerm", "ghostty", "WarpTerminal"}
"""Values of TERM_PROGRAM."""
_TERMS = ("xterm-kitty", "xterm-ghostty", "wezterm", "foot")
"""Beginnings of TERM, which also comes through SSH."""


class NotifySettings(Protocol):
    """What is read of the app's settings."""

    @property
    def alert_bell(self) -> bool: ...
    @property
    def alert_notification(self) -> str: ...


def bell() -> str:
    """What makes a terminal ring, flash or mark its tab, as its owner has set it."""
    return "\a"


def osc9(words: str, environ: Mapping[str, str] | None = None) -> str:
    """The sequence that asks the terminal for a notification; empty where nothing may be sent, or there is nothing to say.

    `words` come from files too: control codes are taken out, and a text that begins like a command gets a word before it.
    """
    env = os.environ if environ is None else environ
    text = one_line(words, LONGEST)
    if re.match(r"\d+\s*(;|$)", text):
        text = one_line(f"tinytales: {text}", LONGEST)
    if not text or _in_screen(env):
        return ""
    sequence = f"\x1b]9;{text}\a"
    if env.get("TMUX"):
        doubled = sequence.replace("\x1b", "\x1b\x1b")
        return f"\x1bPtmux;{doubled}\x1b\\"
    return sequence


def supports_osc9(environ: Mapping[str, str] | None = None) -> bool:
    """Whether the terminal is known to show notifications. False inside tmux and screen, where it is not known which one it is."""
    env = os.environ if environ is None else environ
    if env.get("TMUX") or _in_screen(env):
        return False
    return (
        env.get("TERM_PROGRAM", "") in _PROGRAMS
        or env.get("LC_TERMINAL") == "iTerm2"  # SSH often passes it on
        or bool(env.get("KITTY_WINDOW_ID"))
        or env.get("TERM", "").startswith(_TERMS)
    )


def sequence(words: str, settings: NotifySettings, environ: Mapping[str, str] | None = None) -> str:
    """All that is to be written to the terminal for one alert, as the settings have it; may be empty."""
    wanted = settings.alert_notification
    shown = wanted == "on" or (wanted == "auto" and supports_osc9(environ))
    return (osc9(f"tinytales: {words}", environ) if shown and words.strip() else "") + (bell() if settings.alert_bell else "")


def advice(settings: NotifySettings, environ: Mapping[str, str] | None = None) -> str:
    """One sentence: what becomes of a notification here."""
    env = os.environ if environ is None else environ
    if settings.alert_notification == "off":
        return "No notifications are sent to the terminal."
    if _in_screen(env):
        return "GNU screen does not pass notifications on."
    if env.get("TMUX"):
        if settings.alert_notification == "auto":
            return "Inside tmux none are sent by themselves; choose on, and in tmux: set -g allow-passthrough on"
        return "tmux passes them on only with: set -g allow-passthrough on"
    if supports_osc9(env):
        return "This terminal is known to show notifications."
    if settings.alert_notification == "auto":
        return "This terminal is not known to show notifications; choose on to try."
    return "Sent, though this terminal is not known to show them."


def _in_screen(env: Mapping[str, str]) -> bool:
    return bool(env.get("STY")) or (env.get("TERM", "").startswith("screen") and not env.get("TMUX"))
