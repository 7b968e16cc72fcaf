"""The lines above the charts: how the run stands, the verdict in words, which view this is, and what stands under the cursor."""

from __future__ import annotations

from collections.abc import Sequence

from rich.style import Style
from rich.text import Text

from engine.watching.feed import Feed
from tinytales_tui import paths
from tinytales_tui.figures import bar, duration, short_count
from tinytales_tui.text import one_line
from tinytales_tui.train.charts.charting import Reading
from tinytales_tui.train.charts.measures import AXIS_WORDS, Looking, Measure
from tinytales_tui.train.runs.rows import BADGES, COLUMNS, state_words

VIEWS = (("runs", "Runs"), ("curve", "Curve"), ("grid", "Grid"), ("stories", "Stories"), ("log", "Log"), ("machine", "Machine"))
"""The views of the pane, in the order of their number keys."""


def standing(feed: Feed, width: int, tone: Style) -> Text:
    """`▶ mine  running  step 4,210 of 8,000  53 % ━━━━━···  41 min left  6.0k tok/s  loss 1.312  best 0.616`, as far as it fits."""
    status, summary = feed.status, feed.summary
    parts: list[tuple[int, Text]] = []

    def add(weight: int, words: str, style: Style | str = "") -> None:
        parts.append((weight, Text(words, style=style)))

    add(99, f"{BADGES.get(status.state, '?')} {one_line(feed.name, max(10, width // 3))}", "bold")
    add(98, state_words(status) if feed.kind == "run" else f"{state_words(status)} ({feed.kind})", tone)
    if status.step is not None:
        add(97, f"step {status.step:,}" + (f" of {status.total_steps:,}" if status.total_steps else ""))
    if status.share is not None:
        add(95, f"{int(status.share * 100)} %")
        add(40, bar(status.share, 12))
    if feed.loading is not None and feed.loading < 1:
        add(96, f"reading {feed.loading:.0%}")
    if summary is not None:
        if summary.eta_s is not None:
            add(94, f"{duration(summary.eta_s)} left")
        if summary.train_loss is not None:
            add(90, f"loss {summary.train_loss:.3f}")
        if summary.best_bits_per_byte is not None:
            add(88, f"best {summary.best_bits_per_byte:.3f} bits/byte")
        elif summary.best_val_loss is not None:
            add(88, f"best validation {summary.best_val_loss:.3f}")
        if summary.tokens_per_s is not None:
            add(85, f"{short_count(summary.tokens_per_s)} tok/s")
        if summary.seconds:
            add(50, f"after {duration(summary.seconds)}")
    while len(parts) > 1 and sum(part.cell_len + 2 for _, part in parts) - 2 > width:
        parts.remove(min(parts, key=lambda part: part[0]))
    return Text("  ").join(part for _, part in parts)


def details(feed: Feed, width: int, muted: Style) -> list[Text]:
    """Two lines on the run under the cursor of the list: all its columns by name, and its folder, as far as they fit."""
    pieces = [
        Text.assemble((f"{column.title} ", muted), words.strip())
        for column in COLUMNS
        if column.title and (words := column.text(feed)).strip()
    ]
    lines = [Text(), Text()]
    for piece in [*pieces, Text(one_line(paths.shown(feed.path), width), muted)]:
        line = next((line for line in lines if line.cell_len + piece.cell_len + 2 <= width or not line.cell_len), None)
        if line is not None:
            line.append("  " if line.cell_len else "")
            line.append_text(piece)
    return lines


def views_line(
    view: str, looking: Looking, measure: Measure, remarks: Sequence[str], width: int, here: Style, other: Style
) -> Text:
    """The views by their keys, the present one set off, and how the charts are drawn."""
    line = Text()
    for number, (name, words) in enumerate(VIEWS, 1):
        shown = f"[{number} {words}]" if name == view else f" {number} {words} "
        line.append(shown, here if name == view else other)
    log = measure.log if looking.log is None else looking.log
    how = [f"by {AXIS_WORDS[looking.axis]}"] if looking.axis != "step" else []
    how += ["log"] * log + [f"smooth {looking.smoothing:g}"] * (looking.smoothing > 0)
    if looking.span is not None:
        how.append("zoomed")
    elif looking.recent < 1:
        how.append(f"last {looking.recent:.3g} of it")
    how += ["outliers cut"] * looking.trim
    words = " · ".join([*(how if view in ("curve", "grid", "stories") else []), *remarks])
    if line.cell_len + len(words) + 1 <= width:
        line.append(" " * (width - line.cell_len - len(words)))
        line.append(words, other)
    return line


def readout(where: str, here: str, found: Sequence[Reading], width: int, muted: Style, styles: dict[int, Style]) -> list[Text]:
    """Two lines: where the cursor is and what happened there, and the values there as far as they fit."""
    first = Text(where)
    if here:
        first.append("  " + here, muted)
    second = Text()
    for reading in found:
        piece = Text.assemble((f"{reading.words} ", muted), (reading.text, _front(styles.get(reading.style))))
        if second.cell_len + piece.cell_len + 2 > width and second.cell_len:
            break
        if second.cell_len:
            second.append("  ")
        second.append_text(piece)
    return [first, second]


def _front(style: Style | None) -> Style:
    return Style(color=style.color, bold=style.bold) if style is not None else Style()
