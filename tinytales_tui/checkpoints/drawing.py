"""What the Checkpoints pane draws: which rows, pages and lines go where. A part of the pane's screen, in a file of its own.

Nothing is worked out here that a widget or a pure function could work out; nothing that looks as before is sent to the terminal again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rich.text import Text

from engine.catalog.entries import Entry
from engine.errors import TinyTalesError
from tinytales_tui.checkpoints import details
from tinytales_tui.checkpoints.background import in_background
from tinytales_tui.checkpoints.details import Inside
from tinytales_tui.checkpoints.hub import found, queue
from tinytales_tui.checkpoints.rows import COLUMNS, SORT_WORDS
from tinytales_tui.figures import bar, size
from tinytales_tui.text import one_line
from tinytales_tui.widgets.lines import Lines

if TYPE_CHECKING:
    from tinytales_tui.checkpoints.screen import CheckpointsScreen

VIEWS = (("list", "List"), ("details", "Details"), ("hub", "Hub"), ("downloads", "Downloads"))
"""The views of the pane, in the order of their number keys."""
_SETTLE = 0.12
"""Seconds that the cursor rests on a row before its files are read."""
_NONE_YET = "Nothing to write with yet: 3 shows what the Hub has, + adds a folder, ctrl+n in the Train pane trains a model."


class Drawing:
    """`draw()` shows everything as it is now."""

    _inside: tuple[str, float | None, Inside] | None
    _paged: str
    _reading: str

    def draw(self: CheckpointsScreen) -> None:
        """Show everything as it is now."""
        self._draw_list()
        self._draw_views()
        self._draw_status()
        match self.view:
            case "hub":
                self._draw_hub()
            case "downloads":
                self._draw_downloads()
            case _:
                self._draw_details()

    def _draw_list(self: CheckpointsScreen) -> None:
        shelf = self.shelf
        if shelf is None or (shelf.listing is None and not shelf.trouble):
            self.list.note = "Looking for checkpoints…"
        elif self.list.words:
            self.list.note = "No name, family or origin matches; Esc shows all."
        else:
            self.list.note = shelf.trouble or _NONE_YET
        self.list.show_entries(self.entries, self.standing, self.damaged)

    def _draw_views(self: CheckpointsScreen) -> None:
        views = self.query_one("#views", Lines)
        width = max(1, views.size.width - 2)
        line = Text()
        for number, (name, words) in enumerate(VIEWS, 1):
            here = name == self.view
            line.append(f"[{number} {words}]" if here else f" {number} {words} ", views.tone("strong" if here else "muted"))
        kept = self._remarks()  # the first of them weighs most
        while kept and line.cell_len + len(" · ".join(kept)) + 1 > width:
            kept.pop()
        remarks = " · ".join(kept)
        line.append(" " * (width - line.cell_len - len(remarks)) + remarks, views.tone("muted"))
        views.show([line])

    def _remarks(self: CheckpointsScreen) -> list[str]:
        if self.view == "downloads":
            return []
        if self.view == "hub":
            return ["asking the Hub…"] if self.searching else []
        shown = self.list
        words = [f"only {one_line(shown.words, 16)} (Esc: all)"] if shown.words else []
        words += (
            [f"by {SORT_WORDS[shown.sort]}{', turned' if shown.reverse else ''}"]
            if shown.sort != "place" or shown.reverse
            else []
        )
        words += [f"grouped by {shown.group}"] if shown.group else []
        words += [f"{len(shown.marked)} marked"] if shown.marked else []
        words += ["no network: cache only"] if self.offline else []
        return words + (["3 finds more of them on the Hub"] if len(self.entries) == 1 else [])

    def _draw_status(self: CheckpointsScreen) -> None:
        status = self.query_one("#status", Lines)
        width = max(1, status.size.width - 2)
        if self.progress:
            status.show([Text(one_line(self.progress, width), status.tone("strong"))])
            return
        listing, disk = (self.shelf.listing, self.shelf.disk) if self.shelf is not None else (None, None)
        parts: list[str] = []
        if listing is not None:
            count = len(listing.entries)
            parts.append(f"{count} checkpoint{'' if count == 1 else 's'}")
            parts.append(f"Hub cache {size(listing.cache_bytes)}")
            if disk is not None:
                parts.append(f"{size(disk.free)} free")
            if left := sum(part.size for part in listing.partials if part.repo not in self.downloading):
                parts.append(f"{size(left)} of broken-off downloads (P removes them)")
        warning = (
            self.shelf.trouble or (listing.warnings[0] if listing is not None and listing.warnings else "") if self.shelf else ""
        )
        line = Text(" · ".join(parts), status.tone("muted"))
        if warning:
            line.append("  " + one_line(warning, 300), status.tone("warning"))
        status.show([line])

    # Details

    def _draw_details(self: CheckpointsScreen) -> None:
        entry = self.list.highlighted
        summary = self.query_one("#summary", Lines)
        summary.show(_summary(entry, max(1, summary.size.width - 2), summary) if entry is not None else [])
        if self.view == "list" and not (self.has_class("-wide") and self.with_panel):
            return
        if entry is None:
            self.page.show([])
            return
        known = self._inside
        fresh = known is not None and known[:2] == (entry.key, entry.modified)
        inside = known[2] if known is not None and fresh else None
        if inside is None and self._reading != entry.key:
            self._reading = entry.key
            self.run_worker(self._read(entry), group="details", exclusive=True)
        standing = entry.source == self.standing and entry.origin != "shipped"
        lines = details.lines_of(entry, inside, standing, entry.key in self.damaged, self.chosen_words(entry))
        self.page.show(lines, top=entry.key != self._paged)
        self._paged = entry.key

    async def _read(self: CheckpointsScreen, entry: Entry) -> None:
        try:
            await asyncio.sleep(_SETTLE)
            inside = await in_background(details.look_into, entry)
            self._inside = (entry.key, entry.modified, inside)
        except (OSError, TinyTalesError):
            self._inside = (entry.key, entry.modified, Inside())
        finally:
            if self._reading == entry.key:
                self._reading = ""
        if self.query("#views"):  # the screen may have gone meanwhile
            self.draw()

    # The Hub and downloads

    def _draw_hub(self: CheckpointsScreen) -> None:
        models, trouble = self.models, self.query_one("#trouble", Lines)
        result = self.found
        models.states = self.where_models_stand()
        words = self.search_line.value.strip()
        models.note = (
            "Asking the Hub…"
            if self.searching
            else f"None of the known models is called {one_line(words, 40)}."
            if words and result is not None and result.trouble
            else f"The Hub has nothing called {one_line(words, 40)}."
            if words
            else ""
        )
        models.show(result.models if result is not None else ())
        models.refresh()
        trouble.display = result is not None and bool(result.trouble)
        if result is not None and result.trouble:
            trouble.show([Text(one_line(result.trouble, 400), trouble.tone("warning"))])
        about = self.query_one("#about", Lines)
        model = models.highlighted
        about.show(found.about(model, max(1, about.size.width - 2), about.tone("warning")) if model is not None else [])

    def _draw_downloads(self: CheckpointsScreen) -> None:
        self.queue.note = "No downloads yet; 3 shows what the Hub has."
        self.queue.show_downloads(self._downloads.all if self._downloads is not None else ())
        self.files.display = self.queue.highlighted is not None
        self.files.show(queue.lines_of(self.queue.highlighted))
        disk = self.query_one("#disk", Lines)
        found_disk = self.shelf.disk if self.shelf is not None else None
        listing = self.shelf.listing if self.shelf is not None else None
        if found_disk is None or listing is None:
            disk.show([])
            return
        width = max(1, disk.size.width - 2)
        used = 1 - found_disk.free / found_disk.total if found_disk.total else None
        words = f"disk of the Hub's cache: {size(found_disk.free)} free of {size(found_disk.total)}, {size(listing.cache_bytes)} cache "
        room = max(0, min(40, width - len(words)))
        disk.show([Text.assemble((words, disk.tone("muted")), bar(used, room))])


def _summary(entry: Entry, width: int, lines: Lines) -> list[Text]:
    """Two lines on the row under the cursor: all its columns by name, and where it lies, as far as they fit."""
    pieces = [
        Text.assemble((f"{column.title} ", lines.tone("muted")), one_line(words, 60))
        for column in COLUMNS[1:]
        if (words := column.text(entry).strip())
    ]
    remark = entry.facts.refused or (f"missing: {entry.partial}" if entry.partial else "")
    remark = remark or (f"in use by {entry.in_use}" if entry.in_use else "")
    if remark:
        pieces.insert(0, Text(one_line(remark, width), lines.tone("warning")))
    found_lines = [Text(), Text()]
    for piece in [*pieces, Text(one_line(entry.source, width), lines.tone("muted"))]:
        line = next((one for one in found_lines if one.cell_len + piece.cell_len + 2 <= width or not one.cell_len), None)
        if line is not None:
            line.append("  " if line.cell_len else "")
            line.append_text(piece)
    return found_lines
