"""The list of runs as rows of text: what each column says, which fit a width, in which order they stand. Draws nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.run_status import RunStatus
from engine.watching.feed import Feed
from tinytales_tui.figures import bar, short_count, short_duration, size
from tinytales_tui.text import one_line

BADGES = {
    "starting": "…", "running": "▶", "paused": "‖", "stopping": "◂", "finished": "✓", "stopped": "■", "failed": "✖", "stale": "!",
    "following": "▶", "quiet": "‖", "unknown": "?",
}  # fmt: skip
"""One letter for each state, which differ without colour too."""
SORTS = ("started", "name", "state", "loss", "best", "left", "size")
SORT_WORDS = {
    "started": "last started", "name": "name", "state": "state", "loss": "lowest loss", "best": "best validation",
    "left": "first to end", "size": "largest",
}  # fmt: skip
_STATE_ORDER = (
    "failed",
    "stale",
    "running",
    "starting",
    "stopping",
    "following",
    "paused",
    "stopped",
    "finished",
    "quiet",
    "unknown",
)
COMPACT = 46
"""Columns under which a row is only badge, name and progress."""


@dataclass(frozen=True)
class Column:
    """One column of the list."""

    title: str
    width: int
    text: Callable[[Feed], str]
    spare: int
    """The highest is left out first where the screen is narrow."""
    left: bool = False


def state_words(status: RunStatus) -> str:
    """`running`, `stale 12m`: how a run stands, a stale one with the age of its last sign of life."""
    if status.state in ("stale", "quiet") and status.age is not None:
        return f"{status.state} {short_duration(status.age)}"
    return status.state


def progress(feed: Feed) -> str:
    """`53 %`; where the end is not known, the step; empty where that is not known either."""
    status = feed.status
    if status.share is not None:
        return f"{int(status.share * 100)} %"
    if status.step is None:
        return ""
    return f"{status.step:,}" if status.step < 10_000 else short_count(status.step)


def _figure(value: float | None, digits: int = 3) -> str:
    if value is None:
        return ""
    if abs(value) < 1000:
        return f"{value:.{digits}f}"
    return f"{value:,.0f}" if abs(value) < 1e6 else f"{value:.1e}"


def _of(feed: Feed, name: str) -> float | None:
    return getattr(feed.summary, name) if feed.summary is not None else None


def _best(feed: Feed) -> str:
    bits, nats = _of(feed, "best_bits_per_byte"), _of(feed, "best_val_loss")
    return f"{bits:.3f}" if bits is not None else f"{nats:.3f} nat" if nats is not None else ""


def _started(feed: Feed) -> str:
    at = _of(feed, "started")
    if at is None:
        return ""
    now = time.time()
    form = "%H:%M" if time.localtime(now)[:3] == time.localtime(min(max(at, 0), 4e9))[:3] else "%d %b %H:%M"
    return time.strftime(form, time.localtime(min(max(at, 0), 4e9)))


def _optional(write: Callable[[float], str], name: str) -> Callable[[Feed], str]:
    def text(feed: Feed) -> str:
        value = _of(feed, name)
        return "" if value is None else write(value)

    return text


COLUMNS = (
    Column("state", 12, lambda feed: state_words(feed.status), 0, left=True),
    Column("done", 6, progress, 1),
    Column("", 8, lambda feed: bar(feed.status.share, 8), 8, left=True),
    Column("step", 9, lambda feed: "" if feed.status.step is None else f"{feed.status.step:,}", 7),
    Column("loss", 7, _optional(_figure, "train_loss"), 2),
    Column("bits/byte", 9, _best, 3),
    Column("tok/s", 6, _optional(short_count, "tokens_per_s"), 5),
    Column("left", 5, _optional(short_duration, "eta_s"), 4),
    Column("started", 12, _started, 6),
    Column("size", 9, _optional(lambda count: size(count) if count else "", "size_bytes"), 9),
)
LEAST_NAME = 14


def fitting(width: int) -> list[Column]:
    """The columns that have room beside a name, in order; none in a compact list."""
    kept = list(COLUMNS)
    while kept and sum(column.width + 2 for column in kept) + LEAST_NAME + 4 > width:
        kept.remove(max(kept, key=lambda column: column.spare))
    return [] if width < COMPACT else kept


def name_width(width: int, columns: Sequence[Column]) -> int:
    """Cells for the name beside these columns."""
    return max(4, width - 4 - sum(column.width + 2 for column in columns)) if columns else max(4, width - 4 - 6)


def row_text(feed: Feed, width: int, shown_name: str) -> str:
    """A row without its two marks at the front, exactly `width` - 4 cells wide."""
    columns = fitting(width)
    room = name_width(width, columns)
    if not columns:
        return f"{one_line(shown_name, room):<{room}}{progress(feed):>6}"
    cells = [f"  {one_line(column.text(feed), column.width):{'<' if column.left else '>'}{column.width}}" for column in columns]
    return f"{one_line(shown_name, room):<{room}}" + "".join(cells)


def head_text(width: int) -> str:
    """The titles over the rows."""
    columns = fitting(width)
    room = name_width(width, columns)
    if not columns:
        return f"{'runs':<{room}}{'done':>6}"
    return f"{'name':<{room}}" + "".join(f"  {c.title:{'<' if c.left else '>'}{c.width}}" for c in columns)


def shown_names(feeds: Sequence[Feed]) -> dict[str, str]:
    """By key: the name, with its folder where two have the same."""
    counts: dict[str, int] = {}
    for feed in feeds:
        counts[feed.name] = counts.get(feed.name, 0) + 1
    return {feed.key: feed.name if counts[feed.name] == 1 else f"{feed.name} ({feed.path.parent.name})" for feed in feeds}


def ordered(feeds: Sequence[Feed], sort: str) -> list[Feed]:
    """In the order of one of `SORTS`; what is not known stands last."""

    def number(name: str) -> Callable[[Feed], tuple[bool, float]]:
        def key(feed: Feed) -> tuple[bool, float]:
            value = _of(feed, name)
            return (value is None or value != value, value or 0.0)

        return key

    match sort:
        case "name":
            return sorted(feeds, key=lambda feed: feed.name.lower())
        case "state":
            return sorted(
                feeds, key=lambda feed: _STATE_ORDER.index(feed.status.state) if feed.status.state in _STATE_ORDER else 99
            )
        case "loss":
            return sorted(feeds, key=number("train_loss"))
        case "best":
            return sorted(feeds, key=lambda feed: (number("best_bits_per_byte")(feed), number("best_val_loss")(feed)))
        case "left":
            return sorted(feeds, key=number("eta_s"))
        case "size":
            return sorted(feeds, key=lambda feed: -(_of(feed, "size_bytes") or 0.0))
    return list(feeds)
