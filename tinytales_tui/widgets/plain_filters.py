"""Last doors before the terminal for people whose terminals show less: ASCII only, and no colour at all."""

from __future__ import annotations

import unicodedata

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

_DRAWN = {
    "─━═╌╍┄┅▁▔▂▃": "-",
    "‖": "=",
    "⏎↵": "<",
    "│┃║▏▎▍▌▐▕╎┆": "|",
    "┌┐└┘├┤┬┴┼╭╮╰╯╔╗╚╝╠╣╦╩╬┏┓┗┛▖▗▘▝▛▜▙▟": "+",
    "█▓▒░▄▀▊▋▉▅▆▇": "#",
    "●■▪•◆◉⬤★": "*",
    "○□▫◦◇": "o",
    "▸▶›»→": ">",
    "◂◀‹«←": "<",
    "▲↑⭘": "^",
    "▼↓": "v",
    "–—‒―−": "-",
    "‘’‚‛′": "'",
    "“”„‟″": '"',
    "…": ".",
    "·": ".",
    "\u00a0": " ",
    "✓✔": "+",
    "✕✖×": "x",
}
_TABLE = {ord(letter): plain for letters, plain in _DRAWN.items() for letter in letters}


def to_ascii(text: str) -> str:
    """`text` in ASCII, as many cells wide as before: accents are dropped, what has no likeness becomes question marks."""
    if text.isascii():
        return text
    out = []
    for letter in text.translate(_TABLE):
        if letter.isascii():
            out.append(letter)
            continue
        plain = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
        width = cell_len(letter)
        out.append(plain if len(plain) == width and plain else "?" * width)
    return "".join(out)


class AsciiFilter(LineFilter):
    """Whatever was going to be drawn, in ASCII."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [Segment(to_ascii(text), style, control) for text, style, control in segments]
