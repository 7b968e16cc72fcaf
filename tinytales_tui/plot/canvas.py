"""The cells of a drawing: layers of dots become braille letters, each cell in the style of the topmost layer that touches it."""

from __future__ import annotations

import numpy as np

_WEIGHTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]], dtype=np.uint8)
"""Braille bits by row and column of a cell."""
BLANK = 0
"""The style of a cell that nothing touches."""


class Canvas:
    """`height` x `width` cells. Styles are small numbers that the caller gives a meaning."""

    def __init__(self, width: int, height: int, ascii: bool) -> None:
        self.width, self.height, self.ascii = width, height, ascii
        self.across, self.down = (1, 1) if ascii else (2, 4)
        """Dots a cell."""
        self._letters = np.full((height, width), ord(" "), dtype="<u4")
        self._styles = np.zeros((height, width), dtype=np.int16)

    @property
    def dots(self) -> tuple[int, int]:
        """Columns and rows of dots."""
        return self.width * self.across, self.height * self.down

    def paint(self, mask: np.ndarray, style: int, letter: str) -> None:
        """Dots, bool of shape (rows of dots, columns of dots), in place of what the touched cells held; `letter` draws them in ASCII."""
        if self.ascii:
            touched, letters = mask, np.uint32(ord(letter))
        else:
            cells = mask.reshape(self.height, 4, self.width, 2)
            bits = (cells * _WEIGHTS[None, :, None, :]).sum(axis=(1, 3), dtype=np.uint32)
            touched, letters = bits > 0, (bits + 0x2800)[bits > 0]
        self._letters[touched] = letters
        self._styles[touched] = style

    def put(self, column: int, row: int, letter: str, style: int) -> None:
        """One cell; outside is left out."""
        if 0 <= column < self.width and 0 <= row < self.height:
            self._letters[row, column] = ord(letter)
            self._styles[row, column] = style

    def rule(self, column: int, letter: str, style: int) -> None:
        """A line from top to bottom through the cells that are empty, and behind the others."""
        if 0 <= column < self.width:
            empty = self._letters[:, column] == ord(" ")
            self._letters[empty, column] = ord(letter)
            self._styles[empty, column] = style

    def row(self, row: int) -> list[tuple[str, int]]:
        """A row as pieces of one style each."""
        text = self._letters[row].tobytes().decode("utf-32-le")
        styles = self._styles[row]
        ends = [*(np.flatnonzero(styles[1:] != styles[:-1]) + 1).tolist(), len(text)]
        pieces, start = [], 0
        for end in ends:
            pieces.append((text[start:end], int(styles[start])))
            start = end
        return pieces


def line_mask(rows: np.ndarray, height: int) -> np.ndarray:
    """Dots of a line through one row a column (float, 0 at the top; NaN for none), bool of shape (height, columns).

    Neighbours meet half way, so that the line has no holes.
    """
    before, after = np.roll(rows, 1), np.roll(rows, -1)
    before[0], after[-1] = np.nan, np.nan
    middles = (rows + before) / 2, (rows + after) / 2
    top = np.fmin(np.fmin(middles[0], middles[1]), rows)
    bottom = np.fmax(np.fmax(middles[0], middles[1]), rows)
    return band_mask(top, bottom, height)


def band_mask(top: np.ndarray, bottom: np.ndarray, height: int) -> np.ndarray:
    """Dots from row `top` down to row `bottom` of each column, bool of shape (height, columns); NaN: none."""
    at = np.arange(height)[:, None]
    with np.errstate(invalid="ignore"):
        top, bottom = np.rint(top), np.rint(bottom)
        return (at >= top[None, :]) & (at <= bottom[None, :])


def bridge(rows: np.ndarray, broken: np.ndarray) -> np.ndarray:
    """`rows` with its gaps drawn straight from neighbour to neighbour, but for gaps that hold a broken column."""
    known = np.flatnonzero(~np.isnan(rows))
    if len(known) < 2:
        return rows
    columns = np.arange(known[0], known[-1] + 1)
    filled = rows.copy()
    filled[columns] = np.interp(columns, known, rows[known])
    if broken.any():
        breaks = np.cumsum(broken & np.isnan(rows))
        left = known[np.searchsorted(known, columns, "right") - 1]
        right = known[np.minimum(np.searchsorted(known, columns, "left"), len(known) - 1)]
        gap = breaks[right] > breaks[left]
        filled[columns[gap & np.isnan(rows[columns])]] = np.nan
    return filled
