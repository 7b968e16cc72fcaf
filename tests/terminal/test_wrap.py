"""Word wrapping: nothing is lost, nothing is too wide, and growing gives what wrapping at once gives."""

from __future__ import annotations

import random

import pytest
from rich.cells import cell_len

from tinytales_tui.widgets.wrap import WrappedText


def shown(text: str, width: int) -> list[str]:
    wrapped = WrappedText(width)
    wrapped.set_text(text)
    return [text[line.start : line.end].rstrip() for line in wrapped.lines]


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("the cat sat", 7, ["the cat", "sat"]),
        ("the cat\n\nsat", 20, ["the cat", "", "sat"]),
        ("a" * 10, 4, ["aaaa", "aaaa", "aa"]),
        ("ab " + "c" * 6, 4, ["ab", "cccc", "cc"]),
        ("日本語の話", 4, ["日本", "語の", "話"]),
        ("end\n", 20, ["end", ""]),
        ("one  two", 4, ["one", "two"]),
    ],
)
def test_lines(text: str, width: int, lines: list[str]) -> None:
    assert shown(text, width) == lines


def test_growing_equals_wrapping_at_once() -> None:
    draw = random.Random(1)
    pieces = ["a", "bb", "ccc", " ", "  ", "\n", "日", "語", "é", "x" * 20, "."]
    for _ in range(500):
        width = draw.randint(2, 12)
        text = "".join(draw.choice(pieces) for _ in range(draw.randint(0, 30)))
        whole = WrappedText(width)
        whole.set_text(text)
        growing, position = WrappedText(width), 0
        while position < len(text):
            step = draw.randint(1, 5)
            before = list(growing.lines)
            first = growing.append(text[position : position + step])
            position += step
            assert before[:first] == growing.lines[:first]
        assert growing.lines == whole.lines, (text, width)
        words = [text[line.start : line.end] for line in whole.lines]
        assert all(cell_len(line.rstrip()) <= width for line in words)
        assert "".join("".join(words).split()) == "".join(text.split())


def test_line_at_finds_the_line_of_an_offset() -> None:
    wrapped = WrappedText(7)
    wrapped.set_text("the cat sat on the mat")
    for index, line in enumerate(wrapped.lines):
        assert wrapped.line_at(line.start) == index
        assert wrapped.line_at(max(line.end - 1, line.start)) == index
    assert WrappedText(7).line_at(3) == 0
