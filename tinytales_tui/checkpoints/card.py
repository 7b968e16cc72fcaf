"""A model card (README.md) as plain lines. It is text from outside: nothing in it is obeyed, opened or drawn as it asks.

HTML goes, pictures are named, a link becomes `words (address)`, control codes and letters that hide or turn text are taken out. The
work grows with the length of the card alone, whatever stands in it, and no more than `LIMIT` bytes are read. Knows no Textual.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinytales_tui.figures import size, table
from tinytales_tui.text import one_line, safe_text

LIMIT = 96_000
"""Bytes of a card that are read."""
_FRONT_LIMIT = 20_000
"""Characters of front matter that are parsed; more than any card has."""
_PARAGRAPH = 8_000
"""Characters after which a paragraph is broken off and another one begun."""

Line = tuple[str, str]
"""(tone, text): the tone is `heading`, `text`, `code`, `muted`, `warning` or `good`."""


@dataclass(frozen=True)
class Card:
    """What a card says."""

    lines: tuple[Line, ...] = ()
    licence: str = ""
    """From its front matter, as it is named there: `mit`, `apache-2.0`; several are joined by commas."""


def read_card(path: Path) -> Card | None:
    """The card in this file; None where there is none that can be read."""
    try:
        with path.open("rb") as file:
            data = file.read(LIMIT + 1)
        whole = path.stat().st_size
    except OSError:
        return None
    card = parse_card(data[:LIMIT].decode("utf-8", "replace"))
    if len(data) <= LIMIT:
        return card
    note = f"The card is {size(whole)} long; it is cut here. All of it is in {one_line(str(path), 300)}."
    return Card((*card.lines, ("text", ""), ("muted", note)), card.licence)


def parse_card(text: str) -> Card:
    """The lines of a card."""
    text = safe_text(text)
    front, body = _front_matter(text)
    return Card(tuple(_trimmed(_lines(body))), _licence(front))


def _front_matter(text: str) -> tuple[dict[str, Any], str]:
    if not text.startswith("---\n"):
        return {}, text
    end = text.find("\n---", 3)
    if end < 0:
        return {}, text
    after = text.find("\n", end + 1)
    body = text[after + 1 :] if after >= 0 else ""
    if end > _FRONT_LIMIT or "<<" in text[:end]:  # merged keys may be nested so that a few lines grow without end
        return {}, body
    import yaml

    try:
        found = yaml.safe_load(text[4:end])
    except (yaml.YAMLError, ValueError, RecursionError, TypeError, AttributeError, OverflowError):
        return {}, body  # front matter that is none: the card below it is still worth reading
    return (found if isinstance(found, dict) else {}), body


def _licence(front: dict[str, Any]) -> str:
    found = front.get("license") or front.get("licence") or front.get("license_name")
    several = found if isinstance(found, list) else [found]
    return one_line(", ".join(one for one in several[:5] if isinstance(one, str)), 80)


# HTML

_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
_PICTURE = re.compile(r"<img\b[^<>]*>", re.IGNORECASE)
_ALT = re.compile(r"""\balt\s*=\s*(?:"([^"]*)"|'([^']*)')""", re.IGNORECASE)
_BREAK = re.compile(r"<(?:br|/p|/div|/tr|/li|/h[1-6])\b[^<>]*>", re.IGNORECASE)
_ADDRESS = re.compile(r"<((?:https?|mailto):[^<>\s]+)>")
_SILENT = ("<!--", "-->"), ("<script", "</script>"), ("<style", "</style>")


def _without_html(text: str) -> str:
    for opening, closing in _SILENT:
        text = _cut_out(text, opening, closing)
    text = _ADDRESS.sub(r"\1", text)
    text = _PICTURE.sub(_named_picture, text)
    text = _TAG.sub("", _BREAK.sub("\n", text))
    return safe_text(html.unescape(text))  # what entities stand for may be a control code as well


def _cut_out(text: str, opening: str, closing: str) -> str:
    """`text` without everything between these two, to its end where the second is missing."""
    low, kept, at = text.lower(), [], 0
    if len(low) != len(text):  # a letter whose small form is longer: places would not fit
        low = text
    while (start := low.find(opening, at)) >= 0:
        kept.append(text[at:start])
        end = low.find(closing, start)
        if end < 0:
            return "".join(kept)
        at = end + len(closing)
    return "".join([*kept, text[at:]])


def _named_picture(match: re.Match[str]) -> str:
    alt = _ALT.search(match[0])
    return f"[picture: {(alt[1] or alt[2] or '').strip()}]" if alt and (alt[1] or alt[2]) else "[picture]"


# Markdown

_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+(.*)")
_FENCE = re.compile(r"\s{0,3}(`{3,}|~{3,})")
_ITEM = re.compile(r"(\s*)(?:[-*+]|(\d{1,4}[.)]))\s+(.*)")
_RULE = re.compile(r"\s{0,3}(?:-[-\s]*|\*[*\s]*|_[_\s]*)$")
_UNDERLINE = re.compile(r"\s{0,3}(?:=+|-+)\s*$")
_IMAGE = re.compile(r"!\[([^\[\]]*)\]\([^()]*\)")
_LINK = re.compile(r"\[([^\[\]]*)\]\(([^()]*(?:\([^()]*\)[^()]*)?)\)")
_REFERENCE = re.compile(r"\[([^\[\]]+)\]\[[^\[\]]*\]")
_STRONG = re.compile(r"(\*\*|__)(?=\S)([^*_\n]+)\1")
_LEANING = re.compile(r"(?<![\w*])\*(?=[^\s*])([^*\n]+)\*(?![\w*])")
_CODE = re.compile(r"`([^`\n]+)`")


def _spoken(words: str) -> str:
    """A stretch of Markdown as a reader hears it: without marks, links with their addresses behind them."""
    words = _IMAGE.sub(lambda match: f"[picture: {match[1].strip()}]" if match[1].strip() else "[picture]", words)
    words = _LINK.sub(lambda match: _linked(match[1].strip(), match[2]), words)
    words = _REFERENCE.sub(r"\1", words)
    words = _LEANING.sub(r"\1", _STRONG.sub(r"\2", words))
    return _CODE.sub(r"\1", words)


def _linked(words: str, address: str) -> str:
    address = next(iter(address.split()), "")  # without the title that may follow it
    return f"{words} ({address})" if words and address and words != address else words or address


def _lines(body: str) -> Iterator[Line]:
    """The body, code apart from what is Markdown."""
    prose: list[str] = []
    fence = ""
    for line in body.split("\n"):
        mark = _FENCE.match(line)
        if fence:
            if mark and mark[1].startswith(fence):
                fence = ""
            else:
                yield "code", "    " + line.rstrip()
        elif mark:
            yield from _prose("\n".join(prose))
            prose, fence = [], mark[1]
            yield "text", ""
        else:
            prose.append(line)
    yield from _prose("\n".join(prose))


def _prose(text: str) -> Iterator[Line]:
    """Markdown without code blocks: headings, lists, tables, and paragraphs, whose lines are joined."""
    held = ""
    rows: list[list[str]] = []
    for line in [*_without_html(text).split("\n"), ""]:
        stripped = line.strip()
        is_row = stripped.startswith("|") and stripped.count("|") > 1
        if rows and not is_row:
            yield from _table(rows)
            rows = []
        heading, item = _HEADING.match(line), _ITEM.match(line)
        if held and not item and _UNDERLINE.match(line):
            yield "heading", _spoken(held)
            held = ""
        elif not stripped or _RULE.match(line) or is_row or heading or item or len(held) > _PARAGRAPH:
            if held:
                yield "text", _spoken(held)
            held = ""
            if is_row:
                rows.append([cell.strip() for cell in stripped.strip("|").split("|")])
            elif heading:
                yield "text", ""
                yield "heading", _spoken(heading[2].rstrip(" \t#"))
            elif item:
                held = " " * min(len(item[1]), 8) + f"{item[2] or '•'} {item[3]}"
            elif not stripped or _RULE.match(line):
                yield "text", ""
            else:
                held = stripped
        else:
            held = f"{held} {stripped.lstrip('> ')}".rstrip() if held else stripped.lstrip("> ")


def _table(rows: list[list[str]]) -> Iterator[Line]:
    kept = [row for row in rows if any(cell.strip(":- ") for cell in row)]
    if not kept:
        return
    count = min(12, max(len(row) for row in kept))
    cells = [[one_line(_spoken(cell), 160) for cell in (row + [""] * count)[:count]] for row in kept]
    for line in table(cells[0], cells[1:], left=range(count)):
        yield "code", line


def _trimmed(lines: Iterator[Line]) -> Iterator[Line]:
    """Never two empty lines in a row, none at the beginning or the end."""
    waiting, begun = False, False
    for tone, text in lines:
        if not text.strip():
            waiting = begun
            continue
        if waiting:
            yield "text", ""
        waiting, begun = False, True
        yield tone, text
