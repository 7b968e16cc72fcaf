"""A line of a log as a person reads it: control codes made visible and never obeyed, and how serious the line is.

Pure functions on bytes and text. Knows no file, no screen and no Textual. Whatever leaves `shown_text` is one line of plain text
whose characters can be counted in terminal cells one by one; callers must still never hand it to a markup parser.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from rich.cells import get_character_cell_size

from engine.run_view import log_line
from tinytales_tui.text import safe_text
from tinytales_tui.widgets.wrap import plain_cells

LEVELS = ("error", "warning", "info", "debug", "")
"""What `level_of` answers, the most serious first; empty where nothing is said."""


def _pictures(ascii: bool) -> dict[int, str]:
    """A visible likeness for every control code; the tab is left to `safe_text`."""
    table = {code: f"^{chr(code + 64)}" if ascii else chr(0x2400 + code) for code in range(0x20) if code != 0x09}
    table[0x7F] = "^?" if ascii else "␡"
    escape = table[0x1B]
    # A C1 control is short for ESC and a letter: that is how it is shown.
    table |= {code: escape + chr(code - 0x40) for code in range(0x80, 0xA0)}
    return table | {0x2028: " ", 0x2029: " "}


_PICTURES = {ascii: _pictures(ascii) for ascii in (False, True)}
_COLOUR = re.compile("(?:\x1b\\[|\x9b)[0-9;:]*m")

_LEVEL = re.compile(
    r"""
    (?P<error>
        \b(?:ERROR|CRITICAL|FATAL|SEVERE|PANIC)\b | \b(?:[Ee]rror|[Ff]atal)\b(?=\s*[:\]|]) | [\[(<](?:error|fatal|critical)\b
        | \b\w*(?:Error|Exception)(?=:|$|\() | \blevel["']?\s*[=:]\s*["']?(?:err|fatal|crit) | ^[EF]\d{4}\s
        | Traceback\ \(most\ recent | [Ss]egmentation\ fault | \(core\ dumped\)
    )
    | (?P<warning>
        \bWARN(?:ING)?\b | \b[Ww]arning\b(?=\s*[:\]|]) | [\[(<]warn(?:ing)?\b | \b\w+Warning(?=:|$|\()
        | \blevel["']?\s*[=:]\s*["']?warn | ^W\d{4}\s
    )
    | (?P<info> \b(?:INFO|NOTICE)\b | \b[Ii]nfo(?=:) | [\[(<](?:info|notice)\b | \blevel["']?\s*[=:]\s*["']?(?:info|notice) | ^I\d{4}\s )
    | (?P<debug> \b(?:DEBUG|TRACE)\b | \b[Dd]ebug(?=:) | [\[(<](?:debug|trace)\b | \blevel["']?\s*[=:]\s*["']?(?:debug|trace) )
    """,
    re.VERBOSE,
)
_READ = 2000
"""Characters of a line in which a word for its level is looked for."""
_SERIOUS = (b"error", b"critical", b"fatal", b"severe", b"panic", b"exception", b"traceback", b"segmentation", b"core dumped")
_SERIOUS_LEVEL = re.compile(rb"level[\"']?\s*[=:]\s*[\"']?(?:err|crit)|\n[ef]\d{4}\s")
_WARNED_LEVEL = re.compile(rb"\nw\d{4}\s")
_TRACEBACK = "Traceback (most recent call last)"


def shown_text(raw: bytes, *, codes: bool = False, ascii: bool = False) -> str:
    """One line of a log, without its newline, as text that is safe to show.

    Of a line that was drawn over itself with carriage returns, what was drawn last. Colour codes are left out, or shown like the
    other control codes with `codes`: an escape as `␛` (`^[` with `ascii`). A tab is four spaces, invisible direction marks go.
    """
    text = log_line(raw)
    if text.isascii() and text.isprintable():
        return text
    if not codes:
        text = _COLOUR.sub("", text)
    return plain_cells(safe_text(text.translate(_PICTURES[ascii])))


def level_of(text: str) -> str:
    """How serious a line says it is: the first word for a level in it decides. One of `LEVELS`."""
    found = _LEVEL.search(text, 0, _READ)
    return found.lastgroup or "" if found else ""


def levels(texts: Iterable[str]) -> list[str]:
    """The level of every line of a piece of a log; all lines of a Python traceback are errors, up to and with the exception."""
    found: list[str] = []
    prefix: str | None = None
    for text in texts:
        level = level_of(text)
        at = text.find(_TRACEBACK, 0, _READ)
        if at >= 0:
            prefix, level = text[:at], "error"
        elif prefix is not None:
            # Launchers of many processes put the same words, like [rank0]:, before every line.
            body = text[len(prefix) :] if text.startswith(prefix) else text
            level = "error" if body.strip() else level
            if not body.startswith(" "):
                prefix = None
        found.append(level)
    return found


def may_hold_level(data: bytes, warnings: bool) -> bool:
    """Whether a piece of a log may hold an error (or, with `warnings`, a warning): a quick look that is never wrong with no."""
    low = b"\n" + data.lower()
    if any(word in low for word in _SERIOUS) or _SERIOUS_LEVEL.search(low):
        return True
    return warnings and (b"warn" in low or _WARNED_LEVEL.search(low) is not None)


def cut_cells(text: str, left: int, width: int) -> tuple[int, int, int]:
    """What of `text` stands in `width` cells from cell `left` on: (begin, end, blanks before it).

    A character two cells wide that the left edge cuts in half becomes a blank; one at the right edge is left out.
    """
    if text.isascii():
        return min(left, len(text)), min(left + width, len(text)), 0
    used = begin = 0
    while begin < len(text) and used < left:
        used += get_character_cell_size(text[begin])
        begin += 1
    blanks = min(max(used - left, 0), width)
    end, used = begin, blanks
    while end < len(text) and (used := used + get_character_cell_size(text[end])) <= width:
        end += 1
    return begin, end, blanks


def wrap_cells(text: str, width: int) -> list[int]:
    """Where the rows of `text` begin when every row is filled to `width` cells; blanks and indentation are kept."""
    width = max(width, 2)
    if text.isascii():
        return list(range(0, len(text), width)) or [0]
    starts, used = [0], 0
    for at, letter in enumerate(text):
        cells = get_character_cell_size(letter)
        if used + cells > width:
            starts.append(at)
            used = 0
        used += cells
    return starts
