"""What `tinytales-tui checkpoints delete`, `undo`, `prune`, `use`, `add` and `forget` do. No Textual, no torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from engine.catalog.listing import Listing
from engine.catalog.notes import Notes
from engine.checkpoints.choices import Choices, check_tokenizer
from engine.checkpoints.glance import glance
from engine.errors import CheckpointError, UsageError
from engine.hub import trash
from tinytales_tui import paths
from tinytales_tui.agreement import agreed
from tinytales_tui.checkpoints import deleting
from tinytales_tui.checkpoints_find import find, find_one, look
from tinytales_tui.chosen import SHIPPED
from tinytales_tui.figures import size
from tinytales_tui.output import json_line, note, put
from tinytales_tui.report import DONE
from tinytales_tui.text import one_line


def delete_all(sources: Sequence[str], *, dry_run: bool, now: bool, yes: bool, as_json: bool) -> int:
    """Put into the trash what was named, after saying what that frees; nothing goes where one of them must stay."""
    listing, notes = look()
    chosen = list({entry.key: entry for source in sources for entry in find(listing, source)}.values())
    sorted_out = deleting.sort_out(chosen, listing.entries, notes.folders, notes.pinned)
    if sorted_out.left:
        raise UsageError(" ".join(sorted_out.left[:3]))
    if sorted_out.folders:
        folder = paths.shown(sorted_out.folders[0])
        raise UsageError(
            f"{folder} is a folder of yours, and its files are not deleted here; `checkpoints forget` takes it off the list."
        )
    deletion = trash.preview(listing.cache, sorted_out.revisions)
    known = {
        "revisions": [f"{repo}@{commit}" for repo, commit in deletion.revisions],
        "frees_bytes": deletion.freed,
        "stays_shared_bytes": deletion.kept_shared,
        "done": not dry_run,
    }
    for entry in sorted_out.entries:
        note(f"{one_line(entry.source, 100)} ({entry.revision[:7]}), {size(entry.size)}")
    stays = f"; {size(deletion.kept_shared)} stay, because other revisions use them too" if deletion.kept_shared else ""
    note(f"{'Would free' if dry_run else 'Frees'} {size(deletion.freed)}{stays}.")
    if not dry_run:
        if not yes and not agreed("Delete them?" if len(deletion.revisions) > 1 else "Delete it?"):
            note("Nothing was deleted.")
            return DONE
        moved = trash.to_trash(deletion)
        known["id"] = moved.id
        if notes.standing in {entry.source for entry in sorted_out.entries}:
            notes.set_standing(None)
            note("It was the standing checkpoint; the one that comes with the program takes its place.")
        if now:
            known["freed_bytes"] = trash.purge(moved.id, cache=listing.cache.folder)
            note(f"Deleted; {size(known['freed_bytes'])} are free.")
        else:
            note("In the trash. `tinytales-tui checkpoints undo` brings it back, `prune` empties the trash and frees the bytes.")
    if as_json:
        put(json_line(known).rstrip("\n"))
    return DONE


def undo_last(as_json: bool) -> int:
    """Bring the newest deletion back."""
    items = trash.trashed()
    if not items:
        raise CheckpointError("There is nothing in the trash.")
    item = trash.restore(items[0].id)
    note(f"{item.words} is back.")
    if as_json:
        put(json_line({"id": item.id, "revisions": [f"{repo}@{commit}" for repo, commit in item.revisions]}).rstrip("\n"))
    return DONE


def prune_cache(detached: bool, *, dry_run: bool, yes: bool, as_json: bool) -> int:
    """Remove partial files and the trash, and with `detached` revisions that nothing points at.

    What is standing, pinned or in use stays, and what comes to lie in the trash after the question.
    """
    listing, notes = look()
    if detached and notes.trouble:
        raise UsageError(f"{one_line(notes.trouble, 300)} What is pinned or standing is not known now; look at that first.")
    partials = [one for one in listing.partials if not _busy(one.path)]
    loose = [entry for entry in listing.entries if detached and entry.origin == "hub" and not entry.refs]
    standing = _standing_keys(listing, notes.standing)
    sorted_out = deleting.sort_out(loose, listing.entries, notes.folders, notes.pinned, standing)
    for words in sorted_out.left:
        note(words)
    deletion = trash.preview(listing.cache, sorted_out.revisions, partials)
    items = [*trash.trashed(listing.cache.folder), *trash.leftovers(listing.cache.folder)]
    in_trash = sum(item.frees for item in items)
    for one in partials:
        note(f"partial: {one_line(one.repo, 100)}, {size(one.size)}")
    for repo, commit in deletion.revisions:
        note(f"detached: {one_line(repo, 100)}@{commit[:7]}")
    for item in items:
        cut_off = item.state in ("moving", "restoring")
        hint = "; moving it was cut off, and `checkpoints undo` puts it back" if cut_off else ""
        note(f"trash: {one_line(item.words, 100)}, {size(item.frees)}{hint}")
    known: dict[str, object] = {"frees_bytes": deletion.freed + in_trash, "partial_files": len(partials), "trash": len(items)}
    known |= {"revisions": [f"{repo}@{commit}" for repo, commit in deletion.revisions], "done": False}
    if not deletion.moves and not items:
        note("There is nothing to remove.")
    elif dry_run:
        note(f"Would free {size(deletion.freed + in_trash)}.")
    elif yes or agreed(f"Remove all this for good, and free {size(deletion.freed + in_trash)}?"):
        ids = [trash.to_trash(deletion).id] if deletion.moves else []  # first, as it may be refused
        freed = 0
        for id in [*ids, *(item.id for item in items)]:
            try:
                freed += trash.purge(id, cache=listing.cache.folder)
            except UsageError as error:  # put back or removed meanwhile
                note(str(error))
        note(f"{size(freed)} are free.")
        known |= {"freed_bytes": freed, "done": True}
    else:
        note("Nothing was removed.")
    if as_json:
        put(json_line(known).rstrip("\n"))
    return DONE


def _standing_keys(listing: Listing, standing: str | None) -> set[str]:
    """Keys of the entries that the standing checkpoint may be; where that is not clear, of all of its repository."""
    if standing is None:
        return set()
    try:
        found = find(listing, standing)
    except UsageError:
        found = [entry for entry in listing.entries if entry.repo and standing.partition("@")[0] == entry.repo]
    place = Path(os.path.expanduser(standing)).absolute()  # noqa: PTH111 (Path.expanduser raises for an unknown ~name)
    return {entry.key for entry in (*found, *(entry for entry in listing.entries if place.is_relative_to(entry.path)))}


def _busy(path: Path) -> bool:
    from engine.hub.deletion import is_being_written

    return is_being_written(path)


def use_from_now_on(source: str, choices: Choices, forget: bool, as_json: bool) -> int:
    """Make it the standing checkpoint, and keep what was chosen about it."""
    notes = Notes(paths.checkpoint_notes())
    if source == SHIPPED:
        named, words = SHIPPED, "the checkpoint that comes with the program"
    else:
        named, words = _usable(source)
    choices = check_tokenizer(choices)  # a wrong one is refused now, and not when a story is asked for
    if forget and not choices:
        notes.choose(named, None)
    elif choices:
        kept = Choices() if forget else Choices.from_json(dict(notes.choices.get(named, {})))
        notes.choose(named, choices.over(kept).to_json())
    notes.set_standing(None if named == SHIPPED else named)
    now = Choices.from_json(dict(notes.choices.get(named, {})))
    note(f"The app and --prompt write with {words} from now on.")
    for phrase in now.in_words():
        note(f"  {phrase}")
    if as_json:
        put(json_line({"standing": named, "choices": now.to_json()}).rstrip("\n"))
    return DONE


def _usable(source: str) -> tuple[str, str]:
    """(what is kept, words for a person) of what was named: an entry of the list, or a folder or a file that is not listed."""
    listing, _ = look()
    try:
        entry = find_one(listing, source)
    except UsageError:
        if not Path(os.path.expanduser(source)).exists():  # noqa: PTH111 (Path.expanduser raises for an unknown ~name)
            raise
        return glance(source), one_line(source, 200)
    if entry.obstacle:
        raise CheckpointError(one_line(entry.obstacle, 400))
    return (SHIPPED if entry.origin == "shipped" else entry.source), one_line(entry.name, 200)


def add_folder(folder: Path) -> int:
    """List its checkpoints from now on."""
    Notes(paths.checkpoint_notes()).add_folder(folder)
    listing, _ = look()
    inside = [entry for entry in listing.entries if entry.origin == "folder" and entry.path.is_relative_to(folder.absolute())]
    note(
        f"{paths.shown(folder.absolute())} is listed too; {len(inside) or 'no'} checkpoint{'' if len(inside) == 1 else 's'} in it."
    )
    return DONE


def forget_folder(folder: Path) -> int:
    """List it no more."""
    notes = Notes(paths.checkpoint_notes())
    if folder.absolute() not in notes.folders:
        raise UsageError(f"{paths.shown(folder.absolute())} was not added.")
    notes.forget_folder(folder)
    note(f"{paths.shown(folder.absolute())} is listed no more; its files are as they were.")
    return DONE
