"""Model cards are text from outside: nothing in them steers the terminal, and none takes long however it is made."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tinytales_tui.checkpoints.card import LIMIT, parse_card, read_card
from tinytales_tui.checkpoints.page import wrap


def text_of(card: str) -> str:
    return "\n".join(text for _, text in parse_card(card).lines)


def test_headings_lists_tables_and_paragraphs() -> None:
    card = parse_card("# One\nfirst\nline\n\nTwo\n---\n- a\n- b\n  more\n\n| x | y |\n|---|--:|\n| 1 | 22 |\n\n> said\n")
    assert card.lines == (
        ("heading", "One"), ("text", "first line"), ("text", ""), ("heading", "Two"), ("text", "• a"), ("text", "• b more"),
        ("text", ""), ("code", "x  y"), ("code", "1  22"), ("text", ""), ("text", "said"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("[words](https://example.org/a 'title')", "words (https://example.org/a)"),
        ("[x](javascript:alert(1))", "x (javascript:alert(1))"),
        ("![a boat](boat.png)", "[picture: a boat]"),
        ('<img src="b.png" alt="a boat">', "[picture: a boat]"),
        ("<img onerror=steal()>", "[picture]"),
        ("<https://example.org>", "https://example.org"),
        ("**bold** and *leaning* and `code`", "bold and leaning and code"),
        ("2 < 3 > 1, a*b*c, snake_case_name", "2 < 3 > 1, a*b*c, snake_case_name"),
        ("a<script>alert('x')</script>b<style>p {}</style>c", "abc"),
        ("<!-- hidden -->seen<!-- never closed", "seen"),
        ("<b>A</b>&amp;&lt;b&gt;", "A&<b>"),
        ("[red]plain[/red]", "[red]plain[/red]"),
        ("a\x1b[31mb\x07&#27;]0;title&#7;\u202ec&#x202e;", "a[31mb]0;titlec"),
    ],
)
def test_what_is_shown_of_what_is_written(written: str, shown: str) -> None:
    assert text_of(written) == shown


def test_code_is_kept_as_it_is_without_control_codes() -> None:
    card = parse_card("```python\nx = '<b>' # **y**\n\x1b[2J\n```\nafter")
    assert ("code", "    x = '<b>' # **y**") in card.lines
    assert ("code", "    [2J") in card.lines
    assert card.lines[-1] == ("text", "after")


@pytest.mark.parametrize(
    ("front", "licence"),
    [
        ("license: mit", "mit"),
        ("license: [mit, apache-2.0]", "mit, apache-2.0"),
        ("license: !!python/object/apply:os.system ['true']", ""),
        ("a: &a [x]\nb: [*a, *a]\nlicense: gpl", "gpl"),
        ("a: &a {x: 1}\nb: {<<: *a}\nlicense: mit", ""),  # merged keys can grow without end
        ("[" * 5000, ""),
        ("license: {a: b}", ""),
        ("license: mi\x1b[31mt", "mi[31mt"),
    ],
)
def test_the_front_matter_gives_the_licence_and_nothing_else(front: str, licence: str) -> None:
    card = parse_card(f"---\n{front}\n---\nbody\n")
    assert card.licence == licence
    assert card.lines == (("text", "body"),)


@pytest.mark.parametrize(
    "piece",
    [
        "[",
        "[a](",
        "![",
        "<",
        "<!--",
        "<img alt=",
        "*a ",
        "**",
        "`a",
        "# ",
        "|",
        "- ",
        "&#",
        "[a](x(",
        "__a",
        "> ",
        "```\n",
        "<a ",
        "\n#  #",
    ],
)
def test_no_card_takes_long(piece: str) -> None:
    begun = time.process_time()
    parse_card(piece * (LIMIT // len(piece)) + "x")
    assert time.process_time() - begun < 10  # one that grows with the square of its length takes minutes


def test_a_large_card_is_cut_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("word " * 300_000)
    card = read_card(path)
    assert card is not None
    assert sum(len(text) for _, text in card.lines) < LIMIT + 1000
    assert "it is cut here" in card.lines[-1][1]
    assert "1.5 MB" in card.lines[-1][1]


def test_no_card(tmp_path: Path) -> None:
    assert read_card(tmp_path / "README.md") is None
    (tmp_path / "README.md").write_bytes(b"\xff\xfe\x00 odd")
    assert read_card(tmp_path / "README.md") is not None


def test_wrapped_lines_stand_below_their_mark_or_value() -> None:
    assert wrap("• one two three", 9) == ["• one two", "  three"]
    assert wrap("commit      aaaaaaaa bbbbbbbb", 26) == ["commit      aaaaaaaa", "            bbbbbbbb"]
    assert wrap("a plain line of words", 10) == ["a plain", "line of", "words"]
    assert wrap("", 10) == [""]
