"""Copying text out of a terminal program, and saying truthfully what became of it. Knows no Textual.

Inside tmux its own buffer is the sure way (tmux drops the escape sequence that others use, unless it was told not to). On a local
desktop the system's own tool answers for itself. Elsewhere the OSC 52 escape sequence asks the terminal, which never says whether
it obeyed. Whatever happens, the text also lies in a file.
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

from engine import files
from tinytales_tui import paths

OSC52_LIMIT = 74_000
"""Bytes of base64 that common terminals take in one OSC 52 sequence; beyond it they drop the whole."""


@dataclass(frozen=True)
class CopyResult:
    """What became of a copy, and the sentence that says so."""

    way: str
    """`tmux`, `tmux-only`, `system`, `osc52`, `file` or `nowhere`."""
    message: str

    @property
    def ok(self) -> bool:
        return self.way != "nowhere"


def copy(text: str, write_to_terminal: Callable[[str], None]) -> CopyResult:
    """Copy `text` by the best way there is here; `write_to_terminal` sends an escape sequence past the screen."""
    kept = _keep(text)
    also = f" It is also in {kept}." if kept else ""
    if os.environ.get("TMUX"):
        if _run(["tmux", "load-buffer", "-w", "-"], text):
            return CopyResult("tmux", f"Copied to tmux (paste: prefix, then ]) and handed on to your terminal's clipboard.{also}")
        if _run(["tmux", "load-buffer", "-"], text):
            return CopyResult("tmux-only", f"Copied to tmux's own buffer (paste: prefix, then ]).{also}")
    tool = _system_tool()
    if tool and _run(tool, text):
        return CopyResult("system", "Copied to the clipboard.")
    sequence = base64.b64encode(text.encode("utf-8", "replace")).decode("ascii")
    if len(sequence) <= OSC52_LIMIT:
        write_to_terminal(f"\x1b]52;c;{sequence}\a")
        return CopyResult("osc52", f"Sent to your terminal's clipboard, if it takes copies from programs.{also}")
    if kept:
        return CopyResult("file", f"Too long for your terminal's clipboard, so it was written to {kept}.")
    return CopyResult("nowhere", "Too long for your terminal's clipboard, and it could not be written to a file either.")


def _keep(text: str) -> str | None:
    path = paths.last_copy_file()
    try:
        paths.ensure(path.parent)
        files.write_text(path, text)
    except OSError:
        return None
    return paths.shown(path)


def _system_tool() -> list[str] | None:
    """The desktop's own copy command, where this process runs on that desktop."""
    if any(os.environ.get(key) for key in ("SSH_CONNECTION", "SSH_TTY", "SSH_CLIENT")):
        return None
    tools: list[list[str]] = []
    if sys.platform == "darwin":
        tools = [["pbcopy"]]
    elif sys.platform == "win32":
        tools = [["clip"]]
    elif os.environ.get("WAYLAND_DISPLAY"):
        tools = [["wl-copy"]]
    elif os.environ.get("DISPLAY"):
        tools = [["xclip", "-selection", "clipboard"], ["xsel", "--clipboard", "--input"]]
    return next((tool for tool in tools if shutil.which(tool[0])), None)


def _run(command: list[str], text: str) -> bool:
    try:
        result = subprocess.run(
            command,
            input=text.encode("utf-16" if command == ["clip"] else "utf-8", "replace"),
            stdout=subprocess.DEVNULL,  # xclip stays behind and would hold a pipe open
            stderr=subprocess.DEVNULL,
            timeout=3,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return result.returncode == 0
