"""The list of downloads: those under way with a bar, those that wait, those that have ended; and the files of one of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tinytales_tui.checkpoints.card import Line
from tinytales_tui.figures import bar, short_duration, size
from tinytales_tui.text import one_line
from tinytales_tui.widgets.columns import Column, Heading
from tinytales_tui.widgets.table import Table

if TYPE_CHECKING:
    from engine.hub.downloads import Download

_WORDS = {"planning": "asking"}
_TONES = {"done": "good", "failed": "bad", "downloading": "note", "checking": "note"}


def share(download: Download) -> float | None:
    """How much of it is here, from 0 to 1; None where that is not known."""
    if download.state == "done":
        return 1.0
    return min(1.0, download.done_bytes / download.total_bytes) if download.total_bytes else None


def _percent(download: Download) -> str:
    found = share(download)
    return f"{int(found * 100)} %" if found is not None else ""


COLUMNS: tuple[Column[Download], ...] = (
    Column("model", 14, lambda one: f"{one.repo}{f' {one.pattern}' if one.pattern else ''}", left=True),
    Column("", 12, lambda one: bar(share(one), 12) if one.state not in ("failed", "cancelled") else "", 3, left=True),
    Column("done", 5, _percent, 1),
    Column("size", 9, lambda one: size(one.total_bytes) if one.total_bytes else "", 4),
    Column("speed", 11, lambda one: f"{size(one.speed)}/s" if one.speed and one.state == "downloading" else "", 5),
    Column("left", 5, lambda one: short_duration(one.eta_s) if one.eta_s is not None and one.state == "downloading" else "", 2),
    Column("state", 11, lambda one: _WORDS.get(one.state, one.state), left=True, tone=lambda one: _TONES.get(one.state, "muted")),
)


class DownloadList(Table["Download"]):
    """`show_downloads(all)`."""

    KEYS_HELP = ("In the list of downloads", ())

    def __init__(self, id: str | None = None) -> None:
        super().__init__(COLUMNS, id)

    def key(self, item: Download) -> str:
        return item.id

    def show_downloads(self, downloads: Sequence[Download]) -> None:
        """Those that have not ended in the order in which they come; below them the others, the last one first."""
        going = [one for one in downloads if not one.over]
        over = sorted((one for one in downloads if one.over), key=lambda one: -(one.ended or 0.0))
        rows: list[Download | Heading] = [*going]
        if over:
            rows += [Heading("Ended"), *over]
        self.show(rows)


def lines_of(download: Download | None) -> list[Line]:
    """A page on one download: its message, and a line for each file."""
    if download is None:
        return []
    lines: list[Line] = [("heading", one_line(download.repo, 200))]
    if download.message:
        lines.append(("warning" if download.state == "failed" else "text", download.message))
    if download.state == "failed":
        lines.append(("muted", "R tries again; files that were finished are not fetched twice."))
    if download.plan is not None:
        for file in download.plan.files:
            done = file.size if file.cached or download.state == "done" else min(download.file_bytes.get(file.name, 0), file.size)
            part = "here" if done >= file.size else f"{int(100 * done / file.size)} %" if done else ""
            tone = "good" if done >= file.size else "text"
            lines.append((tone, f"{size(file.size):>10}  {part:>5}  {one_line(file.name, 200)}"))
    return lines
