"""What `tinytales-tui stories export` and `import` do. No Textual, no torch."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from engine import files
from engine.errors import TinyTalesError, UsageError
from tinytales_tui import paths
from tinytales_tui.library.exporting import FORMS, export
from tinytales_tui.library.finding import Wanted
from tinytales_tui.library.importing import add_new, read
from tinytales_tui.library.story import Story
from tinytales_tui.output import json_line, note, put
from tinytales_tui.report import DONE
from tinytales_tui.stories_find import library


def export_stories(
    ids: Sequence[str],
    everything: bool,
    tags: Sequence[str],
    favourites: bool,
    form: str | None,
    output: Path | None,
    title: str,
    force: bool,
) -> int:
    """Write stories to a file or to standard output."""
    narrowed = bool(tags or favourites)
    if bool(ids) == (everything or narrowed):
        raise UsageError("Name the stories to export, or say --all, --tag or --favourites.")
    form = _form(form, output)
    if output is not None and output.is_file() and not force:
        raise UsageError(f"{paths.shown(output)} is there already; say --force to replace it.")
    if output is None and form == "epub" and sys.stdout.isatty():
        raise UsageError("A book is no text for a terminal; say --output FILE.")
    with library() as opened:
        if ids:
            stories = [opened.get(id) for id in dict.fromkeys(opened.find(id) for id in ids)]
        else:
            lines = opened.listing(Wanted(tags=tuple(tags), favourites=favourites), order="created")
            stories = [opened.get(line.id) for line in reversed(lines)]
    if not stories:
        raise UsageError("There is no story to export.")
    data = export(stories, form, title)
    if output is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return DONE
    try:
        files.write_bytes(output, data)
    except OSError as error:
        raise TinyTalesError(f"{paths.shown(output)} cannot be written: {paths.reason(error)}.") from error
    note(f"{_stories(len(stories))} written to {paths.shown(output)}")
    return DONE


def import_stories(names: Sequence[str], as_json: bool) -> int:
    """Take in the stories of these files, all or none."""
    stories: list[Story] = []
    for name in names:
        stories += read(_bytes(name), "standard input" if name == "-" else name)
    with library() as opened:
        added, passed = add_new(opened, stories)
    if as_json:
        put(json_line({"added": [story.id for story in added], "already_there": passed}).rstrip("\n"))
        return DONE
    for story in added:
        put(story.id)
    note(f"{_stories(len(added))} taken in" + (f", {passed:,} were there already" if passed else "") + ".")
    return DONE


def _form(form: str | None, output: Path | None) -> str:
    if form is None:
        ending = output.suffix[1:].lower() if output is not None else ""
        form = {"markdown": "md", "text": "txt", "htm": "html"}.get(ending, ending) or "md"
        if form not in FORMS:
            raise UsageError(f"What ends in .{ending} is none of the forms {', '.join(FORMS)}; say which with --to.")
    if form not in FORMS:
        raise UsageError(f"There is no form {form!r}; choose {', '.join(FORMS)}.")
    return form


def _bytes(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {paths.reason(error)}.") from error


def _stories(count: int) -> str:
    return f"{count:,} {'story' if count == 1 else 'stories'}"
