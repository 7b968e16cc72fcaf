"""What `tinytales-tui checkpoints list`, `show` and `search` print. What comes from files and from the Hub is made safe to show.

No Textual, no torch.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence

from engine.catalog.entries import Entry
from engine.catalog.notes import Notes
from engine.errors import NetworkError
from engine.hub.search import Found, Model
from tinytales_tui.checkpoints.details import lines_of, look_into
from tinytales_tui.checkpoints.rows import badge, loss_words, weights_words
from tinytales_tui.checkpoints_find import find_one, look
from tinytales_tui.chosen import choices_of
from tinytales_tui.figures import fitting_table, short_count, short_duration, size
from tinytales_tui.output import json_line, note, put
from tinytales_tui.report import DONE, FAILED, TRY_AGAIN
from tinytales_tui.text import one_line

_CARD_LINES = 12
"""Of a model card that are shown without --card."""


def show_list(words: Sequence[str], check: bool, as_json: bool) -> int:
    """Print everything that can be written with; with `check` the exit code says whether the Hub could be asked."""
    listing, notes = look()
    entries, trouble = _checked(listing.entries) if check else (listing.entries, "")
    kept = [entry for entry in entries if _matches(words, f"{entry.name} {entry.facts.family} {entry.origin} {entry.source}")]
    if as_json:
        partials = [{"repo": one.repo, "path": str(one.path), "size": one.size} for one in listing.partials]
        known = {
            "checkpoints": [entry.to_json() | {"standing": _stands(entry, notes)} for entry in kept],
            "partial_files": partials,
            "cache_bytes": listing.cache_bytes,
            "warnings": list(listing.warnings),
        }
        put(json_line(known).rstrip("\n"))
        return _told(trouble)
    now = time.time()
    headers = ("", "source", "family", "params", "weights", "context", "loss", "size", "used", "refs", "badge")
    rows = [
        (
            "▸" if _stands(entry, notes) else "",
            entry.name if entry.origin in ("run", "hub") else entry.source,
            entry.facts.family or "?",
            short_count(entry.facts.parameters) if entry.facts.parameters else "-",
            weights_words(entry) or "-",
            str(entry.facts.context or "-"),
            loss_words(entry) or "-",
            size(entry.size),
            short_duration(now - entry.last_used) if entry.last_used else "-",
            ", ".join(entry.refs) or (entry.revision[:7] if entry.revision else entry.origin),
            badge(entry),
        )
        for entry in kept
    ]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000
    for line in fitting_table(headers, rows, width, left=(0, 1, 2, 9, 10), spare=(8, 4, 5, 2, 6, 9)):
        put(line.rstrip())
    for entry in kept:
        if entry.obstacle:
            note(one_line(entry.obstacle, 500))
    if listing.partials:
        left = sum(one.size for one in listing.partials)
        note(f"{len(listing.partials)} partial downloads take {size(left)}; `tinytales-tui checkpoints prune` removes them.")
    for warning in listing.warnings:
        note(warning)
    return _told(trouble)


def _checked(entries: Sequence[Entry]) -> tuple[Sequence[Entry], str]:
    """The entries with what the Hub has newer, and why it could not be asked."""
    from engine.catalog.newer import branches, commits, marked

    try:
        return marked(entries, commits(branches(entries))), ""
    except NetworkError as error:
        return entries, str(error)


def _told(trouble: str) -> int:
    if trouble:
        note(f"tinytales-tui: {trouble}")
    return TRY_AGAIN if trouble else DONE


def show_one(source: str, with_card: bool, as_json: bool) -> int:
    """Print one checkpoint."""
    listing, notes = look()
    entry = find_one(listing, source)
    inside = look_into(entry)
    if as_json:
        fit = inside.fit
        known = entry.to_json() | {
            "standing": _stands(entry, notes),
            "choices": dict(notes.choices.get(entry.source, {})),
            "config": inside.config,
            "card": "\n".join(text for _, text in inside.card.lines) if inside.card else "",
            "memory_needed_bytes": fit.needed_bytes if fit else None,
            "memory_available_bytes": fit.available_bytes if fit else None,
        }
        put(json_line(known).rstrip("\n"))
        return DONE
    standing = _stands(entry, notes) and entry.origin != "shipped"
    lines = [text for _, text in lines_of(entry, inside, standing, chosen=choices_of(notes, entry.source).in_words())]
    if not with_card and "Model card" in lines:
        start = lines.index("Model card") + 1
        if len(lines) - start > _CARD_LINES:
            lines = [*lines[: start + _CARD_LINES], "… (--card shows all of it)"]
    for line in lines:
        put(line)
    return DONE


def show_search(words: str, limit: int, as_json: bool) -> int:
    """Print models on the Hub; the exit code says whether the Hub could be asked."""
    from engine.hub.search import search

    found = search(words, limit)
    if as_json:
        put(json_line({"models": [model.to_json() for model in found.models], "trouble": found.trouble}).rstrip("\n"))
    else:
        _put_found(found)
    if found.trouble:
        note(f"tinytales-tui: {found.trouble}" if as_json else found.trouble)
        return TRY_AGAIN if found.network else FAILED
    if not found.models:
        note("Nothing of that name was found.")
    return DONE


def _put_found(found: Found) -> None:
    headers = ("", "id", "what it is", "family", "params", "size", "downloads", "licence", "access")
    rows = [
        (
            "★" if model.curated else "",
            model.source,
            model.title,
            model.family,
            short_count(model.parameters) if model.parameters else "-",
            size(model.size) if model.size else "-",
            short_count(model.downloads) if model.downloads is not None else "-",
            model.licence or "-",
            _access(model),
        )
        for model in found.models
    ]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000
    for line in fitting_table(headers, rows, width, left=(0, 1, 2, 3, 7, 8), spare=(6, 7, 3, 2, 4)):
        put(line.rstrip())
    for model in found.models:
        if model.trouble:
            note(f"{one_line(model.source, 100)}: {one_line(model.trouble, 300)}")


def _access(model: Model) -> str:
    return "gated" if model.gated else "private" if model.private else "open" if model.downloads is not None else "?"


def _stands(entry: Entry, notes: Notes) -> bool:
    return entry.source == notes.standing or (entry.origin == "shipped" and notes.standing in (None, "default"))


def _matches(words: Sequence[str], text: str) -> bool:
    return all(word.casefold() in text.casefold() for word in words)
