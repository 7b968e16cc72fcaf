"""What deleting checkpoints means: which of those that were chosen can go, what that frees, and what a person is asked before.

Reads the cache, which belongs on a thread. The dialog is `widgets.confirm.ConfirmDialog`. Knows no Textual and no torch.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.catalog.entries import Entry
from engine.hub import cache, trash
from engine.hub.deletion import is_being_written
from tinytales_tui import paths
from tinytales_tui.checkpoints.rows import shown
from tinytales_tui.figures import size
from tinytales_tui.text import one_line

TYPED_FROM = 10**9
"""Bytes from which a deletion has to be confirmed by typing."""
SHOWN = 6


@dataclass(frozen=True)
class Sorted:
    """What was chosen, by what can be done with it."""

    revisions: tuple[tuple[str, str], ...] = ()
    """(repository, commit) of what lies in the Hub's cache, each once."""
    entries: tuple[Entry, ...] = ()
    """The rows that go with them, also those that were not chosen."""
    folders: tuple[Path, ...] = ()
    """Added folders, which are only forgotten."""
    forgotten: tuple[Entry, ...] = ()
    """The rows that lie in them, also those that were not chosen."""
    left: tuple[str, ...] = ()
    """Of each one that stays, why, in a sentence."""


@dataclass(frozen=True)
class Question:
    """What is asked before something goes to the trash; see `ConfirmDialog`."""

    title: str
    sentences: tuple[str, ...]
    verb: str
    typed: str | None
    deletion: trash.Deletion | None
    trash: tuple[str, ...] = ()
    """Ids of what lies in the trash and goes too."""


def why_it_stays(entry: Entry, pinned: Container[str] = (), standing: Container[str] = ()) -> str:
    """Why it is not deleted here, in a sentence; empty where it can be. `pinned` are sources, `standing` keys of entries."""
    if entry.origin == "shipped":
        return f"{shown(entry)} travels with the program and stays."
    if entry.origin == "run":
        return f"{shown(entry)} belongs to the run {one_line(entry.run, 40)}: delete that in the Train pane (F3)."
    if entry.in_use:
        return f"{shown(entry)} is in use ({one_line(entry.in_use, 80)}) and stays."
    if entry.source in pinned:
        return f"{shown(entry)} is pinned and stays."
    if entry.key in standing:
        return f"{shown(entry)} is the standing checkpoint and stays."
    return ""


def sort_out(
    chosen: Sequence[Entry],
    every: Iterable[Entry],
    added: Sequence[Path],
    pinned: Container[str] = (),
    standing: Container[str] = (),
) -> Sorted:
    """What can go of what was chosen. A revision goes as a whole, so one file of it that must stay keeps all of it.

    `standing` are keys that stay too; who names one to be deleted is asked (`question_about`), and gives none here. Of the `added`
    folders the one that a checkpoint lies in is forgotten, and all checkpoints in it with it.
    """
    every = list(every)
    revisions: dict[tuple[str, str], list[Entry]] = {}
    folders: list[Path] = []
    left: list[str] = []
    for entry in chosen:
        if why := why_it_stays(entry, pinned, standing):
            left.append(why)
        elif entry.origin == "folder":
            folders += [folder for folder in added if entry.path.is_relative_to(folder)][:1]
        else:
            revisions.setdefault((entry.repo, entry.revision), [])
    for repo, commit in list(revisions):
        members = [entry for entry in every if entry.origin == "hub" and (entry.repo, entry.revision) == (repo, commit)]
        stays = [why for entry in members if (why := why_it_stays(entry, pinned, standing))]
        if stays:
            del revisions[repo, commit]
            left.append(f"{stays[0]} The files beside it are of one download and stay too.")
        else:
            revisions[repo, commit] = members
    going = tuple(entry for members in revisions.values() for entry in members)
    forgotten = tuple(e for e in every if e.origin == "folder" and any(e.path.is_relative_to(folder) for folder in folders))
    return Sorted(tuple(revisions), going, tuple(dict.fromkeys(folders)), forgotten, tuple(left))


def question_about(sorted_out: Sorted, chosen: Sequence[Entry], standing: str | None) -> Question:
    """What to ask; reads the cache. Raises `TinyTalesError` where a revision cannot go, as one that is being downloaded."""
    deletion = trash.preview(cache.scan(), sorted_out.revisions) if sorted_out.revisions else None
    sentences: list[str] = []
    going = {entry.key: entry for entry in sorted_out.entries}
    for entry in list(going.values())[:SHOWN]:
        sentences.append(f"{shown(entry)} ({entry.revision[:8]}), {size(entry.size)}.")
    if len(going) > SHOWN:
        sentences.append(f"And {len(going) - SHOWN} more.")
    keys = {entry.key for entry in chosen}
    if beside := [entry for entry in going.values() if entry.key not in keys]:
        sentences.append(f"{_counted(len(beside), 'of these was', 'of these were')} not marked, but part of the same download.")
    if deletion is not None:
        freed = f"{size(deletion.freed)} will be free when the program ends or the trash is emptied; until then u brings it back."
        sentences.append(freed)
        if deletion.kept_shared:
            sentences.append(f"{size(deletion.kept_shared)} stay, because other versions use them too.")
    for folder in sorted_out.folders[:SHOWN]:
        inside = sum(entry.path.is_relative_to(folder) for entry in sorted_out.forgotten)
        words = f"its {inside} checkpoints" if inside > 1 else "the checkpoint in it"
        sentences.append(f"{one_line(paths.shown(folder), 200)} is only taken off the list, with {words}; all files stay.")
    if standing is not None and any(entry.source == standing for entry in (*going.values(), *sorted_out.forgotten)):
        sentences.append("The standing checkpoint is among them; the one that travels with the program takes its place.")
    sentences += sorted_out.left[:SHOWN]
    count = len(going) + len(sorted_out.forgotten)
    one = next(iter((*going.values(), *sorted_out.forgotten)))
    what = shown(one) if count == 1 else f"{count} checkpoints"
    typed = "delete" if deletion is not None and deletion.freed > TYPED_FROM else None
    if not going:
        return Question(f"Take {what} off the list?", tuple(sentences), "Take off", typed, deletion)
    return Question(f"Delete {what}?", tuple(sentences), f"Delete {'it' if count == 1 else 'them'}", typed, deletion)


def question_about_leavings() -> Question | None:
    """What to ask before the leftovers of broken-off downloads and the trash go; None where there is neither."""
    found = cache.scan()
    deletion = trash.preview(found, (), [part for part in found.partials if not is_being_written(part.path)])
    items = [*trash.trashed(found.folder), *trash.leftovers(found.folder)]
    if not deletion.partials and not items:
        return None
    sizes = {part.path: part for part in found.partials}
    sentences = [f"Broken off: {one_line(sizes[path].repo, 80)}, {size(sizes[path].size)}." for path in deletion.partials[:SHOWN]]
    sentences += [f"In the trash: {one_line(item.words, 80)}, {size(item.frees)}." for item in items[:SHOWN]]
    if (more := max(0, len(deletion.partials) - SHOWN) + max(0, len(items) - SHOWN)) > 0:
        sentences.append(f"And {more} more.")
    freed = deletion.freed + sum(item.frees for item in items)
    sentences.append(f"{size(freed)} will be free, with no way back.")
    typed = "delete" if freed > TYPED_FROM else None
    partial = deletion if deletion.partials else None
    return Question("Remove all this for good?", tuple(sentences), "Remove", typed, partial, tuple(item.id for item in items))


def _counted(count: int, one: str, several: str) -> str:
    return f"{count} {one if count == 1 else several}"
