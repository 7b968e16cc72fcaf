"""The checkpoints that can be compared, as the catalogue lists them: it reads the disk, and belongs into a thread. Knows no Textual."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from engine.catalog.entries import Entry
from engine.catalog.notes import Notes
from engine.protocol import CheckpointInfo
from tinytales_tui import paths
from tinytales_tui.chosen import SHIPPED, absolute, choices_of
from tinytales_tui.compare.columns import Model
from tinytales_tui.figures import short_count, size
from tinytales_tui.text import one_line


@dataclass(frozen=True)
class Offer:
    """A checkpoint that a person may pick."""

    model: Model
    about: str
    """Its family, size and origin, in a few words."""
    obstacle: str = ""
    """Why it cannot be written with, in one sentence."""
    needs: int | None = None
    """Bytes of memory that an engine of its own takes with it, an estimate; None: not known."""


def offers() -> list[Offer]:
    """All that there are: the program's own, the runs', the Hub's cache, added folders."""
    from engine.catalog.facts import FactsCache
    from engine.catalog.listing import list_entries

    notes = Notes(paths.checkpoint_notes())
    facts = FactsCache(paths.checkpoint_facts())
    found = [_offer(entry, notes) for entry in list_entries(paths.runs_folder(), notes, facts_cache=facts).entries]
    facts.save()
    return found


def _offer(entry: Entry, notes: Notes) -> Offer:
    from engine.catalog.fit import fit

    source = absolute(entry.source)
    model = Model(
        None if source == SHIPPED else source, one_line(entry.name, 80), choices_of(notes, source or SHIPPED), str(entry.path)
    )
    counted = f"{short_count(entry.facts.parameters)} parameters" if entry.facts.parameters else ""
    needed = fit(entry.facts)
    about = ", ".join(filter(None, (one_line(entry.facts.family, 24), counted)))
    return Offer(model, about, one_line(entry.obstacle, 300), needed.needed_bytes if needed else None)


def memory_note(picked: Iterable[Offer], held: CheckpointInfo | None) -> str:
    """A sentence where the engines of these may not all find room; mostly nothing."""
    import psutil

    needs = [offer.needs or 0 for offer in picked if not offer.model.is_held(held)]
    free = psutil.virtual_memory().available
    if sum(needs) <= free:
        return ""
    return f"These need about {size(sum(needs))} of memory together, and {size(free)} are free: leave one out."
