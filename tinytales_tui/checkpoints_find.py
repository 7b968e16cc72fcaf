"""The catalogue as the command line sees it: everything that can be written with, and one of it by the name that was typed.

No Textual, no torch.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from engine.catalog.entries import Entry
from engine.catalog.facts import FactsCache
from engine.catalog.listing import Listing, list_entries
from engine.catalog.notes import Notes
from engine.errors import UsageError
from tinytales_tui import paths
from tinytales_tui.chosen import SHIPPED
from tinytales_tui.text import one_line


def look() -> tuple[Listing, Notes]:
    """Everything there is at this moment, and what was noted about it."""
    notes = Notes(paths.checkpoint_notes())
    facts = FactsCache(paths.checkpoint_facts())
    listing = list_entries(paths.runs_folder(), notes, facts_cache=facts)
    facts.save()
    return listing, notes


def find(listing: Listing, typed: str) -> list[Entry]:
    """The entries that somebody means by what they typed: one, or all the models in one revision of a repository.

    A revision is named by `owner/name@` with a branch, a tag, or the beginning of its commit; without one `main` is meant. Raises
    `UsageError` where there is none, or where it could be several.
    """
    path = str(Path(os.path.expanduser(typed)).absolute())  # noqa: PTH111 (Path.expanduser raises for an unknown ~name)
    repo, at, revision = typed.rpartition("@")
    ways = (
        lambda entry: typed in (entry.source, entry.key, entry.name) or (typed == SHIPPED and entry.origin == "shipped"),
        lambda entry: path in (entry.source, str(entry.path)),
        lambda entry: entry.run == typed and entry.key.endswith("/best"),
        lambda entry: entry.run == typed,
        lambda entry: bool(entry.repo) and typed == entry.repo and "main" in entry.refs,
        lambda entry: bool(entry.repo) and typed == entry.repo,
        lambda entry: bool(at) and repo == entry.repo and (revision in entry.refs or _is_start(revision, entry.revision)),
    )
    for way in ways:
        if found := [entry for entry in listing.entries if way(entry)]:
            if found[0].run:
                return found[:1]
            if len({(entry.repo, entry.revision) for entry in found}) > 1:
                raise UsageError(f"{one_line(typed, 100)} could be {_listed(found)}; name one of them.")
            return found
    close = [entry.source for entry in listing.entries if typed.casefold() in f"{entry.source} {entry.name}".casefold()]
    hint = (
        f"; do you mean {one_line(close[0], 100)}?"
        if len(close) == 1
        else "; `tinytales-tui checkpoints list` shows what there is."
    )
    raise UsageError(f"There is no checkpoint {one_line(typed, 100)} here{hint}")


def find_one(listing: Listing, typed: str) -> Entry:
    """The one entry that is meant; `UsageError` where it could be several."""
    found = find(listing, typed)
    if len(found) > 1:
        raise UsageError(f"{one_line(typed, 100)} could be {_listed(found)}; name one of them.")
    return found[0]


def _is_start(words: str, commit: str) -> bool:
    """Whether a commit begins so; fewer than four digits say too little."""
    return len(words) >= 4 and commit.startswith(words)


def _listed(entries: Sequence[Entry]) -> str:
    names = [one_line(entry.name, 100) for entry in entries[:5]]
    return " or ".join(names) + (" or others" if len(entries) > 5 else "")
