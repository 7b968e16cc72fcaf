"""The library of this data folder, for the `stories` commands."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from tinytales_tui import paths
from tinytales_tui.library.store import Library
from tinytales_tui.library.story import Listed, Story
from tinytales_tui.output import note

NOTHING_YET = "There are no stories yet; write one in the app, or take some in with `tinytales-tui stories import`."


@contextlib.contextmanager
def library() -> Iterator[Library]:
    """It, open; says what a person should know of the opening (LibraryError)."""
    with Library.open(paths.library_file()) as opened:
        if opened.notice:
            note(opened.notice)
        yield opened


def line_json(line: Listed) -> dict[str, Any]:
    """What is known of a story without its tree."""
    import dataclasses

    return dataclasses.asdict(line) | {"tags": list(line.tags)}


def notes_json(story: Story) -> dict[str, Any]:
    """What a person noted about it."""
    return {
        "id": story.id,
        "name": story.name,
        "title": story.title,
        "tags": list(story.tags),
        "favourite": story.favourite,
        "trashed": story.trashed,
    }
