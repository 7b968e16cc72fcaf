"""Writing to the standard streams: stories and JSON on standard output, narration on standard error. Knows no Textual."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from typing import Any

from tinytales_tui.text import safe_text

_HIDDEN = re.compile("[\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")


def note(line: str) -> None:
    """A line of narration; where nobody can hear it any more, the work goes on without."""
    with contextlib.suppress(OSError):
        print(safe_text(line), file=sys.stderr, flush=True)


def put(line: str) -> None:
    """A line of data, safe to show; a character that the locale cannot say becomes a question mark."""
    line = safe_text(line)
    print(line.encode(sys.stdout.encoding or "utf-8", "replace").decode(sys.stdout.encoding or "utf-8"))


def quiet(line: str) -> None:
    """In place of `note` where a person wants none."""


def json_line(data: Any) -> str:
    """One line of JSON in which everything that could steer a terminal is escaped."""
    line = json.dumps(data, ensure_ascii=False)
    return _HIDDEN.sub(lambda match: f"\\u{ord(match[0]):04x}", line) + "\n"


def drop_output() -> None:
    """Let nothing more be flushed into a closed pipe or a full disk when the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
