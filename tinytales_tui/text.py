"""Making text from a model safe to show: nothing in it may steer a terminal or hide itself from the reader.

Letters, punctuation, emoji and newlines stay; control codes go. It knows no Textual and no markup: callers must still never hand
model text to a markup parser.
"""

from __future__ import annotations

import re


def _table() -> dict[int, str | None]:
    removed = [
        range(0x0A),  # C0 controls before the newline (the tab is put back below)
        range(0x0B, 0x20),  # C0 controls after it: ESC, carriage return, form feed ...
        range(0x7F, 0xA0),  # DEL and the C1 controls, which some terminals obey like ESC sequences
        [0xAD, 0x061C, 0x180E, 0xFEFF],  # soft hyphen, Arabic letter mark, Mongolian separator, byte-order mark
        [0x200B, 0x200E, 0x200F],  # zero-width space and direction marks
        range(0x202A, 0x202F),  # bidirectional embeddings and overrides: they can make text read other than it is
        range(0x2060, 0x2070),  # word joiner, invisible operators, bidirectional isolates
        range(0xFFF9, 0xFFFC),  # interlinear annotation
        range(0xE0000, 0xE0080),  # invisible tag characters
    ]
    table: dict[int, str | None] = {code: None for codes in removed for code in codes}
    table[0x09] = "    "
    table[0x2028] = table[0x2029] = "\n"
    return table


_TABLE = _table()
_SAME_LENGTH = {code: "\ufffd" if put is None else put[0] for code, put in _TABLE.items()} | dict.fromkeys(
    (0x200D, 0xFE0E, 0xFE0F), "·"
)
_SURROGATE = re.compile("[\ud800-\udfff]")


def safe_text(text: str) -> str:
    """`text` without terminal control codes and invisible direction tricks; works piecewise on a stream.

    Newlines stay, a tab becomes four spaces, half a surrogate pair becomes U+FFFD. What stood after an ESC stays as the plain
    letters it is, so the reader sees that something odd was there.
    """
    if text.isascii() and text.isprintable():
        return text
    return _SURROGATE.sub("\ufffd", text.translate(_TABLE))


def same_length(text: str) -> str:
    """As `safe_text`, but with one sign for each, so that a place in what is shown is the same place in the text itself.

    What could steer the terminal is shown as U+FFFD, a joiner, which takes no cell of its own, as a middle dot.
    """
    if text.isascii() and text.isprintable():
        return text
    return _SURROGATE.sub("\ufffd", text.translate(_SAME_LENGTH))


def one_line(text: str, width: int) -> str:
    """`text` on one line, shortened with an ellipsis to at most `width` characters."""
    line = " ".join(safe_text(text).split())
    return line if len(line) <= width else line[: max(width - 1, 0)].rstrip() + "…"


def both_ends(text: str, width: int) -> str:
    """As `one_line`, but shortened in the middle: names of models differ at their ends."""
    line = " ".join(safe_text(text).split())
    if len(line) <= width or width < 8:
        return one_line(line, width)
    head = (width - 1) * 2 // 5
    return f"{line[:head]}…{line[len(line) - (width - 1 - head) :]}"
