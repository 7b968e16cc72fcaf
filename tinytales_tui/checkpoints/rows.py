"""Checkpoints as rows: what each column says, the badge in words, orders, groups, and which rows a filter keeps. Draws nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Sequence
from typing import Any

from engine.catalog.entries import ORIGINS, Entry
from tinytales_tui.figures import short_count, short_duration, size
from tinytales_tui.text import one_line
from tinytales_tui.widgets.columns import Column, Heading

SORTS = ("place", "name", "parameters", "loss", "size", "used")
SORT_WORDS = {
    "place": "where they are", "name": "name", "parameters": "parameters", "loss": "validation loss", "size": "size",
    "used": "last used",
}  # fmt: skip
GROUPS = ("", "origin", "family")
ORIGIN_WORDS = {"shipped": "Shipped with the program", "run": "From your training runs", "hub": "Downloaded from the Hub",
                "folder": "In folders you added"}  # fmt: skip
BADGE_WORDS = (
    ("refused", "it cannot be opened; its details say why"),
    ("damaged", "its checksums are wrong: download it again"),
    ("partial", "parts of it are missing"),
    ("in use", "a process holds it at present"),
    ("newer", "the Hub has a newer version"),
    ("pickle", "read with care: the format could hold code, which is never run"),
    ("unknown", "what it is could not be told from its files"),
    ("safe", "the format cannot hold code"),
)
"""All badges, the first that fits is shown, and what they mean."""
_PRECISIONS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
_TONES = {
    "refused": "bad",
    "damaged": "bad",
    "partial": "odd",
    "pickle": "odd",
    "unknown": "odd",
    "in use": "good",
    "newer": "note",
}


def shown(entry: Entry) -> str:
    """Its name inside a sentence."""
    return one_line(entry.name, 60)


def badge(entry: Entry, damaged: Container[str] = ()) -> str:
    """The one thing to know of a checkpoint before it is used: the first of `BADGE_WORDS` that is so."""
    if entry.facts.refused:
        return "refused"
    if entry.key in damaged:
        return "damaged"
    if entry.partial:
        return "partial"
    if entry.in_use:
        return "in use"
    if entry.newer:
        return "newer"
    if not entry.facts.known:
        return "unknown"
    return "safe" if entry.facts.safe else "pickle"


def badge_tone(word: str) -> str:
    return _TONES.get(word, "muted")


def loss_words(entry: Entry) -> str:
    """`0.616 b/B` (bits a byte, which compares across tokenizers) or `1.312 nat`; empty where neither is known."""
    if entry.bits_per_byte is not None:
        return f"{entry.bits_per_byte:.3f} b/B"
    return f"{entry.val_loss:.3f} nat" if entry.val_loss is not None else ""


def weights_words(entry: Entry) -> str:
    """The kind of number of the weights as `--precision` calls it: `fp16`, `int8`; empty where it is not known."""
    return _PRECISIONS.get(entry.facts.stored_as, entry.facts.stored_as)


def used_words(entry: Entry, now: float) -> str:
    return short_duration(now - entry.last_used) if entry.last_used is not None else ""


def _count(value: int | None) -> str:
    return short_count(value) if value is not None else ""


COLUMNS: tuple[Column[Entry], ...] = (
    Column("name", 16, lambda entry: entry.name, left=True),
    Column("family", 14, lambda entry: entry.facts.family, 6, left=True, tone=lambda entry: "muted"),
    Column("params", 6, lambda entry: _count(entry.facts.parameters), 1),
    Column("weights", 7, weights_words, 9),
    Column("context", 7, lambda entry: f"{entry.facts.context:,}" if entry.facts.context else "", 7),
    Column("tokenizer", 15, lambda entry: entry.facts.tokenizer, 8, left=True, tone=lambda entry: "muted"),
    Column("loss", 9, loss_words, 3),
    Column("size", 9, lambda entry: size(entry.size) if entry.size else "", 2),
    Column("used", 5, lambda entry: used_words(entry, time.time()), 5),
    Column("origin", 7, lambda entry: entry.origin, 4, left=True, tone=lambda entry: "muted"),
)
"""All but the badge, which depends on what was found out here as well."""


def searched(entry: Entry) -> str:
    """What a filter looks in."""
    return f"{entry.name} {entry.facts.family} {entry.origin}"


def matching(entries: Sequence[Entry], words: str) -> list[Entry]:
    """Those that `words` fit, loosely; all where there are none."""
    from textual.fuzzy import Matcher  # here, since the command line orders rows and never filters them

    if not words.strip():
        return list(entries)
    matcher = Matcher(words.strip())
    return [entry for entry in entries if matcher.match(searched(entry)) > 0]


def ordered(entries: Sequence[Entry], sort: str, reverse: bool = False) -> list[Entry]:
    """In the order of one of `SORTS`; what is not known stands last, either way round."""
    value = _VALUES.get(sort)
    if value is None:
        return list(reversed(entries)) if reverse else list(entries)
    known = [entry for entry in entries if value(entry) is not None]
    return sorted(known, key=value, reverse=reverse) + [entry for entry in entries if value(entry) is None]


def _loss(entry: Entry) -> tuple[bool, float] | None:
    if entry.bits_per_byte is not None:
        return False, entry.bits_per_byte
    return (True, entry.val_loss) if entry.val_loss is not None else None


_VALUES: dict[str, Callable[[Entry], Any]] = {
    "name": lambda entry: entry.name.lower(),
    "parameters": lambda entry: -entry.facts.parameters if entry.facts.parameters is not None else None,
    "loss": _loss,
    "size": lambda entry: -entry.size,
    "used": lambda entry: -entry.last_used if entry.last_used is not None else None,
}


def grouped(entries: Sequence[Entry], group: str) -> list[Entry | Heading]:
    """With a heading over each group (one of `GROUPS`); the order inside a group is that of `entries`."""
    if not group:
        return list(entries)
    members: dict[str, list[Entry]] = {}
    for entry in entries:
        members.setdefault(entry.origin if group == "origin" else entry.facts.family, []).append(entry)
    names = (
        [name for name in ORIGINS if name in members] if group == "origin" else sorted(members, key=lambda n: (not n, n.lower()))
    )
    rows: list[Entry | Heading] = []
    for name in names:
        words = ORIGIN_WORDS[name] if group == "origin" else name or "Family not known"
        rows += [Heading(f"{words} ({len(members[name])})"), *members[name]]
    return rows
