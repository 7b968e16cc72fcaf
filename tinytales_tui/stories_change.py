"""What `tinytales-tui stories delete`, `restore`, `rename` and `tag` do. No Textual, no torch."""

from __future__ import annotations

from collections.abc import Sequence

from engine.errors import UsageError
from tinytales_tui.agreement import agreed
from tinytales_tui.library.finding import Wanted
from tinytales_tui.library.store import Library
from tinytales_tui.library.story import Story
from tinytales_tui.output import json_line, note, put
from tinytales_tui.report import DONE, FAILED
from tinytales_tui.stories_find import library, notes_json
from tinytales_tui.text import one_line


def delete_stories(ids: Sequence[str], *, now: bool, trash: bool, yes: bool, as_json: bool) -> int:
    """Put stories into the trash, or with `now` remove them for good; `trash`: empty it."""
    if bool(ids) == trash:
        raise UsageError("Name the stories to delete, or say --trash to remove for good what is in the trash.")
    with library() as opened:
        stories = _all(opened, ids) if ids else [opened.get(line.id) for line in opened.listing(Wanted(trashed=True))]
        if not stories:
            note("The trash is empty.")
            return DONE
        for_good = now or trash
        if for_good and not yes and not agreed(f"Remove {_named(stories)} for good?"):
            return FAILED
        for story in stories:
            opened.delete(story.id) if for_good else opened.trash(story.id)
    if as_json:
        put(json_line({"deleted": [story.id for story in stories], "for_good": for_good}).rstrip("\n"))
    elif for_good:
        note(f"Removed for good: {_named(stories)}.")
    else:
        note(
            f"In the trash: {_named(stories)}. `tinytales-tui stories restore` brings {'it' if len(stories) == 1 else 'them'} back."
        )
    return DONE


def restore_stories(ids: Sequence[str], as_json: bool) -> int:
    """Bring stories back from the trash."""
    with library() as opened:
        stories = _all(opened, ids)
        if there := [story for story in stories if story.trashed is None]:
            raise UsageError(f"{_named(there)}: not in the trash.")
        for story in stories:
            opened.restore(story.id)
    if as_json:
        put(json_line({"restored": [story.id for story in stories]}).rstrip("\n"))
    else:
        note(f"Back in the library: {_named(stories)}.")
    return DONE


def rename_story(id: str, title: str, as_json: bool) -> int:
    with library() as opened:
        opened.rename(opened.find(id), title)
        story = opened.get(id)
    _told(story, as_json, f"{story.id} is now called: {one_line(story.name, 200)}")
    return DONE


def tag_story(id: str, tags: Sequence[str], remove: Sequence[str], favourite: bool | None, as_json: bool) -> int:
    """Change what a story is marked with; with nothing to change, only tell it."""
    with library() as opened:
        id = opened.find(id)
        if tags or remove:
            opened.tag(id, add=tags, remove=remove)
        if favourite is not None:
            opened.favour(id, favourite=favourite)
        story = opened.get(id)
    if as_json:
        put(json_line(notes_json(story)).rstrip("\n"))
        return DONE
    for tag in story.tags:
        put(one_line(tag, 200))
    if not story.tags:
        note("It has no tags.")
    if favourite is not None:
        note(f"{story.id} is {'a favourite' if favourite else 'no favourite any more'}.")
    return DONE


def _all(opened: Library, ids: Sequence[str]) -> list[Story]:
    """The stories, each once; nothing is done where one of them is not there."""
    return [opened.get(id) for id in dict.fromkeys(opened.find(id) for id in ids)]


def _named(stories: Sequence[Story]) -> str:
    return f"{stories[0].id} ({one_line(stories[0].name, 60)})" if len(stories) == 1 else f"{len(stories):,} stories"


def _told(story: Story, as_json: bool, sentence: str) -> None:
    if as_json:
        put(json_line(notes_json(story)).rstrip("\n"))
    else:
        note(sentence)
