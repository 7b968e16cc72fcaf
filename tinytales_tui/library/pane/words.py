"""The sentences of the pane for when there is nothing to list. Knows no Textual."""

from __future__ import annotations

from tinytales_tui import paths
from tinytales_tui.library.pane.shelf import Found

_HOW_THEY_COME = (
    "No stories yet.\n\n"
    "Every story that you write in the Write pane (F2) is kept here by itself, with every branch of it and how it was written. "
    "Nothing has to be saved.\n\n"
    "i takes in stories from a JSON file, such as an export or what tinytales-tui --prompt --json has printed."
)
_TRASH = "The trash is empty.\n\nx in the list puts a story here, and u brings it back. T shows the list again."


def not_kept() -> str:
    """Why nothing new comes into the library, and the way out."""
    where = paths.shown(paths.settings_file())
    return f'New stories are not kept, as "keep_stories" is false in {where}; quit, and make it true, to have them kept.'


def empty_page(found: Found, kept: bool) -> str:
    """What stands in place of a list without stories; empty where there is a list to show."""
    if found.asked.trash:
        return _TRASH if not found.in_trash else ""
    if found.total:
        return ""
    trash = "\n\nT shows the trash, where stories are." if found.in_trash else ""
    return (_HOW_THEY_COME if kept else f"No stories here.\n\n{not_kept()}\n\ni takes in stories from a JSON file.") + trash


def note_of(found: Found) -> str:
    """What a list says in which nothing is found."""
    asked = found.asked
    if asked.words or asked.tags:
        return "No story has all of that; Esc shows all again."
    return "No favourites yet: f makes one of a story, F shows all again." if asked.favourites else ""
